//! Signs of life: what a core's NMI handler notes, and orders to stop for good.
//!
//! ```text
//! asker    (order) ─ NMI ………………………………………… answers changed? where? stopped?
//! asked          handler on its own stack: where it was, answers + 1 ─ ordered? own tables left, stopped, `hlt`
//! ```
//!
//! The handler takes no lock and touches its core's own two lines. It finds its core by its stack, not by GS: a program
//! can set that. A core that stops stays in the handler of an NMI or a machine check, with interrupts off; further NMIs
//! are held back there, or stop it again.

use crate::platform::kernel_root;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use corey_arch_x86_64_asm::{msr, read_msr, stop, write_cr3, write_msr};
use corey_arch_x86_64_paging::Stack;
use corey_kernel_hal::{CoreId, Injected, MAX_CORES, Registers, Sign};

/// Interrupts are on.
const INTERRUPTS: u64 = 1 << 9;

/// One core's signs.
#[repr(C, align(128))]
struct Signs {
    /// Written by the core's handler.
    answers: AtomicU64,
    place: AtomicU64,
    stopped: AtomicBool,
    /// Written by the core, in waits.
    turns: AtomicU64,
    /// Written by others.
    order: Order,
}

#[repr(align(64))]
struct Order(AtomicBool);

static SIGNS: [Signs; MAX_CORES] = [const {
    Signs {
        answers: AtomicU64::new(0),
        place: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
        turns: AtomicU64::new(0),
        order: Order(AtomicBool::new(false)),
    }
}; MAX_CORES];

fn of(core: usize) -> Option<&'static Signs> {
    SIGNS.get(core)
}

/// What `core` noted.
pub(crate) fn sign(core: CoreId) -> Sign {
    of(core.index()).map_or_else(Sign::default, |signs| Sign {
        // First: who has answered has noted the rest.
        answers: signs.answers.load(Ordering::Acquire),
        place: signs.place.load(Ordering::Relaxed),
        turns: signs.turns.load(Ordering::Relaxed),
        stopped: signs.stopped.load(Ordering::Acquire),
    })
}

/// Notes a turn of a wait of `core`, which is this one.
pub(crate) fn note_turn(core: CoreId) {
    if let Some(signs) = of(core.index()) {
        signs.turns.store(signs.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

/// Orders `core` to stop at its next NMI.
pub(crate) fn order(core: CoreId) {
    if let Some(signs) = of(core.index()) {
        signs.order.0.store(true, Ordering::SeqCst);
    }
}

/// Whether `core` has stopped for good, or does before anything else that it does.
pub(crate) fn has_stopped(core: usize) -> bool {
    of(core).is_some_and(|signs| signs.order.0.load(Ordering::SeqCst) || signs.stopped.load(Ordering::SeqCst))
}

/// This core's signs: `registers` lie on its stack for NMIs, or that for machine checks.
fn own(registers: &Registers) -> Option<(CoreId, &'static Signs)> {
    let core = Stack::core_of(core::ptr::from_ref(registers) as u64)?;
    Some((CoreId(core as u16), of(core)?))
}

/// An NMI.
pub(crate) fn answer(registers: &Registers, injected: impl FnOnce(CoreId) -> Option<Injected>) {
    let Some((core, signs)) = own(registers) else { return };
    match injected(core) {
        Some(Injected::Silent) => stop(),
        Some(Injected::Stopped) => stop_for_good(signs),
        None => {}
    }
    // In user mode and asleep it has interrupts on, and goes on when one comes.
    let kernel = registers.cs & 3 == 0 && registers.rflags & INTERRUPTS == 0;
    signs.place.store(if kernel { registers.rip } else { 0 }, Ordering::Relaxed);
    signs.answers.store(signs.answers.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    if signs.order.0.load(Ordering::SeqCst) {
        stop_for_good(signs);
    }
}

fn stop_for_good(signs: &Signs) -> ! {
    // SAFETY: the kernel's half is the same in all address spaces. The tables of the one that is left can be freed.
    unsafe { write_cr3(kernel_root()) };
    signs.stopped.store(true, Ordering::SeqCst);
    stop()
}

/// A machine check. Returns when the processor reports no error of this core's: then another one's was told to all.
/// False when the processor reports no machine check at all, or one of core 0: the first program is gone with that, and
/// nobody may be waiting who would find it.
pub(crate) fn machine_check(registers: &Registers) -> bool {
    const IN_PROGRESS: u64 = 1 << 2;
    const VALID: u64 = 1 << 63;
    // SAFETY: processors that raise machine checks have the registers.
    let status = unsafe { read_msr(msr::IA32_MCG_STATUS) };
    if status & IN_PROGRESS == 0 {
        return false;
    }
    // SAFETY: as above.
    let banks = unsafe { read_msr(msr::IA32_MCG_CAP) } as u8;
    let mine = (0..u32::from(banks)).any(|bank| {
        // SAFETY: as above; there are that many banks.
        unsafe { read_msr(msr::IA32_MC0_STATUS + 4 * bank) & VALID != 0 }
    });
    if mine && let Some((core, signs)) = own(registers) {
        if core.0 == 0 {
            return false;
        }
        stop_for_good(signs);
    }
    // SAFETY: as above; the next one would reset the machine while this one is in progress.
    unsafe { write_msr(msr::IA32_MCG_STATUS, 0) };
    true
}

/// This core, by its stack; `None` on the boot stack.
pub(crate) fn this_core() -> Option<usize> {
    let stack = 0_u8;
    Stack::core_of(&raw const stack as u64)
}
