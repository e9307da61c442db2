//! Page slots: one word per page of a segment, claimed by compare-and-swap.

use crate::cell::Content;
use crate::frames::{Owned, Zeroed};
use core::sync::atomic::{AtomicU64, Ordering};
use corey_kernel_hal::{Frame, Platform};

const ABSENT: u64 = 0;
const PRESENT: u64 = 1;
const COW: u64 = 2;
const REVOKING: u64 = 3;
const STATE: u64 = 3;
const PIN: u64 = 1 << 2;
const PINS: u64 = 0xfff << 2;
const FRAME_SHIFT: u32 = 16;

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
    /// Being taken away: wait, serving the mailbox.
    Revoking,
}

/// The page is pinned by a device or a status word, or being revoked already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned;

/// One page of a segment: `Absent | Present | Cow | Revoking`, pins, frame.
///
/// ```text
/// Absent ─install→ Present ─begin_revoke→ Revoking ─finish_revoke→ Absent (frame to limbo)
/// └──────────────────────── begin_revoke→         └abort_revoke→ what it was
/// ```
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
            COW => PageState::Cow(Self::data(word)),
            _ => PageState::Revoking,
        }
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

    /// Starts to take the page away, if there is one; from here on none can be installed either.
    ///
    /// # Errors
    ///
    /// [`Pinned`].
    pub fn begin_revoke(&self) -> Result<(), Pinned> {
        let free = |w: u64| w & PINS == 0 && matches!(w & STATE, ABSENT | PRESENT);
        self.change(|w| free(w).then_some(w & !STATE | REVOKING)).map(|_| ()).map_err(|_| Pinned)
    }

    /// Ends a revocation without taking the page.
    pub fn abort_revoke(&self) {
        let back = |w: u64| if w >> FRAME_SHIFT == 0 { ABSENT } else { w & !STATE | PRESENT };
        let _ = self.change(|w| (w & STATE == REVOKING).then_some(back(w)));
    }

    /// Ends a revocation: no mapping of the page is left, and its frame, if there is one, goes to limbo.
    pub fn finish_revoke(&self) -> Option<Owned> {
        let word = self.change(|w| (w & STATE == REVOKING).then_some(ABSENT)).ok()?;
        (word >> FRAME_SHIFT != 0).then(|| Owned(Self::data(word).0))
    }

    /// Keeps a present page where it is until [`PageSlot::unpin`]. `None` when it is not present, or
    /// pinned 4095 times.
    pub fn pin(&self) -> Option<DataFrame> {
        let word = self.change(|w| (w & STATE == PRESENT && w & PINS != PINS).then_some(w + PIN)).ok()?;
        Some(Self::data(word))
    }

    /// Ends one [`PageSlot::pin`].
    pub fn unpin(&self) {
        let _ = self.change(|w| (w & PINS != 0).then_some(w - PIN));
    }

    /// Takes the frame of a dead segment's page.
    pub fn take(&mut self) -> Option<Owned> {
        let word = core::mem::take(self.0.get_mut());
        (word >> FRAME_SHIFT != 0).then(|| Owned(Self::data(word).0))
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
        assert!(slot.pin().is_none());
        slot.install(page(u32::MAX)).unwrap();
        assert_eq!(slot.pin().unwrap().frame(), Frame(u32::MAX));
        assert_eq!(slot.begin_revoke(), Err(Pinned));
        slot.unpin();
        assert_eq!(slot.begin_revoke(), Ok(()));
        assert_eq!(slot.load(), PageState::Revoking);
        slot.abort_revoke();
        assert_eq!(slot.begin_revoke(), Ok(()));
        assert_eq!(slot.finish_revoke().unwrap().frame(), Frame(u32::MAX));
        assert_eq!(slot.load(), PageState::Absent);
        assert!(slot.finish_revoke().is_none());
    }
}
