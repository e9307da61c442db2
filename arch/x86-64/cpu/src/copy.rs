//! Copies between kernel and user memory that survive a fault.

use crate::features::features;
use core::arch::{asm, naked_asm};
use core::sync::atomic::Ordering;

/// Copies `count` bytes; returns how many are left when a page was missing. The one instruction that may
/// fault has a label: the page-fault handler steps over it ([`step_over`]).
///
/// # Safety
///
/// The kernel side of the copy is memory of the caller's; the other lies in the user half.
#[unsafe(naked)]
unsafe extern "C" fn copy(to: *mut u8, from: *const u8, count: usize) -> usize {
    naked_asm!(
        "mov rcx, rdx",
        ".globl corey_user_copy",
        "corey_user_copy:",
        "rep movsb",
        "mov rax, rcx",
        "ret",
    );
}

unsafe extern "C" {
    static corey_user_copy: u8;
}

/// Where to continue when the kernel faulted at `rip`; `None` when that was no user copy.
pub(crate) fn step_over(rip: u64) -> Option<u64> {
    // SAFETY: only the symbol's address is taken.
    let copy = &raw const corey_user_copy;
    // `rep movsb` is two bytes.
    (rip == copy as u64).then_some(rip + 2)
}

fn with_user_access<T>(run: impl FnOnce() -> T) -> T {
    let smap = features().smap.load(Ordering::Relaxed);
    if smap {
        // SAFETY: the processor has SMAP; the flag is cleared below.
        unsafe { asm!("stac", options(nostack)) };
    }
    let result = run();
    if smap {
        // SAFETY: as above.
        unsafe { asm!("clac", options(nostack)) };
    }
    result
}

/// Copies from user memory; returns the bytes not copied. The range lies in the user half.
#[must_use]
pub fn copy_from_user(from: u64, to: &mut [u8]) -> usize {
    // SAFETY: `to` is the caller's; `from` is in the user half, so no kernel memory is read.
    with_user_access(|| unsafe { copy(to.as_mut_ptr(), from as *const u8, to.len()) })
}

/// Copies to user memory; returns the bytes not copied. The range lies in the user half.
#[must_use]
pub fn copy_to_user(from: &[u8], to: u64) -> usize {
    // SAFETY: `from` is the caller's; `to` is in the user half, so no kernel memory is written.
    with_user_access(|| unsafe { copy(to as *mut u8, from.as_ptr(), from.len()) })
}
