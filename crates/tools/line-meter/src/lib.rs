//! A QEMU TCG plugin that counts instructions and coherence events.
//!
//! **Paper.** §8 explains scaling with hardware counters of cache misses. There is none under TCG,
//! so this keeps a directory of every cache line and counts the accesses that would have moved one.
//!
//! **Invariants.** Only what runs between markers 3 and 4 of a tracked core counts, the markers
//! excluded. Nothing is dropped silently: pairs left out are counted.
//!
//! **Sharing.** One [`meter::Meter`] behind one lock; callbacks return before taking it while no
//! region is on. Under `thread=single`, the mode counts are made in, the lock is never contended.
//!
//! **Testing.** `directory`, `footprint`, `decode` and `meter` know nothing of QEMU and are unit-tested;
//! `README.md` says what the Linux peer must give.
#![allow(unsafe_code, reason = "QEMU's plugin interface is C")]

pub mod decode;
pub mod directory;
pub mod footprint;
pub mod meter;
// A test program has no QEMU around it to link these against.
#[cfg(not(test))]
pub mod plugin;
#[cfg(not(test))]
pub mod qemu;
pub mod report;
