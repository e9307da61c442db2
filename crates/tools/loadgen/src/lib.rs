//! The client of `netserver` and of the benchmark `tcp`: short connections and streams, every byte checked.
//!
//! **Paper.** §7.2: clients that open short connections as fast as the server takes them.
//!
//! **Invariants.**
//! 1. What a server sends is compared byte by byte; a connection counts as good only when all of it came and nothing else.
//! 2. Every wait has a deadline: a server that is silent is counted, and waited for no longer than that.
//!
//! **Sharing.** Threads of this program share one counter of connections begun.
//!
//! **Testing.** Servers of this process, good ones and such that send too little, too much, something else or nothing.
#![forbid(unsafe_code)]

pub mod failure;
pub mod report;
pub mod short;
pub mod stream;
pub mod wire;

pub use failure::{Failure, Tally};
pub use report::Report;
