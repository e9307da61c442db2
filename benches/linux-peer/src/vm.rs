//! Mapping, copy-on-write and descriptors.

use corey_lib_bench::{Place, Span, run_region, table};

use crate::arena::{Mapping, Visibility};
use crate::guest::Failure;
use crate::work::{Linux, call3, memory_file};

/// Maps a page of zeros anywhere; an address in the kernel's half is its error.
#[inline(always)]
pub(crate) fn map_page() -> u64 {
    let result: u64;
    let fd = -1_i64;
    // SAFETY: a new anonymous mapping at an address the kernel chooses aliases nothing.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") libc::SYS_mmap as u64 => result, in("rdi") 0_u64,
            in("rsi") 4096_u64, in("rdx") libc::PROT_READ | libc::PROT_WRITE,
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

/// Writes pages that a forked process, which waits meanwhile, has too.
pub(crate) fn copied(place: Place<'_>) -> Result<Span, Failure> {
    let pages = Mapping::new(place.iters as usize * 4096, Visibility::Private)?;
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
            // It lives, with every page, until it is ended.
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
    let span = run_region::<{ table::VM_COW }, _>(&Linux, place, |page| pages.touch(page));
    // SAFETY: our own child.
    unsafe { libc::kill(child, libc::SIGKILL) };
    let mut status = 0;
    // SAFETY: our own child, and a place for its status.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } != child {
        return Err(Failure::last("waitpid"));
    }
    for end in ends {
        // SAFETY: ours, and not used any more.
        unsafe { libc::close(end) };
    }
    Ok(span)
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
