//! Reads and writes that say whether they faulted.

use core::arch::naked_asm;
use corey_libos_upcall::{Context, upcall_entry};

/// What [`read`] gives for a fault: no word of the test has this value.
pub(crate) const FAULTED: u64 = u64::MAX;
/// Bytes of either instruction that may fault.
const LENGTH: u64 = 3;
/// Where rax and rdi lie in [`Context::general`].
const RAX: usize = 14;

/// The word at `at`, or [`FAULTED`].
#[unsafe(naked)]
pub(crate) extern "C" fn read(_at: u64) -> u64 {
    naked_asm!("mov rax, [rdi]", "ret")
}

/// Writes `word` at `at`; [`FAULTED`] if it did not.
#[unsafe(naked)]
pub(crate) extern "C" fn write(_at: u64, _word: u64) -> u64 {
    naked_asm!("mov [rdi], rsi", "mov eax, 0", "ret")
}

upcall_entry!(fault_entry, on_fault);

/// The entry of the handler that makes [`read`] and [`write`] return.
pub(crate) fn handler() -> u64 {
    fault_entry as *const () as u64
}

/// Goes on behind the instruction, with what says so; any other fault comes again and ends the thread.
extern "C" fn on_fault(context: &mut Context) -> *const Context {
    let [vector, ..] = context.event;
    let [rip, ..] = &mut context.frame;
    if vector == 14 && *rip == read as *const () as u64 {
        *rip += LENGTH;
        context.general[RAX] = FAULTED;
    } else if vector == 14 && *rip == write as *const () as u64 {
        // Over the `mov eax, 0`, too.
        *rip += LENGTH + 5;
        context.general[RAX] = FAULTED;
    }
    context
}
