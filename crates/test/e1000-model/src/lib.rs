//! A network controller for host tests: Intel's 82540EM, as its manual describes it, over a fake physical memory.
//!
//! **Paper.** The cards of §7's machines. The manual is Intel's *PCI/PCI-X Family of Gigabit Ethernet Controllers Software
//! Developer's Manual*; section numbers are its.
//!
//! **Invariants.** As strict as the manual: what it forbids is a failure of the test, with the register or descriptor in the message.
//! So are a register that the model does not know, a change of a ring under an enabled receiver or transmitter, a tail beyond the ring
//! or past the head, a descriptor that changes while it is the card's, an access within a microsecond of a reset. Stricter: a
//! reset needs a millisecond's rest before it, and interrupts off; addresses and EEPROM are not touched while the card loads them.
//!
//! Nothing happens behind a test's back: frames move when it calls [`Card::step_receive`], [`Card::step_transmit`] or [`Card::settle`],
//! time passes when it calls [`Card::elapse`]. So every order of events can be had.
//!
//! **Sharing.** A [`Card`] is a handle: clones are the same card, behind a mutex. So are those of a [`Memory`].
//!
//! **Testing.** Each rule has a test that breaks it (`tests/rules.rs`).
//!
//! What it has: the registers of chapter 13 that a driver of legacy descriptors needs, filters (unicast, broadcast, multicast table), the
//! receive FIFO with its limit, frames over several buffers, padding, counters, EEPROM, link, interrupt causes, reset with its times. Not
//! there, and a failure when asked for: extended descriptors, checksum offload, VLAN, CRCs in memory, loopback, PHY registers. Interrupts
//! are immediate: what their timers are set to is kept, and nothing more.
//!
//! ```text
//!  driver ── Mmio ──► Card ── PhysicalMemory ──► descriptors, buffers ◄── Dma ── driver
//!  test ── deliver, take_sent, set_link, elapse, step_…, inject ──► Card
//! ```
#![forbid(unsafe_code)]

mod card;
mod eeprom;
mod fault;
mod filter;
mod memory;
mod receive;
mod registers;
mod ring;
mod state;
mod statistics;
mod transmit;

pub use card::{Accesses, Card};
pub use fault::Fault;
pub use memory::{Memory, PhysicalMemory, Ring};
pub use state::{Delivery, Speed};
