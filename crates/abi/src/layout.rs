//! Memory layouts that both sides read: mapping records, run contexts, boot information.

use crate::{Id, ObjRef};

/// Most mapping slots a tree can have.
pub const TREE_SLOTS: usize = 512;
/// A stack ends at a multiple of this and is not longer: a thread finds its block from any address in it.
pub const STACK_SPAN: u64 = 1 << 20;
/// Bytes at the end of a stack that are the thread's block; zero at its start.
pub const THREAD_BYTES: u64 = 64;

/// Most shares a core can hold.
pub const RUN_SHARES: usize = 20;

bitflags::bitflags! {
    /// What a mapping allows. Readable always; write and execute together are refused (W^X).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MapFlags: u32 {
        /// User code may write.
        const WRITE = 1;
        /// User code may execute.
        const EXECUTE = 2;
        /// For cfork: the child shares this mapping. The kernel keeps it, and ignores it.
        const SHARED = 4;
        /// For the library: this is a heap. The kernel keeps it, and ignores it.
        const HEAP = 8;
    }
}

/// Values of [`Mapping::kind`].
pub mod mapping_kind {
    /// An empty slot.
    pub const NONE: u32 = 0;
    /// Pages of a segment.
    pub const SEGMENT: u32 = 1;
    /// A whole interior tree.
    pub const INTERIOR: u32 = 2;
}

/// One slot of an address tree, 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Mapping {
    /// A [`mapping_kind`].
    pub kind: u32,
    /// [`MapFlags`].
    pub flags: u32,
    /// The segment or interior tree.
    pub object: ObjRef,
    /// First virtual address; page aligned, for an interior tree grain aligned. In an interior tree
    /// addresses start at 0.
    pub va: u64,
    /// First page of the segment that is mapped.
    pub start_page: u64,
    /// Pages mapped; ignored for an interior tree, which is mapped whole.
    pub npages: u64,
    /// Pages that a share pays to name the object: said by `at_get`, ignored elsewhere.
    pub price: u64,
    /// Zero.
    pub reserved: u64,
}

/// What `at_get` and `at_set` move: the whole table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TreeTable {
    /// User address of an array of [`Mapping`].
    pub mappings: u64,
    /// Entries of that array. `at_get`: room on call, slots in use (highest + 1) on return.
    pub count: u64,
    /// Where the kernel enters the program for a fault or a tick nobody else resolves; 0 for nowhere.
    pub handler: u64,
    /// First address above the handler's stack, a multiple of 16.
    pub stack: u64,
    /// Address of the masked word, a multiple of 8 ([`masked`]).
    pub masked: u64,
}

/// Bits of the word at [`TreeTable::masked`].
pub mod masked {
    /// No upcall: a fault halts the pcore, a tick is remembered. Set by the kernel on delivery, cleared by the
    /// handler.
    pub const MASKED: u64 = 1;
    /// A tick came while masked. Set by the kernel, cleared by the handler.
    pub const TICK: u64 = 2;
}

/// What the kernel pushes for an upcall; the handler is entered with `rsp` at its first byte and every other
/// register as it was. Dropping the first three words and executing `iretq` goes on where it was interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct UpcallFrame {
    /// Exception vector, or [`TICK_VECTOR`].
    pub vector: u64,
    /// The processor's error code; 0 where there is none.
    pub error: u64,
    /// The address of a page fault.
    pub address: u64,
    /// Interrupted instruction.
    pub rip: u64,
    /// Its code segment.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack segment.
    pub ss: u64,
}

/// [`UpcallFrame::vector`] of the end of a time slice.
pub const TICK_VECTOR: u64 = 32;

/// Shortest time slice, in nanoseconds.
pub const SHORTEST_SLICE: u64 = 10_000;

/// Bits of `flags` in `segment_alloc`.
pub mod segment_flag {
    /// 2 MiB pages: the size is rounded up to 2 MiB, mappings are 2 MiB aligned on both sides.
    pub const LARGE: u64 = 1;
}

