//! The buffer cache: blocks of files, read by every core without a line moving.
//!
//! **Paper.** §4.2: a lock-free block tree whose look-up modifies nothing, per-core stacks of blocks with generation
//! numbers, a read-write lock per file with a variable per core. We depart in three points. A slot of the tree holds the
//! block's number *and* generation in one word, so one exchange replaces a block and one comparison finds that it was
//! replaced. A reader checks that word again after it copied: so a block may be reused while it is read, and the reader
//! notices. Blocks that others free go home many at once ([`pool`]).
//!
//! **Invariants.**
//! 1. A block is in one place: in one slot of one file's tree, in one chain of free blocks, never used yet, or in the hands of
//!    one client.
//! 2. Only who has a block in its hands writes it, and a block's generation has grown before its first byte is written.
//! 3. Bytes of a block behind the file's end are zero.
//! 4. Trees lose nodes, and files lose content, only while their lock is held in write mode.
//! 5. A block that is not as the backing has it is marked dirty in its slot and is not evicted.
//!
//! **Sharing.** Everything lies in one region of memory, which the application links where it wants to share it. A client
//! (one core's way in) writes lines of its own, and of a file what it changes: a slot when it writes, the size when the file
//! grows, two lines when it creates or removes. Reading writes one line, the client's own in that file. Locks, never two at
//! once but in the order of this list: a file's append lock, its content lock, its backing lock. A core that ends while it uses a
//! file's content keeps those out who want the content lock in write mode.
//!
//! **Testing.** Models (loom, shuttle) of look-up, replacement, partial write, stacks, removal, from this source; property
//! tests against a plain model; a backing that fails at every step; `images/test-cache` at 16 processors.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![allow(unsafe_code, reason = "blocks are memory that changes while others read it")]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod audit;
mod backing;
mod cache;
mod client;
mod content;
mod error;
mod evict;
mod file;
mod life;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod pool;
mod tree;
mod word;

pub use audit::Counts;
pub use backing::{Backing, Fault, Memory, Nothing};
pub use cache::{Cache, Shape};
pub use client::{Client, Env, Held};
pub use content::{Look, Search};
pub use error::Error;
pub use file::FileId;
pub use tree::LARGEST;

/// Bytes of a block.
pub const BLOCK: usize = 4096;
