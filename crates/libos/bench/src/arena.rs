//! What the workers of one run share.

use core::sync::atomic::AtomicU64;
use corey_lib_bench::{Lock, MAX_CORES, Meeting};
use corey_libos_rt::Shared;

/// One worker's figures, on lines of its own.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Figures {
    pub(crate) start_ns: AtomicU64,
    pub(crate) end_ns: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) ipis: AtomicU64,
    pub(crate) shootdowns: AtomicU64,
    pub(crate) syscalls: AtomicU64,
    /// An object this worker offers to the others.
    pub(crate) offer: AtomicU64,
}

/// Everything shared; all zeroes at the start.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Arena {
    pub(crate) meeting: Meeting,
    pub(crate) figures: [Figures; MAX_CORES],
    /// Where the kernel reports how workers ended.
    pub(crate) status: [[AtomicU64; 2]; MAX_CORES],
    /// A lock for all workers.
    pub(crate) lock: Lock,
}

// SAFETY: atomics only (`Meeting` says that all zeroes is valid).
unsafe impl Shared for Arena {}
