//! The kernel image: joins one core's kernel to the x86-64 machine.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry code calls it by name")]

use corey_arch_x86_64::X86;
use corey_kernel_corey::System;

/// Where the entry code arrives, in long mode, on the boot tables.
#[unsafe(no_mangle)]
extern "C" fn corey_kernel_entry(loader: u64, information: u64) -> ! {
    // SAFETY: called by the entry code, once, with what the loader passed.
    unsafe { corey_arch_x86_64::run::<System<X86>>(loader, information) }
}
