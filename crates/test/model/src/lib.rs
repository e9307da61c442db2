//! Reference models of the kernel objects: what calls must answer, without concurrency or memory.
//!
//! **Paper.** §3.2 (shares, references) and §3.3 (segments, address trees).
//!
//! **Invariants.** A model is as plain as can be: maps and sums. Where it and the kernel differ, one is wrong.
//!
//! **Sharing.** None.
//!
//! **Testing.** It is the reference; `crates/kernel/corey/tests/conformance` compares.
#![forbid(unsafe_code)]

mod devices;
mod pcores;
mod segments;
mod shares;

pub use devices::{ModelBuffer, ModelDevice};
pub use pcores::ModelPcores;
pub use segments::{ModelMapping, ModelSegments, ModelTree};
pub use shares::ModelShares;
