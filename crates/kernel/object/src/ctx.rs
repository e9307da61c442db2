//! [`Ctx`]: one core's kernel state at the level of objects.

use crate::header::{Handle, Header, Object};
use crate::limbo::Limbo;
use crate::link::{Link, LinkCell};
use crate::slab::{Slab, SlotList, slots};
use crate::wait::WaitList;
use corey_abi::{Error, Home, Id, NAME_BYTES, Name, RING_ARGUMENTS, UserPtr};
use corey_kernel_hal::{Area, BootAlloc, Cause, CoreId, Frame, Platform, Topology};
use corey_kernel_mem::{FrameList, Gone, Mem, Memory, Owned, Part, Released, Source, Zeroed};
use corey_kernel_percore::{CoreSet, Entered, Local, MessageKind, PerCore, Serve, Snapshot};
use corey_lib_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use corey_lib_sync::{Relax, Shared};

/// Faults one copy may resolve: a copy spans few pages, more means that another core takes them away.
const COPY_RETRIES: usize = 64;

/// Turns that an allocation waits for other cores to leave the kernel, when only they keep memory from it.
const LIMBO_TURNS: usize = 10_000;

/// Which pcore object has a core, on a line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CoreSlot {
    /// The pcore; null while the core is free.
    pub owner: LinkCell,
    taken: AtomicBool,
}

impl CoreSlot {
    /// Takes the core; false when somebody has it.
    #[must_use]
    pub fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::AcqRel)
    }

    /// Says which pcore has it.
    pub fn set(&self, pcore: Link) {
        self.owner.store(pcore);
    }

    /// Makes the core free.
    pub fn clear(&self) {
        self.owner.store(Link::NULL);
        self.taken.store(false, Ordering::Release);
    }
}

/// What is taken from the mappings of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// All of it.
    Page,
    /// Permission to write.
    Write,
}

/// Who has buffers of segments posted to devices.
pub trait Posts<P: Platform>: Sync + core::fmt::Debug {
    /// Takes the buffers of `segment`, which has no references any more, from the devices to which `posted` says that one was
    /// ever posted; no other is looked at. False when one may still write its pages.
    #[must_use]
    fn forget(
        &self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        segment: Link,
        posted: &dyn Fn(u32) -> bool,
    ) -> bool;
}

/// Moves bytes between the kernel and a segment, at an offset.
pub type Move<P> = fn(&mut Ctx<P>, &Entered<'_>, Link, u64, Transfer<'_>) -> Result<(), Error>;

