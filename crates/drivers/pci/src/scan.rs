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
    let mut found = Function { address, id, windows: heapless::Vec::new() };
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// One device at 0:3.0 with a 64 KiB window.
    struct Fake(RefCell<[u32; 64]>);

    impl ConfigRegionAccess for Fake {
        unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
            let here = address.bus() == 0 && address.device() == 3 && address.function() == 0;
            if here { self.0.borrow()[usize::from(offset / 4)] } else { 0xffff_ffff }
        }
        unsafe fn write(&self, _: PciAddress, offset: u16, value: u32) {
            let decoding = self.0.borrow()[1] & 2 != 0;
            let value = match offset {
                0x10 => {
                    assert!(!decoding, "sized with decoding on");
                    value & 0xffff_0000
                }
                0x14..=0x27 => 0,
                _ => value,
            };
            self.0.borrow_mut()[usize::from(offset / 4)] = value;
        }
    }

    #[test]
    fn a_window_is_sized_and_left_as_it_was() {
        let mut space = [0; 64];
        space[0] = 0x100e_8086;
        space[1] = 6;
        space[4] = 0xfeb0_0000;
        let fake = Fake(RefCell::new(space));
        for (limit, mapped) in [(1 << 32, true), (0x1000, false)] {
            let mut found = Vec::new();
            scan(&fake, &|r| r.end <= limit, &mut |f| found.push(f.clone()));
            let [function] = &found[..] else { panic!("one device, got {found:?}") };
            assert_eq!(function.id, (0x8086, 0x100e));
            let range = Range { start: 0xfeb0_0000, end: 0xfeb1_0000 };
            assert_eq!(function.windows[..], [Window { bar: 0, range, mapped }]);
            assert_eq!(fake.0.borrow()[4], 0xfeb0_0000);
            assert_eq!(fake.0.borrow()[1] & 6, 6);
        }
    }
}
