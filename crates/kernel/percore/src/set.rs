//! Sets of cores: bitmaps of [`MAX_CORES`] bits, plain and shared.

use corey_kernel_hal::{CoreId, MAX_CORES};
use corey_lib_sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = MAX_CORES / 64;

/// A set of cores, by value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreSet([u64; WORDS]);

impl CoreSet {
    /// The empty set.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// The set of one core.
    #[must_use]
    pub fn only(core: CoreId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(core);
        set
    }

    /// Cores 0 … `count` − 1.
    #[must_use]
    pub fn first(count: usize) -> Self {
        let mut set = Self::EMPTY;
        (0..count.min(MAX_CORES)).for_each(|core| set.insert(CoreId(core as u16)));
        set
    }

    /// Adds `core`. Numbers beyond [`MAX_CORES`] do not exist.
    pub fn insert(&mut self, core: CoreId) {
        if let Some(word) = self.0.get_mut(core.index() / 64) {
            *word |= 1 << (core.index() % 64);
        }
    }

    /// Takes `core` out.
    pub fn remove(&mut self, core: CoreId) {
        if let Some(word) = self.0.get_mut(core.index() / 64) {
            *word &= !(1 << (core.index() % 64));
        }
    }

    /// The set less `core`.
    #[must_use]
    pub fn without(mut self, core: CoreId) -> Self {
        self.remove(core);
        self
    }

    /// The set less `others`.
    #[must_use]
    pub fn without_all(mut self, others: Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(others.0) {
            *mine &= !theirs;
        }
        self
    }

    /// The set as words, core 0 in the lowest bit of the first.
    #[must_use]
    pub fn words(self) -> [u64; MAX_CORES / 64] {
        self.0
    }

    /// Adds all of `other`.
    #[inline(always)]
    pub fn union(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// Whether `core` is in it.
    #[must_use]
    pub fn contains(&self, core: CoreId) -> bool {
        self.0.get(core.index() / 64).is_some_and(|w| w >> (core.index() % 64) & 1 == 1)
    }

    /// Whether no core is in it.
    #[must_use]
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        // Or-ed: a comparison of arrays would be a call.
        self.0.iter().fold(0, |all, word| all | word) == 0
    }

    /// Whether nobody but `core` is in it.
    #[must_use]
    #[inline(always)]
    pub fn is_within(&self, core: CoreId) -> bool {
        self.is_subset(&Self::only(core))
    }

    /// Whether every core in it is in `other`.
    #[must_use]
    #[inline(always)]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |all, (mine, theirs)| all | mine & !theirs) == 0
    }

    /// The cores in it, lowest first.
    pub fn iter(self) -> impl Iterator<Item = CoreId> {
        self.0.into_iter().enumerate().flat_map(|(at, mut word)| {
            core::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros())?;
                word &= word - 1;
                Some(CoreId((at * 64) as u16 + bit as u16))
            })
        })
    }
}

/// A set of cores that several cores change. Changes are atomic read-modify-writes, and skipped when
/// they would change nothing: a private object's set stays in its core's cache.
#[derive(Debug)]
pub struct SharedCoreSet([AtomicU64; WORDS]);

impl Default for SharedCoreSet {
    fn default() -> Self {
        Self([0; WORDS].map(AtomicU64::new))
    }
}

impl SharedCoreSet {
    /// Adds `core`; a full fence when that changed the set.
    pub fn insert(&self, core: CoreId) {
        let bit = 1 << (core.index() % 64);
        if let Some(word) = self.0.get(core.index() / 64)
            && word.load(Ordering::Relaxed) & bit == 0
        {
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }

    /// Adds `core`, which is not in it: without a look first, which would move the line once more.
    pub fn add(&self, core: CoreId) {
        if let Some(word) = self.0.get(core.index() / 64) {
            word.fetch_or(1 << (core.index() % 64), Ordering::SeqCst);
        }
    }

    /// Adds all of `other`.
    #[inline(always)]
    pub fn union(&self, other: CoreSet) {
        for (mine, theirs) in self.0.iter().zip(other.0) {
            if theirs & !mine.load(Ordering::Relaxed) != 0 {
                mine.fetch_or(theirs, Ordering::SeqCst);
            }
        }
    }

    /// Takes `core` out.
    pub fn remove(&self, core: CoreId) {
        if let Some(word) = self.0.get(core.index() / 64) {
            word.fetch_and(!(1 << (core.index() % 64)), Ordering::SeqCst);
        }
    }

    /// As [`SharedCoreSet::remove`]; whether it was in: of several who take it out, one is told so.
    #[must_use]
    pub fn take(&self, core: CoreId) -> bool {
        let bit = 1 << (core.index() % 64);
        self.0.get(core.index() / 64).is_some_and(|word| word.fetch_and(!bit, Ordering::SeqCst) & bit != 0)
    }

    /// The set as it is.
    #[must_use]
    #[inline(always)]
    pub fn load(&self) -> CoreSet {
        CoreSet(core::array::from_fn(|i| self.0.get(i).map_or(0, |w| w.load(Ordering::SeqCst))))
    }

    /// Empties it.
    pub fn clear(&self) {
        self.0.iter().for_each(|w| w.store(0, Ordering::Relaxed));
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn sets_keep_what_is_put_in() {
        let mut set = CoreSet::only(CoreId(3));
        set.insert(CoreId(200));
        set.insert(CoreId(64));
        assert_eq!(set.iter().collect::<Vec<_>>(), [CoreId(3), CoreId(64), CoreId(200)]);
        set.remove(CoreId(64));
        assert!(!set.contains(CoreId(64)) && set.contains(CoreId(200)));
        assert!(!set.is_within(CoreId(3)));
        set.remove(CoreId(200));
        assert!(set.is_within(CoreId(3)) && !set.is_empty());
        let shared = SharedCoreSet::default();
        shared.union(set);
        shared.insert(CoreId(255));
        shared.insert(CoreId(255));
        shared.add(CoreId(255));
        assert_eq!(shared.load().iter().count(), 2);
        assert!(shared.take(CoreId(3)) && !shared.take(CoreId(3)));
        shared.insert(CoreId(3));
        shared.remove(CoreId(3));
        assert_eq!(shared.load(), CoreSet::only(CoreId(255)));
    }
}