/// Values of `mode` in `segment_copy`.
pub mod copy_mode {
    /// Copies now.
    pub const NOW: u64 = 0;
    /// A page is copied when either side first writes it.
    pub const ON_WRITE: u64 = 1;
    /// A page is copied when the copy is first read or written, or the source first written.
    pub const ON_REFERENCE: u64 = 2;
    /// Added to one of the latter two, with the offset of a page in bytes: that page is copied now. Meant for a page that
    /// both sides are about to write, as the top of a stack: it costs neither a shootdown nor faults.
    pub const PAGE_NOW: u64 = 4;
}

/// Bytes of a 2 MiB page.
pub const LARGE_PAGE_BYTES: u64 = 2 << 20;

/// Values of `kind` in `at_alloc`.
pub mod tree_kind {
    /// Owns the user half of one core's page table.
    pub const ROOT: u64 = 0;
    /// Owns one grain of tables that several roots link.
    pub const INTERIOR: u64 = 1;
}

/// Values of `grain` in `at_alloc`: log2 of the bytes an interior tree spans. 0 for a root.
pub mod grain {
    /// 2 MiB.
    pub const MIB2: u64 = 21;
    /// 1 GiB.
    pub const GIB1: u64 = 30;
    /// 512 GiB.
    pub const GIB512: u64 = 39;
}

/// Values of `mode` in [`RunContext`].
pub mod run_mode {
    /// Runs user code.
    pub const USER: u64 = 0;
    /// Polls devices in the kernel. There is no address space: `tree` is null, and registers say nothing.
    pub const KERNEL_CORE: u64 = 1;
}

/// What `pcore_run` starts, 280 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RunContext {
    /// Root tree, named through a share of the *target's* set; null for a kernel core.
    pub tree: ObjRef,
    /// A [`run_mode`].
    pub mode: u64,
    /// Shares in `shares`.
    pub nshares: u64,
    /// First instruction.
    pub entry: u64,
    /// Stack pointer.
    pub stack: u64,
    /// rdi, rsi, rdx, rcx, r8, r9.
    pub args: [u64; 6],
    /// Where the end is reported: 16 bytes ([`RunStatus`]) at `status_offset` (16-byte aligned) of
    /// this segment, named through the caller's shares; null for nowhere.
    pub status: ObjRef,
    /// Byte offset in `status`.
    pub status_offset: u64,
    /// The shares the target will hold.
    pub shares: [Id; RUN_SHARES],
}

/// A [`RunContext`] without its shares, which follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RunHead {
    /// As in [`RunContext`], and so on.
    pub tree: ObjRef,
    /// A [`run_mode`].
    pub mode: u64,
    /// Shares that follow.
    pub nshares: u64,
    /// First instruction.
    pub entry: u64,
    /// Stack pointer.
    pub stack: u64,
    /// rdi, rsi, rdx, rcx, r8, r9.
    pub args: [u64; 6],
    /// The status place's segment.
    pub status: ObjRef,
    /// Byte offset in `status`.
    pub status_offset: u64,
}

const _: () = assert!(size_of::<RunHead>() == core::mem::offset_of!(RunContext, shares));

/// How a run stands, written by the kernel. `reason` is written last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RunStatus {
    /// A [`reason`].
    pub reason: u32,
    /// The halt value, or the vector of the fault.
    pub value: u32,
    /// The fault's address.
    pub address: u64,
}

/// Values of [`RunStatus::reason`].
pub mod reason {
    /// Still running.
    pub const RUNNING: u32 = 0;
    /// Halted itself.
    pub const HALTED: u32 = 1;
    /// Halted by another core.
    pub const HALTED_BY_OTHER: u32 = 2;
    /// An exception nobody handled.
    pub const FAULT: u32 = 3;
    /// Lost the share that holds its root tree or pcore.
    pub const LOST_SHARE: u32 = 4;
    /// The core went silent.
    pub const CORE_LOST: u32 = 5;
}

