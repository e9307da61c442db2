//! I/O APICs: inputs are routed to cores, and a device's input is found by having it pull its line.
//!
//! **Paper.** §3.5: devices of cores; the paper says nothing of their interrupts. Registers: Intel 82093AA data sheet, §3.
//!
//! **Invariants.**
//! 1. All inputs are masked from [`IoApic::new`] on, until one is opened.
//! 2. Inputs are level-triggered here, always: what pulls a line that is shared, or pulled before somebody looks, is seen.
//! 3. A masked input keeps its vector: the end of an interrupt that is under way still reaches it.
//!
//! **Sharing.** None: a register is reached through two, so the caller has exclusive use.
//!
//! **Testing.** Here, on a model of the window.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod find;
mod registers;

pub use find::{Candidate, MOST_CANDIDATES, Prober, find};
pub use registers::{IoApic, Polarity, Route};
