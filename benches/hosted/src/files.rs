//! Reading and writing files of our buffer cache beside `pread` and `pwrite` of a file in Linux's memory.

use std::ffi::CString;
use std::hint::spin_loop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use corey_lib_bench::files::{BLOCK, FIRST, Name, PART, SAME, fill, holds, part, written};
use corey_lib_sync::{Fence, Relax};
use corey_libos_cache::{Cache, Client, Env, Nothing, Shape};
use corey_libos_fs::{Descriptor, Fs, Options};

use crate::host::Host;
use crate::pairs::{Case, Pair, alternate};
use crate::rwlock::Membarrier;

/// Operations of a round and processor.
const OPERATIONS: u64 = 2000;

type Files<'a> = Fs<'a, Machine, Nothing>;
type Measure = fn(&Host, u32, u64) -> Result<Pair, String>;

/// The row of a variant of `pread`.
pub(crate) fn reads(variant: &'static str) -> Vec<Case> {
    let measure: Measure = if variant == "same" { read::<true> } else { read::<false> };
    vec![Case { variant, peer: "pread", operations: OPERATIONS, measure }]
}

/// The row of a variant of `pwrite`.
pub(crate) fn writes(variant: &'static str) -> Vec<Case> {
    let measure: Measure = match variant {
        "full-own" => write::<false, false>,
        "full-same" => write::<true, false>,
        "part-own" => write::<false, true>,
        _ => write::<true, true>,
    };
    vec![Case { variant, peer: "pwrite", operations: OPERATIONS, measure }]
}

/// This machine as the cache needs it.
struct Machine(Membarrier);

impl Relax for Machine {
    fn relax(&mut self) {
        spin_loop();
    }
}

// SAFETY: as `Membarrier`.
unsafe impl Fence for Machine {
    fn force(&mut self) {
        self.0.force();
    }
}

/// The C library's copy: what changes meanwhile is nothing that the compiler knows of.
unsafe fn copy(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::memcpy(to.cast(), from.cast(), count) };
}

impl Env for Machine {
    unsafe fn copy_out(&mut self, block: *const u8, to: *mut u8, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { copy(to, block, count) };
    }
    unsafe fn copy_in(&mut self, from: *const u8, block: *mut u8, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { copy(block, from, count) };
    }
    unsafe fn copy_across(&mut self, from: *const u8, to: *mut u8, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { copy(to, from, count) };
    }
    unsafe fn zero(&mut self, block: *mut u8, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { block.write_bytes(0, count) };
    }
    fn now(&mut self) -> u64 {
        0
    }
}

#[repr(C, align(4096))]
#[derive(Clone)]
struct Page([u8; BLOCK]);

/// A cache with a file of one block for each thread, and the same in Linux's memory.
struct Prepared<'a> {
    cache: Cache<'a>,
    files: Vec<OwnedFd>,
}

// SAFETY: numbers of descriptors, and a cache, which clients on any thread reach by their own.
unsafe impl Sync for Prepared<'_> {}

fn region(cores: u32) -> Result<(Vec<Page>, Shape), String> {
    let shape = Shape { clients: cores + 1, files: cores + 8, blocks: 128 * (cores + 2) };
    let bytes = shape.bytes().ok_or("too many processors for one cache")?;
    Ok((vec![Page([0; BLOCK]); bytes / BLOCK], shape))
}

impl<'a> Prepared<'a> {
    fn new(region: &'a mut [Page], shape: Shape) -> Result<Self, String> {
        let said = |error: corey_libos_fs::Error| error.to_string();
        // SAFETY: zeroed, as large as the shape asks, and this cache's while it is borrowed.
        let cache = unsafe { Cache::make(NonNull::from(region).cast(), shape) }.ok_or("no cache")?;
        let last = shape.clients - 1;
        let client = Client::new(cache, last, Machine(Membarrier::new()?), &Nothing).ok_or("no client")?;
        let mut fs = Files::format(client).map_err(said)?;
        let mut files = Vec::new();
        for core in 0..last {
            let mut block = [0; BLOCK];
            fill(core, FIRST, &mut block);
            fs.fill(Name::new(core).as_str(), &block).map_err(said)?;
            files.push(in_memory(&block)?);
        }
        Ok(Self { cache, files })
    }

