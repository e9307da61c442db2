//! A harness for test programs.
//!
//! **Paper.** None.
//!
//! **Invariants.** Every check is one record; the suite ends with an audit of the kernel and a sum, and with exit
//! status 1 if anything failed. Nothing is skipped in silence: what a machine of this size cannot test says so in its
//! detail.
//!
//! **Sharing.** Threads share the program's image and statics, on purpose.
//!
//! **Testing.** It is the testing.
#![no_std]
#![allow(unsafe_code, reason = "status words in mapped memory; accesses that may fault")]

mod ballast;
mod random;
mod remote;
mod suite;
pub mod touch;

pub use ballast::{Ballast, Counts, counts};
pub use random::Random;
pub use remote::{Fixture, Remote};
pub use suite::Suite;
