//! The scan of bus 0 and what lies behind bridges (PCI Local Bus Specification 3.0, §6.1 and §6.2.5).

use corey_kernel_hal::Range;
use pci_types::{
    Bar, CommandRegister, ConfigRegionAccess, EndpointHeader, HeaderType, PciAddress, PciHeader,
};

/// A memory window of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Number of its base address register.
    pub bar: u8,
    /// Physical addresses.
    pub range: Range,
    /// Whether the kernel maps it all.
    pub mapped: bool,
}

/// A function that was found.
#[derive(Clone, Debug)]
pub struct Function {
    /// Where it is.
    pub address: PciAddress,
    /// Vendor and device.
    pub id: (u16, u16),
    /// Whether it is an Ethernet controller (class 2, subclass 0).
    pub network: bool,
    /// Its memory windows.
    pub windows: heapless::Vec<Window, 6>,
}

/// Calls `each` with every function of every bus. `maps` says whether the kernel maps a physical range.
pub fn scan<A: ConfigRegionAccess>(
    access: &A,
    maps: &dyn Fn(Range) -> bool,
    each: &mut dyn FnMut(&Function),
) {
    for bus in 0..=255 {
        for device in 0..32 {
            let first = PciHeader::new(PciAddress::new(0, bus, device, 0));
            if first.id(access).0 == 0xffff {
                continue;
            }
            let functions = if first.has_multiple_functions(access) { 8 } else { 1 };
            for function in 0..functions {
                let address = PciAddress::new(0, bus, device, function);
                if let Some(found) = probe(access, address, maps) {
                    each(&found);
                }
            }
        }
    }
}

/// Lets a function read and write memory by itself and answer in memory space, or takes the first away.
pub fn set_bus_master<A: ConfigRegionAccess>(access: &A, address: PciAddress, on: bool) {
    let Some(mut endpoint) = EndpointHeader::from_header(PciHeader::new(address), access) else { return };
    endpoint.update_command(access, |command| {
        let command = command | CommandRegister::MEMORY_ENABLE | CommandRegister::INTERRUPT_DISABLE;
        if on {
            command | CommandRegister::BUS_MASTER_ENABLE
        } else {
            command - CommandRegister::BUS_MASTER_ENABLE
        }
    });
}

/// Lets a device pull its interrupt line.
pub fn allow_interrupts<A: ConfigRegionAccess>(access: &A, address: PciAddress) {
    let Some(mut endpoint) = EndpointHeader::from_header(PciHeader::new(address), access) else { return };
    endpoint.update_command(access, |command| command - CommandRegister::INTERRUPT_DISABLE);
}

fn probe<A: ConfigRegionAccess>(
    access: &A,
    address: PciAddress,
    maps: &dyn Fn(Range) -> bool,
) -> Option<Function> {
    let header = PciHeader::new(address);
    let id = header.id(access);
    if id.0 == 0xffff {
        return None;
    }
    let (_, class, subclass, _) = header.revision_and_class(access);
    let network = (class, subclass) == (2, 0);
    let mut found = Function { address, id, network, windows: heapless::Vec::new() };
    if header.header_type(access) == HeaderType::Endpoint
        && let Some(mut endpoint) = EndpointHeader::from_header(header, access)
    {
        let before = endpoint.command(access);
        endpoint
            .update_command(access, |c| c - (CommandRegister::MEMORY_ENABLE | CommandRegister::IO_ENABLE));
        let mut slot = 0;
        while slot < 6 {
            let bar = endpoint.bar(slot, access);
            let window = match bar {
                Some(Bar::Memory32 { address, size, .. }) => Some((u64::from(address), u64::from(size))),
                Some(Bar::Memory64 { address, size, .. }) => Some((address, size)),
                Some(Bar::Io { .. }) | None => None,
            };
            if let Some((start, size)) = window {
                let end = start.saturating_add(size);
                let range = Range { start, end };
                // Six registers, six windows at most.
                let _ = found.windows.push(Window { bar: slot, range, mapped: maps(range) });
            }
            slot += if matches!(bar, Some(Bar::Memory64 { .. })) { 2 } else { 1 };
        }
        endpoint.update_command(access, |_| before);
    }
    Some(found)
}
