//! Network cards: their registers, their rings, and the drivers that have them.

use core::sync::atomic::{AtomicU64, Ordering};
use corey_arch_x86_64_boot::BootMemory;
use corey_arch_x86_64_paging::direct;
use corey_drivers_e1000::{E1000, Model, Named, supported};
use corey_drivers_pci::Function;
use corey_kernel_hal::{BootAlloc, Dma, Mmio, NetworkCard};

use crate::lines::Lines;
use crate::pci;

/// Most cards that are used.
const MOST: usize = 16;
/// Words of a ring of 256 descriptors: a page.
const RING: usize = 512;

/// A window of registers in the direct map, which has it uncached.
pub(crate) struct Window {
    pub(crate) physical: u64,
    pub(crate) bytes: u64,
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

/// The machine's network cards that there is a driver for, stopped; the others are named. `wait` returns after so many
/// microseconds.
pub(crate) fn find(
    maps_below: u64,
    lines: &mut Lines,
    wait: &mut dyn FnMut(u32),
    memory: &mut BootMemory,
) -> &'static mut [&'static mut dyn NetworkCard] {
    let mut good: heapless::Vec<&'static mut dyn NetworkCard, MOST> = heapless::Vec::new();
    pci::report(maps_below, &mut |function| {
        // Whatever firmware had it do, with memory that is not firmware's any more.
        pci::set_bus_master(function.address, false);
        let (vendor, device) = function.id;
        let name = format_args!("network card {} ({vendor:04x}:{device:04x})", function.address);
        let taken = if good.is_full() { Err("too many") } else { take(function, lines, wait, memory) };
        match taken {
            Ok((model, card)) => {
                log::info!("{name}: {model}");
                if card.line().is_none() {
                    log::warn!("{name}: no line of its interrupts is found: who sleeps looks by timer");
                }
                // There is room.
                let _ = good.push(card);
            }
            Err(why) => log::warn!("{name}: {why}: left out"),
        }
    });
    let count = good.len();
    let mut good = good.into_iter();
    memory.slice(count, |_| good.next().expect("as many as there are"))
}

/// Takes a card, stopped; or why not.
fn take(
    function: &Function,
    lines: &mut Lines,
    wait: &mut dyn FnMut(u32),
    memory: &mut BootMemory,
) -> Result<(Model, &'static mut dyn NetworkCard), &'static str> {
    let model = supported(function.id.0, function.id.1).ok_or("no driver for it")?;
    let window = function.windows.iter().find(|window| window.bar == 0 && window.mapped);
    let range = window.ok_or("its registers are not mapped")?.range;
    let registers = Window { physical: range.start, bytes: range.end - range.start };
    let rings = [Ring::new(memory), Ring::new(memory)];
    let card = make(function.id, registers, rings, memory);
    if !card.stop(wait) {
        return Err("it does not answer");
    }
    // From here on it begins nothing by itself.
    pci::set_bus_master(function.address, true);
    pci::allow_interrupts(function.address);
    if let Some(line) = lines.find(card.driver(), wait) {
        card.set_line(line);
    }
    Ok((model, card))
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
