//! The machine as one core sees it.

use crate::{Access, CoreId, Entry, Frame, UserFault};
use core::ptr::NonNull;

/// The format of this machine's page tables and the operations one core performs on itself.
///
/// Tables have 512 entries of 64 bits; the top-level table's upper half belongs to the kernel. A
/// value of this type belongs to one core. On real hardware it is zero-sized and all methods inline.
pub trait Platform: Clone + 'static {
    /// This core.
    fn core(&self) -> CoreId;

    /// Where `frame` is reached in the kernel's direct map. Pure arithmetic; the result is valid
    /// memory for every frame of RAM that [`crate::BootInfo`] reported.
    fn direct(&self, frame: Frame) -> NonNull<u8>;

    /// Fills `count` frames from `first` on with zeroes by one `rep stosq`-like instruction.
    ///
    /// # Safety
    ///
    /// The caller owns the frames: nothing else reads or writes them meanwhile.
    unsafe fn zero(&self, first: Frame, count: u32);

    /// Copies `count` frames from `from` on over those from `to` on by one `rep movsq`-like instruction.
    ///
    /// # Safety
    ///
    /// The caller owns those it copies to. User code may write the others meanwhile: bytes then come from before or
    /// after.
    unsafe fn copy(&self, from: Frame, to: Frame, count: u32);

    /// Fills the kernel half of the new top-level table `root` (its user half is zero already).
    ///
    /// # Safety
    ///
    /// The caller owns `root`.
    unsafe fn init_root(&self, root: Frame);

    /// An entry that maps the 4 KiB page `frame` for user code.
    fn leaf(frame: Frame, access: Access) -> u64;

    /// An entry that maps the 2 MiB page that begins at `frame`, for the table above leaf tables.
    fn large_leaf(frame: Frame, access: Access) -> u64;

    /// `entry` without write permission, if it maps a page; else as it is.
    fn protect(entry: u64) -> u64;

    /// An entry that refers to the lower table `frame`.
    fn table(frame: Frame) -> u64;

    /// What `entry` says.
    fn decode(entry: u64) -> Entry;

    /// Switches to the address space of the top-level table `root`, or to the kernel-only one. All
    /// translations of user addresses and all cached upper-level entries of the old space are gone
    /// when this returns.
    ///
    /// # Safety
    ///
    /// `root` was prepared by [`Platform::init_root`] and stays a table while it is loaded.
    unsafe fn load_root(&self, root: Option<Frame>);

    /// Forgets this core's translation of the page that holds `address`, if it has one.
    fn flush(&self, address: u64);

    /// Forgets all of this core's translations of user addresses, upper levels included.
    fn flush_all(&self);

    /// Tells the processor that this is a spin loop; under emulation, lets another core run.
    fn pause(&self);

    /// Interrupts `target`, which then calls [`crate::Traps::interrupt`] unless it is in the kernel
    /// (then as soon as it leaves). Sending to oneself is allowed.
    fn send_ipi(&self, target: CoreId);

    /// Asks `target` for a sign of life, by an interrupt that it cannot hold off.
    fn ask(&self, target: CoreId);

    /// What `target` noted when it was asked last.
    fn sign(&self, target: CoreId) -> Sign;

    /// Notes, for this core's own next sign, that it goes on in a wait.
    fn note_turn(&self);

    /// Orders `target` to stop for good, and asks it: it does so before it does anything else, whenever that is. It leaves
    /// its address space, and notes in its sign that it has stopped.
    fn order_stop(&self, target: CoreId);

    /// Calls [`crate::Traps::tick`] when the time-stamp counter has passed `at`, or somewhat earlier if that is far away;
    /// replaces what was set before. `None`: not at all.
    fn set_timer(&self, at: Option<u64>);

    /// Waits, with interrupts on, until one came, and turns them off again. Interrupts are not handed to the
    /// kernel: it looks at mailbox and clock.
    fn sleep(&self);

    /// Ends a card's interrupt that this core took while it slept, or that waits for it; says whether there was one. Until then it
    /// takes no other, so the line that it came by must be closed before ([`Machine::close_line`]).
    fn end_card_interrupt(&self) -> bool;

    /// The time-stamp counter. Constant rate, synchronised between cores ([`crate::BootInfo::tsc_hz`]).
    fn tsc(&self) -> u64;

    /// Copies from user address `from` of the running address space. Never touches kernel memory:
    /// a range outside the user half is a fault. Bytes copied before a fault stay copied. Each byte
    /// is fetched once.
    ///
    /// # Errors
    ///
    /// The first address that is not mapped. The caller resolves the fault and tries again.
    fn copy_in(&self, from: u64, to: &mut [u8]) -> Result<(), UserFault>;

    /// Copies `from` to user address `to` of the running address space, as [`Platform::copy_in`].
    ///
    /// # Errors
    ///
    /// The first address that is not mapped writable.
    fn copy_out(&self, from: &[u8], to: u64) -> Result<(), UserFault>;

    /// Writes 16 bytes (two little-endian words) at byte `offset` of `frame` through the direct map:
    /// how a core reports a pcore's status into a pinned page.
    ///
    /// # Safety
    ///
    /// `frame` is a pinned data frame and `offset` is 16-byte aligned and at most 4080.
    unsafe fn write_status(&self, frame: Frame, offset: u64, words: [u64; 2]);
}

/// What a core notes of itself when it is asked for a sign of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sign {
    /// How often it has answered.
    pub answers: u64,
    /// The kernel instruction that it was at; 0 in user mode and asleep.
    pub place: u64,
    /// Turns of waits that it has noted.
    pub turns: u64,
    /// It has stopped for good.
    pub stopped: bool,
}

/// How the machine ends (DESIGN §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success: power off.
    PowerOff,
    /// Reset the machine.
    Reboot,
    /// Failure with a status: 1 test failure, 2 bad command line, 3 panic.
    Status(u8),
}

/// The parts of the machine that are one per machine: console and power. Implementations are `Sync`
/// and lock-free or lock inside; calls are rare.
pub trait Machine: Sync {
    /// Writes bytes to every console device (serial port and screen). The caller has exclusive use.
    fn console_write(&self, bytes: &[u8]);

    /// Ends the run.
    fn exit(&self, how: Exit) -> !;

    /// From now on interrupt line `line` ([`crate::NetworkCard::line`]) interrupts `core`, once, while it is pulled: again after that was
    /// ended. The caller has exclusive use of all lines.
    fn open_line(&self, line: u8, core: CoreId);

    /// From now on the line interrupts nobody. An interrupt that was sent comes nevertheless. The caller has exclusive use of all
    /// lines.
    fn close_line(&self, line: u8);
}

/// The machine's I/O ports, for drivers.
pub trait Ports {
    /// Reads a byte.
    fn read(&self, port: u16) -> u8;

    /// Writes a byte.
    fn write(&self, port: u16, value: u8);
}

/// A window of 16-bit device cells, for drivers.
pub trait Cells {
    /// Writes cell `index`; beyond the window nothing happens.
    fn write(&self, index: usize, value: u16);
}

/// The memory of a picture.
pub trait Pixels {
    /// Writes bytes from `offset` on; beyond its end nothing happens.
    fn write(&self, offset: usize, bytes: &[u8]);
}
