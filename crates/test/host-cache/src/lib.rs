//! The buffer cache on this machine: memory for its region, the fence, copies.
//!
//! **Paper.** None.
//!
//! **Invariants.** A region is zeroed when it is made, and stays while its caches do.
//!
//! **Sharing.** What the cache shares.
//!
//! **Testing.** The tests of `libos/cache` and `libos/fs` use it.
#![allow(unsafe_code, reason = "memory, and a fence of the kernel's")]

use corey_lib_sync::{Fence, Relax};
use corey_libos_cache::{BLOCK, Backing, Cache, Client, Counts, Env, Shape};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// This machine. Its fence is the kernel's `membarrier`, private and expedited.
#[derive(Debug)]
pub struct Host;

const EXPEDITED: libc::c_int = 1 << 3;
const REGISTER: libc::c_int = 1 << 4;

fn membarrier(command: libc::c_int) {
    // SAFETY: the call takes two integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0) };
    assert_eq!(result, 0, "membarrier({command}): {}", std::io::Error::last_os_error());
}

impl Host {
    /// Registers for the fence.
    ///
    /// # Panics
    ///
    /// When the kernel has none.
    #[must_use]
    pub fn new() -> Self {
        membarrier(REGISTER);
        Self
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Relax for Host {
    fn relax(&mut self) {
        std::thread::yield_now();
    }
}

// SAFETY: a full fence on every running thread of this process, and a switch of threads is one.
unsafe impl Fence for Host {
    fn force(&mut self) {
        membarrier(EXPEDITED);
    }
}

impl Env for Host {
    unsafe fn copy_out(&mut self, block: *const u8, to: *mut u8, count: usize) {
        // SAFETY: the caller's.
        unsafe { core::ptr::copy_nonoverlapping(block, to, count) };
    }
    unsafe fn copy_in(&mut self, from: *const u8, block: *mut u8, count: usize) {
        // SAFETY: the caller's.
        unsafe { core::ptr::copy_nonoverlapping(from, block, count) };
    }
    unsafe fn copy_across(&mut self, from: *const u8, to: *mut u8, count: usize) {
        // SAFETY: the caller's.
        unsafe { core::ptr::copy_nonoverlapping(from, to, count) };
    }
    unsafe fn zero(&mut self, block: *mut u8, count: usize) {
        // SAFETY: the caller's.
        unsafe { block.write_bytes(0, count) };
    }
    fn now(&mut self) -> u64 {
        1
    }
}

/// Numbers from a seed, which is not 0.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `below`, which is not 0.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % below
    }
}

/// Zeroed memory, aligned to a block.
#[derive(Debug)]
pub struct Region {
    at: NonNull<u8>,
    layout: Layout,
}

// SAFETY: an address.
unsafe impl Sync for Region {}

impl Region {
    /// Zeroed memory.
    ///
    /// # Panics
    ///
    /// Without bytes, or without memory.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, BLOCK).unwrap();
        // SAFETY: not empty.
        let at = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
        Self { at, layout }
    }

    /// Where it is.
    #[must_use]
    pub fn at(&self) -> NonNull<u8> {
        self.at
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated so.
        unsafe { dealloc(self.at.as_ptr(), self.layout) };
    }
}

/// A region for a cache of this shape.
///
/// # Panics
///
/// When the shape is none.
#[must_use]
pub fn region(shape: Shape) -> Region {
    Region::new(shape.bytes().unwrap())
}

/// The cache in a region that [`region`] made.
///
/// # Panics
///
/// When it is another one's.
#[must_use]
pub fn cache(region: &Region, shape: Shape) -> Cache<'_> {
    // SAFETY: zeroed, as large as the shape asks, and this cache's.
    unsafe { Cache::make(region.at(), shape) }.unwrap()
}

/// A client of it.
///
/// # Panics
///
/// When another one has the number.
pub fn client<'a, B: Backing>(cache: Cache<'a>, number: u32, backing: &'a B) -> Client<'a, Host, B> {
    Client::new(cache, number, Host::new(), backing).unwrap()
}

/// Counts all blocks; none may be nowhere or in two places.
///
/// # Panics
///
/// As said.
pub fn counts<B: Backing>(client: &Client<'_, Host, B>) -> Counts {
    let mut seen = vec![false; client.cache().shape().blocks as usize + 1];
    let counts = client.audit(&mut |block| !std::mem::replace(&mut seen[block as usize], true));
    assert_eq!(counts.wrong, 0, "{counts:?}");
    counts
}
