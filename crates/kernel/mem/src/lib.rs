//! Frames: who has them, what is in them, and how they come back.
//!
//! **Paper.** §3.1: memory comes from the free list of the core a program names; §3.3: segments and page
//! tables are made of it.
//!
//! **Invariants.** A frame is owned by exactly one value: an [`Owned`] in flight, a cell ([`FrameCell`],
//! [`PageSlot`]), a stock, a cache, or a limbo list. What a frame holds is fixed by the cell's type, and
//! everything in kernel frames is an atomic word, so a pointer into one is never a data race. Frames go
//! home: freed elsewhere, they return to the stock of the core whose memory they are. A core's memory lies in its own
//! node, or where there is none, in the nearest; the order in which it turns to others is made at boot.
//!
//! **Sharing.** One `Shared<Stock>` per core; a frame's descriptor (its list link and leaf-table lock),
//! contiguous per home core. A core's private cache is its own. So allocating and freeing what is
//! one's own touches no line of another core's.
//!
//! **Testing.** Unit and property tests here; `kernel/corey/tests` on the fake machine, and the audit after every test.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![allow(unsafe_code, reason = "turns frames into references; the rules are on the types")]

mod cell;
mod division;
mod frames;
mod memory;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod nearest;
mod page;
mod shared;
mod table;

pub use cell::{Content, FrameCell, Words};
pub use frames::{FrameList, Owned, Zeroed};
pub use memory::{LeafGuard, Mem, Memory, OutOfMemory, Source, Stock};
pub use page::{DataFrame, Gone, NotOwn, PageSlot, PageState, Refused};
pub use shared::{Part, Released};
pub use table::{TablePage, TableRef, leave_root};
