//! The cases of `cargo xtask sharing`: what the program in the machine, the line meter and xtask must agree on.
//!
//! **Paper.** §3.1: kernel data is one core's unless a share that a second core holds names it. Here that is a list
//! of operations of which every two are run against each other.
//!
//! **Invariants.** A case's number is part of its markers. Every call has a case, or a line in [`LEFT_OUT`] that says
//! why not; what is known to share is in [`EXCEPTIONS`], with the reason, and nowhere else.
//!
//! **Sharing.** None: no state.
//!
//! **Testing.** Unit tests here; `images/sharing` does not compile while a case has no driver.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod cases;
mod exceptions;
mod part;

pub use cases::{Case, FAULT, FILE, LEFT_OUT, NOT_BY_RING};
pub use exceptions::{EXCEPTIONS, Exception, Who};
pub use part::{KERNEL_CORE, PAIR, Part, cards, cores, plan};

/// First words of the names of objects that both cores of a pair can reach in [`Part::Shared`].
pub const BOTH: &str = "both";
