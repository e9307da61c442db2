//! Reference models of the kernel objects: what calls must answer, without concurrency or memory.
//!
//! **Paper.** §3.2 (shares, references) and §3.3 (segments, address trees).
//!
//! **Invariants.** A model is as plain as can be: maps and sums. Where it and the kernel differ, one is wrong.
//!
//! **Sharing.** None.
//!
//! **Testing.** It is the reference; `model.rs` and `trees.rs` in `crates/kernel/corey/tests` compare.
#![forbid(unsafe_code)]

mod shares;
mod trees;

pub use shares::{ModelError, ModelShares};
pub use trees::{ModelMapping, ModelTree};