/// Header of a device buffer in a segment; `length` data bytes follow directly. For the console one
/// buffer is one whole line of at most 4096 bytes; for a network card one Ethernet frame without its check sequence, in one
/// 4 KiB page with its header: up to [`FRAME_BYTES`], and for one to be received [`FRAME_ROOM`] bytes of room. A buffer is the
/// device's from `device_buf` on until `ready` is 0, or the mark that the call gave; then `done`, `error` and, of one received, `length` say what
/// came of it. A network card's buffers of one direction come back in the order in which it took them,
/// and all at once when it is reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BufferHeader {
    /// 1: the device may take it. Set by the program.
    pub ready: u32,
    /// Data bytes.
    pub length: u32,
    /// 1: the device is done with it. Set by the kernel, before `ready` becomes 0.
    pub done: u32,
    /// 0, or an [`Error`](crate::Error) code. Set by the kernel.
    pub error: u32,
}

/// Values of `operation` in `device_buf`.
pub mod buffer_op {
    /// The device reads the buffer.
    pub const OUT: u64 = 0;
    /// The device fills the buffer.
    pub const IN: u64 = 1;
    /// All posted buffers come back, with the error `DeviceFailed`.
    pub const RESET: u64 = 2;
    /// No buffer: what the device is done with comes back.
    pub const POLL: u64 = 3;
    /// With [`OUT`] and [`IN`]: more follow at once, so the device need not be told yet.
    pub const MORE: u64 = 1 << 8;
    /// With [`OUT`] and [`IN`] on a network card: the length to send (bits 16–31) and a mark (bits 32–55) stand here, and nobody reads the
    /// header. When the buffer comes back, `ready` becomes the mark: whoever gives each round another one need not write
    /// headers either, so that of a buffer's header nothing but the result goes from core to core. Nor does that, where the card has
    /// a page of results ([`super::CardConfig::results`]).
    pub const MARKED: u64 = 1 << 9;
    /// All bits of a mark.
    pub const MARK: u64 = (1 << 24) - 1;

    /// [`MARKED`], with this length and the lower bits of this mark.
    #[must_use]
    pub const fn marked(length: u16, mark: u64) -> u64 {
        MARKED | (length as u64) << 16 | (mark & MARK) << 32
    }

    /// Length and mark of an operation, if it is [`MARKED`].
    #[must_use]
    pub const fn mark_of(operation: u64) -> Option<(u16, u32)> {
        if operation & MARKED == 0 {
            return None;
        }
        Some(((operation >> 16) as u16, (operation >> 32 & MARK) as u32))
    }

    /// The operation without [`MORE`] and what stands beside it.
    #[must_use]
    pub const fn kind(operation: u64) -> u64 {
        let beside = if operation & MARKED == 0 { MORE } else { MORE | marked(u16::MAX, MARK) };
        operation & !beside
    }
}

/// Most bytes of a frame to send: header and 1,500 bytes (IEEE 802.3).
pub const FRAME_BYTES: u64 = 1514;
/// Room that a buffer for a frame to be received needs behind its header.
pub const FRAME_ROOM: u64 = 2048;

/// One entry of `device_list`, 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DeviceEntry {
    /// A [`device_kind`].
    pub kind: u64,
    /// Number for `device_alloc`.
    pub device: u64,
}

/// Values of [`DeviceEntry::kind`].
pub mod device_kind {
    /// Serial port and screen.
    pub const CONSOLE: u64 = 1;
    /// Network card.
    pub const NETWORK: u64 = 2;
}

/// Number for `device_alloc` that makes a *system-call device*: a new one each time, which no list shows. Numbers below are the
/// machine's.
pub const SYSCALL_DEVICE: u64 = 1 << 16;

/// Shares of a ring at most.
pub const RING_SHARES: usize = 8;
/// Slots of a ring at most.
pub const RING_SLOTS: u64 = 256;
/// Over a ring an address is this plus an offset in the ring's argument segment. No program has it in its own memory.
pub const RING_ARGUMENTS: u64 = 1 << 47;

/// What `device_conf` reads for a system-call device, 128 bytes: a call ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RingConfig {
    /// The segment that the ring lies in, its words zero.
    pub ring: ObjRef,
    /// Where in it: a multiple of 4,096.
    pub offset: u64,
    /// Slots: a power of two from 2 to [`RING_SLOTS`]. One less can be in flight.
    pub slots: u64,
    /// The segment that pointers of calls lead into; null for none.
    pub arguments: ObjRef,
    /// Shares in `shares`.
    pub nshares: u64,
    /// The shares in whose name the calls are made; the caller holds them.
    pub shares: [Id; RING_SHARES],
    /// Zero.
    pub reserved: u64,
}

