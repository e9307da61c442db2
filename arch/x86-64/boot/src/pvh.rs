//! The PVH start-info structure (Xen public headers, `hvm/start_info.h`).

use crate::facts::Facts;
use corey_arch_x86_64_paging::direct;

const MAGIC: u32 = 0x336e_c578;
/// Bytes of the structure, version 1.
const BYTES: u64 = 56;
const MODULE_BYTES: u64 = 32;
const AREA_BYTES: u64 = 24;
const RAM: u32 = 1;
/// What the boot tables map.
const LIMIT: u64 = 1 << 32;

/// Reads a value at a physical address; zero beyond what is mapped.
///
/// # Safety
///
/// The boot tables are live, and the memory is not written meanwhile.
unsafe fn get<T: Copy + Default>(address: u64) -> T {
    if address.saturating_add(size_of::<T>() as u64) > LIMIT {
        return T::default();
    }
    // SAFETY: mapped; any bytes are a `T` (the callers read integers).
    unsafe { direct(address).cast::<T>().read_unaligned() }
}

/// Reads what the hypervisor left at physical `address`.
///
/// # Safety
///
/// `address` is what was passed in ebx; the boot tables are live.
pub(crate) unsafe fn read(facts: &mut Facts, address: u64) {
    // SAFETY: here and below, the caller's promise.
    let word = |at: u64| unsafe { get::<u32>(address + at) };
    // SAFETY: as above.
    let long = |at: u64| unsafe { get::<u64>(address + at) };
    if word(0) != MAGIC {
        facts.complaint = Some("the start information has no magic number");
        return;
    }
    facts.add_used(address, address + BYTES);
    let (modules, areas) = (u64::from(word(12)), u64::from(word(48)));
    let (module_list, command_line, map) = (long(16), long(24), long(40));
    facts.rsdp = Some(long(32)).filter(|rsdp| *rsdp != 0);
    if word(4) == 0 {
        facts.complaint = Some("the start information is of version 0, without a memory map");
    }
    if modules > 0 {
        facts.add_used(module_list, module_list.saturating_add(MODULE_BYTES));
        // SAFETY: as above.
        let start = unsafe { get::<u64>(module_list) };
        // SAFETY: as above.
        let bytes = unsafe { get::<u64>(module_list.saturating_add(8)) };
        facts.add_module(start, start.saturating_add(bytes));
    }
    for area in 0..areas.min(256) {
        let at = map.saturating_add(area * AREA_BYTES);
        // SAFETY: as above.
        let kind = unsafe { get::<u32>(at.saturating_add(16)) };
        if kind == RAM {
            // SAFETY: as above.
            let start = unsafe { get::<u64>(at) };
            // SAFETY: as above.
            let bytes = unsafe { get::<u64>(at.saturating_add(8)) };
            facts.add_ram(start, bytes);
        }
    }
    if command_line != 0 {
        let mut text = heapless::Vec::<u8, 1025>::new();
        // SAFETY: as above.
        while let byte @ 1.. = unsafe { get::<u8>(command_line.saturating_add(text.len() as u64)) } {
            if text.push(byte).is_err() {
                break;
            }
        }
        facts.add_used(command_line, command_line.saturating_add(text.len() as u64 + 1));
        match core::str::from_utf8(&text) {
            Ok(text) => facts.set_command_line(text),
            Err(_) => facts.complaint = Some("the command line is not UTF-8 and is ignored"),
        }
    }
}
