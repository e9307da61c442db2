//! The run time of user programs: start, console, panic, exit, the next program.
//!
//! **Paper.** §4: programs are linked with the library operating system; there is nothing else.
//!
//! **Invariants.** A program starts with [`Process`], made from the boot information, and with nothing else
//! in memory than its image, its stack and that information. Programs follow each other on the first core by
//! [`exec`]: the next one ends the share of the one before, and with it all its memory.
//!
//! **Sharing.** The console's buffer, behind a lock: threads of a program print rarely.
//!
//! **Testing.** The programs `images/test-*`.
#![no_std]
#![allow(unsafe_code, reason = "memory the kernel mapped, C memory functions")]

mod allocator;
mod callers;
mod console;
mod exec;
pub mod heaps;
mod info;
mod memory;
mod pages;
mod panic;
mod process;
mod team;

pub use callers::callers;
pub use console::{line, print_line, release as release_console, retake as retake_console};
pub use corey_arch_x86_64_user::memory::copy as copying;
pub use corey_arch_x86_64_user::start;
pub use corey_libos_heap as heap;
pub use corey_libos_sys as sys;
pub use corey_libos_vm as vm;
pub use exec::{ExecError, exec, exec_with, run_program};
pub use info::{Info, Module};
pub use memory::{Shared, shared};
pub use pages::TreePages;
pub use panic::PANIC_VALUE;
pub use process::{Process, Status, begin, begin_copy, exit, halt};

/// Makes `$main: fn(Process) -> Status` the program's entry.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        extern "C" fn corey_main(info: u64) -> ! {
            $crate::exit($main($crate::begin(info)))
        }
        $crate::start!(corey_main);
    };
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($part:tt)*) => { $crate::print_line(format_args!($($part)*)) };
}
