//! `pread`, `pwrite` and `open`: the C library's calls without the C library, on files of a tmpfs.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use corey_arch_x86_64_user::marker::pause;
use corey_lib_bench::files::{BLOCK, FIRST, Name, PART, WARM, fill, holds, part, written};
use corey_lib_bench::{Place, Span, run_region, table};

use crate::guest::Failure;
use crate::work::{Linux, call3};

/// A worker's own buffer, on a page of its own.
#[repr(C, align(4096))]
struct Buffer([u8; BLOCK]);

impl Buffer {
    fn new(file: u32, block: u64) -> Box<Self> {
        let mut buffer = Box::new(Self([0; BLOCK]));
        fill(file, block, &mut buffer.0);
        buffer
    }
}

/// A file that is there with its first block, and what all of a variant wait for: the worker with its number makes it.
fn open(place: Place<'_>, file: u32) -> Result<File, Failure> {
    let name = Name::new(file);
    let failed = |error: std::io::Error| Failure::guest(name.as_str(), &error);
    if place.core == file {
        std::fs::write(name.as_str(), Buffer::new(file, FIRST).0).map_err(failed)?;
    }
    place.meeting.barrier.wait(place.cores, pause);
    OpenOptions::new().read(true).write(true).open(name.as_str()).map_err(failed)
}

/// Reads the first block of file `file` through a descriptor of the worker's own.
pub(crate) fn pread<const ID: u32>(place: Place<'_>, file: u32) -> Result<Span, Failure> {
    let opened = open(place, file)?;
    // Not what will be read.
    let mut buffer = Buffer::new(file, written(place.core));
    let (fd, at) = (opened.as_raw_fd() as u64, buffer.0.as_mut_ptr() as u64);
    let mut good = true;
    let mut once = |_| good &= call4(libc::SYS_pread64, fd, at, BLOCK as u64, 0) == BLOCK as i64;
    (0..WARM).for_each(&mut once);
    let span = run_region::<ID, _>(&Linux, place, once);
    if good && holds(file, FIRST, 0, &buffer.0) {
        Ok(span)
    } else {
        Err(Failure::panic(format!("pread of {file} gave less, or other bytes")))
    }
}

/// The offset and the length of a whole write.
#[inline(always)]
pub(crate) fn whole(_: u64) -> (u64, u64) {
    (0, BLOCK as u64)
}

/// The offset and the length of partial write `number`.
#[inline(always)]
pub(crate) fn some(number: u64) -> (u64, u64) {
    (part(number), PART as u64)
}

/// Writes what `range` says of file `file`, from the same place of the worker's buffer.
pub(crate) fn pwrite<const ID: u32>(
    place: Place<'_>,
    file: u32,
    range: impl Fn(u64) -> (u64, u64),
) -> Result<Span, Failure> {
    let opened = open(place, file)?;
    let buffer = Buffer::new(file, written(place.core));
    let (fd, at) = (opened.as_raw_fd() as u64, buffer.0.as_ptr() as u64);
    let mut good = true;
    let mut once = |number| {
        let (offset, length) = range(number);
        good &= call4(libc::SYS_pwrite64, fd, at + offset, length, offset) == length as i64;
    };
    (0..WARM).for_each(&mut once);
    let span = run_region::<ID, _>(&Linux, place, once);
    // Everybody has written: each range is somebody's, as a whole.
    let mut back = vec![0; BLOCK];
    opened.read_exact_at(&mut back, 0).map_err(|error| Failure::guest("pwrite", &error))?;
    for (offset, length) in (0..WARM).map(range) {
        let (offset, length) = (offset as usize, length as usize);
        let written = |core| holds(file, written(core), offset, &back[offset..offset + length]);
        good &= (0..place.cores).any(written);
    }
    if good { Ok(span) } else { Err(Failure::panic(format!("pwrite of {file} took less, or is not there"))) }
}

/// Opens file `file` and closes it.
pub(crate) fn open_close(place: Place<'_>, file: u32) -> Result<Span, Failure> {
    drop(open(place, file)?);
    let name = Name::new(file);
    let path = name.as_c_str().as_ptr() as u64;
    let mut good = true;
    let mut once = |_| {
        let fd = call3(libc::SYS_open, path, libc::O_RDONLY as u64, 0);
        good &= fd >= 0 && call3(libc::SYS_close, fd as u64, 0, 0) == 0;
    };
    (0..WARM).for_each(&mut once);
    let span = run_region::<{ table::OPEN_OWN }, _>(&Linux, place, once);
    if good { Ok(span) } else { Err(Failure::panic(format!("open or close of {file} failed"))) }
}

/// As [`call3`], with a fourth argument.
#[inline(always)]
fn call4(number: i64, a: u64, b: u64, c: u64, d: u64) -> i64 {
    let result;
    // SAFETY: the two callers name buffers of their own that are as long as they say.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b,
            in("rdx") c, in("r10") d, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}
