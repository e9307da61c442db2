//! File systems in a program: memory for the cache, mapped by the cores that are to share it.
//!
//! **Paper.** §4.2: the buffer cache is the application's, and so is the choice who shares it. One that several cores map is an
//! interior tree in a share that they hold; one in a core's own share and root is nobody else's.
//!
//! **Invariants.** A volume's tree maps one segment, at its begin, and is linked at the volume's address wherever it is used.
//!
//! **Sharing.** What the cache says. The fence that a remover forces goes to every core that holds the volume's share.
//!
//! **Testing.** `images/test-cache`, and the benchmarks `pread`, `pwrite`, `open`.
#![no_std]
#![allow(unsafe_code, reason = "memory that the kernel mapped, as a cache")]

use core::ptr::NonNull;
use corey_abi::{Error, Id, MachineCalls, MapFlags, ObjRef, PAGE_BYTES, grain};
use corey_lib_sync::{Fence, Relax};
use corey_libos_cache::{Backing, Cache, Client, Env, Shape};
pub use corey_libos_fs as fs;
use corey_libos_rt::copying;
use corey_libos_rt::sys::{pause, rdtsc, segment, sys};
use corey_libos_rt::vm::{Space, interior_of, map_in};

/// Where the first volume lies; each of the next ones 512 GiB further on. Nothing else does.
const BASE: u64 = 1 << 44;
/// Volumes that have addresses.
pub const VOLUMES: u64 = 32;

/// The machine as the cache needs it, for cores that hold a share.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    share: Id,
}

impl Relax for Machine {
    fn relax(&mut self) {
        pause();
    }
}

// SAFETY: `core_fence` returns when every core that holds the share has fenced, and the caller's has; a core reaches the
// volume by its tree, which it links through that share (`Volume::join`).
unsafe impl Fence for Machine {
    fn force(&mut self) {
        let done = sys().core_fence(self.share);
        assert_eq!(
            done,
            Ok(()),
            "this core does not hold the volume's share any more: no fence can be forced"
        );
    }
}

impl Env for Machine {
    #[inline(always)]
    unsafe fn copy_out(&mut self, block: *const u8, to: *mut u8, count: usize) {
        // SAFETY: the caller's promise. Assembly: the compiler knows nothing of what changes meanwhile.
        unsafe { copying(to, block, count) };
    }
    #[inline(always)]
    unsafe fn word(&mut self, block: *const u8) -> u64 {
        // SAFETY: the caller's promise. Volatile, as others write meanwhile.
        unsafe { block.cast::<u64>().read_volatile() }
    }
    #[inline(always)]
    unsafe fn copy_in(&mut self, from: *const u8, block: *mut u8, count: usize) {
        // SAFETY: as above.
        unsafe { copying(block, from, count) };
    }
    #[inline(always)]
    unsafe fn copy_across(&mut self, from: *const u8, to: *mut u8, count: usize) {
        // SAFETY: as above.
        unsafe { copying(to, from, count) };
    }
    #[inline(always)]
    unsafe fn zero(&mut self, block: *mut u8, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { block.write_bytes(0, count) };
    }
    #[inline(always)]
    fn now(&mut self) -> u64 {
        rdtsc()
    }
}

/// A cache in memory of its own. Any core that holds its share can join it.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    /// The interior tree.
    pub tree: ObjRef,
    number: u64,
}

impl Volume {
    /// Makes volume `number` of [`VOLUMES`]: a cache of this shape in objects of `share`, linked in `space`.
    ///
    /// # Errors
    ///
    /// `OutOfRange` when the shape is none or there is no such volume; as the calls.
    pub fn make(
        space: &mut Space,
        share: Id,
        number: u64,
        shape: Shape,
    ) -> Result<(Self, Cache<'static>), Error> {
        Self::make_named(space, share, number, shape, "buffer cache")
    }

    /// As [`Volume::make`]; its objects have this name.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn make_named(
        space: &mut Space,
        share: Id,
        number: u64,
        shape: Shape,
        name: &str,
    ) -> Result<(Self, Cache<'static>), Error> {
        let bytes = shape.bytes().filter(|_| number < VOLUMES).ok_or(Error::OutOfRange)? as u64;
        let memory = segment(share, bytes, name)?;
        let tree =
            interior_of(share, if bytes <= 1 << grain::GIB1 { grain::GIB1 } else { grain::GIB512 }, name)?;
        map_in(tree, 0, memory, 0, bytes.div_ceil(PAGE_BYTES), MapFlags::WRITE)?;
        let volume = Self { tree, number };
        let at = volume.link(space)?;
        // SAFETY: fresh memory, linked here and, by `join`, at the same address elsewhere.
        let cache = unsafe { Cache::make(at, shape) }.ok_or(Error::OutOfRange)?;
        Ok((volume, cache))
    }

    /// Volume `number`, made by another core in `tree`; links it in `space`.
    ///
    /// # Errors
    ///
    /// `NotFound` when no cache is there; as the calls.
    pub fn join(space: &mut Space, tree: ObjRef, number: u64) -> Result<(Self, Cache<'static>), Error> {
        let volume = Self { tree, number };
        let at = volume.link(space)?;
        // SAFETY: the tree that `make` mapped the cache in.
        let cache = unsafe { Cache::at(at) }.ok_or(Error::NotFound)?;
        Ok((volume, cache))
    }

    fn link(self, space: &mut Space) -> Result<NonNull<u8>, Error> {
        let at = BASE + (self.number << grain::GIB512);
        space.link(self.tree, at)?;
        NonNull::new(at as *mut u8).ok_or(Error::BadAddress)
    }

    /// Client `number` of the volume's cache.
    ///
    /// # Errors
    ///
    /// `Busy` when another one has the number, or there is none.
    pub fn client<'b, B: Backing>(
        self,
        cache: Cache<'b>,
        number: u32,
        backing: &'b B,
    ) -> Result<Client<'b, Machine, B>, Error> {
        Client::new(cache, number, Machine { share: self.tree.share }, backing).ok_or(Error::Busy)
    }
}
