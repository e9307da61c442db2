//! Registers of the local APIC.

use corey_arch_x86_64_asm::{pause, read_msr, write_msr};

/// Vector of cards' interrupts: of a lower class than the others, which so come while one of these is not ended.
pub const CARD: u8 = 0xe0;
/// Vector of mailbox interrupts.
pub const IPI: u8 = 0xf0;
/// Vector of the timer.
pub const TIMER: u8 = 0xf1;
/// Vector of spurious interrupts.
pub const SPURIOUS: u8 = 0xff;

const BASE_MSR: u32 = 0x1b;
const ENABLE: u64 = 1 << 11;
const EXTENDED: u64 = 1 << 10;

const ID: usize = 0x20;
const EOI: usize = 0xb0;
const SPURIOUS_VECTOR: usize = 0xf0;
/// Vectors under way, and those that wait: 8 registers of 32 each.
const IN_SERVICE: usize = 0x100;
const REQUESTED: usize = 0x200;
const ICR_LOW: usize = 0x300;
const ICR_HIGH: usize = 0x310;
const LVT_TIMER: usize = 0x320;
const LVT_LINT0: usize = 0x350;
const LVT_LINT1: usize = 0x360;
const LVT_ERROR: usize = 0x370;
const INITIAL_COUNT: usize = 0x380;
const CURRENT_COUNT: usize = 0x390;
const DIVIDE: usize = 0x3e0;
const MASKED: u32 = 1 << 16;
const DELIVERY_PENDING: u32 = 1 << 12;

/// Where this machine's local APICs appear.
#[derive(Clone, Copy, Debug)]
pub struct LocalApic {
    base: *mut u8,
}

impl LocalApic {
    /// The controller registers at virtual address `base`.
    ///
    /// # Safety
    ///
    /// The local APIC's page is mapped there, uncached, on every core that uses the value.
    #[must_use]
    pub const unsafe fn new(base: *mut u8) -> Self {
        Self { base }
    }

    /// Physical address of the registers, as the processor says.
    #[must_use]
    pub fn physical() -> u64 {
        // SAFETY: every x86-64 processor has the register.
        unsafe { read_msr(BASE_MSR) & 0x000f_ffff_ffff_f000 }
    }

    fn read(self, register: usize) -> u32 {
        // SAFETY: inside the page of `new`.
        unsafe { self.base.wrapping_add(register).cast::<u32>().read_volatile() }
    }

    #[inline(always)]
    fn write(self, register: usize, value: u32) {
        // SAFETY: inside the page of `new`.
        unsafe { self.base.wrapping_add(register).cast::<u32>().write_volatile(value) };
    }

    /// Turns this core's controller on, in xAPIC mode, all local sources masked.
    pub fn enable(self) {
        // SAFETY: every x86-64 processor has the register.
        let base = unsafe { read_msr(BASE_MSR) };
        if base & EXTENDED != 0 {
            // x2APIC mode is left through "disabled" only.
            // SAFETY: turns the controller off; interrupts are off.
            unsafe { write_msr(BASE_MSR, base & !(EXTENDED | ENABLE)) };
        }
        // SAFETY: turns the controller on at the address it has.
        unsafe { write_msr(BASE_MSR, base & !EXTENDED | ENABLE) };
        for source in [LVT_TIMER, LVT_LINT0, LVT_ERROR] {
            self.write(source, MASKED);
        }
        // NMI comes in by LINT1.
        self.write(LVT_LINT1, 0x400);
        self.write(SPURIOUS_VECTOR, 0x100 | u32::from(SPURIOUS));
        self.end_of_interrupt();
    }

    /// This core's APIC ID.
    #[must_use]
    pub fn id(self) -> u8 {
        (self.read(ID) >> 24) as u8
    }

    /// Says that the current interrupt is handled.
    #[inline(always)]
    pub fn end_of_interrupt(self) {
        self.write(EOI, 0);
    }

    fn has(self, registers: usize, vector: u8) -> bool {
        self.read(registers + usize::from(vector / 32) * 0x10) >> (vector % 32) & 1 == 1
    }

    /// Whether this core took an interrupt with `vector`, and has not ended it.
    #[must_use]
    pub fn is_in_service(self, vector: u8) -> bool {
        self.has(IN_SERVICE, vector)
    }

    /// Whether an interrupt with `vector` waits for this core to take it.
    #[must_use]
    pub fn is_requested(self, vector: u8) -> bool {
        self.has(REQUESTED, vector)
    }

    #[inline(always)]
    fn command(self, target: u8, command: u32) {
        while self.read(ICR_LOW) & DELIVERY_PENDING != 0 {
            pause();
        }
        self.write(ICR_HIGH, u32::from(target) << 24);
        self.write(ICR_LOW, command);
    }

    /// Interrupts the core with APIC ID `target`.
    #[inline(always)]
    pub fn send(self, target: u8, vector: u8) {
        self.command(target, 0x4000 | u32::from(vector));
    }

    /// Sends a non-maskable interrupt to the core with APIC ID `target`.
    pub fn nmi(self, target: u8) {
        self.command(target, 0x4400);
    }

    /// Sends a non-maskable interrupt to every other core.
    pub fn nmi_to_others(self) {
        self.command(0, 0xc_4400);
    }

    /// Resets a core that shall start.
    pub fn init(self, target: u8) {
        self.command(target, 0x4500);
    }

    /// Starts a reset core at physical page `page`.
    pub fn start(self, target: u8, page: u8) {
        self.command(target, 0x4600 | u32::from(page));
    }

    /// Counts `count` ticks down once, then interrupts with [`TIMER`].
    pub fn one_shot(self, count: u32) {
        self.write(DIVIDE, 0b1011);
        self.write(LVT_TIMER, u32::from(TIMER));
        self.write(INITIAL_COUNT, count);
    }

    pub(crate) fn ticks_left(self) -> u32 {
        self.read(CURRENT_COUNT)
    }

    /// Stops the timer. One interrupt may be on its way already.
    pub fn stop_timer(self) {
        self.write(LVT_TIMER, MASKED);
        self.write(INITIAL_COUNT, 0);
    }
}
