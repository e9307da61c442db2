//! Address spaces, programs and threads on other cores.
//!
//! **Paper.** §4.1 builds cfork and the scalable heap on address trees; this is the ground they stand on.
//!
//! **Invariants.** A [`Space`] hands out addresses and slots of one root tree once. A thread's share names
//! what is the thread's own, and ends with it.
//!
//! **Sharing.** A thread gets its own root tree and pcore; what both sides map is what the caller says.
//!
//! **Testing.** The programs `images/test-*`.
#![no_std]
#![forbid(unsafe_code)]

mod load;
mod space;
mod thread;

pub use load::{LoadError, load};
pub use space::{Space, clear_in, interior, interior_of, map_in, stack};
pub use thread::{Core, Ended, Thread, spawn};
