//! The console's devices: a 16550 serial port, and a screen, which is VGA text or a framebuffer (UEFI has no VGA text). All show the
//! same bytes.
//!
//! **Paper.** §3.5 lists a console device.
//!
//! **Invariants.** Every wait is bounded: a port that is not there costs time, never the boot. Nothing
//! waits for CTS.
//!
//! **Sharing.** None: whoever calls has exclusive use.
//!
//! **Testing.** Unit tests on fake ports, cells and pixels.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod frame;
mod screen;
mod serial;

pub use frame::{Colour, Frame, FrameCells};
pub use screen::{COLUMNS, ROWS, Screen};
pub use serial::Serial;
