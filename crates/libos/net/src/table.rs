//! A hash table from a keyed hash to a number: 8 bytes an entry, linear probing, no tombstones.
//!
//! Keys lie where the numbers point. The table holds 32 bits of each hash, which decide nearly every comparison without a look
//! at the key, give an entry's home when another is removed, and let the table grow without the keys.

use alloc::vec;
use alloc::vec::Vec;

const EMPTY: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    value: u32,
}

pub(crate) struct Table {
    /// A power of two, at most half of them used.
    entries: Vec<Entry>,
    used: usize,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { entries: vec![Entry { hash: 0, value: EMPTY }; 64], used: 0 }
    }

    fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    fn entry(&self, at: usize) -> Entry {
        self.entries.get(at & self.mask()).copied().unwrap_or(Entry { hash: 0, value: EMPTY })
    }

    fn set(&mut self, at: usize, entry: Entry) {
        let at = at & self.mask();
        if let Some(place) = self.entries.get_mut(at) {
            *place = entry;
        }
    }

    /// The number under `hash` whose key `is_it` recognizes.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = hash as usize;
        loop {
            let entry = self.entry(at);
            if entry.value == EMPTY {
                return None;
            }
            if entry.hash == hash && is_it(entry.value) {
                return Some(entry.value);
            }
            at = at.wrapping_add(1);
        }
    }

    pub(crate) fn insert(&mut self, hash: u32, value: u32) {
        if (self.used + 1) * 2 > self.entries.len() {
            let larger = vec![Entry { hash: 0, value: EMPTY }; self.entries.len() * 2];
            for entry in core::mem::replace(&mut self.entries, larger) {
                if entry.value != EMPTY {
                    self.place(entry);
                }
            }
        }
        self.used += 1;
        self.place(Entry { hash, value });
    }

    fn place(&mut self, entry: Entry) {
        let mut at = entry.hash as usize;
        while self.entry(at).value != EMPTY {
            at = at.wrapping_add(1);
        }
        self.set(at, entry);
    }

    fn position(&self, hash: u32, value: u32) -> Option<usize> {
        let mut at = hash as usize;
        loop {
            let entry = self.entry(at);
            if entry.value == value && entry.hash == hash {
                return Some(at & self.mask());
            }
            if entry.value == EMPTY {
                return None;
            }
            at = at.wrapping_add(1);
        }
    }

    /// Puts `new` in the place of `old`.
    pub(crate) fn replace(&mut self, hash: u32, old: u32, new: u32) {
        if let Some(at) = self.position(hash, old) {
            self.set(at, Entry { hash, value: new });
        }
    }

    pub(crate) fn remove(&mut self, hash: u32, value: u32) {
        let Some(mut hole) = self.position(hash, value) else { return };
        self.used -= 1;
        let mut at = hole;
        loop {
            at = at.wrapping_add(1) & self.mask();
            let entry = self.entry(at);
            if entry.value == EMPTY {
                break;
            }
            // It may move into the hole unless its home lies between the hole and itself.
            let from_home = at.wrapping_sub(entry.hash as usize) & self.mask();
            let from_hole = at.wrapping_sub(hole) & self.mask();
            if from_home >= from_hole {
                self.set(hole, entry);
                hole = at;
            }
        }
        self.set(hole, Entry { hash: 0, value: EMPTY });
    }

    #[cfg(test)]
    pub(crate) fn check(&self) -> usize {
        let full = self.entries.iter().filter(|entry| entry.value != EMPTY);
        assert!(full.clone().all(|entry| self.position(entry.hash, entry.value).is_some()));
        assert_eq!(full.count(), self.used);
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::BTreeMap;

    #[test]
    fn behaves_like_a_map_while_hashes_collide() {
        let (mut table, mut model, mut random) = (Table::new(), BTreeMap::new(), Random::new([3, 4]));
        for step in 0..20_000_u32 {
            // Few homes, also at the end of the table, where probing wraps.
            let hash = (random.below(12) * 0x1000).wrapping_add(random.below(3)).wrapping_sub(1);
            if random.below(5) < 3 && model.len() < 500 {
                table.insert(hash, step);
                model.insert(step, hash);
            } else if let Some((&value, &hash)) = model.range(random.below(step + 1)..).next() {
                table.remove(hash, value);
                model.remove(&value);
                assert_eq!(table.find(hash, |found| found == value), None);
            }
            if step % 100 == 0 {
                assert_eq!(table.check(), model.len());
                assert!(model.iter().all(|(v, h)| table.find(*h, |found| found == *v) == Some(*v)));
            }
        }
    }
}
