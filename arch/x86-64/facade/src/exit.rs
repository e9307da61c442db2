//! How the machine ends (DESIGN of records and exits: `docs/`).

use crate::console::{self, println};
use crate::lines;
use core::sync::atomic::{AtomicU16, Ordering};
use corey_arch_x86_64_asm::{out8, out16, out32, stop};
use corey_kernel_hal::{CoreId, Exit, Machine};

/// QEMU's q35 power-management control port.
const Q35_CONTROL: u16 = 0x604;
/// Sleep enable, with sleep type 0: soft-off on QEMU.
const SLEEP: u16 = 1 << 13;
/// `isa-debug-exit`.
const DEBUG_EXIT: u16 = 0xf4;

static CONTROL: AtomicU16 = AtomicU16::new(0);

/// Remembers the control register that the ACPI tables name.
pub(crate) fn set_control(port: u16) {
    CONTROL.store(port, Ordering::Relaxed);
}

/// This machine.
#[derive(Debug)]
pub(crate) struct X86Machine;

impl Machine for X86Machine {
    fn console_write(&self, bytes: &[u8]) {
        console::write(bytes);
    }

    fn exit(&self, how: Exit) -> ! {
        match how {
            Exit::PowerOff => {
                out16(Q35_CONTROL, SLEEP);
                let control = CONTROL.load(Ordering::Relaxed);
                if control != 0 {
                    out16(control, SLEEP);
                }
                println!("EXIT 0");
            }
            Exit::Reboot => {
                out8(0xcf9, 6);
                // The keyboard controller's reset line, where there is no reset register.
                out8(0x64, 0xfe);
                println!("EXIT 0: this machine does not reset by itself");
            }
            Exit::Status(status) => {
                out32(DEBUG_EXIT, u32::from(status));
                println!("EXIT {status}");
            }
        }
        crate::panic::stop_others();
        stop()
    }

    fn open_line(&self, line: u8, core: CoreId) {
        lines::open(line, core);
    }

    fn close_line(&self, line: u8) {
        lines::close(line);
    }
}
