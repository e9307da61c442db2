//! Names, markers, records, barriers and turns that our guest and the Linux peer share.
//!
//! **Paper.** §8 measures each design choice with a microbenchmark beside another system. The
//! comparison only means something when both sides bracket, order and report their work alike, so
//! everything that could differ by accident is here, once. We depart from the paper in counting
//! cache-line movements with an instrument; the markers tell it what to count.
//!
//! **Invariants.** Benchmark and variant numbers never change; new ones are added at the end.
//! Between marker 3 and marker 4 there is nothing but the operation. An all-zero [`Meeting`] is a
//! valid one, so it may live in fresh shared memory.
//!
//! **Sharing.** [`Barrier`] is two lines that every core writes, [`Turns`] is one line per core
//! that its neighbour writes; both are touched only outside the timed operations. [`ReadLocks`] are what is measured.
//!
//! **Testing.** Host threads run whole regions and compare the marker order; parsing and record
//! text are compared literally.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod blocks;
pub mod files;
pub mod locks;
pub mod marker;
pub mod record;
pub mod region;
pub mod served;
pub mod sync;
pub mod table;
pub mod words;

pub use locks::ReadLocks;
pub use marker::{Kind, immediate};
pub use record::Record;
pub use region::{Machine, Order, Place, Span, run_region, run_region_between};
pub use sync::{Barrier, Lock, MAX_CORES, Meeting, Turns};
pub use table::{BENCHMARKS, Benchmark, id};
pub use words::{BadWord, CoreList, Request};
