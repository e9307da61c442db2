//! Good arguments of every call, so that one bad one is the only thing wrong.

use crate::subject::Subject;
use corey_abi::{
    AddressTreeCalls, BufferHeader, CoreStat, DeviceCalls, DeviceEntry, Error, Home, Id, Kind, Kinds,
    MachineCalls, MapFlags, Mapping, NAME_BYTES, Name, ObjRef, PAGE_BYTES, Plain, RUN_SHARES, RingConfig,
    RunContext, SYSCALL_DEVICE, ShareCalls, ShareEntry, SyscallInfo, TreeTable, core_mode, device_kind,
    mapping_kind, run_mode,
};
use corey_libos_rt::sys::{address, address_mut, pause, segment, sys};
use corey_libos_rt::vm::{Core, Space, interior, stack};
use corey_libos_rt::{Process, halt};
use corey_libos_test::Fixture;

/// Pages of the buffer.
const PAGES: u64 = 4;
/// Pages of the segment that calls are about.
pub(crate) const SEGMENT_PAGES: u64 = 16;

/// Offsets in the buffer: what calls read, and room for what they write.
mod place {
    pub(super) const LINE: u64 = 0;
    pub(super) const NAME: u64 = 0x100;
    pub(super) const MAPPING: u64 = 0x200;
    pub(super) const TABLE: u64 = 0x300;
    pub(super) const CONTEXT: u64 = 0x400;
    pub(super) const RING: u64 = 0x600;
    pub(super) const MAPPINGS: u64 = 0x1000;
    pub(super) const OUT: u64 = 0x2000;
}

/// What stays for the whole test: memory and another core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground {
    /// The segment mapped at `buffer`, and the slot that maps it.
    pub(crate) memory: ObjRef,
    pub(crate) slot: u64,
    pub(crate) buffer: u64,
    pub(crate) constant_va: u64,
    pub(crate) gone_va: u64,
    /// A core that can be run, its stack pointer, and where its end is reported.
    pub(crate) idle: Option<(Core, u64, Fixture)>,
    /// A core that nobody has.
    pub(crate) free_core: Option<u16>,
    console: ObjRef,
    /// The number of the network card.
    card: u64,
    /// What calls on devices are about.
    pub(crate) subject: Subject,
    boot: Id,
    pcore: ObjRef,
}

/// What one call's arguments name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    ground: Ground,
    pub(crate) share: Id,
    pub(crate) other: Id,
    pub(crate) hidden: ObjRef,
    pub(crate) segment: ObjRef,
    pub(crate) interior: ObjRef,
    pub(crate) root: ObjRef,
    pub(crate) device: ObjRef,
    /// A system-call device, without a ring.
    calls: ObjRef,
    pub(crate) freed_segment: Id,
    pub(crate) freed_share: Id,
    /// To be deleted, to be dropped.
    victim: ObjRef,
    dropped: Id,
    pub(crate) buffer: u64,
    pub(crate) constant_va: u64,
    pub(crate) text_va: u64,
    pub(crate) gone_va: u64,
}

/// Halts at once: what a run that was allowed does.
extern "C" fn end() -> ! {
    halt(0)
}

impl Ground {
    pub(crate) fn new(process: &mut Process, fixture: &Fixture) -> Result<Self, Error> {
        let memory = segment(process.program, PAGES * PAGE_BYTES, "buffer")?;
        let (buffer, buffer_slot) = process.space.map(memory, PAGES, MapFlags::WRITE)?;
        let (constant_va, _) = process.space.map(memory, PAGES, MapFlags::empty())?;
        let (gone_va, slot) = process.space.map(memory, PAGES, MapFlags::WRITE)?;
        process.space.unmap(slot)?;
        let cores = process.info.header.cores as u16;
        let idle = if cores > 1 {
            let mut core = Core::take(process.boot, 1, 2048, 0)?;
            core.space.mirror(&process.space, &mut |_| true)?;
            let top = stack(&mut core.space, core.share, 8)? - 8;
            Some((core, top, *fixture))
        } else {
            None
        };
        let mut entry = ShareEntry::default();
        sys().share_list(process.console, 0, address_mut(&mut entry), 1)?;
        let console = ObjRef { share: process.console, object: entry.id };
        if entry.kind != Kind::Device as u64 {
            return Err(Error::WrongKind);
        }
        let free_core = (cores > 2).then(|| cores - 1);
        let (boot, pcore) = (process.boot, process.pcore);
        Ok(Self {
            memory,
            slot: buffer_slot,
            buffer,
            constant_va,
            gone_va,
            idle,
            free_core,
            console,
            card: card()?,
            subject: Subject::Console,
            boot,
            pcore,
        })
    }

