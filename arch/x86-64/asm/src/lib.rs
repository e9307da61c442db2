//! Single x86-64 instructions as functions.
//!
//! **Paper.** §6 names CPU control as what a port replaces.
//!
//! **Invariants.** One function, one instruction (or the pair that belongs together). What can break
//! memory is `unsafe`, and says how.
//!
//! **Sharing.** None: no state.
//!
//! **Testing.** In QEMU: the machine boots.
#![no_std]
#![allow(unsafe_code, reason = "instructions that only assembly can name")]

use core::arch::asm;

pub use x86::msr;

/// Reads an I/O port.
#[inline(always)]
#[must_use]
pub fn in8(port: u16) -> u8 {
    // SAFETY: port reads reach devices, not memory.
    unsafe { x86::io::inb(port) }
}

/// Writes an I/O port. Devices this kernel programs do no DMA by port writes.
#[inline(always)]
pub fn out8(port: u16, value: u8) {
    // SAFETY: as documented.
    unsafe { x86::io::outb(port, value) };
}

/// Writes a 16-bit I/O port.
#[inline(always)]
pub fn out16(port: u16, value: u16) {
    // SAFETY: as in `out8`.
    unsafe { x86::io::outw(port, value) };
}

/// Reads a 32-bit I/O port.
#[inline(always)]
#[must_use]
pub fn in32(port: u16) -> u32 {
    // SAFETY: as in `in8`.
    unsafe { x86::io::inl(port) }
}

/// Writes a 32-bit I/O port.
#[inline(always)]
pub fn out32(port: u16, value: u32) {
    // SAFETY: as in `out8`.
    unsafe { x86::io::outl(port, value) };
}

/// Reads a model-specific register.
///
/// # Safety
///
/// The register exists.
#[inline(always)]
#[must_use]
pub unsafe fn read_msr(register: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { msr::rdmsr(register) }
}

/// Writes a model-specific register.
///
/// # Safety
///
/// The register exists, and the value keeps memory as the compiler sees it.
#[inline(always)]
pub unsafe fn write_msr(register: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { msr::wrmsr(register, value) };
}

macro_rules! control_register {
    ($read:ident, $write:ident, $name:literal) => {
        #[doc = concat!("Reads ", $name, ".")]
        #[inline(always)]
        #[must_use]
        pub fn $read() -> u64 {
            let value: u64;
            // SAFETY: reading a control register changes nothing.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
            value
        }

        #[doc = concat!("Writes ", $name, ".\n\n# Safety\n\nMemory stays as the compiler sees it.")]
        #[inline(always)]
        pub unsafe fn $write(value: u64) {
            // SAFETY: the caller's promise. Memory is not `nomem`: translations may change.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
        }
    };
}
control_register!(read_cr0, write_cr0, "cr0");
control_register!(read_cr3, write_cr3, "cr3");
control_register!(read_cr4, write_cr4, "cr4");

/// Writes XCR0: the components of user state that XSAVE keeps, and that user code may use.
///
/// # Safety
///
/// CR4.OSXSAVE is set, and the processor has these components.
#[inline(always)]
pub unsafe fn write_xcr0(value: u64) {
    // SAFETY: the caller's promise; kernel code uses none of the components.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nomem, nostack, preserves_flags));
    };
}

/// The address of the last page fault.
#[inline(always)]
#[must_use]
pub fn read_cr2() -> u64 {
    let value: u64;
    // SAFETY: reading CR2 changes nothing.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Forgets this core's translation of the page at `address`.
#[inline(always)]
pub fn invlpg(address: u64) {
    // SAFETY: forgetting a translation changes no memory.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// Sleeps until the next interrupt with interrupts on, and turns them off again. The two first
/// instructions are one step: no interrupt is lost between them.
#[inline(always)]
pub fn wait_for_interrupt() {
    // SAFETY: handlers of this kernel restore what they use.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Takes the interrupts that wait for this core, at least one of them. Interrupts are off before and after.
pub fn take_interrupts() {
    // SAFETY: handlers of this kernel restore what they use.
    unsafe { asm!("sti", "nop", "cli", options(nostack)) };
}

/// Stops this core until an NMI, again and again.
pub fn stop() -> ! {
    loop {
        // SAFETY: interrupts off and sleep: nothing runs here any more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Tells the processor that this is a spin loop.
#[inline(always)]
pub fn pause() {
    core::hint::spin_loop();
}

/// The time-stamp counter.
#[inline(always)]
#[must_use]
pub fn rdtsc() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// What this processor says about itself: registers eax, ebx, ecx, edx of `leaf` and `subleaf`.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let result = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// Reads the word at `OFFSET` of this core's block.
///
/// # Safety
///
/// GS holds the block, and the word is one.
#[inline(always)]
#[must_use]
pub unsafe fn read_gs<const OFFSET: usize>() -> u64 {
    let value: u64;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("mov {}, gs:[{offset}]", out(reg) value, offset = const OFFSET, options(readonly, nostack, preserves_flags));
    };
    value
}

/// Fills `words` words at `to` with zeroes.
///
/// # Safety
///
/// The memory is the caller's.
#[inline(always)]
pub unsafe fn zero_words(to: *mut u64, words: usize) {
    // SAFETY: the caller's promise; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep stosq", inout("rdi") to => _, inout("rcx") words => _, in("rax") 0_u64, options(nostack, preserves_flags));
    };
}

/// Copies `words` words.
///
/// # Safety
///
/// `to` is the caller's, `from` is readable, and they do not overlap.
#[inline(always)]
pub unsafe fn copy_words(from: *const u64, to: *mut u64, words: usize) {
    // SAFETY: the caller's promise; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsq", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") words => _, options(nostack, preserves_flags));
    };
}