    /// Thread `core`'s way into the cache, with file `file` open.
    fn ours(&self, core: u32, file: u32, options: Options) -> (Files<'a>, Descriptor) {
        let machine = Machine(Membarrier::new().expect("it was there before"));
        let client = Client::new(self.cache, core, machine, &Nothing).expect("a number for each thread");
        let mut fs = Files::mount(client).expect("it was made");
        let file = fs.open(Name::new(file).as_str(), options).expect("it was made");
        (fs, file)
    }

    /// The same in Linux: a descriptor of the thread's own.
    fn linux(&self, file: u32) -> OwnedFd {
        open(self.files[file as usize].as_raw_fd()).expect("the file is there")
    }
}

/// The result of a call of the C library that gives a descriptor.
fn descriptor(result: libc::c_int, what: &str) -> Result<OwnedFd, String> {
    if result < 0 {
        return Err(format!("{what}: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// A file in memory that holds `block`.
fn in_memory(block: &[u8; BLOCK]) -> Result<OwnedFd, String> {
    // SAFETY: a name that ends with a zero.
    let file = descriptor(unsafe { libc::memfd_create(c"corey-hosted".as_ptr(), 0) }, "memfd_create")?;
    put(file.as_raw_fd(), 0, block).then_some(file).ok_or_else(|| "the file takes no block".to_owned())
}

/// Opens a file again.
fn open(file: RawFd) -> Result<OwnedFd, String> {
    let path = CString::new(format!("/proc/self/fd/{file}")).map_err(|error| error.to_string())?;
    // SAFETY: a path that ends with a zero.
    descriptor(unsafe { libc::open(path.as_ptr(), libc::O_RDWR) }, "open")
}

#[inline(always)]
fn put(file: RawFd, offset: u64, bytes: &[u8]) -> bool {
    // SAFETY: the bytes are there.
    let count = unsafe { libc::pwrite(file, bytes.as_ptr().cast(), bytes.len(), offset as libc::off_t) };
    count == bytes.len() as isize
}

fn read<const ONE: bool>(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let (mut region, shape) = region(cores)?;
    let all = Prepared::new(&mut region, shape)?;
    alternate(host, (cores, rounds, OPERATIONS), |core| {
        let number = if ONE { SAME } else { core };
        let (mut fs, file) = all.ours(core, number, Options::READ);
        let linux = all.linux(number);
        let (mut mine, mut theirs) = ([0; BLOCK], [0; BLOCK]);
        let ours = move |operation| {
            assert_eq!(fs.pread(file, 0, &mut mine), Ok(BLOCK));
            assert!(operation != 0 || holds(number, FIRST, 0, &mine), "another block");
        };
        let linux = move |operation| {
            // SAFETY: the buffer is there.
            let count = unsafe { libc::pread(linux.as_raw_fd(), theirs.as_mut_ptr().cast(), BLOCK, 0) };
            assert_eq!(count, BLOCK as isize);
            assert!(operation != 0 || holds(number, FIRST, 0, &theirs), "another block");
        };
        (ours, linux)
    })
}

fn write<const ONE: bool, const SOME: bool>(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let (mut region, shape) = region(cores)?;
    let all = Prepared::new(&mut region, shape)?;
    alternate(host, (cores, rounds, OPERATIONS), |core| {
        let number = if ONE { SAME } else { core };
        let (mut fs, file) = all.ours(core, number, Options::WRITE);
        let linux = all.linux(number);
        let mut block = [0; BLOCK];
        fill(number, written(core), &mut block);
        let bytes = |operation| {
            let at = if SOME { part(operation) } else { 0 };
            (at, at as usize..at as usize + if SOME { PART } else { BLOCK })
        };
        let ours = move |operation| {
            let (at, range) = bytes(operation);
            assert_eq!(fs.pwrite(file, at, &block[range.clone()]), Ok(range.len()));
        };
        let linux = move |operation| {
            let (at, range) = bytes(operation);
            assert!(put(linux.as_raw_fd(), at, &block[range]));
        };
        (ours, linux)
    })
}