    /// The same ground for calls about another device.
    pub(crate) fn about(&self, subject: Subject) -> Self {
        Self { subject, ..*self }
    }

    pub(crate) fn boot(&self) -> Id {
        self.boot
    }

    pub(crate) fn end(self) {
        if let Some((core, ..)) = self.idle {
            core.release();
        }
    }
}

/// The number of the machine's network card.
///
/// # Errors
///
/// `NotFound`: this test needs one (QEMU: `-device e1000`).
fn card() -> Result<u64, Error> {
    let mut entries = [DeviceEntry::default(); 4];
    let count = sys().device_list(0, address_mut(&mut entries), entries.len() as u64)?;
    let mut there = entries.iter().take(count as usize);
    there.find(|entry| entry.kind == device_kind::NETWORK).map(|entry| entry.device).ok_or(Error::NotFound)
}

/// Takes the card; the world before this one may have it until other cores have left the kernel once.
fn take(share: Id, card: u64) -> Result<Id, Error> {
    let name = Name::new("card");
    let tried = || {
        pause();
        sys().device_alloc(share, card, Home::Any, address(&name))
    };
    let taken = (0..100_000).map(|_| tried()).find(|taken| *taken != Err(Error::Busy));
    taken.unwrap_or(Err(Error::Busy))
}

fn share(parent: Id, quota: (u64, u64)) -> Result<Id, Error> {
    let name = Name::new("world");
    sys().share_alloc(parent, Kinds::all(), quota.0, quota.1, Home::Any, address(&name))
}

/// Ends a share that is held and that `parent` names.
fn end_share(parent: Id, gone: Id) {
    // What is gone already needs no end.
    let _ = sys().share_delobj(ObjRef { share: parent, object: gone });
    let _ = sys().self_drop(gone);
}

impl World {
    /// Pages of the buffer, and words from its start on that hold records.
    pub(crate) const BUFFER_PAGES: u64 = PAGES;
    pub(crate) const RECORD_WORDS: u64 = place::OUT / 8;

    pub(crate) fn new(ground: &Ground) -> Result<Self, Error> {
        let all = share(ground.boot, (3000, 120))?;
        let other = share(all, (400, 16))?;
        let hidden_share = share(all, (16, 4))?;
        let hidden = segment(hidden_share, PAGE_BYTES, "hidden")?;
        sys().self_drop(hidden_share)?;
        let freed = segment(all, PAGE_BYTES, "freed")?;
        let pages = segment(all, SEGMENT_PAGES * PAGE_BYTES, "pages")?;
        sys().share_delobj(freed)?;
        let freed_share = share(all, (1, 1))?;
        end_share(all, freed_share);
        let dropped = share(all, (1, 1))?;
        let device = match ground.subject {
            Subject::Console | Subject::FreeCard => ground.console,
            Subject::Card(..) => ObjRef { share: all, object: take(all, ground.card)? },
        };
        let name = Name::new("calls");
        let calls = sys().device_alloc(all, SYSCALL_DEVICE, Home::Any, address(&name))?;
        let world = Self {
            ground: *ground,
            share: all,
            other,
            hidden,
            segment: pages,
            interior: interior(all, "interior")?,
            root: Space::root(all, 0, "root")?.tree,
            device,
            calls: ObjRef { share: all, object: calls },
            freed_segment: freed.object,
            freed_share,
            victim: segment(all, PAGE_BYTES, "victim")?,
            dropped,
            buffer: ground.buffer,
            constant_va: ground.constant_va,
            text_va: end as extern "C" fn() -> ! as usize as u64,
            gone_va: ground.gone_va,
        };
        // Something to be read, replaced, cleared.
        sys().at_set_slot(world.interior, 0, address(&world.mapping()))?;
        Ok(world)
    }

