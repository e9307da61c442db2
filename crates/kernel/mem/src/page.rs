//! Page slots: one word per page of a segment, claimed by compare-and-swap.

use crate::cell::Content;
use crate::frames::{Owned, Zeroed};
use crate::memory::Memory;
use crate::shared::Part;
use corey_kernel_hal::{Frame, Platform};
use corey_lib_sync::atomic::{AtomicU64, Ordering};

const ABSENT: u64 = 0;
const PRESENT: u64 = 1;
const COW: u64 = 2;
const REVOKING: u64 = 3;
const STATE: u64 = 3;
const PIN: u64 = 1 << 2;
const PINS: u64 = 0x7ff << 2;
/// While `Revoking`: for a copy. The page stays.
const COPYING: u64 = 1 << 13;
/// Other slots refer to the frame too: it is counted ([`crate::shared`]).
const SHARED: u64 = 1 << 14;
/// While `SHARED`: copied on any reference.
const REFERENCE: u64 = 1 << 15;
/// Of its own, but other cores may still read the page through a segment that left it ([`crate::shared`]).
const WIDE: u64 = 1 << 16;
/// Frame and flags are half a word each: neither is cut to size.
const FRAME_SHIFT: u32 = 32;
/// All but the frame.
const FLAGS: u64 = (1 << FRAME_SHIFT) - 1;
/// [`FLAGS`] of a page that is shared and not pinned: one that is copied on write, and one on reference.
const COPIED: u64 = COW | SHARED;
const SNAPSHOT: u64 = COPIED | REFERENCE;

/// A frame with a program's data. It stays allocated while its slot's segment lives and the slot is not
/// revoked; holders obey the order of PROTOCOLS §3 (revoke, acknowledge, wait for quiescence, free).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataFrame(Frame);

impl DataFrame {
    /// Which frame it is.
    #[must_use]
    #[inline(always)]
    pub fn frame(self) -> Frame {
        self.0
    }

    /// Frame `at` of a 2 MiB page.
    #[must_use]
    #[inline(always)]
    pub fn part(self, at: u64) -> Self {
        Self(Frame(self.0.0 + (at % u64::from(crate::memory::LARGE)) as u32))
    }

    /// Reads bytes from `offset` on; returns how many: up to the page's end. Programs may write meanwhile.
    pub fn read<P: Platform>(self, platform: &P, offset: usize, to: &mut [u8]) -> usize {
        let n = to.len().min(4096_usize.saturating_sub(offset));
        let from = platform.direct(self.0).as_ptr().wrapping_add(offset.min(4096));
        for (i, byte) in to.iter_mut().take(n).enumerate() {
            // SAFETY: `offset + i < 4096`: inside the frame, which is RAM. Volatile, as user code may write it.
            *byte = unsafe { from.wrapping_add(i).read_volatile() };
        }
        n
    }

    /// Writes bytes from `offset` on; returns how many: up to the page's end.
    pub fn write<P: Platform>(self, platform: &P, offset: usize, from: &[u8]) -> usize {
        let n = from.len().min(4096_usize.saturating_sub(offset));
        let to = platform.direct(self.0).as_ptr().wrapping_add(offset.min(4096));
        for (i, byte) in from.iter().take(n).enumerate() {
            // SAFETY: as in `read`. Nobody in the kernel has a reference into a data frame.
            unsafe { to.wrapping_add(i).write_volatile(*byte) };
        }
        n
    }

    /// Loads its `index`-th word, with acquire; 0 for one that it does not have. Programs may write it meanwhile.
    #[inline(always)]
    pub fn load_word<P: Platform>(self, platform: &P, index: usize) -> u64 {
        self.word(platform, index).map_or(0, |word| word.load(core::sync::atomic::Ordering::Acquire))
    }

    /// Stores its `index`-th word, with release.
    #[inline(always)]
    pub fn store_word<P: Platform>(self, platform: &P, index: usize, to: u64) {
        if let Some(word) = self.word(platform, index) {
            word.store(to, core::sync::atomic::Ordering::Release);
        }
    }

