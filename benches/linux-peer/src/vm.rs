//! Mapping, copy-on-write and descriptors.

use std::cell::Cell;

use corey_lib_bench::{Place, Span, run_region, run_region_between, table};

use crate::arena::{Mapping, Visibility};
use crate::guest::Failure;
use crate::work::{Linux, call3, memory_file};

/// Maps a page of zeros anywhere; an address in the kernel's half is its error.
#[inline(always)]
pub(crate) fn map_page() -> u64 {
    map_pages(1)
}

/// As [`map_page`], some pages.
#[inline(always)]
fn map_pages(count: u64) -> u64 {
    let result: u64;
    let fd = -1_i64;
    // SAFETY: a new anonymous mapping at an address the kernel chooses aliases nothing.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") libc::SYS_mmap as u64 => result, in("rdi") 0_u64,
            in("rsi") 4096 * count, in("rdx") libc::PROT_READ | libc::PROT_WRITE,
            in("r10") libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, in("r8") fd, in("r9") 0_u64,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// Writes a byte of a page that [`map_page`] gave; says whether it gave one.
#[inline(always)]
pub(crate) fn touch(page: u64) -> bool {
    if page >= 1 << 63 {
        return false;
    }
    // SAFETY: just mapped, writable, and nothing else is put there.
    unsafe { (page as *mut u8).write_volatile(1) };
    true
}

/// Unmaps a page that [`map_page`] gave.
#[inline(always)]
pub(crate) fn unmap_page(page: u64) -> bool {
    call3(libc::SYS_munmap, page, 4096, 0) == 0
}

/// Maps a page, touches it, unmaps it.
pub(crate) fn map<const ID: u32>(place: Place<'_>) -> Result<Span, Failure> {
    let mut good = true;
    let span = run_region::<ID, _>(&Linux, place, |_| {
        let page = map_page();
        good &= touch(page) && unmap_page(page);
    });
    if good { Ok(span) } else { Err(Failure::panic("a page was not mapped or unmapped".to_owned())) }
}

/// Unmaps 64 touched pages at once; mapping and touching them is outside.
pub(crate) fn unmap_64(place: Place<'_>) -> Result<Span, Failure> {
    const COUNT: u64 = 64;
    let map = || {
        let pages = map_pages(COUNT);
        ((0..COUNT).all(|page| touch(pages + page * 4096)), pages)
    };
    let now = Cell::new(map());
    let good = Cell::new(true);
    let unmap = |(touched, pages)| touched && call3(libc::SYS_munmap, pages, COUNT * 4096, 0) == 0;
    let span = run_region_between::<{ table::VM_INTERIOR_64 }, _>(
        &Linux,
        place,
        |_| good.set(good.get() & unmap(now.get())),
        |_| now.set(map()),
    );
    if good.get() && unmap(now.get()) {
        Ok(span)
    } else {
        Err(Failure::panic("pages were not mapped or unmapped".to_owned()))
    }
}

/// Pages, and a forked process that has them too and waits until it is ended.
#[derive(Debug)]
pub(crate) struct Copied {
    pages: Mapping,
    child: libc::pid_t,
}

impl Copied {
    pub(crate) fn new(pages: u64) -> Result<Self, Failure> {
        let pages = Mapping::new(pages as usize * 4096, Visibility::Private)?;
        pages.populate()?;
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors.
        if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
            return Err(Failure::last("pipe"));
        }
        // SAFETY: this process has one thread; the child only makes two calls.
        let child = match unsafe { libc::fork() } {
            -1 => return Err(Failure::last("fork")),
            0 => {
                // SAFETY: one byte of a literal.
                unsafe { libc::write(ends[1], c"!".as_ptr().cast(), 1) };
                loop {
                    // SAFETY: only waits.
                    unsafe { libc::pause() };
                }
            }
            child => child,
        };
        let mut byte = 0_u8;
        // SAFETY: one byte of room.
        if unsafe { libc::read(ends[0], (&raw mut byte).cast(), 1) } != 1 {
            return Err(Failure::last("read"));
        }
        for end in ends {
            // SAFETY: ours, and not used any more.
            unsafe { libc::close(end) };
        }
        Ok(Self { pages, child })
    }

    /// Writes a page for the first time since the fork.
    #[inline(always)]
    pub(crate) fn touch(&self, page: u64) {
        self.pages.touch(page);
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // SAFETY: our own child.
        unsafe { libc::kill(self.child, libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: our own child, and a place for its status.
        unsafe { libc::waitpid(self.child, &raw mut status, 0) };
    }
}

/// Maps 2 MiB that ask for a huge page, touches both ends, unmaps them.
pub(crate) fn large(place: Place<'_>) -> Result<Span, Failure> {
    const BYTES: usize = 2 << 20;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping at an address the kernel chooses aliases nothing.
    let range = unsafe { libc::mmap(std::ptr::null_mut(), 2 * BYTES, libc::PROT_NONE, flags, -1, 0) };
    if range == libc::MAP_FAILED {
        return Err(Failure::last("mmap"));
    }
    let start = (range as usize).next_multiple_of(BYTES);
    let mut good = true;
    let mut once = || {
        let page = map_huge(start as u64);
        good &= page == start as u64
            && call3(libc::SYS_madvise, page, BYTES as u64, libc::MADV_HUGEPAGE as u64) == 0
            && touch(page)
            && touch(page + BYTES as u64 - 1)
            && call3(libc::SYS_munmap, page, BYTES as u64, 0) == 0;
    };
    once();
    let span = run_region::<{ table::LARGE_PRIVATE }, _>(&Linux, place, |_| once());
    if good { Ok(span) } else { Err(Failure::panic("2 MiB were not mapped, advised or unmapped".to_owned())) }
}

/// Maps 2 MiB of zeros at `at`.
#[inline(always)]
fn map_huge(at: u64) -> u64 {
    let result: u64;
    let fd = -1_i64;
    // SAFETY: the range was reserved by the caller, and nothing is in it.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") libc::SYS_mmap as u64 => result, in("rdi") at,
            in("rsi") 2_u64 << 20, in("rdx") libc::PROT_READ | libc::PROT_WRITE,
            in("r10") libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED, in("r8") fd, in("r9") 0_u64,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// Makes a descriptor and closes it.
pub(crate) fn object(place: Place<'_>) -> Result<Span, Failure> {
    let file = memory_file()?;
    let mut good = true;
    let span = run_region::<{ table::VM_OBJECT }, _>(&Linux, place, |_| {
        let copy = call3(libc::SYS_dup, file as u64, 0, 0);
        good &= copy >= 0 && call3(libc::SYS_close, copy as u64, 0, 0) == 0;
    });
    call3(libc::SYS_close, file as u64, 0, 0);
    if good { Ok(span) } else { Err(Failure::panic("dup or close failed".to_owned())) }
}
