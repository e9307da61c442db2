//! [`Ctx`]: one core's kernel state at the level of objects.

use crate::header::{Handle, Header, Object};
use crate::limbo::Limbo;
use crate::link::{Link, LinkCell};
use crate::slab::{Slab, SlotList, slots};
use crate::wait::WaitList;
use core::sync::atomic::{AtomicBool, Ordering};
use corey_abi::{Error, Home, Id, NAME_BYTES, Name, UserPtr};
use corey_kernel_hal::{BootAlloc, Cause, CoreId, Platform, Topology};
use corey_kernel_mem::{Gone, Mem, Memory, Owned, Part, Released, Source, Zeroed};
use corey_kernel_percore::{CoreSet, Entered, Local, PerCore, Serve, Snapshot};
use corey_lib_sync::{Relax, Shared};

/// Faults one copy may resolve: a copy spans few pages, more means that another core takes them away.
const COPY_RETRIES: usize = 64;

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
    slabs: &'static [Shared<Slab>],
    limbos: &'static [Shared<Limbo>],
    waits: &'static [Shared<WaitList>],
}

impl World {
    /// Everything, from boot memory; takes the rest of RAM as frames.
    pub fn new(topology: &Topology, alloc: &mut impl BootAlloc) -> Self {
        let cores = topology.places.len();
        let per_core = PerCore::new_all(cores, alloc);
        let slabs = alloc.slice(cores, |i| Shared::new(i as u16, "slab", Slab::default()));
        let owners = alloc.slice(cores, |_| CoreSlot::default());
        let snapshots = alloc.slice(cores * cores, |_| Snapshot::default());
        let mut rows = snapshots.chunks_exact_mut(cores);
        let limbos = alloc.slice(cores, |i| {
            Shared::new(i as u16, "limbo", Limbo::new(rows.next().expect("one row per core")))
        });
        let waits = alloc.slice(cores, |i| Shared::new(i as u16, "waits", WaitList::default()));
        let memory = Memory::new(topology, alloc);
        Self { cores: per_core, memory, owners, slabs, limbos, waits }
    }

    /// Who waits on words of segments at home on `core`.
    #[must_use]
    pub fn waits(&self, core: CoreId) -> Option<&Shared<WaitList>> {
        self.waits.get(core.index())
    }

    /// Address ranges for the line meter's names.
    pub fn map(&self, each: &mut dyn FnMut(u64, u64, &str)) {
        self.memory.map(each);
        each(self.cores.as_ptr() as u64, size_of_val(self.cores) as u64, "percore");
        each(self.slabs.as_ptr() as u64, size_of_val(self.slabs) as u64, "slab");
        each(self.limbos.as_ptr() as u64, size_of_val(self.limbos) as u64, "limbo");
        each(self.waits.as_ptr() as u64, size_of_val(self.waits) as u64, "waits");
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
    next_id: u64,
    /// Objects without references whose end has not begun.
    dying: SlotList,
    /// Dead private objects, free from this core's next entry on.
    private: SlotList,
    /// The entry (its epoch) in which `private` was last added to.
    private_since: u64,
}

impl<P: Platform> Ctx<P> {
    /// The state of the core that `platform` belongs to.
    pub fn new(platform: P, world: &'static World, hooks: Hooks<P>) -> Self {
        Self {
            local: Local::new(platform, world.cores, hooks.serve),
            mem: Mem::new(&world.memory),
            world,
            hooks,
            next_id: 1,
            dying: SlotList::default(),
            private: SlotList::default(),
            private_since: 0,
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
        self.drain_all();
        self.mem.alloc(&mut self.local, source).map_err(|_| Error::NoMemory)
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
        self.drain_all();
        self.mem.alloc_large(&mut self.local, source).map_err(|_| Error::NoMemory)
    }

    /// Notes a dying object, to be ended by a loop instead of by recursion.
    pub fn push_dying(&mut self, header: &Header) {
        // SAFETY: slots are type-stable memory that is never freed.
        self.dying.push(unsafe { &*core::ptr::from_ref(header) });
        self.local.attention = true;
    }

    /// The next of them.
    pub fn pop_dying<'k>(&mut self, _: &'k Entered<'_>) -> Option<&'k Header> {
        self.dying.pop()
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
    pub fn copy_in(&mut self, inside: &Entered<'_>, from: UserPtr, to: &mut [u8]) -> Result<(), Error> {
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
    /// [`Error::NoMemory`].
    pub fn create<'k, T: Object<P>>(
        &mut self,
        inside: &'k Entered<'_>,
        home: Home,
        name: &Name,
        pages: u64,
        value: T,
    ) -> Result<Handle<'k, T>, Error> {
        self.drain_private();
        let source = self.source(home);
        let core = self.home(home)?;
        let header = self.slot(core, source)?;
        let id = self.fresh_id();
        // SAFETY: the slot was free, so nobody refers to its body; it is large and aligned enough
        // (checked in `body`), and a `T` until it is dead and quiescent.
        unsafe { header.body::<T>().write(value) };
        header.init::<P, T>(id, core, name, pages);
        let _ = inside;
        Ok(Handle::new(header).expect("the type was just stored"))
    }

    fn slot(&mut self, core: CoreId, source: Source) -> Result<&'static Header, Error> {
        let slab = self.world.slabs.get(core.index()).ok_or(Error::NotFound)?;
        loop {
            if let Some(header) = slab.lock(&mut self.local).free.pop() {
                return Ok(header);
            }
            let frame = self.alloc_zeroed(source)?;
            slab.lock(&mut self.local).add(&self.local.platform, &self.world.memory, frame);
        }
    }

