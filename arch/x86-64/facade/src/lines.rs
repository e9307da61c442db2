//! The machine's interrupt lines: inputs of I/O APICs that cards were found to pull.

use core::sync::atomic::{AtomicPtr, Ordering};
use corey_arch_x86_64_apic::CARD;
use corey_arch_x86_64_boot::BootMemory;
use corey_arch_x86_64_boot::acpi::{Controller, Override};
use corey_drivers_e1000::E1000;
use corey_drivers_ioapic::{Candidate, IoApic, MOST_CANDIDATES, Polarity, Prober, Route, find};
use corey_kernel_hal::{BootAlloc, CoreId, Dma, Mmio};

use crate::cards::Window;
use crate::platform::{apic_id, end_card_interrupt};

/// Most lines: as many as there are cards.
const MOST: usize = 16;
/// Most controllers.
const CONTROLLERS: usize = 8;
/// Bytes of a controller's window that hold registers.
const WINDOW: u64 = 0x20;
/// Inputs below are those of the ISA bus, but for overrides: edges.
const ISA: u32 = 16;

/// Controllers, and lines by number.
pub(crate) struct Lines {
    controllers: heapless::Vec<IoApic<Window>, CONTROLLERS>,
    candidates: heapless::Vec<Candidate, MOST_CANDIDATES>,
    lines: heapless::Vec<Candidate, MOST>,
}

/// Written at boot; null before.
static LINES: AtomicPtr<Lines> = AtomicPtr::new(core::ptr::null_mut());

impl Lines {
    /// All inputs of the machine that a card may be on, masked.
    pub(crate) fn new(controllers: &[Controller], overrides: &[Override], maps_below: u64) -> Self {
        let mut all = Self {
            controllers: heapless::Vec::new(),
            candidates: heapless::Vec::new(),
            lines: heapless::Vec::new(),
        };
        let mut isa = heapless::Vec::<Candidate, MOST_CANDIDATES>::new();
        for Controller { address, first } in controllers {
            let physical = u64::from(*address);
            if physical + WINDOW > maps_below || !physical.is_multiple_of(4) {
                continue;
            }
            let Some(found) = IoApic::new(Window { physical, bytes: WINDOW }) else {
                log::warn!("the I/O APIC at {physical:#x} does not answer: left out");
                continue;
            };
            let controller = all.controllers.len();
            for input in 0..found.inputs() {
                let number = first.saturating_add(input.into());
                let said = overrides.iter().find(|of| of.input == number);
                // PCI lines are pulled low, and an override says otherwise where they end on ISA's inputs.
                let low = said.map_or(number >= ISA, |of| of.low);
                let polarity = if low { Polarity::Low } else { Polarity::High };
                let candidate = Candidate { controller, input, polarity };
                // Where a line is on two, the one of PCI's own is shared by fewer. Others than fit are not used.
                if number >= ISA {
                    let _ = all.candidates.push(candidate);
                } else if said.is_some_and(|of| of.level) {
                    let _ = isa.push(candidate);
                }
            }
            // Fewer than there is room for.
            let _ = all.controllers.push(found);
        }
        for candidate in isa {
            let _ = all.candidates.push(candidate);
        }
        all
    }

    /// The number of the line that a stopped card pulls, found by having it do so.
    pub(crate) fn find<M: Mmio, D: Dma>(
        &mut self,
        card: &mut E1000<M, D>,
        wait: &mut dyn FnMut(u32),
    ) -> Option<u8> {
        let to = (CARD, apic_id(CoreId(0)));
        let found = find(&self.controllers, &self.candidates, to, &mut Probe { card, wait })?;
        let known = self.lines.iter().position(|line| *line == found);
        let number = known.or_else(|| self.lines.push(found).is_ok().then(|| self.lines.len() - 1))?;
        log::debug!("line {number}: input {} of I/O APIC {}", found.input, found.controller);
        Some(number as u8)
    }

    /// From now on [`open`] and [`close`] reach it.
    pub(crate) fn publish(self, memory: &mut BootMemory) {
        let mut lines = Some(self);
        for place in memory.slice(1, |_| lines.take()).iter_mut().flatten() {
            LINES.store(core::ptr::from_mut(place), Ordering::Release);
        }
    }
}

/// A card that pulls its line, and this core.
struct Probe<'a, M, D> {
    card: &'a mut E1000<M, D>,
    wait: &'a mut dyn FnMut(u32),
}

impl<M: Mmio, D: Dma> Prober for Probe<'_, M, D> {
    fn pull(&mut self) {
        self.card.pull_line();
    }

    fn let_go(&mut self) {
        self.card.let_go();
    }

    fn wait(&mut self, microseconds: u32) {
        (self.wait)(microseconds);
    }

    fn end(&mut self) {
        end_card_interrupt();
    }
}

/// The controller and the input of a line.
fn line(number: u8) -> Option<(&'static IoApic<Window>, Candidate)> {
    // SAFETY: null, or boot memory that stays and is not written again.
    let lines = unsafe { LINES.load(Ordering::Acquire).as_ref() }?;
    let found = lines.lines.get(usize::from(number))?;
    Some((lines.controllers.get(found.controller)?, *found))
}

/// From now on the line interrupts `core` while it is pulled. The caller has exclusive use of all lines.
pub(crate) fn open(number: u8, core: CoreId) {
    if let Some((controller, Candidate { input, polarity, .. })) = line(number) {
        controller.open(input, Route { vector: CARD, target: apic_id(core), polarity });
    }
}

/// From now on it interrupts nobody. The caller has exclusive use of all lines.
pub(crate) fn close(number: u8) {
    if let Some((controller, found)) = line(number) {
        controller.close(found.input);
    }
}
