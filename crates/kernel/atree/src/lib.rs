//! Address trees: page tables as objects, root and interior.
//!
//! **Paper.** §3.3. Departures: every shootdown is acknowledged before anything is freed; tables are made
//! (and paid for) when a mapping is set, so a fault allocates data pages only.
//!
//! **Invariants.**
//! 1. A root is written by one core at a time: its `runner`, for as long as it runs it, or whoever took it
//!    meanwhile for one change. So a fault through a root's own mapping takes no lock.
//! 2. An entry of an interior tree is stored under its leaf table's lock, after mapping, segment and page
//!    slot were checked under that lock; it is cleared under the same lock.
//! 3. A core that links an interior tree is in its `attached` set before the link and until after the
//!    flush that follows the unlink.
//! 4. A mapping is on its segment's list before its first entry is made, and until its last is flushed; as long as
//!    it is, its old range can be read from the slot.
//! 5. Between a check and the store it protects, no core serves its mailbox.
//!
//! ```text
//! revoker                        core that faults
//! mark slot / cut / kill         (root) check slot ─ store entry ─ … exit: serve: clear, flush, ack
//! clear entries (leaf locks)     (interior) lock leaf ─ check ─ store ─ unlock
//! post, wait for acks            serve: flush, ack
//! free the frame                 a fault from now on sees the mark
//! ```
//!
//! **Sharing.** An interior tree's slots, tables and leaf locks, by the cores that attach it; `Shared<Edit>`
//! for changes of its slots. A root: none, while one core runs it: that core writes its slots without a lock.
//!
//! **Testing.** `kernel/corey/tests` on the fake machine, whose TLBs are stale until flushed.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod calls;
mod change;
mod fault;
mod foreign;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod revoke;
mod run;
mod slot;
mod tree;
mod verify;
mod walk;
mod whole;

pub use calls::AddressTreeApi;
pub use change::{map_segment, unmap_share};
pub use fault::fault;
pub use foreign::serve as serve_change;
pub use revoke::{end, end_segment, forget, revoke};
pub use run::{forget_core, load, reserve, unload, unreserve};
pub use slot::{Map, MapKind};
pub use tree::{Grain, Handler, Tree, TreeKind};
pub use verify::{verify, verify_list};
