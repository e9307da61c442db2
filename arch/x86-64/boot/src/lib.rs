//! From the boot loader's hands to a machine the kernel can run on.
//!
//! **Paper.** §6. Formats: Multiboot2 specification 2.0; Xen's PVH boot ABI; ACPI 6.5 §5.2.
//!
//! **Invariants.** One ELF, two ways in, one state: long mode on the boot tables, which map the first 4 GiB
//! three times (as is, at the direct map, and the first GiB at the kernel's base). What loaders say is
//! checked before it is used: a bad range is dropped, and the console says so.
//!
//! **Sharing.** None: the boot processor only; others wait in [`start::start`]'s entry.
//!
//! **Testing.** Unit tests of the memory arithmetic, the firmware's tables and the topology on the host; in QEMU the table of boot cases of
//! `cargo xtask test`.
#![cfg_attr(not(test), no_std)]
#![allow(unsafe_code, reason = "entry code, loader structures, page tables")]

pub mod acpi;
mod entries;
#[cfg(not(test))]
mod entry;
pub mod facts;
pub mod meltdown;
pub mod memory;
mod multiboot;
pub mod numa;
pub mod processor;
mod pvh;
#[cfg(not(test))]
pub mod start;
pub mod topology;

pub use facts::{Facts, Framebuffer, Loader};
pub use memory::BootMemory;