/// Bytes to be moved.
#[derive(Debug)]
pub enum Transfer<'a> {
    /// To the kernel.
    In(&'a mut [u8]),
    /// From the kernel.
    Out(&'a [u8]),
}

/// What the levels above add to every core's context.
#[derive(Debug)]
pub struct Hooks<P: Platform> {
    /// Serves a message.
    pub serve: Serve<P>,
    /// Resolves a page fault of the running root tree at this address; false when it cannot.
    pub fault: fn(&mut Ctx<P>, &Entered<'_>, u64, Cause) -> bool,
    /// Takes these pages (first, count) of a segment, or permission to write them, from every mapping on every
    /// core, acknowledged; says which cores could have had them.
    pub revoke: fn(&mut Ctx<P>, &Entered<'_>, &Header, u64, u64, Take) -> CoreSet,
    /// Ends an object whose last reference went: revokes what maps it and retires it.
    pub last: fn(&mut Ctx<P>, &Entered<'_>, &Header),
    /// Moves bytes between the kernel and the argument segment of a ring.
    pub arguments: Move<P>,
    /// The devices, if there are any.
    pub posts: Option<&'static dyn Posts<P>>,
}

impl<P: Platform> Clone for Hooks<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P: Platform> Copy for Hooks<P> {}

/// What is one per machine below the object kinds.
#[derive(Debug)]
pub struct World {
    /// Every core's epoch and mailbox.
    pub cores: &'static [PerCore],
    /// All frames.
    pub memory: Memory,
    /// Who has each core.
    pub owners: &'static [CoreSlot],
    /// Lock order 6 (`slab`): a core's object slots. Nothing is taken under it.
    slabs: &'static [Shared<Slab>],
    /// Lock order 6 (`limbo`): what waits until no core can hold a pointer. Nothing is taken under it.
    limbos: &'static [Shared<Limbo>],
    /// Lock order 6 (`waits`): who waits on words of segments at home here. Nothing is taken under it.
    waits: &'static [Shared<WaitList>],
    /// Where the snapshots of the limbos are.
    snapshots: Area,
    /// Begins and ends of audits: odd while one goes on. Other cores stand still until it changes.
    pub audits: AtomicU64,
}

impl World {
    /// Everything, from boot memory; takes the rest of RAM as frames.
    pub fn new(topology: &Topology, alloc: &mut impl BootAlloc) -> Self {
        let cores = topology.places.len();
        let per_core = PerCore::new_all(cores, alloc);
        let slabs = alloc.slice(cores, |i| Shared::new(i as u16, "slab", Slab::default()));
        let owners = alloc.slice(cores, |_| CoreSlot::default());
        // Each core's row on lines of its own.
        let row = cores.next_multiple_of(128 / size_of::<Snapshot>());
        let snapshots = alloc.slice(cores * row, |_| Snapshot::default());
        let names = Area::of("limbo.snapshot", snapshots, &[]);
        let mut rows = snapshots.chunks_exact_mut(row);
        let limbos = alloc.slice(cores, |i| {
            Shared::new(i as u16, "limbo", Limbo::new(rows.next().expect("one row per core")))
        });
        let waits = alloc.slice(cores, |i| Shared::new(i as u16, "waits", WaitList::default()));
        let memory = Memory::new(topology, alloc);
        Self {
            cores: per_core,
            memory,
            owners,
            slabs,
            limbos,
            waits,
            snapshots: names,
            audits: AtomicU64::new(0),
        }
    }

    /// Who waits on words of segments at home on `core`.
    #[must_use]
    pub fn waits(&self, core: CoreId) -> Option<&Shared<WaitList>> {
        self.waits.get(core.index())
    }

    /// Areas for the line meter's names.
    pub fn map(&self, each: &mut dyn FnMut(Area)) {
        self.memory.map(each);
        PerCore::map(self.cores, each);
        each(Area::of("pcore.owner", self.owners, &[]));
        each(Area::of("slab", self.slabs, &[]));
        each(Area::of("limbo", self.limbos, &[]));
        each(Area::of("waits", self.waits, &[]));
        each(self.snapshots);
    }
}

/// One core's kernel state: waits and messages, memory, identifiers.
#[derive(Debug)]
pub struct Ctx<P: Platform> {
    /// The core, its mailbox and paging state.
    pub local: Local<P>,
    /// Its way to memory.
    pub mem: Mem,
    /// What all cores have.
    pub world: &'static World,
    /// What the levels above added.
    pub hooks: Hooks<P>,
    /// The argument segment of the ring whose call this core makes; null otherwise.
    pub arguments: Link,
    next_id: u64,
    /// Objects without references whose end has not begun.
    dying: SlotList,
    /// Those whose turn it is.
    ending: SlotList,
    /// Dead private objects, free from this core's next entry on.
    private: SlotList,
    /// [`Ctx::take_starved`].
    starved: bool,
    /// The entry (its epoch) in which `private` was last added to.
    private_since: u64,
    /// Free slots of this core's memory.
    slots: SlotList,
    /// A limbo that this core filled, and turns that it still waits for it.
    crowded: Option<(CoreId, usize)>,
}

/// Free slots that a core keeps to itself at most; the rest go to its slab.
const SLOTS: u64 = 64;
/// Free slots that a core takes from its slab at once.
const SLOTS_AT_ONCE: u64 = 8;

impl<P: Platform> Ctx<P> {
    /// The state of the core that `platform` belongs to.
    pub fn new(platform: P, world: &'static World, hooks: Hooks<P>) -> Self {
        Self {
            local: Local::new(platform, world.cores, hooks.serve),
            mem: Mem::new(&world.memory),
            world,
            hooks,
            arguments: Link::NULL,
            next_id: 1,
            dying: SlotList::default(),
            ending: SlotList::default(),
            private: SlotList::default(),
            starved: false,
            private_since: 0,
            slots: SlotList::default(),
            crowded: None,
        }
    }

    /// Enters the kernel: pointers looked up from here on stay good until [`Ctx::leave`].
    #[inline(always)]
    pub fn enter(&mut self) -> Entered<'static> {
        self.local.own().epoch.enter()
    }

    /// Leaves the kernel.
    #[inline(always)]
    pub fn leave(&mut self, inside: Entered<'static>) {
        self.local.own().epoch.leave(inside);
    }

    /// This core.
    #[inline(always)]
    pub fn core(&self) -> CoreId {
        self.local.id
    }

    /// The core whose memory `home` means for metadata.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such core.
    pub fn home(&self, home: Home) -> Result<CoreId, Error> {
        match home {
            Home::Any => Ok(self.local.id),
            Home::Core(core) if usize::from(core) < self.world.cores.len() => Ok(CoreId(core)),
            Home::Core(_) => Err(Error::NotFound),
        }
    }

    /// Whose memory `home` means for frames.
    #[must_use]
    pub fn source(&self, home: Home) -> Source {
        match home {
            Home::Any => Source::Nearest,
            Home::Core(core) => Source::Core(CoreId(core)),
        }
    }

    /// Takes a frame; when there is none, first what limbo gives back.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    #[inline(always)]
    pub fn alloc(&mut self, source: Source) -> Result<Owned, Error> {
        match self.mem.alloc(&mut self.local, source) {
            Ok(frame) => Ok(frame),
            Err(_) => self.alloc_last(source),
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_last(&mut self, source: Source) -> Result<Owned, Error> {
        self.retry_with_limbo(|ctx| ctx.mem.alloc(&mut ctx.local, source).ok())
    }

    /// What `take` finds when limbo gave memory back. What waits there for cores that are in the kernel is waited for, as
    /// long as nobody asks this core to leave it, and not for ever: one of them may wait for memory, too.
    fn retry_with_limbo<T>(&mut self, mut take: impl FnMut(&mut Self) -> Option<T>) -> Result<T, Error> {
        for _ in 0..LIMBO_TURNS {
            self.drain_all();
            if let Some(taken) = take(self) {
                return Ok(taken);
            }
            if self.local.attention || !self.limbo_waits_for_others() {
                break;
            }
            self.local.relax();
        }
        self.starved = self.limbo_has_frames();
        Err(Error::NoMemory)
    }

    /// Whether an allocation failed since this was last asked while memory waited in limbo, perhaps for this very kernel
    /// entry to end.
    pub fn take_starved(&mut self) -> bool {
        core::mem::take(&mut self.starved)
    }

    fn limbo_has_frames(&mut self) -> bool {
        let (_, dying, limbo) = self.census();
        dying + limbo > 0
    }

    fn limbo_waits_for_others(&mut self) -> bool {
        let (world, local) = (self.world, &mut self.local);
        let own = local.id;
        world.limbos.iter().any(|limbo| limbo.lock(local).waits_for_others(world.cores, own))
    }

    /// Takes a zeroed frame.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    #[inline(always)]
    pub fn alloc_zeroed(&mut self, source: Source) -> Result<Zeroed, Error> {
        Ok(self.alloc(source)?.zero(&self.local.platform))
    }

    /// Takes `count` frames, or none.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn alloc_all(&mut self, source: Source, count: u64) -> Result<FrameList, Error> {
        let mut frames = FrameList::new();
        for turn in 0..count {
            match self.alloc(source) {
                Ok(frame) => frames.push(&self.world.memory, frame),
                Err(error) => {
                    self.free_all(frames);
                    return Err(error);
                }
            }
            self.serve_every(turn);
        }
        Ok(frames)
    }

    /// Gives frames back that no core can reach.
    pub fn free_all(&mut self, mut frames: FrameList) {
        while let Some(frame) = frames.pop(&self.world.memory) {
            self.free(frame);
        }
    }

    /// Takes a zeroed 2 MiB page.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] when no core that may be asked has a whole one.
    pub fn alloc_large_zeroed(&mut self, source: Source) -> Result<Zeroed, Error> {
        let page = self.alloc_large(source)?;
        Ok(page.zero_large(&self.local.platform.clone(), || self.local.serve_mailbox()))
    }

    /// Takes a 2 MiB page; when there is none, first what limbo gives back.
    ///
    /// # Errors
    ///
    /// As [`Ctx::alloc_large_zeroed`].
    pub fn alloc_large(&mut self, source: Source) -> Result<Owned, Error> {
        if let Ok(page) = self.mem.alloc_large(&mut self.local, source) {
            return Ok(page);
        }
        self.retry_with_limbo(|ctx| ctx.mem.alloc_large(&mut ctx.local, source).ok())
    }

    /// Notes a dying object, to be ended by a loop instead of by recursion.
    pub fn push_dying(&mut self, header: &Header) {
        // SAFETY: slots are type-stable memory that is never freed.
        self.dying.push(unsafe { &*core::ptr::from_ref(header) });
        self.local.attention = true;
    }

    /// Begins a turn over them: those that are noted from here on wait for the next one. Says whether there are any.
    #[must_use]
    pub fn begin_burial(&mut self) -> bool {
        self.ending.append(&mut self.dying);
        self.ending.len() > 0
    }

    /// The next of this turn.
    pub fn pop_dying<'k>(&mut self, _: &'k Entered<'_>) -> Option<&'k Header> {
        self.ending.pop()
    }

    /// Gives a frame back that no core can reach.
    pub fn free(&mut self, frame: Owned) {
        self.mem.free(&mut self.local, frame);
    }

    /// Reads user memory of the running address space, faulting pages in.
    ///
    /// # Errors
    ///
    /// [`Error::BadAddress`].
    #[inline(always)]
    pub fn copy_in(&mut self, inside: &Entered<'_>, from: UserPtr, to: &mut [u8]) -> Result<(), Error> {
        if self.local.platform.copy_in(from.0, to).is_ok() {
            return Ok(());
        }
        self.copy_in_faulting(inside, from, to)
    }

    /// Moves bytes between the kernel and a ring's argument segment, where `at` lies in it: such an address is nobody's.
    #[cold]
    fn copy_argument(&mut self, inside: &Entered<'_>, at: UserPtr, what: Transfer<'_>) -> Result<(), Error> {
        let offset = at.0.checked_sub(RING_ARGUMENTS).filter(|_| !self.arguments.is_null());
        (self.hooks.arguments)(self, inside, self.arguments, offset.ok_or(Error::BadAddress)?, what)
    }

    #[cold]
    #[inline(never)]
    fn copy_in_faulting(&mut self, inside: &Entered<'_>, from: UserPtr, to: &mut [u8]) -> Result<(), Error> {
        if from.0 >= RING_ARGUMENTS {
            return self.copy_argument(inside, from, Transfer::In(to));
        }
        for _ in 0..COPY_RETRIES {
            match self.local.platform.copy_in(from.0, to) {
                Ok(()) => return Ok(()),
                Err(fault) if (self.hooks.fault)(self, inside, fault.address, Cause::Read) => {}
                Err(_) => break,
            }
        }
        Err(Error::BadAddress)
    }

    /// Writes user memory of the running address space, faulting pages in.
    ///
    /// # Errors
    ///
    /// [`Error::BadAddress`].
    pub fn copy_out(&mut self, inside: &Entered<'_>, from: &[u8], to: UserPtr) -> Result<(), Error> {
        for _ in 0..COPY_RETRIES {
            match self.local.platform.copy_out(from, to.0) {
                Ok(()) => return Ok(()),
                Err(fault) if (self.hooks.fault)(self, inside, fault.address, Cause::Write) => {}
                Err(_) if to.0 >= RING_ARGUMENTS => {
                    return self.copy_argument(inside, to, Transfer::Out(from));
                }
                Err(_) => break,
            }
        }
        Err(Error::BadAddress)
    }

    /// Reads a 32-byte name.
    ///
    /// # Errors
    ///
    /// [`Error::BadAddress`].
    #[inline(always)]
    pub fn read_name(&mut self, inside: &Entered<'_>, from: UserPtr) -> Result<Name, Error> {
        let mut name = [0; NAME_BYTES];
        self.copy_in(inside, from, &mut name)?;
        name[NAME_BYTES - 1] = 0;
        Ok(Name(name))
    }

    fn fresh_id(&mut self) -> Id {
        let id = Id::new(self.local.id.0, self.next_id);
        self.next_id += 1;
        id
    }

    /// Makes an object in `home`'s memory, with one reference, charged `pages` to the share that will
    /// name it.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; what `value` owned was given back.
    pub fn create<'k, T: Object<P>>(
        &mut self,
        inside: &'k Entered<'_>,
        home: Home,
        name: &Name,
        pages: u64,
        mut value: T,
    ) -> Result<Handle<'k, T>, Error> {
        let place = self.home(home).map(|core| (core, self.source(home)));
        let found = place.and_then(|(core, source)| Ok((core, self.place::<T>(core, source)?)));
        let (core, header) = found.inspect_err(|_| value.reclaim(self))?;
        Ok(self.fill(inside, header, core, name, pages, || value))
    }

    /// As [`Ctx::create`], in the memory of a core that was looked up, from `source`; `value` makes the object where it
    /// lies.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    #[inline(always)]
    pub fn create_with<'k, T: Object<P>>(
        &mut self,
        inside: &'k Entered<'_>,
        (core, source): (CoreId, Source),
        name: &Name,
        pages: u64,
        value: impl FnOnce() -> T,
    ) -> Result<Handle<'k, T>, Error> {
        let header = self.place::<T>(core, source)?;
        Ok(self.fill(inside, header, core, name, pages, value))
    }

    /// A slot for a `T`.
    #[inline(always)]
    fn place<T: Object<P>>(&mut self, core: CoreId, source: Source) -> Result<&'static Header, Error> {
        match self.reuse::<T>(core) {
            Some(header) => Ok(header),
            None => self.slot(core, source),
        }
    }

    /// Makes the object of a slot that [`Ctx::place`] found.
    #[inline(always)]
    fn fill<'k, T: Object<P>>(
        &mut self,
        _: &'k Entered<'_>,
        header: &'static Header,
        core: CoreId,
        name: &Name,
        pages: u64,
        value: impl FnOnce() -> T,
    ) -> Handle<'k, T> {
        let id = self.fresh_id();
        // SAFETY: the slot was free, so nobody refers to its body; it is large and aligned enough
        // (checked in `body`), and a `T` until it is dead and quiescent.
        unsafe { header.body::<T>().write(value()) };
        header.init::<P, T>(id, core, name, pages)
    }

    /// The slot of a dead private object of the same type, if this core's memory is wanted and one is free by now.
    #[inline(always)]
    fn reuse<T: Object<P>>(&mut self, core: CoreId) -> Option<&'static Header> {
        if !self.private_is_ripe() {
            return None;
        }
        let header = self.private.first()?;
        if core != self.local.id || header.home() != core || !header.reclaims_as::<P, T>() {
            self.reclaim_private();
            return None;
        }
        self.private.pop();
        // SAFETY: 1. The slot's body is a `T`: just checked. 2. The object is dead, and no core but this one could
        // reach it, which has left the kernel since: no other reference to the body exists.
        let body = unsafe { &mut *header.body::<T>() };
        body.reclaim(self);
        Some(header)
    }

    /// Whether there are dead private objects, and this core has left the kernel since they died.
    #[inline(always)]
    fn private_is_ripe(&self) -> bool {
        self.private.len() != 0 && self.private_since != self.local.own().epoch.count()
    }

    #[inline(always)]
    fn slot(&mut self, core: CoreId, source: Source) -> Result<&'static Header, Error> {
        let kept = if core == self.local.id { self.slots.pop() } else { None };
        kept.map_or_else(|| self.slot_of(core, source), Ok)
    }

    /// A free slot of `core`'s slab.
    #[cold]
    #[inline(never)]
    fn slot_of(&mut self, core: CoreId, source: Source) -> Result<&'static Header, Error> {
        let slab = self.world.slabs.get(core.index()).ok_or(Error::NotFound)?;
        let Some(mut free) = slab.try_lock(&self.local) else { return self.new_slot(slab, source) };
        let Some(header) = free.free.pop() else {
            drop(free);
            return self.new_slot(slab, source);
        };
        if core == self.local.id {
            // Some more: to take them now is cheaper than to come back.
            for _ in 1..SLOTS_AT_ONCE {
                let Some(header) = free.free.pop() else { break };
                self.slots.push(header);
            }
        }
        Ok(header)
    }

    /// As [`Ctx::slot_of`], when none is free, or another core is at it.
    #[cold]
    #[inline(never)]
    fn new_slot(&mut self, slab: &Shared<Slab>, source: Source) -> Result<&'static Header, Error> {
        let free = slab.lock(&mut self.local).free.pop();
        if let Some(header) = free {
            return Ok(header);
        }
        let frame = self.alloc_zeroed(source)?;
        let mut slab = slab.lock(&mut self.local);
        slab.add(&self.local.platform, &self.world.memory, frame);
        // There is one now.
        slab.free.pop().ok_or(Error::NoMemory)
    }

    /// Buries an object without references: unreachable from now on; its memory comes back when every
    /// core of `cores`, and every core that could have seen it before, has left the kernel.
    #[inline(always)]
    pub fn retire(&mut self, header: &Header, cores: CoreSet) {
        header.kill();
        // SAFETY: slots are type-stable memory that is never freed.
        let header: &'static Header = unsafe { &*core::ptr::from_ref(header) };
        let mut all = header.seen.load();
        all.union(cores);
        if all.is_subset(&self.local.only) {
            self.drain_private();
            self.private.push(header);
            self.private_since = self.local.own().epoch.count();
        } else {
            self.retire_shared(header, all);
        }
    }

    #[cold]
    #[inline(never)]
    fn retire_shared(&mut self, header: &'static Header, cores: CoreSet) {
        if let Some(limbo) = self.world.limbos.get(header.home().index()) {
            limbo.lock(&mut self.local).open(cores).bury(header);
        }
        self.drain(header.home());
    }

    /// Releases a slot's part of a shared page, of which no mapping through that slot is left; `users` are the
    /// cores that could have read it through the kernel's own map. The last part frees the page.
    pub fn release(&mut self, part: Part, users: CoreSet) {
        let wide = !users.is_subset(&self.local.only);
        let Some(Released { frame, wide }) = self.world.memory.release(part, wide) else { return };
        if !wide {
            self.free(frame);
            return;
        }
        self.let_all_leave(frame);
    }

    /// Frees a page that others may still read through a segment that it left before: whoever that was, they leave.
    fn let_all_leave(&mut self, frame: Owned) {
        let all = CoreSet::first(self.world.cores.len());
        if let Some(limbo) = self.world.limbos.get(self.local.id.index()) {
            limbo.lock(&mut self.local).open(all).frames.push(&self.world.memory, frame);
        }
    }

    /// Frees a page that was taken from a segment, or releases its part; `users` as in [`Ctx::release`].
    pub fn give_up(&mut self, gone: Gone, home: CoreId, users: CoreSet) {
        match gone {
            Gone::Own(frame) if users.is_subset(&self.local.only) => self.free(frame),
            Gone::Own(frame) => {
                if let Some(limbo) = self.world.limbos.get(home.index()) {
                    limbo.lock(&mut self.local).open(users).frames.push(&self.world.memory, frame);
                }
            }
            Gone::Wide(frame) => self.let_all_leave(frame),
            Gone::Part(part) => self.release(part, users),
        }
    }

    /// Frees this core's dead private objects of earlier entries.
    #[inline(always)]
    fn drain_private(&mut self) {
        if self.private_is_ripe() {
            self.reclaim_private();
        }
    }

    #[inline(never)]
    fn reclaim_private(&mut self) {
        let mut dead = core::mem::take(&mut self.private);
        while let Some(header) = dead.pop() {
            self.reclaim(header);
        }
    }

    /// Reclaims what is ripe in `home`'s limbo.
    pub fn drain(&mut self, home: CoreId) {
        self.harvest(home);
        if self.is_crowded(home) {
            self.crowded = Some((home, LIMBO_TURNS));
            self.local.attention = true;
        }
    }

    /// Whether more waits in `home`'s limbo than all limbos together can hold without running others out of memory.
    fn is_crowded(&mut self, home: CoreId) -> bool {
        let share = self.world.memory.frames() / self.world.limbos.len().max(1) as u64;
        let limbo = self.world.limbos.get(home.index());
        limbo.is_some_and(|limbo| limbo.lock(&mut self.local).pages() > share / 4)
    }

    /// Whether this core, at its kernel exit, is to wait outside its epoch for a turn: it has filled a limbo faster than
    /// that empties. Not for ever: a core that is cut off inside the kernel holds back memory, and nothing else.
    pub fn waits_for_limbo(&mut self) -> bool {
        let Some((home, turns)) = self.crowded.take() else { return false };
        self.harvest(home);
        let waits = turns > 0 && self.is_crowded(home);
        if waits {
            self.crowded = Some((home, turns - 1));
        }
        waits
    }

    fn harvest(&mut self, home: CoreId) {
        let Some(limbo) = self.world.limbos.get(home.index()) else { return };
        let mut ripe = limbo.lock(&mut self.local).harvest(self.world.cores, &self.world.memory);
        while let Some(frame) = ripe.frames.pop(&self.world.memory) {
            self.free(frame);
        }
        while let Some(header) = ripe.objects.pop() {
            self.reclaim(header);
        }
    }

    /// Reclaims what is ripe anywhere.
    pub fn drain_all(&mut self) {
        self.drain_private();
        for core in 0..self.world.limbos.len() {
            self.harvest(CoreId(core as u16));
            self.local.serve_mailbox();
        }
    }

    #[inline(always)]
    fn reclaim(&mut self, header: &'static Header) {
        let reclaim = header.reclaim.load(Ordering::Relaxed) as usize as *const ();
        // SAFETY: `init` stored a function of exactly this type, for this `P`: one kernel has one `P`.
        let reclaim = unsafe { core::mem::transmute::<*const (), fn(&mut Self, &Header)>(reclaim) };
        reclaim(self, header);
        header.reclaim.store(0, Ordering::Relaxed);
        if header.home() == self.local.id && self.slots.len() < SLOTS {
            self.slots.push(header);
            return;
        }
        if let Some(slab) = self.world.slabs.get(header.home().index()) {
            slab.lock(&mut self.local).free.push(header);
        }
    }

    /// For audits: calls `each` with every object that is alive or waits to be reclaimed. New ones may be
    /// missed unless all other cores stand still.
    pub fn each_object(&mut self, _: &Entered<'_>, each: &mut dyn FnMut(&mut Self, &Header)) {
        for slab in self.world.slabs {
            let frames = slab.lock(&mut self.local).frames.iter(&self.world.memory);
            for frame in frames {
                for header in slots(&self.local.platform.clone(), frame) {
                    if header.reclaim.load(Ordering::Acquire) != 0 {
                        each(self, header);
                    }
                }
            }
        }
    }

    /// Calls `each` with every frame of object slots, and the core whose memory it is; for the line meter's names.
    pub fn each_slab(&mut self, each: &mut dyn FnMut(&mut Self, CoreId, Frame)) {
        for (core, slab) in self.world.slabs.iter().enumerate() {
            let frames = slab.lock(&mut self.local).frames.iter(&self.world.memory);
            frames.for_each(|frame| each(self, CoreId(core as u16), frame));
        }
    }

    /// For audits: frames of object slots, live or free; objects and frames in limbo.
    pub fn census(&mut self) -> (u64, u64, u64) {
        let frames = self.world.slabs.iter().map(|s| s.lock(&mut self.local).frames.len()).sum();
        let (mut dying, mut limbo) = (self.private.len(), 0);
        for one in self.world.limbos {
            let (objects, frames) = one.lock(&mut self.local).len();
            dying += objects;
            limbo += frames;
        }
        (frames, dying, limbo)
    }
}

