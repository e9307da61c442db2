//! The network driver: Intel 82540EM and 82545EM Gigabit Ethernet controllers, polled or by interrupt.
//!
//! **Paper.** The network device of §3.5, and the cards of §7's machines. The kernel hands the driver buffers and gets them back in
//! order; what a segment's header says is the kernel's matter. Register and descriptor names are those of Intel's *PCI/PCI-X Family of Gigabit Ethernet Controllers Software
//! Developer's Manual* ("the manual"), and a section number alone is one of its.
//!
//! **Invariants.**
//! 1. Polling reads no register: a descriptor's DD bit in memory says that it is done. Posting writes none:
//!    [`E1000::ring_doorbells`] writes each tail at most once, and only if something was posted.
//! 2. Every cookie comes back exactly once, and each ring's in the order in which they were posted.
//! 3. A descriptor is the card's from the doorbell until its DD bit, and until then the driver does not write it.
//! 4. What the card says is hostile. It is read once and checked; the worst that a bad word does is a frame that comes back
//!    [`Damage`]d, and is counted. No wait is without a bound, and a register that reads all ones is a card that is [`Gone`].
//! 5. After [`E1000::quiesce`] has succeeded the card reads and writes no memory.
//!
//! What the driver cannot check: the card is a bus master, and there is no IOMMU here. A card that lies about DD before it is done,
//! or writes where it was not told to, is trusted in this.
//!
//! **Sharing.** None: the driver is one core's at a time. Its lines are the rings (the card writes them) and itself.
//!
//! **Testing.** `crates/test/e1000-model` is the card: it fails a test when the driver does what the manual forbids. A walk of
//! 100,000 random operations with every fault against queues of frames; a count of register accesses per batch.
//!
//! Not there: checksum and segmentation offload, VLAN tags, jumbo frames, flow control, a choice of speed or duplex (the PHY
//! negotiates), half duplex at 1 Gb/s, wake on LAN, fiber.
//!
//! ```text
//!  post_receive ─► ring ─┐                       ┌─► Completion::Received
//!                        ├─ ring_doorbells ─► card ─► poll
//!  post_transmit ─► ring ┘                       └─► Completion::Sent
//! ```
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod address;
mod card;
mod driver;
mod models;
mod receive;
mod registers;
mod ring;
mod start;
mod statistics;
mod status;
mod transmit;

pub use address::MacAddress;
pub use card::Named;
pub use corey_kernel_hal::Filter;
pub use driver::{Completion, E1000, Refused};
pub use models::{Model, supported};
pub use receive::{BUFFER_BYTES, Damage};
pub use start::{QuiesceError, StartError};
pub use statistics::Statistics;
pub use status::{Cause, Duplex, Gone, Interrupts, Link};
pub use transmit::{FRAME_BYTES, SHORTEST_BYTES};
