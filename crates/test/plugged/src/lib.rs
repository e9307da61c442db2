//! A modelled network card, with its driver, in a fake machine: for tests of whole kernels.
//!
//! **Paper.** §3.5.
//!
//! **Invariants.** The card reaches RAM by the machine's, and its descriptor rings where there is no RAM.
//!
//! **Sharing.** What [`FakeMachine`] and [`Card`] share.
//!
//! **Testing.** By those tests.
#![forbid(unsafe_code)]

use corey_drivers_e1000::{E1000, Named};
use corey_kernel_hal::{Dma, Mmio, NetworkCard};
use corey_test_e1000_model::{Card, Memory, PhysicalMemory};
use corey_test_hal_host::FakeMachine;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the descriptor rings are: no RAM of the machine's.
const RINGS: u64 = 1 << 40;

/// What the card reaches: its rings, and the machine's RAM.
struct Bus {
    rings: Memory,
    machine: &'static FakeMachine,
    /// Writes to RAM.
    writes: Arc<AtomicU64>,
}

impl PhysicalMemory for Bus {
    fn read(&self, address: u64, bytes: &mut [u8]) {
        match address.checked_sub(RINGS) {
            Some(at) => self.rings.read(at, bytes),
            None => self.machine.dma_read(address, bytes),
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        match address.checked_sub(RINGS) {
            Some(at) => self.rings.write(at, bytes),
            None => {
                self.writes.fetch_add(1, Ordering::SeqCst);
                self.machine.dma_write(address, bytes);
            }
        }
    }
}

/// A ring in [`Bus::rings`].
struct Ring(corey_test_e1000_model::Ring);

impl Dma for Ring {
    fn address(&self) -> u64 {
        self.0.address() + RINGS
    }
    fn words(&self) -> usize {
        self.0.words()
    }
    fn load(&self, index: usize) -> u64 {
        self.0.load(index)
    }
    fn store(&self, index: usize, value: u64) {
        self.0.store(index, value);
    }
}

/// The interrupt line of the cards.
pub const LINE: u8 = 0;

/// Plugs an 82540EM in, on [`LINE`]: its driver for the kernel, its cable for the test, and how often it wrote RAM.
#[must_use]
pub fn plug(machine: &'static FakeMachine) -> (&'static mut dyn NetworkCard, Card, Arc<AtomicU64>) {
    let writes = Arc::new(AtomicU64::new(0));
    let rings = Memory::new(4 * 4096);
    let card = Card::new(Bus { rings: rings.clone(), machine, writes: Arc::clone(&writes) });
    let [receive, transmit] = [0x1000, 0x2000].map(|at| Ring(rings.ring(at, 512)));
    let driver = E1000::new(Clock(card.clone()), receive, transmit);
    let mut named = Named::new((0x8086, 0x100e), driver);
    named.set_line(LINE);
    let pulls = card.clone();
    machine.connect(LINE, move || pulls.interrupts());
    (Box::leak(Box::new(named)), card, writes)
}

/// Registers of a card for which time passes with every access: the kernel waits by its own clock.
struct Clock(Card);

impl Mmio for Clock {
    fn read(&self, offset: u32) -> u32 {
        self.0.elapse(1000);
        self.0.read(offset)
    }
    fn write(&self, offset: u32, value: u32) {
        self.0.elapse(1000);
        self.0.write(offset, value);
    }
}
