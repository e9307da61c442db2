//! Stocks, caches and descriptors.

use crate::division::Division;
use crate::frames::{FrameList, Owned, Zeroed};
use crate::nearest::order;
use corey_abi::LOCAL_DISTANCE;
use corey_kernel_hal::{Area, BootAlloc, CoreId, Field, Frame, PAGE_SIZE, Platform, Topology, fields};
use corey_kernel_percore::Local;
use corey_lib_sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};
use corey_lib_sync::{Quarantine, Relax, Shared};

/// Frames that move between a stock and a cache at once.
const BATCH: usize = 64;
/// Frames a cache holds at most.
const CACHE: usize = 2 * BATCH;
/// Most pieces of RAM one core's memory can have.
const PIECES: usize = 16;

/// Frames of a 2 MiB page.
pub(crate) const LARGE: u32 = 512;

/// What the kernel knows about a frame, 8 bytes. Descriptors lie contiguous per home core.
#[derive(Debug)]
pub(crate) struct FrameInfo {
    /// Next frame of the list this one is in; for a page that several segments have, how many
    /// ([`crate::shared`]).
    next: AtomicU32,
    /// Lock of the leaf page table in it: 0, or who holds it.
    leaf: AtomicU16,
    /// The core whose memory it is.
    home: AtomicU8,
    /// Whether it is the first of a 2 MiB page.
    large: AtomicBool,
}

impl FrameInfo {
    pub(crate) fn next(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }
    pub(crate) fn set_next(&self, next: u32) {
        self.next.store(next, Ordering::Relaxed);
    }
    pub(crate) fn sharers(&self) -> &AtomicU32 {
        &self.next
    }
    fn set_large(&self, large: bool) {
        self.large.store(large, Ordering::Relaxed);
    }
    /// Frames that move with this one.
    pub(crate) fn frames(&self) -> u64 {
        if self.large.load(Ordering::Relaxed) { u64::from(LARGE) } else { 1 }
    }
}

/// One core's frames that nobody has.
#[derive(Debug, Default)]
pub struct Stock {
    /// Frames never handed out yet: half-open ranges of numbers.
    fresh: heapless::Vec<(u32, u32), PIECES>,
    /// Frames that came back.
    used: FrameList,
    /// 2 MiB pages that came back.
    large: FrameList,
}

/// Core numbers fit into a descriptor.
const _: () = assert!(corey_kernel_hal::MAX_CORES <= 1 << 8 && size_of::<FrameInfo>() == 8);

impl Quarantine for Stock {
    fn quarantine(&mut self) {
        *self = Self::default();
    }
}

impl Stock {
    #[inline(always)]
    fn pop(&mut self, memory: &Memory) -> Option<Owned> {
        self.used.pop(memory).or_else(|| self.pop_fresh(memory))
    }

    #[inline(never)]
    fn pop_fresh(&mut self, memory: &Memory) -> Option<Owned> {
        if self.fresh.is_empty()
            && let Some(large) = self.large.pop(memory)
        {
            memory.info(large.0).set_large(false);
            // The list was empty.
            let _ = self.fresh.push((large.0.0, large.0.0 + LARGE));
        }
        let (first, end) = self.fresh.last_mut()?;
        let frame = Frame(*first);
        *first += 1;
        if first == end {
            self.fresh.pop();
        }
        Some(Owned(frame))
    }

    /// A 2 MiB page: one that came back, or the last aligned one of a fresh range.
    fn pop_large(&mut self, memory: &Memory) -> Option<Owned> {
        if let Some(large) = self.large.pop(memory) {
            return Some(large);
        }
        let base_of = |(first, end): (u32, u32)| {
            let base = end.checked_sub(LARGE)? & !(LARGE - 1);
            (base >= first).then_some(base)
        };
        let at = self.fresh.iter().position(|range| base_of(*range).is_some())?;
        let (first, end) = *self.fresh.get(at)?;
        let base = base_of((first, end))?;
        if base == first {
            self.fresh.swap_remove(at);
        } else if let Some(range) = self.fresh.get_mut(at) {
            range.1 = base;
        }
        if base + LARGE < end && self.fresh.push((base + LARGE, end)).is_err() {
            for frame in base + LARGE..end {
                self.used.push(memory, Owned(Frame(frame)));
            }
        }
        memory.info(Frame(base)).set_large(true);
        Some(Owned(Frame(base)))
    }

    /// Takes a frame or a 2 MiB page back.
    fn push(&mut self, memory: &Memory, frame: Owned) {
        let list = if memory.info(frame.0).frames() == 1 { &mut self.used } else { &mut self.large };
        list.push(memory, frame);
    }

    fn len(&self) -> u64 {
        self.used.len() + self.large.len() + self.fresh.iter().map(|(a, b)| u64::from(b - a)).sum::<u64>()
    }
}

/// All frames of the machine.
#[derive(Debug)]
pub struct Memory {
    infos: &'static [FrameInfo],
    /// Lock order 7 (`stock`): a core's frames that nobody has. Nothing is taken under it.
    stocks: &'static [Shared<Stock>],
    homes: &'static [Home],
    /// For each core a row: all cores, nearest memory first.
    orders: &'static [CoreId],
    topology: Topology,
    unused: u64,
}