/// What `device_conf` reads for a network card, 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CardConfig {
    /// A [`card_filter`]: the frames that the card accepts. Broadcasts always. At first those to its own address.
    pub filter: u64,
    /// The segment with the page of results; null for none. What becomes of a [`buffer_op::MARKED`] buffer is written there, as a
    /// [`card_result`], and not into its header: the word whose index is the number of the buffer's page, modulo 512. So of
    /// buffers that are used in their order eight results go from core to core together.
    pub results: ObjRef,
    /// Where in it: a multiple of 4,096.
    pub offset: u64,
    /// Zero.
    pub reserved: u64,
}

/// Words of a page of results ([`CardConfig::results`]): what became of a buffer.
pub mod card_result {
    /// The result of a buffer with this mark: the bytes of its frame, and the number of an error or 0.
    #[must_use]
    pub const fn of(mark: u32, length: u16, error: u16) -> u64 {
        mark as u64 & super::buffer_op::MARK | (length as u64) << 32 | (error as u64) << 48
    }

    /// The mark.
    #[must_use]
    pub const fn mark(word: u64) -> u64 {
        word & super::buffer_op::MARK
    }

    /// Bytes of the frame.
    #[must_use]
    pub const fn length(word: u64) -> u16 {
        (word >> 32) as u16
    }

    /// The number of an error; 0 when all went well.
    #[must_use]
    pub const fn error(word: u64) -> u16 {
        (word >> 48) as u16
    }
}

/// Values of [`CardConfig::filter`].
pub mod card_filter {
    /// Frames to its own address.
    pub const OWN: u64 = 0;
    /// Frames to its own address and to any group.
    pub const GROUPS: u64 = 1;
    /// All frames.
    pub const PROMISCUOUS: u64 = 2;
}

/// What `device_stat` writes of a network card, 96 bytes. Counts are since the card was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NetworkStat {
    /// MAC address, the first six bytes.
    pub address: [u8; 8],
    /// Megabits per second; 0 while there is no link.
    pub speed: u64,
    /// PCI vendor in the lower half, device in the upper one.
    pub model: u64,
    /// Buffers that wait for frames, and frames that wait to be sent.
    pub posted: [u64; 2],
    /// Buffers of each that may be posted now, beside those.
    pub room: [u64; 2],
    /// Frames received.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames that the card dropped: no buffer was posted.
    pub missed: u64,
    /// Frames that came with errors, or could not be sent.
    pub errors: u64,
    /// Times the card was told of new buffers.
    pub doorbells: u64,
}

/// One entry of `share_list`, 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ShareEntry {
    /// The object.
    pub id: Id,
    /// Its [`Kind`](crate::Kind) as a number.
    pub kind: u64,
}

/// What `machine_info` writes, 1,152 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MachineInfo {
    /// Cores that run.
    pub cores: u64,
    /// Time-stamp counter ticks per second.
    pub tsc_hz: u64,
    /// 4 KiB pages of RAM the kernel manages.
    pub pages: u64,
    /// 1 under a hypervisor.
    pub hypervisor: u64,
    /// Processor vendor and model, padded with zeroes.
    pub cpu: [u8; 64],
    /// Bytes of the command line.
    pub command_line_bytes: u64,
    /// Zero.
    pub reserved: [u64; 3],
    /// The command line, padded with zeroes.
    pub command_line: [u8; 1024],
}

/// Most cores a machine has.
pub const MACHINE_CORES: usize = 256;

/// One cache of a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CacheInfo {
    /// 1, 2, 3; 0 for no cache.
    pub level: u32,
    /// Bytes of a line.
    pub line: u32,
    /// Bytes in all.
    pub bytes: u64,
    /// Lowest core number among those that share it.
    pub group: u64,
}