    /// The processor's own atomic type, also under the checkers: what programs do to their memory is in no model.
    #[inline(always)]
    fn word<P: Platform>(self, platform: &P, index: usize) -> Option<&core::sync::atomic::AtomicU64> {
        if index >= 512 {
            return None;
        }
        let at = platform.direct(self.0).as_ptr().cast::<u64>().wrapping_add(index);
        // SAFETY: inside the frame, which is RAM and aligned; all of the kernel's accesses to it are volatile or atomic.
        Some(unsafe { core::sync::atomic::AtomicU64::from_ptr(at) })
    }

    /// Writes 16 bytes at `offset` as two words; the first becomes visible last. False when `offset` is not
    /// 16-byte aligned inside the page.
    pub fn write_status<P: Platform>(self, platform: &P, offset: u64, words: [u64; 2]) -> bool {
        if !offset.is_multiple_of(16) || offset > 4080 {
            return false;
        }
        // SAFETY: the frame is data, `offset` was checked; the caller's pin keeps it (PROTOCOLS §5.5).
        unsafe { platform.write_status(self.0, offset, words) };
        true
    }
}

/// A slot as one load saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// No page yet.
    Absent,
    /// A page of this segment's own.
    Present(DataFrame),
    /// A page to be copied before a write.
    Cow(DataFrame),
    /// A page to be copied before a read or a write.
    Reference(DataFrame),
    /// Being taken away or copied: wait, serving the mailbox.
    Revoking,
}

/// Why a page cannot be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is pinned by a device or a status word.
    Pinned,
    /// Another core is at it: wait, serving the mailbox.
    Revoking,
}

/// Why [`PageSlot::begin_copy`] did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOwn {
    /// There is no page.
    Absent,
    /// A shared one: [`PageSlot::copy_shared`] copies it.
    Shared,
    /// One that is copied on reference: [`PageSlot::copy_snapshot`] copies it.
    Snapshot,
    /// It is pinned by a device or a status word: it is copied now.
    Pinned,
    /// Another core is at it: wait, serving the mailbox.
    Revoking,
}

/// What a slot gives up.
#[derive(Debug)]
#[must_use = "pages are freed or released"]
pub enum Gone {
    /// A page of its own.
    Own(Owned),
    /// A page of its own that was shared: cores that used it through another segment may still be in the kernel.
    Wide(Owned),
    /// Its part of a shared page.
    Part(Part),
}

/// One page of a segment: `Absent | Present | Cow | Revoking`, pins, frame.
///
/// ```text
/// Absent ─install→ Present ─begin_revoke→ Revoking ─finish_revoke→ closed (frame to limbo) ─open→ Absent
/// └──────────────────────── begin_revoke→         └abort_revoke→ what it was
/// Present, Cow ─begin_copy→ Revoking ─(write-protect, acks)─ share→ Cow, and Cow in the copy
/// Cow ─begin_break→ Revoking ─(copy; clear, flush, acks)─ finish_break→ Present (its part released)
/// ```
///
/// A slot that is closed, `Revoking` without a frame, lies above the end of its segment: a core that looked at the size
/// before it was cut may come with a frame at any time after, and must not leave it there.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct PageSlot(AtomicU64);

// SAFETY: 512 × 8 bytes of atomics; 0 is Absent.
unsafe impl Content for [PageSlot; 512] {}

impl PageSlot {
    fn data(word: u64) -> DataFrame {
        DataFrame(Frame((word >> FRAME_SHIFT) as u32))
    }

    /// The state now.
    #[inline(always)]
    pub fn load(&self) -> PageState {
        let word = self.0.load(Ordering::SeqCst);
        match word & STATE {
            ABSENT => PageState::Absent,
            PRESENT => PageState::Present(Self::data(word)),
            COW if word & REFERENCE != 0 => PageState::Reference(Self::data(word)),
            COW => PageState::Cow(Self::data(word)),
            _ => PageState::Revoking,
        }
    }

