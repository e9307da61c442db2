//! A heap per core: size classes, frees of other cores in batches, memory given back.
//!
//! **Paper.** §4.3's allocator scales because each core's heap is its own. Beyond the paper: a block freed by
//! another core goes home in a batch of addresses, with no link in the block (Streamflow's idea; snmalloc's
//! messages are the modern form).
//!
//! **Invariants.** A chunk lies at a multiple of its size and has one owner and one class for life; its first
//! line says so and is never written again. Only the owner writes a chunk's second line and the links in its
//! free blocks. A block is in one place: handed out, in its chunk's free list, or in one batch.
//!
//! **Sharing.** A [`Heap`] belongs to one core. Others push batches to its [`Inbox`], one word without a lock,
//! and read the first line of its chunks. The owner takes all batches at once when a class runs empty.
//!
//! **Testing.** Property tests, threads that exchange blocks, exhaustion at every chunk, each misuse in
//! checking mode; models (loom, shuttle) of the inbox, and of whole heaps whose threads end, from this source.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![allow(unsafe_code, reason = "a heap hands out memory, and free blocks hold links")]

mod checked;
mod chunk;
mod heap;
mod inbox;
mod remote;
mod sizes;
mod tenure;

pub use checked::{Misuse, Wrong};
pub use chunk::CHUNK;
pub use heap::{Contents, Heap, Pages};
pub use inbox::{Inbox, Link};
pub use sizes::{CLASSES, LARGEST};
pub use tenure::{Found, Tenure};