    /// Buries an object without references: unreachable from now on; its memory comes back when every
    /// core of `cores`, and every core that could have seen it before, has left the kernel.
    pub fn retire(&mut self, header: &Header, cores: CoreSet) {
        header.kill();
        // SAFETY: slots are type-stable memory that is never freed.
        let header: &'static Header = unsafe { &*core::ptr::from_ref(header) };
        let mut all = header.seen.load();
        all.union(cores);
        if all.is_within(self.local.id) {
            self.drain_private();
            self.private.push(header);
            self.private_since = self.local.own().epoch.count();
            return;
        }
        if let Some(limbo) = self.world.limbos.get(header.home().index()) {
            limbo.lock(&mut self.local).open(all).objects.push(header);
        }
        self.drain(header.home());
    }

    /// Releases a slot's part of a shared page, of which no mapping through that slot is left; `users` are the
    /// cores that could have read it through the kernel's own map. The last part frees the page.
    pub fn release(&mut self, part: Part, users: CoreSet) {
        let wide = !users.is_within(self.local.id);
        let Some(Released { frame, wide }) = self.world.memory.release(part, wide) else { return };
        if !wide {
            self.free(frame);
            return;
        }
        // Others may still read it through a segment that left it before: whoever that was, they leave.
        let all = CoreSet::first(self.world.cores.len());
        if let Some(limbo) = self.world.limbos.get(self.local.id.index()) {
            limbo.lock(&mut self.local).open(all).frames.push(&self.world.memory, frame);
        }
    }

    /// Frees a page that was taken from a segment, or releases its part; `users` as in [`Ctx::release`].
    pub fn give_up(&mut self, gone: Gone, home: CoreId, users: CoreSet) {
        match gone {
            Gone::Own(frame) if users.is_within(self.local.id) => self.free(frame),
            Gone::Own(frame) => {
                if let Some(limbo) = self.world.limbos.get(home.index()) {
                    limbo.lock(&mut self.local).open(users).frames.push(&self.world.memory, frame);
                }
            }
            Gone::Part(part) => self.release(part, users),
        }
    }

    /// Frees this core's dead private objects of earlier entries.
    fn drain_private(&mut self) {
        if self.private.len() == 0 || self.private_since == self.local.own().epoch.count() {
            return;
        }
        let mut dead = core::mem::take(&mut self.private);
        while let Some(header) = dead.pop() {
            self.reclaim(header);
        }
    }

    /// Reclaims what is ripe in `home`'s limbo.
    pub fn drain(&mut self, home: CoreId) {
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
            self.drain(CoreId(core as u16));
            self.local.serve_mailbox();
        }
    }

    fn reclaim(&mut self, header: &'static Header) {
        let reclaim = header.reclaim.load(Ordering::Relaxed) as usize as *const ();
        // SAFETY: `init` stored a function of exactly this type, for this `P`: one kernel has one `P`.
        let reclaim = unsafe { core::mem::transmute::<*const (), fn(&mut Self, &Header)>(reclaim) };
        reclaim(self, header);
        header.reclaim.store(0, Ordering::Relaxed);
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

impl<P: Platform> Relax for Ctx<P> {
    fn relax(&mut self) {
        self.local.relax();
    }
}
