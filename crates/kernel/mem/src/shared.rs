//! Pages that several segments have: copies that have not been made yet.
//!
//! A frame's descriptor counts the page slots that refer to it. Whoever leaves a page holds its slot in the state
//! `Revoking`. Whoever adds a slot counts it first, and then looks whether the slot it copied from is as it was:
//!
//! ```text
//! copier    count + 1 ─ is the slot still Cow with this frame? ── yes: the copy has it
//!                                                               └ no: its part is released, as any other
//! breaker   Cow → Revoking ─ is the count 1? ── yes: keeps the page ── no: copies it, leaves it
//! ```
//!
//! Both write, then read what the other writes, in one total order. If the breaker's exchange comes first, the copier
//! finds the slot changed. If the count comes first, the breaker sees it, copies, and the page stays until the copier's
//! part is released. What has no part left is not counted any more: its descriptor links it into a list of dead frames by
//! then ([`COUNTED`]). Copies of one segment, and cuts of it, exclude each other; so a page that was kept meanwhile is
//! not shared anew, cut or counted by anybody before the copier has taken its part back. And a frame whose descriptor
//! the copier counts in is no other page's yet: the copier is in the segment's `seen` set, so a page that leaves the
//! segment meanwhile is [`WIDE`], and is not free before the copier has left the kernel.

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
    pub(crate) fn share_first(&self, page: DataFrame) {
        self.info(page.frame()).sharers().store(COUNTED | (2 * PART), Ordering::Relaxed);
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

    /// Whether the slot that asks, and holds its page in the state `Revoking`, is the only one that has it.
    #[must_use]
    pub fn is_only(&self, page: DataFrame) -> bool {
        is_one(self.info(page.frame()).sharers().load(Ordering::SeqCst))
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
