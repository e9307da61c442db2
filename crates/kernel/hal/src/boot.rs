//! What the boot path hands to the kernel.

use crate::Topology;

/// Half-open range of physical addresses, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte after the range.
    pub end: u64,
}

/// A boot module: its bytes in memory.
pub type Module = &'static [u8];

/// The machine as found at boot. Produced by the arch, validated there.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo {
    /// Command line, without the kernel's path.
    pub command_line: &'static str,
    /// The cores that started, and where they and memory lie.
    pub topology: Topology,
    /// The archive of user programs, if one was found.
    pub archive: Option<Module>,
    /// Time-stamp counter ticks per second, calibrated against a second clock.
    pub tsc_hz: u64,
    /// Whether a hypervisor says it is there (idle by `hlt`).
    pub hypervisor: bool,
    /// Processor vendor and model, for records.
    pub cpu: &'static str,
}

/// Memory for what lives as long as the machine: taken at boot, never given back.
pub trait BootAlloc {
    /// `n` values made by `make(0) … make(n-1)`, 128-byte aligned, in RAM.
    ///
    /// # Panics
    ///
    /// When RAM does not suffice: a machine this small cannot boot, and the message says how much it needs.
    fn slice<T: 'static>(&mut self, n: usize, make: impl FnMut(usize) -> T) -> &'static mut [T];

    /// The physical address after the last byte of RAM.
    fn ram_end(&self) -> u64;

    /// All RAM that is in use by nobody, sorted, page aligned, disjoint: the kernel hands it out from now on,
    /// and takes nothing more here.
    fn rest(&mut self) -> &'static [Range];
}

/// A failure that a test asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// The core stops, and says so, as after a machine check.
    Stopped,
    /// The core stops without a word, and answers no NMI.
    Silent,
}

/// A kernel, as the boot path starts it.
///
/// ```text
/// boot processor: find memory, start the others (they wait) ─ prepare ─ release ─ start ─ idle …
/// every other:    ……………………………………………………………………………………………… released ─ start ─ idle …
/// ```
pub trait Boot<P: crate::Platform>: Sync + Sized + 'static {
    /// One core's kernel.
    type Core: crate::Traps;

    /// Builds everything that is one per machine. Runs once, on the boot processor, before any
    /// other core runs kernel code. What goes wrong here is reported on the console of `machine`,
    /// which then exits. `cards` are the network cards that were found, stopped.
    fn prepare(
        info: BootInfo,
        machine: &'static dyn crate::Machine,
        cards: &'static mut [&'static mut dyn crate::NetworkCard],
        platform: P,
        alloc: &mut impl BootAlloc,
    ) -> Self;

    /// Builds the kernel of the core that `platform` belongs to. Runs on that core.
    fn start(&'static self, platform: P) -> Self::Core;

    /// How `core` is to fail at the NMI that it got: for kernels that test what others do then. Runs in the handler of
    /// that NMI: no lock, nothing of the core's kernel.
    fn injected(core: crate::CoreId) -> Option<Injected> {
        let _ = core;
        None
    }

    /// Kernel data another core may look at, for the line meter's names. Runs when a benchmark reports.
    fn map(&self, each: &mut dyn FnMut(crate::Area));
}
