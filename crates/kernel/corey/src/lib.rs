//! Assembles one core's kernel: system calls, faults, messages, and the first program.
//!
//! **Paper.** §3: everything here is one core's own. Departure: no call touches another core's kernel
//! except by an acknowledged message.
//!
//! **Invariants.**
//! 1. Every way in does the same: enter the epoch, serve the mailbox, work, serve, leave. What was noted
//!    meanwhile (runs, halts, dropped shares, dying objects) is done in between, by one loop.
//! 2. A share is dropped between two kernel entries: no handle of this core was looked up through it.
//! 3. Nothing that comes from a program can end the kernel: a mistake is an error code, a fault that is not
//!    resolved halts the pcore.
//!
//! **Sharing.** [`System`]: what is one per machine, each part with its own type for it.
//!
//! **Testing.** `tests/` runs whole kernels on the fake machine; the programs `images/test-*` in QEMU.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod audit;
mod boot;
mod core_kernel;
mod exit;
mod gate;
mod inherit;
mod machine;
mod map;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod poller;
mod system;
mod upcall;
mod waiting;

pub use core_kernel::Core;
pub use system::System;
