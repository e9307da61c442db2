//! The handle that a driver and a test have of one card.

use corey_kernel_hal::Mmio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::fault::Fault;
use crate::memory::PhysicalMemory;
use crate::state::{Delivery, Speed, State};

/// The address in a card's EEPROM, if a test gives it none: QEMU's first.
const ADDRESS: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// A card. A clone is the same card; each is its registers for a driver, and its cable and its screwdriver for a test.
#[derive(Clone)]
pub struct Card(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    reads: AtomicU64,
    writes: AtomicU64,
}

/// Register accesses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accesses {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

impl Card {
    /// A card as power-on leaves it, at the end of a gigabit cable, that uses `memory`.
    #[must_use]
    pub fn new(memory: impl PhysicalMemory + 'static) -> Self {
        Self::with_address(memory, ADDRESS)
    }

    /// The same with another address in its EEPROM.
    #[must_use]
    pub fn with_address(memory: impl PhysicalMemory + 'static, address: [u8; 6]) -> Self {
        let state = Mutex::new(State::new(Box::new(memory), address));
        Self(Arc::new(Inner { state, reads: AtomicU64::new(0), writes: AtomicU64::new(0) }))
    }

    /// A frame comes in, without its CRC. It stays in the card until [`Card::step_receive`].
    pub fn deliver(&self, frame: &[u8]) -> Delivery {
        assert!(frame.len() >= 14, "a frame has a header");
        self.state().deliver(frame)
    }

    /// Takes the frames that were sent since the last call, oldest first, as they were on the wire but for their CRC.
    #[must_use]
    pub fn take_sent(&self) -> Vec<Vec<u8>> {
        self.state().sent.drain(..).collect()
    }

    /// Moves one frame to memory, if it can; whether it did.
    #[expect(clippy::must_use_candidate, reason = "a test that steps need not look")]
    pub fn step_receive(&self) -> bool {
        self.state().step_receive()
    }

    /// Works on one transmit descriptor, if it can; whether it did.
    #[expect(clippy::must_use_candidate, reason = "a test that steps need not look")]
    pub fn step_transmit(&self) -> bool {
        self.state().step_transmit()
    }

    /// Does what the card can do.
    pub fn settle(&self) {
        let mut state = self.state();
        while state.step_receive() | state.step_transmit() {}
    }

    /// Lets time pass.
    pub fn elapse(&self, microseconds: u32) {
        self.state().elapse(microseconds);
    }

    /// Plugs a cable in, or pulls it.
    pub fn set_link(&self, cable: Option<Speed>) {
        self.state().set_cable(cable);
    }

    /// Whether the card pulls its interrupt line.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        self.state().interrupts()
    }

    /// Breaks the card; what was broken before is whole again.
    pub fn inject(&self, fault: Fault) {
        let mut state = self.state();
        state.heal();
        state.fault = Some(fault);
    }

    /// Makes the card whole again.
    pub fn heal(&self) {
        self.state().heal();
    }

    /// Checks that every descriptor of the card's is as it was handed over. [`Card::step_receive`] and
    /// [`Card::step_transmit`] check the one they work on.
    pub fn audit(&self) {
        let state = self.state();
        state.receive_ring.audit(state.memory.as_ref());
        state.transmit_ring.audit(state.memory.as_ref());
    }

    /// Takes the count of register accesses since the last call.
    #[must_use]
    pub fn take_accesses(&self) -> Accesses {
        Accesses {
            reads: self.0.reads.swap(0, Ordering::Relaxed),
            writes: self.0.writes.swap(0, Ordering::Relaxed),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no test goes on after it has failed")
    }
}

impl Mmio for Card {
    fn read(&self, offset: u32) -> u32 {
        assert!(offset.is_multiple_of(4), "a register at {offset:#x}");
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        self.state().read(offset)
    }

    fn write(&self, offset: u32, value: u32) {
        assert!(offset.is_multiple_of(4), "a register at {offset:#x}");
        self.0.writes.fetch_add(1, Ordering::Relaxed);
        self.state().write(offset, value);
    }
}
