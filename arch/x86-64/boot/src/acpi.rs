//! ACPI tables: processors, I/O APICs, memory nodes, and the second clock. No AML.

use crate::entries::{Entries, number};
use crate::numa::{Affinity, Distances};
use acpi::fadt::Fadt;
use acpi::sdt::{SdtHeader, Signature};
use acpi::{AcpiHandler, AcpiTable, AcpiTables, PhysicalMapping};
use core::ptr::NonNull;
use corey_arch_x86_64_paging::direct;
use corey_kernel_hal::MAX_CORES;

/// Most I/O APICs that are used.
const CONTROLLERS: usize = 8;
/// Most overrides: one for each ISA interrupt.
const OVERRIDES: usize = 16;

/// An I/O APIC (ACPI 6.5 §5.2.12.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Physical address of its registers.
    pub address: u32,
    /// The machine's number of its first input.
    pub first: u32,
}

/// An input that is not as its bus has it (ACPI 6.5 §5.2.12.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// The machine's number of the input.
    pub input: u32,
    /// Whether it is level-triggered.
    pub level: bool,
    /// Whether its line is pulled low.
    pub low: bool,
}

/// What the tables say.
#[derive(Debug, Default)]
pub struct Machine {
    /// APIC IDs of usable processors, in the order of the table.
    pub processors: heapless::Vec<u8, MAX_CORES>,
    /// Processors left out: an APIC ID above 254 needs x2APIC mode.
    pub left_out: usize,
    /// I/O APICs.
    pub controllers: heapless::Vec<Controller, CONTROLLERS>,
    /// What is said of inputs that are not as their bus has them.
    pub overrides: heapless::Vec<Override, OVERRIDES>,
    /// Port of the power-management timer.
    pub timer: Option<u16>,
    /// Port of the PM1a control register.
    pub control: Option<u16>,
    /// The nodes of processors and memory (SRAT).
    pub affinity: Option<Affinity>,
    /// The distances between nodes (SLIT).
    pub distances: Option<Distances<'static>>,
}

impl Machine {
    /// Takes the processors and I/O APICs of a MADT (ACPI 6.5 §5.2.12). Those before a bad entry stay.
    fn add_all(&mut self, table: &[u8]) -> Result<(), &'static str> {
        const ENTRIES: usize = 44;
        const SHORT: &str = "an entry is shorter than its type wants: the rest of it is ignored";
        for entry in Entries::new(table, ENTRIES) {
            let (kind, entry) =
                entry.map_err(|_| "an entry has an impossible length: the rest of it is ignored")?;
            let field = |at, length| number(entry, at, length).ok_or(SHORT);
            // A local APIC, a local x2APIC.
            let (id, flags) = match kind {
                1 => {
                    let controller = Controller { address: field(4, 4)? as u32, first: field(8, 4)? as u32 };
                    // More than there is room for are not used.
                    let _ = self.controllers.push(controller);
                    continue;
                }
                2 => {
                    let (input, flags) = (field(4, 4)? as u32, field(8, 2)?);
                    let (low, level) = (flags & 3 == 3, flags >> 2 & 3 == 3);
                    let _ = self.overrides.push(Override { input, level, low });
                    continue;
                }
                0 => (field(3, 1)?, field(4, 4)?),
                9 => (field(4, 4)?, field(8, 4)?),
                _ => continue,
            };
            // Enabled, or could be: only the first is a processor that is there.
            if flags & 1 == 0 {
                continue;
            }
            match u8::try_from(id).ok().filter(|id| *id < 255) {
                Some(id) if !self.processors.contains(&id) && self.processors.push(id).is_ok() => {}
                Some(_) => {}
                None => self.left_out += 1,
            }
        }
        Ok(())
    }
}

/// Tables that are read as bytes, by their place in `NAMES`.
#[repr(transparent)]
struct Bytes<const NAME: usize>(SdtHeader);
const NAMES: [Signature; 3] = [Signature::MADT, Signature::SRAT, Signature::SLIT];
const MADT: usize = 0;
const SRAT: usize = 1;
const SLIT: usize = 2;