/// Bits of [`Locality::source`]: what is known. What is not known looks like a machine of one package and one
/// memory node, each core with caches of its own.
pub mod locality_source {
    /// Package, thread group and the groups of caches: the processors' word (CPUID), and it agrees with their
    /// APIC IDs and with the list of processors (MADT).
    pub const PROCESSORS: u64 = 1;
    /// Nodes: the firmware's word (SRAT).
    pub const NODES: u64 = 2;
    /// Distances between nodes: the firmware's word (SLIT). Without it they are 20.
    pub const DISTANCES: u64 = 4;
}

/// The distance of memory in one's own node.
pub const LOCAL_DISTANCE: u8 = 10;

/// Where a core is. Groups of cores are named by the lowest core number in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Position {
    /// Cores in the same package.
    pub package: u64,
    /// Hardware threads of the same physical core.
    pub thread_group: u64,
    /// Cores of the same memory node.
    pub node: u64,
    /// Data caches, nearest first; level 0 for none.
    pub caches: [CacheInfo; 4],
}

impl Position {
    /// A core of which nothing is known: the only thread of a physical core, in the one package and node there are.
    #[must_use]
    pub fn unknown(core: u64) -> Self {
        Self { thread_group: core, ..Self::default() }
    }

    /// How much a core has in common with another; less is nearer: 0 the physical core, 1 … 4 a cache of that level, 5
    /// the package, 6 nothing.
    #[must_use]
    pub fn apart(&self, other: &Self) -> u8 {
        if self.thread_group == other.thread_group {
            return 0;
        }
        let group = |of: &Self, level| of.caches.iter().find(|c| c.level == level).map(|c| c.group);
        let common = |level: &u8| {
            let group = |of| group(of, u32::from(*level));
            group(self).is_some() && group(self) == group(other)
        };
        let package = if self.package == other.package { 5 } else { 6 };
        (1..=4).find(common).unwrap_or(package)
    }
}

/// What `locality_get` writes, 408 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Locality {
    /// The core's APIC ID.
    pub apic_id: u64,
    /// Where it is.
    pub position: Position,
    /// Cores of the machine.
    pub cores: u64,
    /// What is known: bits of [`locality_source`].
    pub source: u64,
    /// Relative distance from the core to each core's memory: 10 is the same node's, 20 costs about twice as much, 255
    /// is out of reach (ACPI SLIT). A core of a node without memory has memory of the nearest node, and so may be
    /// further than 10 from its own. 0 beyond the last core.
    pub distance: [u8; MACHINE_CORES],
    /// 4 KiB pages of RAM that are the core's own.
    pub pages: u64,
}

/// A share that a core holds, as `core_stat` tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HeldShare {
    /// The share.
    pub id: Id,
    /// Its name.
    pub name: [u8; 32],
    /// The cores that hold it, a bit each.
    pub holders: [u64; MACHINE_CORES / 64],
}

/// In `core_stat`, for whoever holds the boot share: ⟨boot share, this | N⟩ is core N, whoever has it.
pub const CORE_BY_NUMBER: u64 = 1 << 63;

/// Values of [`CoreStat::mode`].
pub mod core_mode {
    /// Nothing runs.
    pub const IDLE: u64 = 0;
    /// User code.
    pub const USER: u64 = 1;
    /// It polls devices.
    pub const KERNEL_CORE: u64 = 2;
    /// User code that waits in `core_wait`.
    pub const WAITING: u64 = 3;
}

/// What `core_stat` writes, 1,544 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CoreStat {
    /// The core.
    pub core: u64,
    /// A [`core_mode`].
    pub mode: u64,
    /// Page faults from user code.
    pub faults: u64,
    /// Inter-processor interrupts sent.
    pub ipis: u64,
    /// TLB shootdown rounds waited for.
    pub shootdowns: u64,
    /// System calls by trap.
    pub syscalls: u64,
    /// Time-stamp counter when this was taken.
    pub tsc: u64,
    /// The running root tree.
    pub tree: Id,
    /// Turns over its devices, as a kernel core.
    pub turns: u64,
    /// Those that found something to do.
    pub useful: u64,
    /// System calls by ring.
    pub ring_calls: u64,
    /// Interrupts of its cards, as a kernel core that slept.
    pub interrupts: u64,
    /// Shares in `shares`.
    pub nshares: u64,
    /// The shares held.
    pub shares: [HeldShare; RUN_SHARES],
}

