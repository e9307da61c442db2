//! Figures the kernel publishes: what machine this is, interrupts so far, free memory.

use std::time::{Duration, Instant};

use corey_arch_x86_64_user::marker::rdtsc;

use crate::guest::Failure;
use crate::work::Job;

/// Reads a file of `/proc` or `/sys`.
pub(crate) fn read(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::guest(path, &error))
}

/// What a record says about the machine and its kernel.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Processors online.
    pub(crate) processors: u32,
    /// Processor brand.
    pub(crate) cpu: String,
    /// Time-stamp counter ticks per second.
    pub(crate) tsc_hz: u64,
    /// Kernel release.
    pub(crate) kernel: String,
    /// The `mitigations=` word, `auto` without.
    pub(crate) mitigations: String,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub(crate) thp: String,
}

impl Machine {
    pub(crate) fn read(cmdline: &str) -> Result<Self, Failure> {
        let cpuinfo = read("/proc/cpuinfo")?;
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim())
        };
        let mitigations = cmdline.split_whitespace().find_map(|w| w.strip_prefix("mitigations="));
        let thp = read("/sys/kernel/mm/transparent_hugepage/enabled")?;
        Ok(Self {
            processors: cpuinfo.lines().filter(|line| line.starts_with("processor")).count() as u32,
            cpu: field("model name").to_owned(),
            tsc_hz: measure_tsc(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            mitigations: mitigations.unwrap_or("auto").to_owned(),
            thp: chosen(&thp).to_owned(),
        })
    }
}

/// Returns the word in brackets.
fn chosen(line: &str) -> &str {
    let inside = line.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or("unknown", |(word, _)| word)
}

/// Compares the counter with the monotonic clock over 50 ms.
fn measure_tsc() -> u64 {
    let (clock, ticks) = (Instant::now(), rdtsc());
    std::thread::sleep(Duration::from_millis(50));
    let (ticks, elapsed) = (rdtsc() - ticks, clock.elapsed());
    (u128::from(ticks) * 1_000_000_000 / elapsed.as_nanos().max(1)) as u64
}

/// Interrupts between processors so far, all processors together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interrupts {
    /// Rescheduling and function-call interrupts; a shootdown is one of the latter.
    pub(crate) ipis: u64,
    /// TLB shootdowns received.
    pub(crate) shootdowns: u64,
}

impl Interrupts {
    pub(crate) fn read() -> Result<Self, Failure> {
        Ok(Self::parse(&read("/proc/interrupts")?))
    }

    fn parse(text: &str) -> Self {
        let sum = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name));
            line.map_or(0, |line| line.split_whitespace().map_while(|word| word.parse::<u64>().ok()).sum())
        };
        Self { ipis: sum("RES:") + sum("CAL:"), shootdowns: sum("TLB:") }
    }
}

/// Refuses a job whose pages do not fit, before the kernel kills someone for it.
pub(crate) fn check_memory(job: &Job) -> Result<(), Failure> {
    let meminfo = read("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok());
    let available: u64 = kib.unwrap_or(0) * 1024;
    let needed = job.pages().saturating_mul(4096);
    // An eighth on top: page tables and the kernel's own.
    if needed.saturating_add(needed / 8) <= available {
        return Ok(());
    }
    Err(Failure::command_line(format!(
        "iters={}: {} cores would touch {} MiB, {} MiB are free",
        job.iters,
        job.cores,
        needed >> 20,
        available >> 20
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_summed_over_processors() {
        let text = "           CPU0       CPU1\n  0:  9  9  IO-APIC timer\nRES:  3  4  Rescheduling interrupts\n\
                    CAL:  10  20  Function call interrupts\nTLB:  1  2  TLB shootdowns\n";
        assert_eq!(Interrupts::parse(text), Interrupts { ipis: 37, shootdowns: 3 });
        assert_eq!(Interrupts::parse(""), Interrupts::default());
    }

    #[test]
    fn the_bracketed_word_is_the_choice() {
        assert_eq!(chosen("always madvise [never]\n"), "never");
        assert_eq!(chosen("never"), "unknown");
    }
}
