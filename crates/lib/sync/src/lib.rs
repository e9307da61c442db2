//! Locks and cells that say in their type that a second core may touch what they hold.
//!
//! **Paper.** §1 and §3: sharing is the application's choice, so the kernel must be able to list its own.
//! A search for `Shared<` lists every lock of the kernel.
//!
//! **Invariants.** A [`Shared`] value is reached only through its guard. No guard is held across a wait
//! for another core: waits take `&mut` of the core's state, and a waiter serves its mailbox through
//! [`Relax`] while it spins. A lock whose holder is gone is taken over, and what it protected is
//! given up ([`Quarantine`]): no heir looks at a half-made change. A reader of an [`RwLock`] writes no line that another core writes.
//!
//! **Sharing.** All of it; each [`Shared`] names its home core and itself. An [`RwLock`] shares its writers'
//! line, which readers only read.
//!
//! **Testing.** Unit tests with threads; models from this source under loom and shuttle ([`explore`]), which the whole
//! kernel's models use; a model without the reader's fence must fail.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![allow(unsafe_code, reason = "a lock hands out access to what it protects")]

pub mod atomic;
#[cfg(any(loom, shuttle))]
pub mod explore;
#[cfg(any(loom, shuttle))]
mod explored;
mod rwlock;
mod shared;
#[cfg(loom)]
mod twins;

pub use rwlock::{Fence, Forced, Mode, Plain, ReadGuard, Reader, RwLock, WriteGuard, words};
pub use shared::{Guard, Quarantine, Relax, Shared};
