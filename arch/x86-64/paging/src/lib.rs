//! Page-table entries, and the kernel's half of every address space.
//!
//! **Paper.** §6: page-table manipulation is what a port replaces. Formats: Intel SDM vol. 3A §4.5, AMD APM
//! vol. 2 §5.3.
//!
//! **Invariants.** The kernel's half is built once, before the other processors start, and never changed:
//! all of it global, accessed and dirty bits preset, never both writable and executable. A leaf carries a
//! software bit, so that an entry tells by itself what it is.
//!
//! **Sharing.** Read only after boot.
//!
//! **Testing.** Unit tests of the formats; in QEMU the test programs.
#![cfg_attr(not(test), no_std)]
#![allow(unsafe_code, reason = "writes page tables before there is anything to write them with")]

mod entry;
mod space;
mod stack;

pub use entry::{decode, flags, large_leaf, leaf, protect, table};
pub use space::{DIRECT_BASE, KERNEL_BASE, STACK_WINDOW, Space, TableSource, direct};
pub use stack::Stack;
