//! Panics of programs: a line on the console, and this core's pcore halts.

use crate::process;
use core::panic::PanicInfo;

/// What a pcore halts with after a panic.
pub const PANIC_VALUE: u32 = 101;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(at) => crate::println!("program panic at {}:{}: {}", at.file(), at.line(), info.message()),
        None => crate::println!("program panic: {}", info.message()),
    }
    process::halt(PANIC_VALUE)
}
