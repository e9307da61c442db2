//! ACPI tables: processors, memory nodes, and the second clock. No AML.

use crate::entries::{Entries, number};
use crate::numa::{Affinity, Distances};
use acpi::fadt::Fadt;
use acpi::sdt::{SdtHeader, Signature};
use acpi::{AcpiHandler, AcpiTable, AcpiTables, PhysicalMapping};
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
    /// The nodes of processors and memory (SRAT).
    pub affinity: Option<Affinity>,
    /// The distances between nodes (SLIT).
    pub distances: Option<Distances<'static>>,
}

impl Machine {
    /// Takes the processors of a MADT (ACPI 6.5 §5.2.12). Those before a bad entry stay.
    fn add_processors(&mut self, table: &[u8]) -> Result<(), &'static str> {
        const ENTRIES: usize = 44;
        const SHORT: &str = "an entry is shorter than its type wants: the rest of it is ignored";
        for entry in Entries::new(table, ENTRIES) {
            let (kind, entry) =
                entry.map_err(|_| "an entry has an impossible length: the rest of it is ignored")?;
            let field = |at, length| number(entry, at, length).ok_or(SHORT);
            // A local APIC, a local x2APIC.
            let (id, flags) = match kind {
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
        told("MADT", machine.add_processors(table));
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
        let good = machine.add_processors(&table).is_ok();
        (machine.processors.to_vec(), machine.left_out, good)
    }

    const ONE: &[u8] = &[0, 8, 0, 1, 1, 0, 0, 0];
    const OFF: &[u8] = &[0, 8, 0, 2, 2, 0, 0, 0];
    const X2: &[u8] = &[9, 16, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    const FAR: &[u8] = &[9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    const OTHER: &[u8] = &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

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
        assert!(Machine::default().add_processors(&[]).is_ok());
    }
}
