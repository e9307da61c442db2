//! Reads and writes of memory that may not be there: a fault that nobody resolves is stepped over.

use core::arch::{asm, naked_asm};
use corey_abi::TICK_VECTOR;
use corey_libos_upcall::{Context, upcall_entry};

/// Accesses that faulted come back from here with this.
const FAULTED: u64 = u64::MAX;
/// Where rdx lies in [`Context::general`].
const RDX: usize = 11;

/// The word at `at`, and 0; when that faults, [`FAULTED`] for the latter.
#[unsafe(naked)]
extern "C" fn load(_at: u64, _: u64, _faulted: u64) -> Words {
    naked_asm!("mov rax, [rdi]", "ret")
}

/// As [`load`], writes `_word`.
#[unsafe(naked)]
extern "C" fn store(_at: u64, _word: u64, _faulted: u64) -> Words {
    naked_asm!("mov [rdi], rsi", "ret")
}

/// What [`load`] and [`store`] give, in rax and rdx.
#[repr(C)]
struct Words {
    word: u64,
    faulted: u64,
}

/// Bytes of the instruction that each of them begins with.
const LENGTH: u64 = 3;

/// The word at `at`; `None` when the read faults, on a core whose upcalls come to [`handler`].
#[must_use]
pub fn read(at: u64) -> Option<u64> {
    let Words { word, faulted } = load(at, 0, 0);
    (faulted != FAULTED).then_some(word)
}

/// Writes `word` at `at`; false when that faults.
pub fn write(at: u64, word: u64) -> bool {
    store(at, word, 0).faulted != FAULTED
}

upcall_entry!(on_upcall, step_over);

/// Goes on behind an access that faulted, or after a tick; any other fault ends the run.
extern "C" fn step_over(context: &mut Context) -> *const Context {
    let ([vector, ..], [rip, ..]) = (context.event, &mut context.frame);
    if vector == TICK_VECTOR {
        return context;
    }
    if [load as *const () as u64, store as *const () as u64].contains(rip) {
        *rip += LENGTH;
        context.general[RDX] = FAULTED;
    } else {
        // Masked, it ends the run: also where nothing names its pcore, so that it could not halt itself.
        // SAFETY: it faults.
        unsafe { asm!("ud2", options(noreturn)) };
    }
    context
}

/// The entry for upcalls.
#[must_use]
pub fn handler() -> u64 {
    on_upcall as *const () as u64
}