    pub(crate) fn end(self) {
        let _ = sys().self_drop(self.dropped);
        let _ = sys().self_drop(self.other);
        end_share(self.ground.boot, self.share);
    }

    pub(crate) fn buffer_end(&self) -> u64 {
        self.buffer + PAGES * PAGE_BYTES
    }

    fn put<T: Plain, const N: usize>(&self, at: u64, value: &T) {
        let mut bytes = [0; N];
        value.to_bytes(&mut bytes);
        for (at, byte) in (self.buffer + at..).zip(bytes) {
            // SAFETY: inside the buffer, mapped writable for good.
            unsafe { (at as *mut u8).write_volatile(byte) };
        }
    }

    /// A good mapping: one page of the segment at the start of an interior tree.
    pub(crate) fn mapping(&self) -> Mapping {
        Mapping {
            kind: mapping_kind::SEGMENT,
            flags: MapFlags::WRITE.bits(),
            object: self.segment,
            npages: 1,
            ..Mapping::default()
        }
    }

    fn context(&self) -> RunContext {
        let Some((core, stack, fixture)) = &self.ground.idle else { return RunContext::default() };
        let (_, status, status_offset) = fixture.status(1);
        let mut shares = [Id::NULL; RUN_SHARES];
        shares[0] = core.share;
        shares[1] = self.ground.boot;
        RunContext {
            tree: core.space.tree,
            mode: run_mode::USER,
            nshares: 2,
            entry: self.text_va,
            stack: *stack,
            status,
            status_offset,
            shares,
            ..RunContext::default()
        }
    }

    /// Has every page of the buffer made.
    pub(crate) fn touch(&self) {
        for at in (self.buffer..self.buffer_end()).step_by(PAGE_BYTES as usize) {
            // SAFETY: mapped writable for good.
            unsafe { (at as *mut u8).write_volatile(0) };
        }
    }

    /// Writes good records into the buffer.
    pub(crate) fn fill(&self) {
        let length = self.ground.subject.length();
        let line = BufferHeader { ready: 1, length, ..BufferHeader::default() };
        self.put::<_, { BufferHeader::BYTES }>(place::LINE, &line);
        self.put::<_, NAME_BYTES>(place::NAME, &Name::new("good").0);
        self.put::<_, { Mapping::BYTES }>(place::MAPPING, &self.mapping());
        self.put::<_, { Mapping::BYTES }>(place::MAPPINGS, &self.mapping());
        // What follows the only mapping of the table is none.
        let none = Mapping { kind: u32::MAX, ..Mapping::default() };
        self.put::<_, { Mapping::BYTES }>(place::MAPPINGS + Mapping::BYTES as u64, &none);
        let table = TreeTable { mappings: self.buffer + place::MAPPINGS, count: 1, ..TreeTable::default() };
        self.put::<_, { TreeTable::BYTES }>(place::TABLE, &table);
        self.put::<_, { RunContext::BYTES }>(place::CONTEXT, &self.context());
        self.put::<_, { RingConfig::BYTES }>(place::RING, &self.ring());
    }

    /// A ring of two pages, its arguments in the same segment.
    fn ring(&self) -> RingConfig {
        let mut ring = RingConfig {
            ring: self.segment,
            offset: PAGE_BYTES,
            slots: 64,
            arguments: self.segment,
            nshares: 1,
            ..RingConfig::default()
        };
        ring.shares[0] = self.share;
        ring
    }

    /// Waits until nothing runs on the other core; whether that came.
    pub(crate) fn settle(&self) -> bool {
        let Some((core, ..)) = &self.ground.idle else { return true };
        (0..1_000_000).any(|_| {
            let mut stat = [0; CoreStat::BYTES];
            pause();
            let told = sys().core_stat(core.pcore, address_mut(&mut stat));
            let mode = CoreStat::from_bytes(&stat).map(|stat| stat.mode);
            told.is_ok() && mode == Some(core_mode::IDLE)
        })
    }

