//! Upcalls as a program uses them: a handler with its stack, and threads that share a core.
//!
//! **Paper.** §3.4: the kernel interrupts a program at the end of its time slice; what then runs is the library's
//! business. Departure: the same way serves faults.
//!
//! **Invariants.** While a handler runs, upcalls are masked: a fault ends the pcore, a tick is remembered. The
//! masked word and one word of the program's own lie directly above the handler's stack; below the stack nothing
//! is mapped.
//!
//! **Sharing.** None: handler, stack and threads belong to one core.
//!
//! **Testing.** `images/test-upcall`.
#![no_std]
#![allow(unsafe_code, reason = "contexts are resumed by address")]

mod handler;
mod threads;

pub use corey_libos_sys::upcall::{Context, resume};
pub use corey_libos_sys::upcall_entry;
pub use handler::Handler;
pub use threads::Threads;
