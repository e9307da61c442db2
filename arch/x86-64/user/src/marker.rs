//! The marker instruction and the time-stamp counter.

use core::arch::asm;

/// Executes `0f 1f 80 imm32`, imm32 = `0x43520000 | ID << 4 | KIND`: a 7-byte NOP to a processor,
/// a message to the line meter.
///
/// Memory accesses of the program are not moved across it: `nomem` and `readonly` are left unset
/// on purpose.
#[inline(always)]
pub fn marker<const ID: u32, const KIND: u32>() {
    // SAFETY: a long NOP neither reads its operand's memory nor changes a register or a flag.
    unsafe {
        asm!(
            ".byte 0x0f, 0x1f, 0x80",
            ".long 0x43520000 | ({id} << 4) | {kind}",
            id = const ID,
            kind = const KIND,
            options(nostack, preserves_flags),
        );
    }
}

/// Reads the time-stamp counter after every earlier load has completed.
#[inline(always)]
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: `lfence` and `rdtsc` change only edx and eax; user mode may execute both as long as
    // CR4.TSD is clear, and otherwise the fault ends this program only.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, nomem, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Says that this core is spinning (`pause`).
#[inline(always)]
pub fn pause() {
    core::hint::spin_loop();
}
