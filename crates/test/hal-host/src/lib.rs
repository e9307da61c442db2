//! A fake many-core machine for host tests: RAM, page tables, TLBs, interrupts, one thread per core.
//!
//! **Paper.** §6 names what was architecture specific; this is that boundary without the architecture,
//! so the kernel's object crates run under `cargo test`, many machines in parallel.
//!
//! **Invariants.** As strict as any hardware, or stricter: a translation stays until it is flushed, an
//! upper-level entry until everything is flushed, neighbours are fetched ahead of need. A frame that is
//! zeroed or copied over while any core still holds a translation to it is a failure of the test, as
//! are a leaf where a table belongs, an entry that names no RAM, and one root on two cores. RAM is full
//! of [`GARBAGE`] at power-on, and holes must still be so at the end. A core can be made to stop for ever at any step
//! ([`Death`]); one that works and is ordered to stop is a failure.
//!
//! **Sharing.** No globals. What a machine's threads share is one [`FakeMachine`], behind atomics and
//! mutexes. RAM is never given back: kernels keep `'static` references into it.
//!
//! In a model (`--cfg loom`, `--cfg shuttle`) all threads are the checker's, time is a count of its pauses, and memory is
//! given back when the next execution begins.
//!
//! **Testing.** Unit tests of each rule above.
//!
//! ```text
//! test thread          FakeMachine ── boot::<K> ──► one thread per core: K::start, idle, Enter ─┐
//!    │ job (closure) ────────────────────────────────► User: call, read, write, fetch ◄─────────┘
//!    ◄──────────────────────────────── result, or how the context ended
//! ```
#![allow(unsafe_code, reason = "stands in for hardware: raw memory behind atomics")]

mod boot;
mod core_loop;
mod death;
mod failure;
mod image;
mod machine;
mod mmu;
mod platform;
mod ram;
mod time;
pub mod topology;
mod user;

pub use boot::{Booted, HostAlloc};
pub use core_loop::Job;
pub use death::Death;
pub use image::{Archive, program_image};
pub use machine::{Counts, FakeMachine, TSC_HZ};
pub use platform::FakePlatform;
pub use ram::{FIRST_ADDRESS, GARBAGE};
pub use user::{Left, User};