/// One core's own memory.
#[derive(Clone, Copy, Debug)]
struct Home {
    /// Where it lies, or most of it.
    node: Option<u8>,
    frames: u64,
}

impl Memory {
    /// Divides what is left of boot memory among the cores, each near to its own ([`crate::division`]).
    pub fn new(topology: &Topology, alloc: &mut impl BootAlloc) -> Self {
        let cores = topology.places.len();
        let infos: &'static [FrameInfo] =
            alloc.slice(alloc.ram_end().div_ceil(PAGE_SIZE) as usize, |_| FrameInfo {
                next: AtomicU32::new(0),
                leaf: AtomicU16::new(0),
                home: AtomicU8::new(0),
                large: AtomicBool::new(false),
            });
        let stocks: &'static mut [Shared<Stock>] =
            alloc.slice(cores, |core| Shared::new(core as u16, "stock", Stock::default()));
        let homes = alloc.slice(cores, |_| Home { node: None, frames: 0 });
        let orders = alloc.slice(cores * cores, |_| CoreId(0));
        let division = Division::new(topology, alloc.rest());
        let mut unused = 0;
        division.parts(&mut |core, first, end| {
            let frames = u64::from(end - first);
            let stock = stocks.get_mut(core).expect("one stock per core").get_mut();
            if stock.fresh.push((first, end)).is_err() {
                unused += frames;
            } else if let Some(home) = homes.get_mut(core) {
                home.frames += frames;
            }
            for info in infos.iter().skip(first as usize).take(frames as usize) {
                info.home.store(core as u8, Ordering::Relaxed);
            }
        });
        for (core, home) in homes.iter_mut().enumerate() {
            home.node = division.home(core);
        }
        let all = Self { infos, stocks, homes, orders: &[], topology: *topology, unused };
        for (own, row) in orders.chunks_exact_mut(cores).enumerate() {
            let distance = |core: usize| all.distance(CoreId(own as u16), CoreId(core as u16));
            order(own, topology.places, distance, row);
        }
        Self { orders, ..all }
    }

    /// The distance from core `from` to the memory of core `to` (ACPI SLIT: 10 is the same node).
    #[must_use]
    pub fn distance(&self, from: CoreId, to: CoreId) -> u8 {
        let from = self.topology.places.get(from.index()).map(|place| place.node);
        let to = self.homes.get(to.index()).and_then(|home| home.node);
        from.zip(to).map_or(LOCAL_DISTANCE, |(from, to)| self.topology.distance(from, to))
    }

    /// All cores, that with the nearest memory first: `core` itself.
    #[must_use]
    pub fn nearest(&self, core: CoreId) -> &'static [CoreId] {
        let cores = self.stocks.len();
        self.orders.chunks_exact(cores).nth(core.index()).unwrap_or(&[])
    }

    /// Frames that are `core`'s.
    #[must_use]
    pub fn frames_of(&self, core: CoreId) -> u64 {
        self.homes.get(core.index()).map_or(0, |home| home.frames)
    }

    /// Frames under management.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.homes.iter().map(|home| home.frames).sum()
    }

    /// Frames that stay unused because RAM comes in too many pieces.
    #[must_use]
    pub fn unused(&self) -> u64 {
        self.unused
    }

    #[inline(always)]
    pub(crate) fn info(&self, frame: Frame) -> &FrameInfo {
        self.infos.get(frame.0 as usize).expect("every frame of RAM has a descriptor")
    }

    /// The core whose memory `frame` is.
    #[must_use]
    pub fn home(&self, frame: Frame) -> CoreId {
        CoreId(self.info(frame).home.load(Ordering::Relaxed).into())
    }

    /// Frames in all stocks.
    pub fn in_stocks<R: Relax>(&self, waiter: &mut R) -> u64 {
        self.stocks.iter().map(|s| s.lock(waiter).len()).sum()
    }

    /// Locks the leaf page table in `frame`. Waiting serves the mailbox.
    #[inline(always)]
    pub fn lock_leaf<R: Relax>(&self, frame: Frame, waiter: &mut R) -> LeafGuard<'_> {
        let lock = &self.info(frame).leaf;
        // A number of a core, and one.
        let own = waiter.holder();
        if lock.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed).is_err() {
            Self::wait_for_leaf(lock, own, waiter);
        }
        LeafGuard(lock)
    }

    /// Of a holder that is gone it is taken over as it is: whoever holds it clears entries, or stores one, each whole.
    #[cold]
    #[inline(never)]
    fn wait_for_leaf<R: Relax>(lock: &AtomicU16, own: u16, waiter: &mut R) {
        loop {
            let holder = lock.load(Ordering::Relaxed);
            if (holder == 0 || waiter.is_gone(holder))
                && lock.compare_exchange(holder, own, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return;
            }
            waiter.relax();
        }
    }

    /// Areas for the line meter's names.
    pub fn map(&self, each: &mut dyn FnMut(Area)) {
        const FIELDS: &[Field] = fields!(FrameInfo: next, leaf, home, large);
        each(Area::of("frame.descriptor", self.infos, FIELDS));
        each(Area::of("stock", self.stocks, &[]));
    }
}

