//! ACPI tables: processors and the second clock. No AML.

use acpi::fadt::Fadt;
use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};
use core::ptr::NonNull;
use corey_arch_x86_64_paging::direct;
use corey_kernel_hal::MAX_CORES;

/// What the tables say.
#[derive(Debug, Default)]
pub struct Machine {
    /// APIC IDs of usable processors, in the order of the table.
    pub processors: heapless::Vec<u8, MAX_CORES>,
    /// Processors left out: an APIC ID above 254 needs x2APIC mode.
    pub left_out: usize,
    /// Port of the power-management timer.
    pub timer: Option<u16>,
    /// Port of the PM1a control register.
    pub control: Option<u16>,
}

/// Physical memory through the direct map; what lies beyond it reads as zeroes.
#[derive(Clone, Copy, Debug)]
struct Direct {
    end: u64,
}

#[repr(align(4096))]
struct Zeroes([u8; 4096]);
static ZEROES: Zeroes = Zeroes([0; 4096]);

impl AcpiHandler for Direct {
    unsafe fn map_physical_region<T>(
        &self,
        physical_address: usize,
        size: usize,
    ) -> PhysicalMapping<Self, T> {
        let inside = (physical_address as u64).checked_add(size as u64).is_some_and(|end| end <= self.end);
        let at = if inside { direct(physical_address as u64) } else { ZEROES.0.as_ptr().cast_mut() };
        let at = NonNull::new(at.cast::<T>()).expect("neither map begins at 0");
        // SAFETY: `size` bytes are readable there (headers read from `ZEROES` are smaller than it, and
        // fail the crate's signature check), and stay.
        unsafe { PhysicalMapping::new(physical_address, at, size, size, *self) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}

/// Reads the tables below `rsdp`, or those a BIOS leaves below 1 MiB. `mapped_end` is the end of the direct map.
///
/// # Safety
///
/// The direct map is live up to `mapped_end`; `rsdp` is what the loader said.
#[must_use]
pub unsafe fn read(rsdp: Option<u64>, mapped_end: u64) -> Option<Machine> {
    let handler = Direct { end: mapped_end };
    let tables = match rsdp {
        // SAFETY: the caller's promise.
        Some(address) => unsafe { AcpiTables::from_rsdp(handler, address as usize) },
        // SAFETY: the caller's promise; the crate searches the BIOS area.
        None => unsafe { AcpiTables::search_for_rsdp_bios(handler) },
    };
    let tables = tables.ok()?;
    let mut machine = Machine::default();
    if let Ok(madt) = tables.find_table::<Madt>() {
        for entry in madt.get().entries() {
            let (id, flags) = match entry {
                MadtEntry::LocalApic(e) => (u32::from(e.apic_id), e.flags),
                MadtEntry::LocalX2Apic(e) => (e.x2apic_id, e.flags),
                _ => continue,
            };
            // Enabled, or could be: only the first is a processor that is there.
            if flags & 1 == 0 {
                continue;
            }
            match u8::try_from(id).ok().filter(|id| *id < 255) {
                Some(id) if !machine.processors.contains(&id) && machine.processors.push(id).is_ok() => {}
                Some(_) => {}
                None => machine.left_out += 1,
            }
        }
    }
    if let Ok(fadt) = tables.find_table::<Fadt>() {
        let port = |address: u64| u16::try_from(address).ok().filter(|p| *p != 0);
        machine.timer = fadt.pm_timer_block().ok().flatten().and_then(|block| port(block.address));
        machine.control = fadt.pm1a_control_block().ok().and_then(|block| port(block.address));
    }
    Some(machine)
}
