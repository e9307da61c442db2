//! Joins the x86-64 crates to a kernel: the [`Platform`](corey_kernel_hal::Platform) of this machine and the
//! road from the first instruction to the first program.
//!
//! **Paper.** §6.
//!
//! **Invariants.** [`run`] is the only way in; everything that is one per machine is written before the other
//! processors are released. A kernel never sees an x86 name except this crate's.
//!
//! **Sharing.** The console (one lock); the table from core numbers to APIC IDs (written at boot); I/O APICs (whoever has the kernel's lock of all lines); signs of life, which
//! others read when a wait lasts too long.
//!
//! **Testing.** In QEMU: the boot cases and test programs of `cargo xtask test`.
#![no_std]
#![allow(unsafe_code, reason = "per-core blocks, entry handlers, boot")]

mod cards;
mod console;
mod entries;
mod exit;
mod lines;
mod panic;
mod pci;
mod platform;
mod run;
mod signs;

pub use platform::X86;
pub use run::run;
