//! Finds PCI functions and sizes their memory windows.
//!
//! **Paper.** §3.5: devices found on the machine. The scan is needed at boot, because the
//! kernel's half of the address space is complete before other processors start.
//!
//! **Invariants.** A window is sized with decoding off, and left as it was. A window outside what the kernel
//! maps is refused by name, never touched.
//!
//! **Sharing.** None: runs on the boot processor.
//!
//! **Testing.** `tests/` on a fake configuration space.
#![no_std]
#![forbid(unsafe_code)]

mod scan;

pub use pci_types::{ConfigRegionAccess, PciAddress};
pub use scan::{Function, Window, allow_interrupts, scan, set_bus_master};
