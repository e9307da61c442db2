//! A heap for one core's programs: size classes over memory that only this core maps.
//!
//! **Paper.** §4.3's allocator is scalable because each core's heap is its own; this is that per-core part.
//! Handing memory between cores comes later.
//!
//! **Invariants.** A block belongs to one class for ever; a free block holds the link to the next. Blocks
//! are powers of two from 16 bytes to 64 KiB; larger requests get pages of their own, which are reused whole.
//!
//! **Sharing.** None by default: one [`Heap`] per core, over memory in that core's private share.
//!
//! **Testing.** Unit tests and a property test on host memory.
#![cfg_attr(not(test), no_std)]
#![allow(unsafe_code, reason = "free blocks hold links")]

mod classes;

pub use classes::{Heap, Pages};
