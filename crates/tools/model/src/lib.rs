//! Predicts throughput at 1 to 64 cores on the paper's two machines, from what an operation does.
//!
//! **Paper.** Figure 1's memory references, the clocks of §2, and one point at one core for each system (§7.3). What else the
//! paper measured is held back: [`selftest`] predicts it and says how far off the prediction is.
//!
//! **Invariants.** A prediction is a [`Span`]: its point lies in its band. More work, more events or farther cores never predict more
//! operations. No constant was chosen by looking at a result; [`constants()`] lists each with its source.
//!
//! **Sharing.** None: arithmetic over values.
//!
//! **Testing.** The invariants over a grid of counts; misses of the self-test are its result, not its failure.
#![forbid(unsafe_code)]

pub mod constants;
pub mod counts;
pub mod machine;
pub mod paper;
pub mod pipeline;
pub mod predict;
pub mod selftest;
pub mod span;
pub mod table;

pub use constants::constants;
pub use counts::{Counts, Own, Series};
pub use machine::{MACHINES, Machine};
pub use pipeline::Split;
pub use predict::{CORES, Cost, curve, throughput};
pub use span::Span;
