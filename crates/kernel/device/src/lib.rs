//! Devices as objects: the console, and network cards.
//!
//! **Paper.** §3.5: devices are exclusive, and fed with segments that begin with a header. Departures: the console is done
//! with a buffer when the call returns; what a card is done with is found by a call (`device_buf`, poll), as long as no
//! kernel core looks for it.
//!
//! **Invariants.**
//! 1. A device has at most one object. What is in a buffer is hostile.
//! 2. On the console one buffer is one line; a line that starts with `{` is a record, and carries a sequence number that
//!    programs cannot forge.
//! 3. A card writes pinned pages only, and those of segments with references: before a segment's pages are freed the card is
//!    reset, and before its device object is, it is stopped.
//!
//! **Sharing.** `Shared<Console>`, `Shared<Card>`: whoever holds the device object; by design. `Shared<Lines>`: kernel cores with
//! cards, when they fall asleep and when they wake.
//!
//! **Testing.** `kernel/corey/tests` on the fake machine with a fake card; the line formatter here.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod calls;
mod console;
mod devices;
mod lines;
mod network;
mod ring;

pub use calls::DeviceApi;
pub use console::{Console, LINE_BYTES};
pub use devices::{Device, Devices, end};
pub use network::Armed;
pub use ring::{Ring, RingWords};