    /// Good words of argument `arg` (type `kind`) of `call`.
    pub(crate) fn good(&self, call: &SyscallInfo, arg: &str, kind: &str) -> [u64; 2] {
        let object = |ObjRef { share, object }: ObjRef| [share.0, object.0];
        let one = |word: u64| [word, 0];
        let idle = self.ground.idle.map_or(self.ground.pcore, |(core, ..)| core.pcore);
        match (call.name, arg) {
            ("share_addobj", "share") => one(self.other.0),
            ("share_delobj", "object") => object(self.victim),
            ("self_drop", "share") => one(self.dropped.0),
            ("machine_control" | "audit", "share") => one(self.ground.boot.0),
            ("machine_control", "operation") => one(2),
            ("machine_control", "value") => one(3),
            ("core_stat", "pcore") => object(self.ground.pcore),
            ("core_wait", "value") => one(1),
            ("at_alloc", "kind") => one(1),
            ("at_alloc", "grain") => one(30),
            ("at_get" | "at_set", "table") => one(self.buffer + place::TABLE),
            ("pcore_add_device" | "device_conf", "device") => object(self.calls),
            ("pcore_alloc", "core") => one(self.ground.free_core.unwrap_or(0).into()),
            ("device_alloc", "device") if matches!(self.ground.subject, Subject::FreeCard) => {
                one(self.ground.card)
            }
            ("device_buf", "operation") => one(self.ground.subject.operation()),
            // A line that is empty, or a frame.
            ("device_buf", "segment") => object(self.ground.memory),
            ("segment_set_nbytes", "nbytes") => one(SEGMENT_PAGES * PAGE_BYTES),
            (_, "pcore") => object(idle),
            (_, "device") if kind == "ObjRef" => object(self.device),
            (_, "tree") => object(self.interior),
            (_, "name") => one(self.buffer + place::NAME),
            (_, "mapping") => one(self.buffer + place::MAPPING),
            (_, "context") => one(self.buffer + place::CONTEXT),
            (_, "configuration") => one(self.buffer + place::RING),
            (_, "pages" | "objects" | "count") => one(1),
            (_, "nbytes") => one(PAGE_BYTES),
            _ => match kind {
                "Id" => one(self.share.0),
                "ObjRef" => object(self.segment),
                "UserPtr" => one(self.buffer + place::OUT),
                "Home" => one(Home::Any.to_word()),
                "Kinds" => one(Kinds::all().bits()),
                _ => one(0),
            },
        }
    }

    /// Writes word `word` of the record that argument `arg` of `call` leads to.
    pub(crate) fn poke(&self, call: &str, arg: &str, word: u64, value: u64) {
        let at = match (call, arg) {
            (_, "mapping") => place::MAPPING,
            (_, "table") => place::TABLE,
            (_, "mappings") => place::MAPPINGS,
            (_, "context") => place::CONTEXT,
            (_, "configuration") => place::RING,
            _ => place::LINE,
        };
        // SAFETY: inside the buffer, mapped writable for good.
        unsafe { ((self.buffer + at + 8 * word) as *mut u64).write_volatile(value) };
    }

    /// Whether the records are as [`World::fill`] left them.
    pub(crate) fn is_filled(&self) -> bool {
        let words = || (self.buffer..self.buffer + place::OUT).step_by(8);
        // SAFETY: inside the buffer, mapped for good.
        let now = words().map(|at| unsafe { (at as *const u64).read_volatile() });
        let mut kept = [0; place::OUT as usize / 8];
        kept.iter_mut().zip(now).for_each(|(to, from)| *to = from);
        self.fill();
        // SAFETY: as above.
        let same =
            words().zip(kept).all(|(at, before)| unsafe { (at as *const u64).read_volatile() } == before);
        // SAFETY: as above.
        words().zip(kept).for_each(|(at, before)| unsafe { (at as *mut u64).write_volatile(before) });
        same
    }
}