/// Values of `operation` in `machine_control`.
pub mod control {
    /// Ends the run: value 0 powers off, 1 … 3 exit with that status.
    pub const EXIT: u64 = 0;
    /// Resets the machine.
    pub const REBOOT: u64 = 1;
    /// Sets the log level, 0 (off) … 5 (trace).
    pub const LOG_LEVEL: u64 = 2;
    /// Prints the kernel's address → object map as `objmap` records, for the line meter.
    pub const PRINT_OBJECTS: u64 = 3;
}

/// Values of `counter` in `counter_read`. All count on the calling core since boot.
pub mod counter {
    /// Page faults from user code.
    pub const FAULTS: u64 = 0;
    /// Inter-processor interrupts sent.
    pub const IPIS: u64 = 1;
    /// TLB shootdown rounds waited for.
    pub const SHOOTDOWNS: u64 = 2;
    /// System calls by trap.
    pub const SYSCALLS: u64 = 3;
}

/// What `audit` writes, 72 bytes. Sound when `frames == owned + free + limbo` and `errors == 0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct AuditReport {
    /// Frames under management.
    pub frames: u64,
    /// Frames that objects and their tables own, those waiting for quiescence included.
    pub owned: u64,
    /// Frames in stocks and caches.
    pub free: u64,
    /// Frames cut from living objects, waiting for quiescence.
    pub limbo: u64,
    /// Live objects.
    pub objects: u64,
    /// Objects waiting for quiescence.
    pub dying: u64,
    /// Broken invariants found.
    pub errors: u64,
    /// Frames of object slots, used or free: they are among `owned`, and never go back.
    pub slots: u64,
    /// Frames of shares' tables: they are among `owned`, grow as names come and go, and go back when their share ends.
    pub tables: u64,
    /// Frames that were lost with cores: all others less those above. 0 while no core was lost.
    pub quarantined: u64,
}

impl AuditReport {
    /// Whether the books balance, while no core was lost: every frame is somewhere, and no invariant is broken.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.is_whole() && self.errors == 0
    }

    /// Whether every frame is somewhere. A hostile kernel's numbers wrap; nobody panics.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.frames == self.owned.wrapping_add(self.free).wrapping_add(self.limbo)
    }
}

/// Magic number of [`BootHeader`]: `COREYBI1`.
pub const BOOT_MAGIC: u64 = u64::from_le_bytes(*b"COREYBI1");

/// Start of the boot-information segment that a program finds mapped read-only at `rdi`. Offsets are
/// from its first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BootHeader {
    /// [`BOOT_MAGIC`].
    pub magic: u64,
    /// Bytes of boot information in all.
    pub bytes: u64,
    /// Cores that run.
    pub cores: u64,
    /// Time-stamp counter ticks per second.
    pub tsc_hz: u64,
    /// The share that names everything made at boot; the key of `machine_control` and `audit`.
    pub share: Id,
    /// The share that names the program's root tree and this segment: for the first program `share`.
    pub program: Id,
    /// The program that ran before on this pcore, named in `share`; null for none.
    pub previous: Id,
    /// The program's pcore, in `share`.
    pub pcore: Id,
    /// The program's root tree, in `program`.
    pub tree: Id,
    /// This segment, in `program`.
    pub segment: Id,
    /// Offset and bytes of the command line.
    pub command_line: [u64; 2],
    /// Offset and count of [`BootModule`] records.
    pub modules: [u64; 2],
    /// Offset and bytes of the processor's name.
    pub cpu: [u64; 2],
    /// Lowest address above what the program's mappings use.
    pub free_va: u64,
    /// Lowest free slot of the program's root tree.
    pub free_slot: u64,
    /// 1: the machine ends with this program. 0: it runs beside others, and its end is its pcore's.
    pub first: u64,
}

/// One file of the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BootModule {
    /// The share that names the file's segment.
    pub share: Id,
    /// The file's segment.
    pub segment: Id,
    /// Bytes of the file.
    pub bytes: u64,
    /// Offset and bytes of the path, as `bin/NAME`.
    pub name: [u64; 2],
}

/// Bytes of a page.
pub const PAGE_BYTES: u64 = 4096;
