//! Cores that stop because a program says so: `images/lost`.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, Ordering};
use corey_arch_x86_64::X86;
use corey_kernel_hal::{CoreId, Injected, MAX_CORES, Platform};

/// The number of the call, which no kernel has: core, way, ticks of the time-stamp counter to wait before.
pub(crate) const STOP_CORE: u64 = 0xf411;

const SILENT: u8 = 1;
const STOPPED: u8 = 2;
const STUCK: u8 = 3;

/// How each core is to stop; 0 for not at all.
static WAYS: [AtomicU8; MAX_CORES] = [const { AtomicU8::new(0) }; MAX_CORES];

/// Makes a core stop: at the NMI that this sends, wherever it is, or at its next kernel entry.
pub(crate) fn stop_core(platform: &X86, [core, way, ticks, ..]: [u64; 6]) {
    let (end, target) = (platform.tsc() + ticks, CoreId(core as u16));
    while platform.tsc() < end {
        platform.pause();
    }
    if let Some(word) = WAYS.get(target.index()) {
        word.store(way as u8, Ordering::SeqCst);
        if way as u8 != STUCK {
            platform.ask(target);
        }
    }
}

/// How `core` stops at the NMI that it got.
pub(crate) fn at_nmi(core: CoreId) -> Option<Injected> {
    match WAYS.get(core.index())?.load(Ordering::SeqCst) {
        SILENT => Some(Injected::Silent),
        STOPPED => Some(Injected::Stopped),
        _ => None,
    }
}

/// An entry of `core`: it may be the last.
#[inline(always)]
pub(crate) fn at_entry(core: CoreId) {
    if WAYS.get(core.index()).is_some_and(|way| way.load(Ordering::Relaxed) == STUCK) {
        loop {
            // SAFETY: an NMI wakes it, and it sleeps again: always at the same instruction.
            unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
        }
    }
}
