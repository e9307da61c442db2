//! Reads and writes of memory that may not be there: a fault that nobody resolves is stepped over.

use core::arch::{asm, naked_asm};
use corey_abi::TICK_VECTOR;
use corey_libos_upcall::{Context, upcall_entry};

/// Reads a word at `at`, and writes it back if `write`; returns 1 when that faulted.
#[unsafe(naked)]
pub(crate) extern "C" fn touch(_at: u64, _write: u64) -> u64 {
    naked_asm!(
        "xor eax, eax",
        ".globl corey_fuzz_read",
        "corey_fuzz_read:",
        "mov rcx, [rdi]",
        "test esi, esi",
        "jz 2f",
        ".globl corey_fuzz_write",
        "corey_fuzz_write:",
        "mov [rdi], rcx",
        "2: ret",
        ".globl corey_fuzz_faulted",
        "corey_fuzz_faulted:",
        "mov eax, 1",
        "ret",
    )
}

unsafe extern "C" {
    static corey_fuzz_read: u8;
    static corey_fuzz_write: u8;
    static corey_fuzz_faulted: u8;
}

upcall_entry!(on_upcall, step_over);

/// Goes on behind an access that faulted, or after a tick; any other fault ends the run.
extern "C" fn step_over(context: &mut Context) -> *const Context {
    // SAFETY: only the symbols' addresses are taken.
    let [read, write, faulted] =
        [&raw const corey_fuzz_read, &raw const corey_fuzz_write, &raw const corey_fuzz_faulted];
    if [read as u64, write as u64].contains(&context.frame[0]) {
        context.frame[0] = faulted as u64;
    } else if context.event[0] != TICK_VECTOR {
        // Masked, it ends the run: also where nothing names its pcore, so that it could not halt itself.
        // SAFETY: it faults.
        unsafe { asm!("ud2", options(noreturn)) };
    }
    context
}

/// The entry for upcalls.
pub(crate) fn entry() -> u64 {
    on_upcall as *const () as u64
}
