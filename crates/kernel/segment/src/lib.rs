//! Segments: physical memory as objects.
//!
//! **Paper.** §3.3. Departures: pages come zeroed on first touch, from the touching core's memory;
//! page slots and their tables are paid for when the segment is made, so a fault cannot run into a quota.
//!
//! **Invariants.**
//! 1. A page's frame is found through exactly one slot, `Absent | Present | Cow | Revoking`, changed by
//!    compare-and-swap: two cores that touch a page at once get one frame. Above the end every slot is empty, and those
//!    that had pages once are closed: nothing is put there by a core that saw the size before a cut.
//! 2. The list of mappings names every (tree, slot) that can have entries for the segment's pages. It changes
//!    under its lock; a mapping is on it before its first entry is made.
//! 3. A page that several segments have is written by none: every slot that has it is `Cow`, every mapping
//!    read-only. It is broken by one core at a time, in the state `Revoking`, and freed with its last part.
//! 4. A core that reads or writes pages through the direct map, without a mapping, is in the header's
//!    `seen` set first. So whoever takes a page away knows whom to wait for.
//!
//! **Sharing.** The slots, with whoever maps the segment; `Shared<MapList>`. A private segment: none.
//!
//! **Testing.** `kernel/corey/tests` on the fake machine against the model.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod calls;
mod copy;
mod cut;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod segment;
mod slots;

pub use calls::SegmentApi;
pub use segment::{MapList, MapRef, Page, PageSize, Segment, Want};