    /// Whether there is a page that can be read as it is.
    #[must_use]
    #[inline(always)]
    pub fn is_readable(&self) -> bool {
        matches!(self.load(), PageState::Present(_) | PageState::Cow(_))
    }

    /// Gives an absent page its frame.
    ///
    /// # Errors
    ///
    /// The frame comes back when another core was first: use what it installed.
    pub fn install(&self, page: Zeroed) -> Result<DataFrame, Zeroed> {
        let frame = page.0.0;
        let word = u64::from(frame.0) << FRAME_SHIFT | PRESENT;
        match self.0.compare_exchange(ABSENT, word, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => Ok(DataFrame(frame)),
            Err(_) => Err(page),
        }
    }

    fn change(&self, to: impl Fn(u64) -> Option<u64>) -> Result<u64, u64> {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, to)
    }

    fn refused(word: u64) -> Refused {
        if word & STATE == REVOKING { Refused::Revoking } else { Refused::Pinned }
    }

    /// Starts to take the page away, if there is one; from here on none can be installed either.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn begin_revoke(&self) -> Result<(), Refused> {
        let free = |w: u64| w & PINS == 0 && w & STATE != REVOKING;
        self.change(|w| free(w).then_some(w & !STATE | REVOKING)).map(|_| ()).map_err(Self::refused)
    }

    /// Ends a revocation or a break without a change.
    pub fn abort_revoke(&self) {
        let was = |w: u64| match w {
            w if w >> FRAME_SHIFT == 0 => ABSENT,
            w if w & SHARED != 0 => COW,
            _ => PRESENT,
        };
        let back = |w: u64| w & !(STATE | COPYING) | was(w);
        let _ = self.change(|w| (w & STATE == REVOKING).then_some(back(w)));
    }

    /// Ends a revocation: no mapping of the page is left, and it goes. The slot takes no page until [`PageSlot::open`].
    pub fn finish_revoke(&self) -> Option<Gone> {
        let word = self.change(|w| (w & STATE == REVOKING).then_some(REVOKING)).ok()?;
        Self::gone(word)
    }

    /// Lets a slot take a page again that was revoked.
    pub fn open(&self) {
        let _ = self.0.compare_exchange(REVOKING, ABSENT, Ordering::SeqCst, Ordering::Relaxed);
    }

    fn gone(word: u64) -> Option<Gone> {
        let frame = Self::data(word).0;
        match word {
            w if w >> FRAME_SHIFT == 0 => None,
            w if w & SHARED != 0 => Some(Gone::Part(Part(frame))),
            w if w & WIDE != 0 => Some(Gone::Wide(Owned(frame))),
            _ => Some(Gone::Own(Owned(frame))),
        }
    }

    /// Copies pages that are shared already, and copied on write, from `from`, slots of a segment that nobody else copies
    /// or cuts meanwhile, to `to`, slots that no other core can reach yet: such a page gets one more slot, and that is
    /// all; the slot copied from is not written ([`crate::shared`]). Stops before the first slot that holds something
    /// else, and says where; what it gives back besides is to be released.
    #[inline(always)]
    pub fn copy_shared(
        memory: &Memory,
        from: &[Self],
        to: &[Self],
        on_reference: bool,
    ) -> (usize, Option<Part>) {
        if on_reference {
            Self::copy_shared_as::<REFERENCE>(memory, from, to)
        } else {
            Self::copy_shared_as::<0>(memory, from, to)
        }
    }

    /// As [`PageSlot::copy_shared`], with `REFERENCE` or 0 in the copy.
    #[inline(always)]
    fn copy_shared_as<const KIND: u64>(memory: &Memory, from: &[Self], to: &[Self]) -> (usize, Option<Part>) {
        for (done, (source, target)) in from.iter().zip(to).enumerate() {
            let word = source.0.load(Ordering::SeqCst);
            if word & FLAGS != COPIED {
                return (done, None);
            }
            if !memory.share_more(Self::data(word)) {
                return (done, None);
            }
            if source.0.load(Ordering::SeqCst) != word {
                return (done, Some(Part(Self::data(word).0)));
            }
            target.0.store(word | KIND, Ordering::Relaxed);
        }
        (from.len().min(to.len()), None)
    }

    /// As [`PageSlot::copy_shared`], of one page that is copied on reference. False when the slot holds something else.
    pub fn copy_snapshot(&self, memory: &Memory, copy: &Self, on_reference: bool) -> (bool, Option<Part>) {
        let word = self.0.load(Ordering::SeqCst);
        if word & FLAGS != SNAPSHOT {
            return (false, None);
        }
        if !memory.share_more(Self::data(word)) {
            return (false, None);
        }
        if self.0.load(Ordering::SeqCst) != word {
            return (false, Some(Part(Self::data(word).0)));
        }
        copy.0.store(Self::copy_of(word, on_reference), Ordering::Relaxed);
        (true, None)
    }

    /// Starts a copy of a page of its own: nobody else changes the slot until [`PageSlot::share`] or
    /// [`PageSlot::abort_copy`].
    ///
    /// # Errors
    ///
    /// What else there is.
    pub fn begin_copy(&self) -> Result<(), NotOwn> {
        let free = |w: u64| w & (STATE | PINS) == PRESENT;
        match self.change(|w| free(w).then_some(w & !STATE | REVOKING | COPYING)) {
            Ok(_) => Ok(()),
            Err(ABSENT) => Err(NotOwn::Absent),
            Err(word) if word & PINS != 0 => Err(NotOwn::Pinned),
            Err(word) if word & STATE == REVOKING => Err(NotOwn::Revoking),
            Err(word) if word & REFERENCE != 0 => Err(NotOwn::Snapshot),
            Err(_) => Err(NotOwn::Shared),
        }
    }

    /// What the slot of a copy holds of the page in `word`.
    #[inline(always)]
    fn copy_of(word: u64, on_reference: bool) -> u64 {
        let reference = if on_reference { REFERENCE } else { 0 };
        word & !(STATE | COPYING | REFERENCE | WIDE) | SHARED | COW | reference
    }

    /// Ends a copy that was begun here of a page of its own, if one was: `copy`, a slot that no other core can reach
    /// yet, gets a part of the page. No mapping allows writing it any more.
    pub fn share(&self, memory: &Memory, copy: &Self, on_reference: bool) {
        let word = self.0.load(Ordering::SeqCst);
        if word & (STATE | COPYING) != REVOKING | COPYING {
            return;
        }
        memory.share_first(Self::data(word), word & WIDE != 0);
        copy.0.store(Self::copy_of(word, on_reference), Ordering::Relaxed);
        // Whoever holds the slot in this state is the only one to change it.
        self.0.store(Self::copy_of(word, false), Ordering::Release);
    }

    /// Ends a copy that was begun here, if one was, without making one.
    pub fn abort_copy(&self) {
        if self.0.load(Ordering::SeqCst) & (STATE | COPYING) == REVOKING | COPYING {
            self.abort_revoke();
        }
    }

    /// Starts to break the sharing of a page: this slot's part, when it is shared and nobody else is at it.
    pub fn begin_break(&self) -> Option<DataFrame> {
        let word = self.change(|w| (w & STATE == COW).then_some(w & !STATE | REVOKING)).ok()?;
        Some(Self::data(word))
    }

    /// Ends a break by keeping the page, if no other slot has it any more; says whether that was so.
    #[must_use]
    pub fn keep(&self, memory: &Memory) -> bool {
        let word = self.0.load(Ordering::SeqCst);
        if word & (STATE | SHARED) != REVOKING | SHARED {
            return false;
        }
        let Some(wide) = memory.take_over(Self::data(word)) else { return false };
        let wide = if wide { WIDE } else { 0 };
        // Whoever holds the slot in this state is the only one to change it.
        self.0.store(word & !(STATE | SHARED | REFERENCE) | PRESENT | wide, Ordering::Release);
        true
    }

    /// Ends a break: the slot has `copy` from now on. No mapping of the old page is left. Returns the part of
    /// the old page.
    ///
    /// # Errors
    ///
    /// The copy comes back when no break was begun.
    pub fn finish_break(&self, copy: Zeroed) -> Result<Part, Zeroed> {
        let new = u64::from(copy.0.0.0) << FRAME_SHIFT | PRESENT;
        match self.change(|w| (w & (STATE | SHARED) == REVOKING | SHARED).then_some(new)) {
            Ok(word) => Ok(Part(Self::data(word).0)),
            Err(_) => Err(copy),
        }
    }

    /// For audits, while all other cores stand still: counts this slot's part out, or back in. True when the
    /// page is this slot's own, or all parts of it are counted now.
    pub fn count(&self, memory: &Memory, out: bool) -> bool {
        let word = self.0.load(Ordering::SeqCst);
        if word & SHARED == 0 {
            return word >> FRAME_SHIFT != 0;
        }
        memory.count(Self::data(word), out)
    }

    /// Keeps a present page where it is until [`PageSlot::unpin`]. `None` when it is not present, or
    /// pinned 2047 times.
    pub fn pin(&self) -> Option<DataFrame> {
        // An exchange that changes nothing has the line at once; a load first would move it twice.
        let mut word = self.0.compare_exchange(ABSENT, ABSENT, Ordering::Relaxed, Ordering::Relaxed).err()?;
        while word & STATE == PRESENT && word & PINS != PINS {
            match self.0.compare_exchange(word, word + PIN, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return Some(Self::data(word)),
                Err(now) => word = now,
            }
        }
        None
    }

    /// Ends one [`PageSlot::pin`].
    pub fn unpin(&self) {
        let _ = self.change(|w| (w & PINS != 0).then_some(w - PIN));
    }

    /// Takes the page of a dead segment.
    #[inline(always)]
    pub fn take(&mut self) -> Option<Gone> {
        Self::gone(core::mem::take(self.0.get_mut()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(n: u32) -> Zeroed {
        Zeroed(Owned(Frame(n)))
    }

    #[test]
    fn the_first_install_wins_and_the_second_gets_its_frame_back() {
        let slot = PageSlot::default();
        assert_eq!(slot.install(page(5)).unwrap().frame(), Frame(5));
        assert_eq!(slot.install(page(6)).unwrap_err().0.0, Frame(6));
        assert_eq!(slot.load(), PageState::Present(DataFrame(Frame(5))));
    }

    #[test]
    fn a_pinned_page_cannot_be_revoked() {
        let slot = PageSlot::default();
        assert_eq!(slot.begin_revoke(), Ok(()));
        assert!(slot.install(page(1)).is_err(), "an absent page under revocation takes no frame");
        assert!(slot.finish_revoke().is_none());
        assert!(slot.install(page(2)).is_err(), "nor does one that was revoked");
        slot.open();
        assert!(slot.pin().is_none());
        slot.install(page(u32::MAX)).unwrap();
        slot.open();
        assert_eq!(slot.pin().unwrap().frame(), Frame(u32::MAX));
        assert_eq!(slot.begin_revoke(), Err(Refused::Pinned));
        slot.unpin();
        assert_eq!(slot.begin_revoke(), Ok(()));
        assert_eq!(slot.load(), PageState::Revoking);
        slot.abort_revoke();
        assert_eq!(slot.begin_revoke(), Ok(()));
        assert_eq!(slot.begin_revoke(), Err(Refused::Revoking));
        assert!(matches!(slot.finish_revoke(), Some(Gone::Own(frame)) if frame.frame() == Frame(u32::MAX)));
        assert_eq!(slot.load(), PageState::Revoking);
        slot.open();
        assert_eq!(slot.load(), PageState::Absent);
        assert!(slot.finish_revoke().is_none());
    }
}
