//! The system-call table: the one place where a call is defined.
//!
//! "Events" in a `# Cost` part are coherence events on lines another core may hold (DESIGN of the line
//! meter, `crates/tools/line-meter`). An `# Errors` part names every error its call can answer, and says why
//! where [`Error`] does not. Every call answers [`Error::CoreLost`] that needs what a lost core left half changed; the
//! parts name it where a call needs a core itself. Tests hold it to that: `crates/kernel/corey/tests/errors` shows each pair of call
//! and error, and the fake machine fails a test in which a call answers an error that its part does not name.

use crate::macros::syscalls;
use crate::{Error, Home, Id, Kinds, ObjRef, UserPtr};

syscalls! {
    /// Any object.
    interface object: ObjectCalls {
        /// Writes the 32-byte name of `object` to `name`.
        ///
        /// # Errors
        /// `NotFound`, `BadAddress`.
        ///
        /// # Cost
        /// No lock. Reads the share's table and the object's header.
        0x00 => fn obj_get_name(object: ObjRef, name: UserPtr) -> ();
    }
    /// Tables that decide which cores can see which objects (paper §3.2).
    interface share: ShareCalls {
        /// Allocates a share in core `core`'s memory, named in `parent`, that may name objects of
        /// `kinds`; the caller holds it. `pages` and `objects` are carved from `parent`'s quota and
        /// come back when the share is reclaimed. `name` points to 32 bytes.
        ///
        /// # Errors
        /// `QuotaExceeded` when `parent` cannot give that much; `NotPermitted` when `parent` may not hold
        /// shares, or may hold fewer kinds, and for the memory of a core that is taken and out of reach;
        /// `Full` when the caller holds 20 shares; `BadArgument`, `NotFound`, `BadAddress`, `NoMemory`.
        ///
        /// # Cost
        /// Locks `parent` for update. No event when `parent` is private.
        0x10 => fn share_alloc(parent: Id, kinds: Kinds, pages: u64, objects: u64, core: Home, name: UserPtr) -> Id;
        /// Names `object` in `share` too: one more reference. A share cannot be added to a share.
        ///
        /// # Errors
        /// `Exists` when it is named there already; `NotPermitted` for a share, and when `share` may not
        /// hold its kind; `QuotaExceeded` when `share` has no room for its pages; `NotFound`, `NoMemory`.
        ///
        /// # Cost
        /// Locks `share` for update. No event when both are private.
        0x11 => fn share_addobj(share: Id, object: ObjRef) -> ();
        /// Removes `object` from the share it is named through: one reference less. At zero, mappings
        /// are revoked and the object is reclaimed; its memory is reused only when no core can hold a
        /// pointer. Removing a share from its parent ends nothing while a core holds it.
        ///
        /// # Errors
        /// `NotFound`, also for a share that is named by itself.
        ///
        /// # Cost
        /// Locks the share for update. At zero references: one acknowledged shootdown if the object is
        /// mapped where other cores run; none if it is private.
        0x12 => fn share_delobj(object: ObjRef) -> ();
        /// Drops the caller's hold on `share`, and what its root tree mapped through it. Dropping the
        /// share that holds the caller's root tree or pcore halts the caller.
        ///
        /// # Errors
        /// `NotFound`.
        ///
        /// # Cost
        /// Locks the share. No event when it is private.
        0x13 => fn self_drop(share: Id) -> ();
    }
    /// Physical memory (paper §3.3).
    interface segment: SegmentCalls {
        /// Allocates a segment of `nbytes` (rounded up to pages), named in `share`. Metadata comes from
        /// core `core`'s memory now; pages come zeroed on first touch, from the touching core's memory.
        /// `flags` 1 asks for 2 MiB pages. All pages are charged to `share` now, so a fault cannot run into
        /// the quota; it can run out of memory, of whole 2 MiB pages above all.
        ///
        /// # Errors
        /// `QuotaExceeded`; `OutOfRange` above 2^39 bytes; `NotPermitted` when `share` may not hold
        /// segments, and for the memory of a core that is taken and out of reach; `BadArgument`,
        /// `NotFound`, `BadAddress`, `NoMemory`.
        ///
        /// # Cost
        /// Locks `share` for update; about one table frame per 2 MiB above 8 pages. No event when `share` is private
        /// and `core` is the caller's.
        0x20 => fn segment_alloc(share: Id, nbytes: u64, core: Home, flags: u64, name: UserPtr) -> Id;
        /// Makes a new segment in `share` with the contents of `segment`, a snapshot page by page. `mode` 0
        /// copies now; 1 is copy-on-write: a page is copied when either side first writes it; 2 is
        /// copy-on-reference: also when the copy is first read. A page that is pinned is copied now; and with 4 and the
        /// offset of a page in bytes added to mode 1 or 2, that page.
        ///
        /// # Errors
        /// `Busy` while another core copies or resizes `segment`; `QuotaExceeded`; `OutOfRange` for a page beyond the
        /// end; `NotPermitted` as `segment_alloc`; `BadArgument`, `NotFound`, `WrongKind`, `BadAddress`, `NoMemory`.
        ///
        /// # Cost
        /// As `segment_alloc`. Mode 0: one page copy per page present. Modes 1 and 2: a visit to every page
        /// slot, a count for every page, and, if a page was written since `segment` was last copied, one acknowledged
        /// shootdown of the cores that map it. A page copied now needs none. A private one: no event.
        0x21 => fn segment_copy(segment: ObjRef, share: Id, mode: u64, core: Home, name: UserPtr) -> Id;
        /// The size of `segment` in bytes, a multiple of 4096.
        ///
        /// # Errors
        /// `NotFound`, `WrongKind`.
        ///
        /// # Cost
        /// No lock, no store to a shared line.
        0x22 => fn segment_get_nbytes(segment: ObjRef) -> u64;
        /// Sets the size of `segment` to `nbytes` (rounded up to pages). New pages read zero. Cut pages
        /// are revoked everywhere before this returns.
        ///
        /// # Errors
        /// `Busy` while another core copies or resizes `segment`, when a page that would be cut is pinned
        /// by a device or a status, and when a segment that several shares name would grow;
        /// `QuotaExceeded`; `OutOfRange` above 2^39 bytes; `NotFound`, `WrongKind`, `NoMemory`.
        ///
        /// # Cost
        /// Growing as `segment_alloc`; shrinking one acknowledged shootdown of the cores that map it.
        0x23 => fn segment_set_nbytes(segment: ObjRef, nbytes: u64) -> ();
    }
    /// Address trees: page tables as objects (paper §3.3).
    interface at: AddressTreeCalls {
        /// Allocates an address tree, named in `share`: `kind` 0 a root (`grain` 0), `kind` 1 an
        /// interior tree that spans 2^`grain` bytes (21: 2 MiB, 30: 1 GiB, 39: 512 GiB).
        ///
        /// # Errors
        /// `BadArgument` for another kind or grain; `QuotaExceeded`; `NotPermitted` when `share` may not
        /// hold trees, and for the memory of a core that is taken and out of reach; `NotFound`,
        /// `BadAddress`, `NoMemory`.
        ///
        /// # Cost
        /// Locks `share` for update. No event when `share` is private.
        0x30 => fn at_alloc(share: Id, kind: u64, grain: u64, core: Home, name: UserPtr) -> Id;
        /// Reads the whole table of `tree` into the `TreeTable` at `table` and the array it points to. What of the
        /// array lies beyond the slots ever in use is left as it is.
        ///
        /// # Errors
        /// `OutOfRange` when the array has no room for the highest slot in use; `NotFound`, `WrongKind`,
        /// `BadAddress`.
        ///
        /// # Cost
        /// No lock. Reads every slot that was ever in use.
        0x31 => fn at_get(tree: ObjRef, table: UserPtr) -> ();
        /// Replaces the whole table of `tree`: fault handler, its stack and masked word (0 for none; a root's
        /// only), and all slots. A failure leaves the slots before the failing one set; `count` in the user's
        /// table is then set to its number.
        ///
        /// # Errors
        /// `Full` for more than 512 slots; `Misaligned` and `OutOfRange` for handler, stack or masked
        /// word, `NotPermitted` for those of an interior tree, and all three as `at_set_slot`, as are
        /// `Busy`, `QuotaExceeded`, `BadArgument`, `NotFound`, `WrongKind`, `BadAddress`, `NoMemory`.
        ///
        /// # Cost
        /// As `at_set_slot` for each slot.
        0x32 => fn at_set(tree: ObjRef, table: UserPtr) -> ();
        /// Sets slot `slot` of `tree` from the 64-byte `Mapping` at `mapping`; what the slot mapped
        /// before is unmapped everywhere first. Kind 0 clears the slot. A mapping of at most 16 pages is filled at
        /// once with the pages that are there.
        ///
        /// # Errors
        /// `Busy` when the range overlaps another slot, the slot is being changed, or a tree that several shares name would need more
        /// page tables; `NotPermitted` for an interior tree in an interior tree, a root in a tree, 2 MiB pages in a tree of 2 MiB,
        /// and for writing and executing at once; `OutOfRange` for an empty range, and for one beyond tree or segment sizes, or with
        /// the first or the last page of the user half, which stay unmapped; `Misaligned`; `Full` for a slot ≥ 512; `QuotaExceeded`
        /// when the share cannot pay for the page tables; `BadArgument`, `NotFound`, `WrongKind`, `BadAddress`, `NoMemory`.
        ///
        /// # Cost
        /// Locks the tree, if it is an interior one, and the segment's mapping list. Unmapping from an interior tree is one
        /// acknowledged shootdown of the cores that have it attached; from a root, none. A root that runs on
        /// another core: two acknowledged messages to that core.
        0x33 => fn at_set_slot(tree: ObjRef, slot: u64, mapping: UserPtr) -> ();
    }
    /// Cores (paper §3.4).
    interface pcore: PcoreCalls {
        /// Allocates core `core` as an object named in `share`.
        ///
        /// # Errors
        /// `Busy` when the core is allocated; `CoreLost` when it has stopped for good; `NotFound` when there is no such core or share;
        /// `NotPermitted` when `share` may not hold pcores; `QuotaExceeded`, `BadAddress`, `NoMemory`.
        ///
        /// # Cost
        /// Writes the target's line: one event by design.
        0x40 => fn pcore_alloc(share: Id, core: u64, name: UserPtr) -> Id;
        /// A reference to the pcore that runs the caller.
        ///
        /// # Errors
        /// None.
        ///
        /// # Cost
        /// Private memory only.
        0x41 => fn pcore_current() -> ObjRef;
        /// Runs the `RunContext` at `context` on `pcore`. Each share of the set must be held by the
        /// caller or be named in a share the caller holds. On the caller's own pcore the current
        /// context is replaced, and the call does not return. In kernel-core mode the core runs no program: it polls the devices
        /// that `pcore_add_device` gave it, until it is halted.
        ///
        /// # Errors
        /// `Busy` when the pcore runs or the tree runs elsewhere; `CoreLost`; `NotPermitted` for a share out of reach,
        /// when the tree's share is not in the set, and over a ring for the kernel core that serves it; `BadArgument`
        /// for another mode, a tree in kernel-core mode, more than 20 shares, or one twice; `WrongKind` also for an interior tree;
        /// `OutOfRange` for entry or stack outside the user half, and a status outside its segment;
        /// `Misaligned` for a status; `NoMemory` for the page of the status; `NotFound`, `BadAddress`.
        ///
        /// # Cost
        /// Two lines of the target's and at most one interrupt; does not wait until the run begins. What is asked about
        /// `pcore` afterwards is answered after that.
        0x42 => fn pcore_run(pcore: ObjRef, context: UserPtr) -> ();
        /// Has `pcore` poll `device`, 8 at most, whenever it runs as a kernel core: a card for what it is done with, a system-call
        /// device for calls. The device stays on the list as long as it lives; it is polled by one kernel core or several.
        ///
        /// # Errors
        /// `Exists` when it is on the list; `Full`; `NotFound`, `WrongKind`.
        ///
        /// # Cost
        /// Locks the list; one acknowledged message when the pcore runs.
        0x43 => fn pcore_add_device(pcore: ObjRef, device: ObjRef) -> ();
        /// Sets the time slice of what runs on `pcore` in nanoseconds, at least 10,000; 0 for none. At its
        /// end the root tree's handler gets an upcall with vector 32; without a handler the pcore halts
        /// (reason `FAULT`, value 32). A run begins without a time slice.
        ///
        /// # Errors
        /// `NotPermitted` when the pcore does not run, and for a kernel core; `CoreLost`; `OutOfRange` below 10,000; `NotFound`,
        /// `WrongKind`.
        ///
        /// # Cost
        /// The core's timer; one acknowledged message when it is another core's.
        0x44 => fn pcore_set_interval(pcore: ObjRef, nanoseconds: u64) -> ();
        /// Halts `pcore` with `value` (32 bits). On the caller's own pcore it does not return. On
        /// another it returns when that core has halted; a halted pcore can be run again. With the boot share and
        /// 2^63 + n as the object: what runs on core n, whoever else can name it.
        ///
        /// # Errors
        /// `NotPermitted` when the pcore does not run, and over a ring for the kernel core that serves it; `CoreLost` when its core
        /// does not answer: its run is over then; `BadArgument` for a value above 32 bits; `NotFound`, `WrongKind`.
        ///
        /// # Cost
        /// One acknowledged message and at most one interrupt; none on oneself.
        0x45 => fn pcore_halt(pcore: ObjRef, value: u64) -> ();
    }
    /// Devices (paper §3.5).
    interface device: DeviceCalls {
        /// Writes up to `count` `DeviceEntry` records to `list`, from the `start`-th device on; returns
        /// how many there are in all.
        ///
        /// # Errors
        /// `BadAddress`.
        ///
        /// # Cost
        /// No lock.
        0x50 => fn device_list(start: u64, list: UserPtr, count: u64) -> u64;
        /// Takes device number `device` exclusively, as an object named in `share`. A network card is started; when the
        /// object ends it is stopped, and what is posted comes back. `SYSCALL_DEVICE` (65,536) makes a new system-call device.
        ///
        /// # Errors
        /// `DeviceFailed` when a network card does not answer, or a core stopped in the middle of its use;
        /// `Busy` when it is taken; `NotFound` when there is no such device or share; `NotPermitted` when
        /// `share` may not hold devices, and for the memory of a core that is taken and out of reach;
        /// `QuotaExceeded`, `BadArgument`, `BadAddress`, `NoMemory`.
        ///
        /// # Cost
        /// Writes the device's line: one event by design.
        0x51 => fn device_alloc(share: Id, device: u64, core: Home, name: UserPtr) -> Id;
        /// Writes the 96-byte `NetworkStat` of a network card to `information` (`Unsupported` for other devices).
        ///
        /// # Errors
        /// `Unsupported`, `NotFound`, `WrongKind`, `BadAddress`.
        ///
        /// # Cost
        /// Locks the card, and reads its registers.
        0x52 => fn device_stat(device: ObjRef, information: UserPtr) -> ();
        /// Tells a network card which frames to accept, and where the results of marked buffers go, by the 40-byte `CardConfig` at
        /// `configuration`, as long as the device is its owner's; or gives a system-call device the ring that the 128-byte
        /// `RingConfig` there describes. `Unsupported` for the console. The page of results stays where it is; when its segment
        /// ends, results go into headers again. The kernel core that polls the device makes the calls it finds there, in the name of the ring's shares: it holds
        /// them as long as it serves the ring. Addresses in calls are `RING_ARGUMENTS` (2^47) plus an offset in the argument segment.
        /// The ring's pages stay where they are. The ring ends, its calls in flight with `DeviceFailed`, when the kernel core does;
        /// with `BadArgument`, when what stands in it is no request. Then the device can be given another one.
        ///
        /// # Errors
        /// `Busy` when it has a ring; `BadArgument` for another number of slots, more than 8 shares, or one twice, and for another
        /// filter or a word that must be zero; `Misaligned` for an offset that is no multiple of 4,096; `OutOfRange` for a ring
        /// or a page of results beyond its segment; `Unsupported`, `NotFound`, `WrongKind`, `BadAddress`, `NoMemory`.
        ///
        /// # Cost
        /// Locks the device; one acknowledged message to the kernel core that waits for the ring; one register of a card.
        0x53 => fn device_conf(device: ObjRef, configuration: UserPtr) -> ();
        /// Feeds the buffer at byte `offset` of `segment` to `device`: `operation` 0 out, 1 in; with 256 added the device is not told
        /// before a call without it, and with 512 added a card does not read the header: bits 16–31 have the length to send, and bits
        /// 32–55 a mark, which `ready` becomes instead of 0 (or the page of results has, if the card was given one). 2 resets the device, 3 asks it what it is done with; both take no
        /// buffer. A system-call device takes 3 only: it wakes the kernel core that sleeps (its doorbell). A buffer is a
        /// `BufferHeader` and its data. The console takes one whole line of at most 4096 bytes and is done when the call returns; it
        /// adds `"seq":N` as first key to a line that starts with `{`. A network card takes an Ethernet frame without its check
        /// sequence, in one page with its header: it has the buffer, and the page stays where it is, until the header's `ready` is 0
        /// or the mark, which calls on the card write. When the segment ends before, the card is reset first, and everything that was
        /// posted comes back.
        ///
        /// # Errors
        /// `OutOfRange` when header and data do not lie in the segment (for a card: with 2,048 bytes for a frame to come, or 14 to
        /// 1,514 of one to send, in one page), and for a line that is too long; `Misaligned` for an offset that is no multiple of 16;
        /// `Busy` when `ready` is not set; `Full` when the card has as many buffers as it can; `DeviceFailed` when it does not come
        /// up after a reset; `Unsupported` for in and marks on the console, and for all but 3 on a system-call device; `BadArgument`
        /// for another operation; `NotFound`, `WrongKind`, `NoMemory`.
        ///
        /// # Cost
        /// Locks the device; the device's own lines.
        0x54 => fn device_buf(device: ObjRef, operation: u64, segment: ObjRef, offset: u64) -> ();
    }
    /// The machine.
    interface machine: MachineCalls {
        /// Writes the 408-byte `Locality` of core `core` to `information`: package, hardware threads, caches and
        /// who shares them, memory node, own memory, the distance of every core's memory, and how much of that is
        /// known (`source`).
        ///
        /// # Errors
        /// `NotFound` when there is no such core; `BadAddress`.
        ///
        /// # Cost
        /// No lock; data written once at boot.
        0x60 => fn locality_get(core: u64, information: UserPtr) -> ();
        /// Writes up to `count` `ShareEntry` records to `list`, from the `start`-th on, and returns how
        /// many there are in all: of the shares the caller holds for `share` 0, else of what `share` names.
        ///
        /// # Errors
        /// `NotFound`, `BadAddress`.
        ///
        /// # Cost
        /// No lock.
        0x100 => fn share_list(share: Id, start: u64, list: UserPtr, count: u64) -> u64;
        /// Sleeps until the 64-bit word at `offset` (8-byte aligned) of `segment` differs from `value` and
        /// somebody says so by `core_wake`, at most `nanoseconds`; returns at once when it differs already.
        /// The word is looked at after registering, so no wake-up is lost. May return early. Over a ring it is not supported: the
        /// calls behind it would sleep, too.
        ///
        /// # Errors
        /// `TimedOut`; `Misaligned`, `OutOfRange`, `NotFound`, `WrongKind`; `NoMemory` for a page that
        /// nobody had touched.
        ///
        /// # Cost
        /// Registers with the segment's home core: a lock and two lines there.
        0x101 => fn core_wait(segment: ObjRef, offset: u64, value: u64, nanoseconds: u64) -> ();
        /// Wakes the cores that wait on the word at `offset` of `segment`; returns how many.
        ///
        /// # Errors
        /// `Misaligned`, `OutOfRange`, `NotFound`, `WrongKind`.
        ///
        /// # Cost
        /// One interrupt per waiting core.
        0x102 => fn core_wake(segment: ObjRef, offset: u64) -> u64;
        /// Writes the 1,152-byte `MachineInfo` record to `information`.
        ///
        /// # Errors
        /// `BadAddress`.
        ///
        /// # Cost
        /// No lock; data written once at boot.
        0x103 => fn machine_info(information: UserPtr) -> ();
        /// Controls the machine: `operation` 0 exit with status `value`, 1 reboot, 2 set log level, 3
        /// print the kernel's object map. `share` must be the boot share, and held.
        ///
        /// # Errors
        /// `NotPermitted` for another share; `BadArgument` for another operation or value; `NotFound`.
        ///
        /// # Cost
        /// Touches every core.
        0x104 => fn machine_control(share: Id, operation: u64, value: u64) -> ();
        /// Stops all cores, checks the kernel's invariants and writes an `AuditReport` to `report`.
        /// `share` must be the boot share, and held.
        ///
        /// # Errors
        /// `NotPermitted` for another share; `Busy` while another core audits; `NotFound`, `BadAddress`.
        ///
        /// # Cost
        /// Touches every core and every frame descriptor.
        0x105 => fn audit(share: Id, report: UserPtr) -> ();
        /// Writes the `CoreStat` of `pcore`'s core to `information`: mode, counters, the shares it holds and
        /// who else holds them. Whoever holds the boot share may name any core: ⟨boot share, 2^63 + number⟩.
        ///
        /// # Errors
        /// `CoreLost`, `NotFound`, `WrongKind`, `BadAddress`.
        ///
        /// # Cost
        /// One message and at most one interrupt to the target.
        0x106 => fn core_stat(pcore: ObjRef, information: UserPtr) -> ();
        /// An acknowledged store→load fence on every core that holds `share`.
        ///
        /// # Errors
        /// `NotFound`.
        ///
        /// # Cost
        /// One interrupt per holder.
        0x107 => fn core_fence(share: Id) -> ();
        /// The calling core's event counter `counter`: 0 faults, 1 interrupts sent, 2 shootdowns, 3
        /// system calls.
        ///
        /// # Errors
        /// `BadArgument` for another counter.
        ///
        /// # Cost
        /// Private memory only.
        0x108 => fn counter_read(counter: u64) -> u64;
    }
}