impl<P: Platform> Ctx<P> {
    /// Serves the mailbox after every 64th turn of a loop over pages.
    #[inline(always)]
    pub fn serve_every(&mut self, turn: u64) {
        if turn % 64 == 63 {
            self.local.serve_mailbox();
        }
    }
}

impl<P: Platform> Ctx<P> {
    /// If another core's audit asks for it, answers and serves messages until that is over. At the kernel exit, and in
    /// waits that only another core's kernel exit ends ([`Ctx::relax_long`]): an audit waits for every core, so no core
    /// may wait for one that stands still without standing still itself.
    pub fn stand_still(&mut self) {
        self.local.audit_pending = false;
        let mailbox = &self.local.own().mailbox;
        for sender in self.local.deferred.iter() {
            if mailbox.reread(sender).is_none_or(|message| message.kind != MessageKind::Stop) {
                continue;
            }
            self.local.deferred.remove(sender);
            // Read before the answer: the next one asks this core again.
            let audit = self.world.audits.load(Ordering::Acquire);
            // What is dead is freed: an audit tells what lives from what was forgotten.
            self.drain_all();
            mailbox.answer(sender, self.mem.cached());
            while self.world.audits.load(Ordering::Acquire) == audit {
                self.relax();
                if self.local.has_lost(sender) {
                    // Its end is anybody's to say.
                    let end = (audit + 1, Ordering::AcqRel, Ordering::Relaxed);
                    let _ = self.world.audits.compare_exchange(audit, end.0, end.1, end.2);
                }
            }
        }
    }

    /// Whether to give up a wait for what another core claimed ([`Local::is_hopeless`]).
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.local.is_hopeless()
    }

    /// One turn of a wait for what another core claimed.
    ///
    /// # Errors
    ///
    /// [`Error::CoreLost`] when that core has most likely stopped in the middle of it.
    #[cold]
    #[inline(never)]
    pub fn relax_or_lose(&mut self) -> Result<(), Error> {
        self.relax();
        if self.is_hopeless() { Err(Error::CoreLost) } else { Ok(()) }
    }

    /// One turn of a wait for another core's kernel exit.
    pub fn relax_long(&mut self) {
        self.relax();
        if self.local.audit_pending {
            self.stand_still();
        }
    }
}

impl<P: Platform> Relax for Ctx<P> {
    fn relax(&mut self) {
        self.local.relax();
    }
    #[inline(always)]
    fn holder(&self) -> u16 {
        self.local.holder()
    }
    fn is_gone(&self, holder: u16) -> bool {
        self.local.is_gone(holder)
    }
    fn took_over(&mut self, name: &'static str, home: u16) {
        self.local.took_over(name, home);
    }
}
