//! The console's two devices: a 16550 serial port and the VGA text screen. Both show the same bytes.
//!
//! **Paper.** §3.5 lists a console device. A framebuffer (UEFI has no VGA text) is not there yet.
//!
//! **Invariants.** Every wait is bounded: a port that is not there costs time, never the boot. Nothing
//! waits for CTS.
//!
//! **Sharing.** None: whoever calls has exclusive use.
//!
//! **Testing.** Unit tests on fake ports and cells.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod screen;
mod serial;

pub use screen::{COLUMNS, ROWS, Screen};
pub use serial::Serial;