// SAFETY: nothing but the header, which every table has.
unsafe impl<const NAME: usize> AcpiTable for Bytes<NAME> {
    const SIGNATURE: Signature = NAMES[NAME];

    fn header(&self) -> &SdtHeader {
        &self.0
    }
}

/// All bytes of a table whose checksum is right; the crate reports a wrong one.
fn bytes<const NAME: usize>(tables: &AcpiTables<Direct>) -> Option<&'static [u8]> {
    let table = tables.find_table::<Bytes<NAME>>().ok()?;
    let first = table.virtual_start().cast::<u8>().as_ptr();
    // SAFETY: the checksum was taken over so many bytes of the direct map, which stays; nobody writes firmware's
    // tables.
    Some(unsafe { core::slice::from_raw_parts(first, table.region_length()) })
}

/// What `read` made of a table; a bad one is reported by name and counts for none.
fn told<T>(name: &str, result: Result<T, &'static str>) -> Option<T> {
    result.inspect_err(|why| log::warn!("{name}: {why}")).ok()
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
    if let Some(table) = bytes::<MADT>(&tables) {
        told("MADT", machine.add_all(table));
    }
    machine.affinity = bytes::<SRAT>(&tables).and_then(|table| told("SRAT", Affinity::read(table)));
    machine.distances = bytes::<SLIT>(&tables).and_then(|table| told("SLIT", Distances::read(table)));
    if let Ok(fadt) = tables.find_table::<Fadt>() {
        let port = |address: u64| u16::try_from(address).ok().filter(|p| *p != 0);
        machine.timer = fadt.pm_timer_block().ok().flatten().and_then(|block| port(block.address));
        machine.control = fadt.pm1a_control_block().ok().and_then(|block| port(block.address));
    }
    Some(machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: &[&[u8]]) -> (Vec<u8>, usize, bool) {
        let mut table = vec![0; 44];
        table.extend(entries.concat());
        let mut machine = Machine::default();
        let good = machine.add_all(&table).is_ok();
        (machine.processors.to_vec(), machine.left_out, good)
    }

    const ONE: &[u8] = &[0, 8, 0, 1, 1, 0, 0, 0];
    const OFF: &[u8] = &[0, 8, 0, 2, 2, 0, 0, 0];
    const X2: &[u8] = &[9, 16, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    const FAR: &[u8] = &[9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    const OTHER: &[u8] = &[3, 8, 0, 0, 0, 0, 0, 0];
    const IO: &[u8] = &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0];
    const NINE: &[u8] = &[2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0];
    const TEN: &[u8] = &[2, 10, 0, 10, 10, 0, 0, 0, 0xf, 0];

    #[test]
    fn io_apics_and_overrides_are_taken() {
        let table: Vec<u8> = [&[0; 44], IO, ONE, NINE, TEN].concat();
        let mut machine = Machine::default();
        assert_eq!(machine.add_all(&table), Ok(()));
        assert_eq!(machine.controllers.as_slice(), [Controller { address: 0xfec0_0000, first: 24 }]);
        let [nine, ten] = [(9, false), (10, true)].map(|(input, low)| Override { input, level: true, low });
        assert_eq!(machine.overrides.as_slice(), [nine, ten]);
        assert_eq!(read(&[ONE, &[1, 8, 0, 0, 0, 0, 0, 0], X2]), (vec![1], 0, false), "a short one");
        assert_eq!(read(&[ONE, &[2, 8, 0, 9, 9, 0, 0, 0], X2]), (vec![1], 0, false));
    }

    #[test]
    fn processors_that_are_there_are_taken_once() {
        assert_eq!(read(&[ONE, OTHER, OFF, X2, ONE, FAR]), (vec![1, 3], 1, true));
    }

    #[test]
    fn a_bad_entry_ends_a_madt() {
        for bad in
            [&[0, 0, 0, 0][..], &[0, 1], &[0], &[0, 7, 0, 9, 1, 0, 0], &[9, 8, 0, 0, 9, 0, 0, 0], &[5, 200]]
        {
            assert_eq!(read(&[ONE, bad, X2]), (vec![1], 0, false), "{bad:?}");
        }
        assert!(Machine::default().add_all(&[]).is_ok());
    }
}
