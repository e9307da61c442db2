//! pcores: cores as objects that programs allocate, run and halt.
//!
//! **Paper.** §3.4. Departures: halting is acknowledged; a run's end is reported in a status word its
//! starter can watch; a run names its shares, and each must be within the starter's reach.
//!
//! **Invariants.**
//! 1. A core belongs to at most one pcore. A pcore is idle, starting or running, changed by
//!    compare-and-swap; only the core itself ends `running`.
//! 2. A run is stopped only at that core's kernel exit, never in the middle of a call.
//! 3. A core waiting for another core's halt gives up when it is to be halted itself.
//!
//! ```text
//! starter   idle→starting ─ reserve root, hold shares ─ write request ─ Run ………… answer
//! target                                          (idle) serve ─ exit: load root, running ─ answer ─ user
//! halter    Halt ………………………………………… answer
//! target    serve: note ─ exit: unload, idle, answer ─ shares dropped ─ status
//! ```
//!
//! **Sharing.** The pcore's state and the target's request, by starter and target; by design.
//!
//! **Testing.** `kernel/corey/tests` on the fake machine: run and halt storms.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod calls;
mod current;
mod pcore;
mod request;

pub use calls::PcoreApi;
pub use current::{Current, Ending, Report};
pub use pcore::{Pcore, end};
pub use request::{Request, Requests, StatusPlace};
