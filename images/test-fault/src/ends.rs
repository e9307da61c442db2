//! How a program ends that was not stopped: without a stack, whatever its registers are.

use core::arch::naked_asm;
use corey_abi::number;

/// The value it halts with.
pub(crate) const VALUE: u32 = 0x77;

/// Halts this pcore.
#[unsafe(naked)]
pub(crate) extern "C" fn live() -> ! {
    naked_asm!(
        "mov eax, {current}",
        "syscall",
        "mov rdi, rax",
        "mov rsi, rdx",
        "mov edx, {value}",
        "mov eax, {halt}",
        "syscall",
        "ud2",
        current = const number::pcore_current,
        halt = const number::pcore_halt,
        value = const VALUE,
    )
}
