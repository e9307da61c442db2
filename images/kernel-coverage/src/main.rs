//! The kernel with a guard on every edge, as `cargo xtask fuzz --coverage` builds it.
//!
//! Compiled code calls `__sanitizer_cov_trace_pc_guard` at each edge, with the address of the edge's own word in the
//! section of guards. It sets the word; QEMU's monitor reads them all at the end. In assembly: compiled, it would have
//! an edge itself.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry code calls it by name; the guards call assembly")]

use core::arch::global_asm;
use corey_arch_x86_64::X86;
use corey_kernel_corey::System;

global_asm!(
    ".globl __sanitizer_cov_trace_pc_guard",
    "__sanitizer_cov_trace_pc_guard:",
    "mov dword ptr [rdi], 1",
    "ret",
    // Nothing calls these: no constructor runs.
    ".globl __sanitizer_cov_trace_pc_guard_init",
    "__sanitizer_cov_trace_pc_guard_init:",
    ".globl __sanitizer_cov_pcs_init",
    "__sanitizer_cov_pcs_init:",
    "ret",
);

/// Where the entry code arrives, in long mode, on the boot tables.
#[unsafe(no_mangle)]
extern "C" fn corey_kernel_entry(loader: u64, information: u64) -> ! {
    // SAFETY: called by the entry code, once, with what the loader passed.
    unsafe { corey_arch_x86_64::run::<System<X86>>(loader, information) }
}
