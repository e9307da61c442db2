//! Devices as objects. Today: the console.
//!
//! **Paper.** §3.5: devices are exclusive, and fed with segments that begin with a header. Departure: the
//! console is done with a buffer when the call returns; there is nothing to poll.
//!
//! **Invariants.** A device has at most one object. One buffer is one line; a line that starts with `{` is a
//! record, and carries a sequence number that programs cannot forge. What is in a buffer is hostile.
//!
//! **Sharing.** `Shared<Console>`: whoever holds the device object; by design.
//!
//! **Testing.** `kernel/corey/tests` on the fake machine; the line formatter here.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod calls;
mod console;

pub use calls::DeviceApi;
pub use console::{Console, Device, Devices, LINE_BYTES, end};
