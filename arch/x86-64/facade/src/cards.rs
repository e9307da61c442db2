//! Network cards: their registers, their rings, and the drivers that have them.

use core::sync::atomic::{AtomicU64, Ordering};
use corey_arch_x86_64_asm::rdtsc;
use corey_arch_x86_64_boot::BootMemory;
use corey_arch_x86_64_paging::direct;
use corey_drivers_e1000::{E1000, Named, supported};
use corey_drivers_pci::Function;
use corey_kernel_hal::{BootAlloc, Dma, Mmio, NetworkCard};

use crate::pci;

/// Most cards that are used.
const MOST: usize = 16;
/// Words of a ring of 256 descriptors: a page.
const RING: usize = 512;

/// A window of registers in the direct map, which has it uncached.
struct Window {
    physical: u64,
    bytes: u64,
}

impl Window {
    fn register(&self, offset: u32) -> Option<*mut u32> {
        let inside = offset.is_multiple_of(4) && u64::from(offset) + 4 <= self.bytes;
        inside.then(|| direct(self.physical + u64::from(offset)).cast())
    }
}

impl Mmio for Window {
    #[inline]
    fn read(&self, offset: u32) -> u32 {
        // SAFETY: a register of the device whose window this is: the driver's, nobody else's; mapped for good.
        self.register(offset).map_or(u32::MAX, |at| unsafe { at.read_volatile() })
    }

    #[inline]
    fn write(&self, offset: u32, value: u32) {
        if let Some(at) = self.register(offset) {
            // SAFETY: as above. Stores before it reach memory first: x86 keeps the order of stores.
            unsafe { at.write_volatile(value) };
        }
    }
}

/// A ring in RAM that no one else has.
struct Ring {
    words: &'static [AtomicU64],
    physical: u64,
}

impl Ring {
    fn new(memory: &mut BootMemory) -> Self {
        let words: &'static [AtomicU64] = memory.slice(RING, |_| AtomicU64::new(0));
        Self { words, physical: words.as_ptr() as u64 - direct(0) as u64 }
    }
}

impl Dma for Ring {
    fn address(&self) -> u64 {
        self.physical
    }

    fn words(&self) -> usize {
        self.words.len()
    }

    #[inline]
    fn load(&self, index: usize) -> u64 {
        self.words.get(index).map_or(0, |word| word.load(Ordering::Acquire))
    }

    #[inline]
    fn store(&self, index: usize, value: u64) {
        if let Some(word) = self.words.get(index) {
            word.store(value, Ordering::Release);
        }
    }
}

/// Of the cards `functions` those that there is a driver for, stopped; the others are named. `ticks` of the time-stamp counter
/// are a microsecond.
pub(crate) fn find(
    functions: &[Function],
    ticks: u64,
    memory: &mut BootMemory,
) -> &'static mut [&'static mut dyn NetworkCard] {
    let mut good: heapless::Vec<&'static mut dyn NetworkCard, MOST> = heapless::Vec::new();
    for function in functions {
        let (vendor, device) = function.id;
        // Whatever firmware had it do, with memory that is not firmware's any more.
        pci::set_bus_master(function.address, false);
        let name = format_args!("network card {} ({vendor:04x}:{device:04x})", function.address);
        let Some(model) = supported(vendor, device) else {
            log::warn!("{name}: no driver for it: left out");
            continue;
        };
        let Some(window) = function.windows.iter().find(|window| window.bar == 0 && window.mapped) else {
            log::warn!("{name}: its registers are not mapped: left out");
            continue;
        };
        if good.is_full() {
            log::warn!("{name}: more than {MOST} cards: left out");
            continue;
        }
        let registers = Window { physical: window.range.start, bytes: window.range.end - window.range.start };
        let rings = [Ring::new(memory), Ring::new(memory)];
        let card = make(function.id, registers, rings, memory);
        let mut wait = |microseconds: u32| {
            let until = rdtsc() + u64::from(microseconds) * ticks;
            while rdtsc() < until {
                core::hint::spin_loop();
            }
        };
        if !card.stop(&mut wait) {
            log::warn!("{name}: does not answer: left out");
            continue;
        }
        // From here on it is stopped, and begins nothing by itself.
        pci::set_bus_master(function.address, true);
        log::info!("{name}: {model}");
        // There is room.
        let _ = good.push(card);
    }
    let count = good.len();
    let mut good = good.into_iter();
    memory.slice(count, |_| good.next().expect("as many as there are"))
}

/// A driver where it stays: it is large for a stack.
#[inline(never)]
fn make(
    id: (u16, u16),
    registers: Window,
    [receive, transmit]: [Ring; 2],
    memory: &mut BootMemory,
) -> &'static mut Named<Window, Ring> {
    let mut parts = Some((registers, receive, transmit));
    let made = memory.slice(1, |_| {
        let (registers, receive, transmit) = parts.take().expect("one is made");
        Named::new(id, E1000::new(registers, receive, transmit))
    });
    &mut made[0]
}
