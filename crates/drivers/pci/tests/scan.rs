//! The scan against a fake configuration space.
#![allow(unsafe_code, reason = "implements an unsafe trait of pci_types")]

use corey_drivers_pci::{ConfigRegionAccess, PciAddress, Window, scan};
use corey_kernel_hal::Range;
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