/// A locked leaf table.
#[derive(Debug)]
pub struct LeafGuard<'a>(&'a AtomicU16);

impl Drop for LeafGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// No core that may be asked has a frame left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Whose memory a frame shall come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This core's and no other's. Naming oneself uses the private cache.
    Core(CoreId),
    /// One's own, then the nearest core's with memory ([`Memory::nearest`]).
    Nearest,
}

/// One core's way to memory: its private cache, and all stocks behind it.
#[derive(Debug)]
pub struct Mem {
    memory: &'static Memory,
    cache: heapless::Vec<Frame, CACHE>,
}

impl Mem {
    /// An empty cache.
    #[must_use]
    pub fn new(memory: &'static Memory) -> Self {
        Self { memory, cache: heapless::Vec::new() }
    }

    /// Frames in the cache.
    #[must_use]
    pub fn cached(&self) -> u64 {
        self.cache.len() as u64
    }

    /// All frames.
    #[must_use]
    #[inline(always)]
    pub fn memory(&self) -> &'static Memory {
        self.memory
    }

    /// Takes a frame. From the cache: no lock, no line but the cache's own.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when `source` has none.
    #[inline(always)]
    pub fn alloc<P: Platform>(&mut self, local: &mut Local<P>, source: Source) -> Result<Owned, OutOfMemory> {
        if (source == Source::Nearest || source == Source::Core(local.id))
            && let Some(frame) = self.cache.pop()
        {
            return Ok(Owned(frame));
        }
        self.alloc_slow(local, source)
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow<P: Platform>(
        &mut self,
        local: &mut Local<P>,
        source: Source,
    ) -> Result<Owned, OutOfMemory> {
        match source {
            Source::Core(core) if core != local.id => {
                let stock = self.memory.stocks.get(core.index()).ok_or(OutOfMemory)?;
                stock.lock(local).pop(self.memory).ok_or(OutOfMemory)
            }
            Source::Core(core) => self.refill(local, core).ok_or(OutOfMemory),
            Source::Nearest => {
                let mut cores = self.memory.nearest(local.id).iter();
                cores.find_map(|core| self.refill(local, *core)).ok_or(OutOfMemory)
            }
        }
    }

    /// Moves a batch from `core`'s stock into the cache, and takes one of it. From another core's stock
    /// one frame only: what is cached is one's own.
    fn refill<P: Platform>(&mut self, local: &mut Local<P>, core: CoreId) -> Option<Owned> {
        let mut stock = self.memory.stocks.get(core.index())?.lock(local);
        let first = stock.pop(self.memory)?;
        if core == local.id {
            for _ in 1..BATCH {
                let Some(frame) = stock.pop(self.memory) else {
                    break;
                };
                if self.cache.push(frame.0).is_err() {
                    break;
                }
            }
            // Lowest first, so that neighbours in memory are handed out in order.
            self.cache.reverse();
            drop(stock);
        }
        Some(first)
    }

    /// Takes a 2 MiB page: 512 frames, aligned, that are freed as one.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when `source` has no whole one.
    pub fn alloc_large<P: Platform>(
        &mut self,
        local: &mut Local<P>,
        source: Source,
    ) -> Result<Owned, OutOfMemory> {
        let (memory, own) = (self.memory, local.id);
        let mut pop = |core: &CoreId| memory.stocks.get(core.index())?.lock(local).pop_large(memory);
        let page = match source {
            Source::Core(core) => pop(&core),
            Source::Nearest => memory.nearest(own).iter().find_map(pop),
        };
        page.ok_or(OutOfMemory)
    }

    /// Takes a frame and fills it with zeroes.
    ///
    /// # Errors
    ///
    /// As [`Mem::alloc`].
    #[inline(always)]
    pub fn alloc_zeroed<P: Platform>(
        &mut self,
        local: &mut Local<P>,
        source: Source,
    ) -> Result<Zeroed, OutOfMemory> {
        Ok(self.alloc(local, source)?.zero(&local.platform))
    }

    /// Gives a frame back to its home: the private cache, or another core's stock.
    pub fn free<P: Platform>(&mut self, local: &mut Local<P>, frame: Owned) {
        let home = self.memory.home(frame.0);
        if home != local.id || self.memory.info(frame.0).frames() != 1 {
            if let Some(stock) = self.memory.stocks.get(home.index()) {
                stock.lock(local).push(self.memory, frame);
            }
            return;
        }
        if self.cache.is_full()
            && let Some(stock) = self.memory.stocks.get(home.index())
        {
            let mut stock = stock.lock(local);
            for _ in 0..BATCH {
                let Some(frame) = self.cache.pop() else { break };
                stock.used.push(self.memory, Owned(frame));
            }
        }
        let pushed = self.cache.push(frame.0);
        debug_assert!(pushed.is_ok(), "room was made");
    }
}
