//! Calibration of the time-stamp counter and the APIC timer against a second clock.

use crate::local::LocalApic;
use corey_arch_x86_64_asm::{in8, in32, out8, rdtsc, wait_for_interrupt};

/// A clock of known frequency.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The ACPI power-management timer at this port: 3.579545 MHz, 24 bits at least.
    PowerManagement(u16),
    /// Channel 2 of the interval timer: 1.193182 MHz.
    Interval,
}

const PM_HZ: u64 = 3_579_545;
const PIT_HZ: u64 = 1_193_182;
/// Ticks of the APIC timer for one measurement: 4 ms at 1 GHz, 160 ms at 25 MHz.
const MEASURED: u32 = 4_000_000;

/// Ticks per second.
#[derive(Clone, Copy, Debug)]
pub struct Frequencies {
    /// Of the time-stamp counter.
    pub tsc: u64,
    /// Of the APIC timer.
    pub apic: u64,
}

/// Measures both counters. Interrupts are off before and after; the timer's vector is handled.
#[must_use]
pub fn calibrate(apic: LocalApic, clock: Clock) -> Frequencies {
    match clock {
        Clock::PowerManagement(port) => {
            let before = in32(port);
            let tsc = rdtsc();
            apic.one_shot(MEASURED);
            while apic.ticks_left() > 0 {
                wait_for_interrupt();
            }
            let ticks = rdtsc() - tsc;
            let elapsed = u64::from(in32(port).wrapping_sub(before) & 0x00ff_ffff).max(1);
            apic.stop_timer();
            let per_second = |n: u64| (u128::from(n) * u128::from(PM_HZ) / u128::from(elapsed)) as u64;
            Frequencies { tsc: per_second(ticks), apic: per_second(u64::from(MEASURED)) }
        }
        Clock::Interval => {
            // Channel 2 counts down from 65,535 once, its gate open, its output read back in port 0x61.
            out8(0x61, in8(0x61) & !2 | 1);
            out8(0x43, 0b1011_0000);
            out8(0x42, 0xff);
            out8(0x42, 0xff);
            apic.one_shot(u32::MAX);
            let tsc = rdtsc();
            // 55 ms; bounded, should the timer not be there.
            let mut patience = 100_000_000_u32;
            while in8(0x61) & 0x20 == 0 && patience > 0 {
                patience -= 1;
            }
            let ticks = rdtsc() - tsc;
            let counted = u32::MAX - apic.ticks_left();
            apic.stop_timer();
            let per_second = |n: u64| (u128::from(n) * u128::from(PIT_HZ) / 65_535) as u64;
            Frequencies { tsc: per_second(ticks), apic: per_second(u64::from(counted)) }
        }
    }
}

/// Sleeps `microseconds`.
pub fn delay(apic: LocalApic, frequencies: Frequencies, microseconds: u64) {
    let ticks = frequencies.apic * microseconds / 1_000_000;
    apic.one_shot(u32::try_from(ticks.max(1)).unwrap_or(u32::MAX));
    while apic.ticks_left() > 0 {
        wait_for_interrupt();
    }
    apic.stop_timer();
}
