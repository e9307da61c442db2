//! Pages that several segments have: copies that have not been made yet.
//!
//! A frame's descriptor counts the page slots that refer to it. Whoever leaves a page holds its slot in the state
//! `Revoking`. Whoever adds a slot counts it first, and then looks whether the slot it copied from is as it was:
//!
//! ```text
//! copier    count + 1 ─ is the slot still Cow with this frame? ── yes: the copy has it
//!                                                               └ no: its part is released, as any other
//! breaker   Cow → Revoking ─ count 1 → not counted? ── yes: keeps the page ── no: copies it, leaves it
//! ```
//!
//! If the breaker's exchange of the slot comes first, the copier finds the slot changed. If the count comes first, the
//! breaker sees it, copies, and the page stays until the copier's part is released. A page that is kept is not counted
//! from the very exchange on that found one part ([`Memory::take_over`]): a copier that still has its frame in mind, from
//! a segment that the page left meanwhile, counts nothing in that is not counted. What has no part left is not counted
//! either: its descriptor links it into a list of dead frames, perhaps. A copier whose frame has become another page that
//! is shared, with as many parts, counts itself in there, finds its slot changed, and goes: until then that page is copied
//! where it could be kept, and freed by the copier if all others go first, no more.
//!
//! Who reads a page through the direct map reads it until it leaves the kernel, whether the page left the segment or not.
//! So a page that leaves a segment of which other cores are in the `seen` set is [`WIDE`], and stays so, also with a slot
//! that keeps it, until it is free.

use crate::frames::Owned;
use crate::memory::Memory;
use crate::page::DataFrame;
use corey_kernel_hal::Frame;
use corey_lib_sync::atomic::Ordering;

/// Some core may have read the page through a segment that has left it: it is freed after every core was out
/// of the kernel.
const WIDE: u32 = 1;
/// One part.
const PART: u32 = 2;
/// The word counts parts; else it links the frame into a list, perhaps of what waits for this very copier to leave the
/// kernel. RAM has fewer frames than that (8 TiB).
const COUNTED: u32 = 1 << 31;
/// The least word of a page that has parts: one comparison tells it from one without, and from a link.
const ALIVE: u32 = COUNTED | PART;

/// Whether a word that counts says that there is one part.
fn is_one(word: u32) -> bool {
    word | WIDE == ALIVE | WIDE
}

/// One slot's part in a page. Dropping it leaks the page, which an audit finds: release it.
#[derive(Debug)]
#[must_use = "a dropped part is never given back"]
pub struct Part(pub(crate) Frame);

/// A page whose last part was released.
#[derive(Debug)]
pub struct Released {
    /// The page.
    pub frame: Owned,
    /// Whether cores that used it through another segment may still be in the kernel.
    pub wide: bool,
}

impl Memory {
    /// A page that one slot has gets a second one.
    pub(crate) fn share_first(&self, page: DataFrame, wide: bool) {
        let word = COUNTED | (2 * PART) | if wide { WIDE } else { 0 };
        self.info(page.frame()).sharers().store(word, Ordering::Relaxed);
    }

    /// A shared page gets one more slot; false when its last part was released meanwhile, or when another core was at its
    /// count: who calls looks at the slot again.
    #[must_use]
    #[inline(always)]
    pub(crate) fn share_more(&self, page: DataFrame) -> bool {
        let sharers = self.info(page.frame()).sharers();
        let word = sharers.load(Ordering::Relaxed);
        // The exchange is what is ordered.
        word >= ALIVE
            && sharers.compare_exchange(word, word + PART, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Ends the count of a page of which the slot that asks, and holds it in the state `Revoking`, has the only part: it
    /// is that slot's own from here on. Says whether it is wide; `None` when there are other parts.
    pub(crate) fn take_over(&self, page: DataFrame) -> Option<bool> {
        let sharers = self.info(page.frame()).sharers();
        let word = sharers.load(Ordering::Relaxed);
        let alone =
            is_one(word) && sharers.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        alone.then_some(word & WIDE != 0)
    }

    /// For audits: counts a part out or back in; true when it was the last one out.
    pub(crate) fn count(&self, page: DataFrame, out: bool) -> bool {
        let sharers = self.info(page.frame()).sharers();
        if out {
            is_one(sharers.fetch_sub(PART, Ordering::Relaxed))
        } else {
            sharers.fetch_add(PART, Ordering::Relaxed);
            false
        }
    }

    /// Gives a slot's part back. `wide` says that other cores may have used the page through it; all its
    /// mappings are gone, acknowledged. The page, when that was the last part.
    pub fn release(&self, part: Part, wide: bool) -> Option<Released> {
        let sharers = self.info(part.0).sharers();
        if wide {
            sharers.fetch_or(WIDE, Ordering::Relaxed);
        }
        let before = sharers.fetch_sub(PART, Ordering::AcqRel);
        is_one(before).then_some(Released { frame: Owned(part.0), wide: before & WIDE != 0 })
    }
}
