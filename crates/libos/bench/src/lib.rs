//! Runs a benchmark on a set of cores.
//!
//! **Paper.** §8.2–8.3: microbenchmarks, each at 1 … n cores.
//!
//! **Invariants.** Every worker has its own share, pcore, root tree and stack. What workers share is the
//! team's share (the arena, and what a benchmark puts there on purpose) and the program's image. Outside the
//! timed region only, a worker writes its own lines of the arena.
//!
//! **Sharing.** The arena: barrier, turns, one line of figures per worker.
//!
//! **Testing.** The programs run in QEMU; order of markers in `crates/lib/bench`.
#![no_std]
#![allow(unsafe_code, reason = "memory the program mapped, as values")]

mod arena;
pub mod files;
mod run;
mod team;
mod worker;

pub use run::{next, program, request};
pub use worker::{Worker, touch};
