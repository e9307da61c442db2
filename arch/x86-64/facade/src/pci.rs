//! Configuration space by ports 0xcf8 and 0xcfc (PCI Local Bus Specification 3.0, §3.2.2.3.2), and the scan.

use corey_arch_x86_64_asm::{in32, out32};
use corey_drivers_pci::{
    ConfigRegionAccess, Function, PciAddress, allow_interrupts as allow, scan, set_bus_master as set,
};

/// The two ports. The boot processor only.
struct Configuration;

fn select(address: PciAddress, offset: u16) {
    let word = 1 << 31
        | u32::from(address.bus()) << 16
        | u32::from(address.device()) << 11
        | u32::from(address.function()) << 8
        | u32::from(offset & 0xfc);
    out32(0xcf8, word);
}

impl ConfigRegionAccess for Configuration {
    unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
        select(address, offset);
        in32(0xcfc)
    }

    unsafe fn write(&self, address: PciAddress, offset: u16, value: u32) {
        select(address, offset);
        out32(0xcfc, value);
    }
}

/// Looks at every function; says which windows the kernel does not map. `each` sees the network cards.
pub(crate) fn report(maps_below: u64, each: &mut dyn FnMut(&Function)) {
    let mut count = 0;
    scan(&Configuration, &|range| range.end <= maps_below, &mut |function| {
        count += 1;
        for window in &function.windows {
            let range = window.range;
            if !window.mapped && range.start != 0 {
                log::warn!(
                    "PCI {} ({:04x}:{:04x}): window {} at {:#x} is outside what the kernel maps: refused",
                    function.address,
                    function.id.0,
                    function.id.1,
                    window.bar,
                    range.start
                );
            }
        }
        if function.network {
            each(function);
        }
    });
    log::info!("{count} PCI functions");
}

/// Lets a device read and write memory by itself, or not.
pub(crate) fn set_bus_master(address: PciAddress, on: bool) {
    set(&Configuration, address, on);
}

/// Lets a device pull its interrupt line.
pub(crate) fn allow_interrupts(address: PciAddress) {
    allow(&Configuration, address);
}
