//! cfork: the running program goes on a second time, on a chosen core.
//!
//! **Paper.** §4.1: cfork extends an application to another core; by default parent and child share little: segments of
//! the root tree are copied on write, what the caller names stays shared. Departures: the stack's page in use is copied
//! at once, as both sides write it next; the child's end can be awaited; the child's share ends with the child, so nothing has to be cleaned up.
//!
//! **Invariants.** Each segment of the parent's root is copied once, however often it is mapped. A failure drops
//! the child's share, and with it everything that was made: the parent is as before (its pages may be copied
//! once more when they are next written).
//!
//! **Sharing.** Segments mapped with [`MapFlags::SHARED`](corey_abi::MapFlags), interior trees, and the shares passed. The child's
//! own share is held by the child alone.
//!
//! **Testing.** `images/test-cfork`, and the benchmark `cfork`.
#![no_std]
#![allow(unsafe_code, reason = "status words in mapped memory; the copy begins by address")]

mod error;
mod fork;
mod place;
mod plan;

pub use error::CforkError;
pub use fork::{Cfork, Child, Forked, NO_CONSOLE};
