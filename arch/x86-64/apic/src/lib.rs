//! The local interrupt controller in xAPIC mode, and the clocks to measure others by.
//!
//! **Paper.** §6 (the prototype used local APICs too). Registers: Intel SDM vol. 3A ch. 11, AMD APM vol. 2
//! ch. 16.
//!
//! **Invariants.** A [`LocalApic`] reaches the controller of the core that uses it. Delays sleep in `hlt`:
//! under an instruction clock a spinning delay takes seconds.
//!
//! **Sharing.** None: the controller is the core's own; other cores hear of it by interrupts only.
//!
//! **Testing.** In QEMU: cores start, interrupts arrive.
#![no_std]
#![allow(unsafe_code, reason = "device registers in memory")]

mod clock;
mod local;

pub use clock::{Clock, Frequencies, calibrate, delay};
pub use local::{CARD, IPI, LocalApic, SPURIOUS, TIMER};
