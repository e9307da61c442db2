//! Memory of the peer: what workers share, and the pages they touch.

use std::sync::atomic::AtomicU64;

use corey_lib_bench::{Lock, MAX_CORES, Meeting, ReadLocks};

use crate::guest::Failure;

/// One worker's figures, alone on its lines.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Outcome {
    pub(crate) start_ns: AtomicU64,
    pub(crate) end_ns: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) ipis: AtomicU64,
    pub(crate) shootdowns: AtomicU64,
}

/// What the workers of one job share, threads or processes; all-zero is valid.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Arena {
    pub(crate) meeting: Meeting,
    pub(crate) outcomes: [Outcome; MAX_CORES],
    /// A lock for all workers.
    pub(crate) lock: Lock,
    /// Locks that all workers take in read mode.
    pub(crate) locks: ReadLocks,
}

/// Who else sees what is written to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// This address space.
    Private,
    /// Processes forked later as well.
    Shared,
}

/// Bytes of inaccessible memory behind a mapping.
const GUARD: usize = 4096;

/// An anonymous mapping of whole pages, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the mapping is plain memory; `touch` is its only access and is volatile.
unsafe impl Sync for Mapping {}
// SAFETY: as above; any thread may unmap it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `bytes` bytes of zeros and a guard page behind them: without it Linux would merge
    /// neighbouring mappings of two threads into one area with one lock.
    pub(crate) fn new(bytes: usize, visibility: Visibility) -> Result<Self, Failure> {
        let bytes = bytes.next_multiple_of(4096);
        let sharing = match visibility {
            Visibility::Private => libc::MAP_PRIVATE,
            Visibility::Shared => libc::MAP_SHARED,
        };
        // SAFETY: a new anonymous mapping at an address the kernel chooses aliases nothing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes + GUARD,
                libc::PROT_READ | libc::PROT_WRITE,
                sharing | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Failure::last("mmap"));
        }
        let mapping = Self { start: start.cast(), bytes };
        // SAFETY: the guard is the last page of what was just mapped.
        let guard = unsafe { start.byte_add(bytes) };
        // SAFETY: nothing ever points into the guard.
        match unsafe { libc::mprotect(guard, GUARD, libc::PROT_NONE) } {
            0 => Ok(mapping),
            _ => Err(Failure::last("mprotect")),
        }
    }

    /// Writes one byte of page `index`.
    #[inline(always)]
    pub(crate) fn touch(&self, index: u64) {
        let offset = index as usize * 4096;
        debug_assert!(offset < self.bytes);
        // SAFETY: callers stay below the pages they asked for; the mapping is writable.
        let byte = unsafe { self.start.add(offset) };
        // SAFETY: as above; a volatile byte write may race with another core's without tearing.
        unsafe { byte.write_volatile(1) };
    }

    /// The first word of line `line` of page `page`; lines are 128 bytes apart.
    #[inline(always)]
    pub(crate) fn word(&self, page: usize, line: usize) -> &AtomicU64 {
        let offset = page * 4096 + line % 32 * 128;
        debug_assert!(offset < self.bytes);
        // SAFETY: callers stay below the pages they asked for.
        let word = unsafe { self.start.add(offset) };
        // SAFETY: aligned, all zeroes at the start, and every access is atomic; lives as long as the mapping.
        unsafe { &*word.cast::<AtomicU64>() }
    }

    /// Fills in this process's page-table entries for the whole mapping.
    pub(crate) fn populate(&self) -> Result<(), Failure> {
        // SAFETY: the range is this mapping.
        match unsafe { libc::madvise(self.start.cast(), self.bytes, libc::MADV_POPULATE_WRITE) } {
            0 => Ok(()),
            _ => Err(Failure::last("madvise")),
        }
    }

    /// Reads the mapping as an arena.
    pub(crate) fn arena(&self) -> &Arena {
        assert!(self.bytes >= size_of::<Arena>());
        // SAFETY: page-aligned, large enough, zero or written through this type only, all atomics.
        unsafe { &*self.start.cast::<Arena>() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.cast(), self.bytes + GUARD) };
    }
}
