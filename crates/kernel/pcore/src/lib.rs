//! pcores: cores as objects that programs allocate, run and halt.
//!
//! **Paper.** §3.4. Departures: halting is acknowledged; a run's end is reported in a status word its
//! starter can watch; a run names its shares, and each must be within the starter's reach.
//!
//! **Invariants.**
//! 1. A core belongs to at most one pcore. It is idle, starting or running, changed by compare-and-swap in the
//!    core's [`corey_kernel_percore::RunPlace`]; only the core itself ends `running`. Whoever claims a place finds
//!    that the core is still that pcore's, and from then on the pcore cannot end: an old handle starts nothing.
//! 2. A run is stopped only at that core's kernel exit, never in the middle of a call.
//! 3. A run on a core that is gone is seen to by one: its starter, or whoever found the core gone.
//! 4. A core waiting for another core's halt gives up when it is to be halted itself.
//!
//! ```text
//! starter   idle→starting ─ reserve root, hold shares ─ fill the place ─ ring ─ (goes on)
//! target                                                      (idle) serve: note ─ exit: load root, running ─ user
//! halter    Halt ………………………………………… answer
//! target    serve: note ─ exit: unload, idle, answer ─ shares dropped ─ status
//! ```
//!
//! Nobody waits for a run to begin: what it stands on is reserved for the target, and messages that are about what
//! runs there are answered after it.
//!
//! **Sharing.** The target's run place, by starter and target; by design.
//!
//! **Testing.** `kernel/corey/tests` on the fake machine: run and halt storms.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod calls;
mod current;
mod pcore;
mod request;

pub use calls::{PcoreApi, halt};
pub use current::{Current, Ending, Report};
pub use pcore::{DEVICES, DeviceList, Pcore, end};
pub use request::{Request, Run, Shares, StatusPlace, abandon, keep, take};
