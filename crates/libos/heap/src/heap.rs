//! One core's heap: taking and giving blocks of its own, chunks in and out.

use crate::checked::Misuse;
use crate::chunk::{CHUNK, Chunk, Free, LARGE, NEVER};
use crate::inbox::{Inbox, Link};
use crate::remote::{Batch, Outgoing};
use crate::sizes::{self, CLASSES, LARGEST, UNIT, class};
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst, compiler_fence};

/// Bytes of blocks linked at once, so that memory nobody asked for is not touched.
const CARVE: usize = 4096;

/// The owner of a private heap's chunks: a position that no team has.
pub(crate) const PRIVATE: u32 = u32::MAX;

/// Bytes of the largest block whose class is found by a look into a table.
const DIRECT: usize = 1024;

/// What memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Zeroes: it is fresh.
    Zero,
    /// Whatever was left there.
    Any,
}

/// Where a heap's chunks come from.
pub trait Pages {
    /// `bytes` bytes, a multiple of 4096, at a multiple of [`CHUNK`], and what they hold; `None` when there are
    /// none.
    fn take(&mut self, bytes: usize) -> Option<(NonNull<u8>, Contents)>;

    /// Takes memory back.
    ///
    /// # Safety
    ///
    /// `at` and `bytes` are as in [`Pages::take`], and nobody uses the memory any more.
    unsafe fn give(&mut self, at: NonNull<u8>, bytes: usize);

    /// Whether blocks of more than [`LARGEST`] bytes had better share chunks than have one each.
    fn is_scarce(&self) -> bool {
        false
    }

    /// Whether `at` lies in memory that this source, or that of a heap of the same team, has handed out. Only
    /// checking mode asks.
    fn knows(&self, at: usize) -> bool;
}

/// A heap over memory of `P`. With `CHECKED`, misuse is found and named, for some time and memory per block.
#[derive(Debug)]
pub struct Heap<'t, P: Pages, const CHECKED: bool = false> {
    /// Position in the team.
    pub(crate) owner: u32,
    /// `heads` once more, for sizes: that of `16 * n` bytes and less is found at `n`; a chunk without blocks where
    /// there is none.
    direct: [Chunk; DIRECT / UNIT + 1],
    /// First chunk of each class: blocks are taken from it. It has no previous one, and its trigger is never.
    heads: [Option<Chunk>; CLASSES],
    /// Set while lists and counts may disagree: whoever stops here for ever leaves a heap nobody can use.
    changing: AtomicBool,
    /// Whether an inbox is being emptied: then it is not looked at again.
    draining: bool,
    /// The inboxes of all heaps that free each other's blocks; none for a private heap.
    pub(crate) team: &'t [Inbox],
    /// Batches on their way, one record per heap of the team; made at the first free of another's block.
    pub(crate) outgoing: Option<NonNull<Outgoing>>,
    /// An empty chunk kept for the next class that needs one.
    reserve: Option<NonNull<u8>>,
    pub(crate) source: P,
}

// SAFETY: the pointers lead to chunks that only this heap changes, and to inboxes, which any core may use.
unsafe impl<P: Pages + Send, const CHECKED: bool> Send for Heap<'_, P, CHECKED> {}

impl<P: Pages, const CHECKED: bool> Heap<'static, P, CHECKED> {
    /// A heap whose blocks only this core gives back.
    pub const fn private(source: P) -> Self {
        Self::with(source, &[], PRIVATE)
    }
}

impl<'t, P: Pages, const CHECKED: bool> Heap<'t, P, CHECKED> {
    const fn with(source: P, team: &'t [Inbox], owner: u32) -> Self {
        Self {
            owner,
            direct: [Chunk::NOTHING; DIRECT / UNIT + 1],
            heads: [None; CLASSES],
            changing: AtomicBool::new(false),
            draining: false,
            team,
            outgoing: None,
            reserve: None,
            source,
        }
    }

    /// Begins a change of several steps. Returns what [`Heap::leave`] needs.
    pub(crate) fn enter(&self) -> bool {
        let before = self.changing.load(Relaxed);
        self.changing.store(true, Relaxed);
        compiler_fence(SeqCst);
        before
    }

    pub(crate) fn leave(&self, before: bool) {
        compiler_fence(SeqCst);
        self.changing.store(before, Relaxed);
    }

    /// Whether another core can go on with this heap when the one that had it ended, wherever it was then. Taking
    /// or giving a block of the first chunk of its class loses at most that block.
    pub fn is_whole(&self) -> bool {
        !self.changing.load(Relaxed)
    }

    fn set_head(&mut self, class: usize, head: Option<Chunk>) {
        self.heads[class] = head;
        let first = class.checked_sub(1).map_or(0, |below| sizes::bytes(below) / UNIT + 1);
        let sizes = self.direct.iter_mut().take(sizes::bytes(class) / UNIT + 1).skip(first);
        sizes.for_each(|place| *place = head.unwrap_or(Chunk::NOTHING));
    }

    /// The heap at `position` of a team.
    ///
    /// # Panics
    ///
    /// When the team has no such position.
    ///
    /// # Safety
    ///
    /// No other heap has this position in the team, and every heap of the team can read and write all memory
    /// the others' sources give.
    pub unsafe fn shared(source: P, team: &'t [Inbox], position: u32) -> Self {
        assert!((position as usize) < team.len(), "a team of {} has no heap {position}", team.len());
        Self::with(source, team, position)
    }

    /// Takes a block for `layout`. `None` when there is no memory, or the alignment is a chunk's or more.
    ///
    /// # Cost
    ///
    /// A pop from the class's list; every so often a look into the inbox, or a new chunk.
    #[inline(always)]
    pub fn take(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if CHECKED { self.take_checked(layout) } else { self.take_plain(layout) }
    }

    /// Takes a block of zeroes.
    pub fn take_zeroed(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let (block, contents) = if !CHECKED && layout.size() > DIRECT {
            self.take_other(layout)?
        } else {
            (self.take(layout)?, Contents::Any)
        };
        if contents == Contents::Any {
            // SAFETY: the block is ours, and has room for the layout.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        Some(block)
    }

    /// Takes a block back, of this heap or of another of its team.
    ///
    /// # Panics
    ///
    /// In checking mode: when this is misuse ([`crate::Misuse`]), at the caller's place.
    ///
    /// # Safety
    ///
    /// `block` came from [`Heap::take`] with this `layout` and is not used any more. (In checking mode what
    /// breaks this is found, if memory says so.)
    #[inline(always)]
    #[track_caller]
    pub unsafe fn give(&mut self, block: NonNull<u8>, layout: Layout) {
        if CHECKED && let Err(misuse) = self.check(block, layout) {
            panic!("{misuse}");
        }
        // SAFETY: the caller's promise.
        unsafe { self.give_plain(block) };
    }

    /// As [`Heap::give`], for who reports misuse otherwise than by a panic here.
    ///
    /// # Errors
    ///
    /// In checking mode: what was wrong. The block is as it was.
    ///
    /// # Safety
    ///
    /// As [`Heap::give`].
    pub unsafe fn try_give(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), Misuse> {
        if CHECKED {
            self.check(block, layout)?;
        }
        // SAFETY: the caller's promise.
        unsafe { self.give_plain(block) };
        Ok(())
    }

    /// Changes a block's size: in place when its class is still a good one. `None`, with the block as it was,
    /// when there is no memory.
    ///
    /// # Safety
    ///
    /// As [`Heap::give`]; `size` is not 0 and makes a valid layout.
    #[track_caller]
    pub unsafe fn resize(&mut self, block: NonNull<u8>, old: Layout, size: usize) -> Option<NonNull<u8>> {
        if !CHECKED {
            // SAFETY: the caller's promise.
            let room = unsafe { Chunk::of_block(block) }.fixed().block;
            if size <= room && size >= room / 2 {
                return Some(block);
            }
        }
        // SAFETY: the caller's promise; the alignment is that of a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, old.align()) };
        let new = self.take(layout)?;
        // SAFETY: two blocks, each with room for the smaller size.
        unsafe { new.copy_from_nonoverlapping(block, size.min(old.size())) };
        // SAFETY: the caller's promise.
        unsafe { self.give(block, old) };
        Some(new)
    }

    #[inline(always)]
    pub(crate) fn take_plain(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.align() > UNIT || layout.size() > DIRECT {
            return self.take_other(layout).map(|(block, _)| block);
        }
        // Rounded up like this it takes two instructions.
        #[allow(clippy::manual_div_ceil, reason = "`div_ceil` divides, and then looks at the remainder")]
        let number = (layout.size() + UNIT - 1) / UNIT;
        match Self::pop(self.direct[number]) {
            Some(block) => Some(block),
            None => self.refill_for(layout.size()),
        }
    }

    /// A block of more than [`DIRECT`] bytes, or with an alignment of its own.
    #[inline(never)]
    fn take_other(&mut self, layout: Layout) -> Option<(NonNull<u8>, Contents)> {
        let shares = |class: &usize| sizes::bytes(*class) <= LARGEST || self.source.is_scarce();
        let Some(class) = class(layout).filter(shares) else { return self.take_large(layout) };
        let block = match self.heads[class].and_then(Self::pop) {
            Some(block) => block,
            None => self.refill(class)?,
        };
        Some((block, Contents::Any))
    }

    /// A free block of `chunk`, which is in a list of this heap, or `NOTHING`.
    #[inline(always)]
    fn pop(chunk: Chunk) -> Option<NonNull<u8>> {
        let block = chunk.free()?;
        // SAFETY: it has a free block, so the chunk is this heap's, and no other reference is held here.
        let state = unsafe { chunk.state() };
        // SAFETY: a free block holds its link; only the owner writes it.
        state.free = unsafe { block.read() }.next;
        state.left = state.left.wrapping_add(1);
        Some(block.cast())
    }

    /// # Safety
    ///
    /// As [`Heap::give`].
    #[inline(always)]
    pub(crate) unsafe fn give_plain(&mut self, block: NonNull<u8>) {
        // SAFETY: the caller's promise.
        let chunk = unsafe { Chunk::of_block(block) };
        if chunk.fixed().owner == self.owner {
            // SAFETY: the caller's promise.
            unsafe { self.push(chunk, block) };
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.give_other(chunk, block) };
        }
    }

    /// Puts a block of one's own back.
    ///
    /// # Safety
    ///
    /// `block` is a block of `chunk`, `chunk` this heap's, and the block not used any more.
    #[inline(always)]
    pub(crate) unsafe fn push(&mut self, chunk: Chunk, block: NonNull<u8>) {
        // SAFETY: the chunk is ours, and no other reference is held here.
        let state = unsafe { chunk.state() };
        let block = block.cast::<Free>();
        // SAFETY: a block is 16 bytes at least, aligned to 16, and this one nobody uses.
        unsafe { block.write(Free { next: state.free }) };
        state.free = Some(block);
        state.left = state.left.wrapping_sub(1);
        if state.left == 0 {
            self.turned(chunk);
        }
    }

    /// A chunk that was full has room, or one that is not the first of its class is empty.
    #[cold]
    #[inline(never)]
    fn turned(&mut self, chunk: Chunk) {
        let before = self.enter();
        self.relist(chunk);
        self.leave(before);
    }

    fn relist(&mut self, chunk: Chunk) {
        let fixed = chunk.fixed();
        if fixed.class == LARGE {
            // SAFETY: its only block is free.
            return unsafe { self.source.give(chunk.start(), fixed.bytes) };
        }
        let class = fixed.class as usize;
        // SAFETY: the chunk is ours, and `push` does not use its reference any more.
        let state = unsafe { chunk.state() };
        if state.used() != 0 {
            let Some(head) = self.heads[class] else { return self.make_head(class, chunk) };
            // SAFETY: another chunk of ours: a full one is in no list.
            let first = unsafe { head.state() };
            (state.previous, state.next) = (Some(head), first.next);
            state.set_trigger(0);
            first.next = Some(chunk);
            if let Some(next) = state.next {
                // SAFETY: a third chunk of ours.
                unsafe { next.state() }.previous = Some(chunk);
            }
            return;
        }
        if let Some(previous) = state.previous {
            // SAFETY: another chunk of ours.
            unsafe { previous.state() }.next = state.next;
        }
        if let Some(next) = state.next {
            // SAFETY: another chunk of ours.
            unsafe { next.state() }.previous = state.previous;
        }
        self.retire(chunk);
    }

    /// Keeps an empty chunk that is in no list, or gives it back.
    fn retire(&mut self, chunk: Chunk) {
        if self.reserve.is_none() {
            self.reserve = Some(chunk.start());
        } else {
            // SAFETY: no block of it is handed out.
            unsafe { self.source.give(chunk.start(), CHUNK) };
        }
    }

    /// Puts `chunk` before all others of its class; it is in no list.
    fn make_head(&mut self, class: usize, chunk: Chunk) {
        // SAFETY: the chunk is ours, and the callers hold no reference any more.
        let state = unsafe { chunk.state() };
        (state.previous, state.next) = (None, None);
        state.set_trigger(NEVER);
        self.set_head(class, Some(chunk));
    }

    /// Takes the first chunk of `class` out of its list: the next one is the first.
    fn drop_head(&mut self, class: usize, head: Chunk) {
        // SAFETY: the chunk is ours, and the callers hold no reference any more.
        let next = unsafe { head.state() }.next.take();
        self.set_head(class, next);
        if let Some(next) = next {
            // SAFETY: another chunk of ours.
            let state = unsafe { next.state() };
            state.previous = None;
            state.set_trigger(NEVER);
        }
    }

    /// A block of `size` bytes when the first chunk of its class has none at hand.
    #[cold]
    #[inline(never)]
    fn refill_for(&mut self, size: usize) -> Option<NonNull<u8>> {
        self.refill(sizes::of_size(size))
    }

    /// A block when the first chunk of `class` has none at hand.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, class: usize) -> Option<NonNull<u8>> {
        let before = self.enter();
        let block = self.refilled(class);
        self.leave(before);
        block
    }

    fn refilled(&mut self, class: usize) -> Option<NonNull<u8>> {
        self.collect();
        while let Some(head) = self.heads[class] {
            Self::carve(head);
            if let Some(block) = Self::pop(head) {
                return Some(block);
            }
            // All of it is handed out: it leaves the list until a block comes back.
            // SAFETY: the chunk is ours, and no other reference is held here.
            unsafe { head.state() }.set_trigger(head.fixed().capacity - 1);
            self.drop_head(class, head);
        }
        let start = match self.reserve.take() {
            Some(start) => start,
            None => self.source.take(CHUNK)?.0,
        };
        // SAFETY: the reserve is an empty chunk, and fresh memory is ours.
        let chunk = unsafe { Chunk::of_class(start, self.owner, class) };
        self.make_head(class, chunk);
        Self::carve(chunk);
        Self::pop(chunk)
    }

    /// Links some blocks that were never used, when no other is free.
    fn carve(chunk: Chunk) {
        let fixed = chunk.fixed();
        // SAFETY: the callers' chunk is this heap's, and they hold no reference.
        let state = unsafe { chunk.state() };
        if state.free.is_some() {
            return;
        }
        let more = (CARVE / fixed.block).max(1) as u32;
        let end = (state.carved + more).min(fixed.capacity);
        for number in (state.carved..end).rev() {
            let block = chunk.block(number).cast::<Free>();
            // SAFETY: a block of the chunk that was never handed out.
            unsafe { block.write(Free { next: state.free }) };
            state.free = Some(block);
        }
        state.carved = end;
    }

    #[cold]
    fn take_large(&mut self, layout: Layout) -> Option<(NonNull<u8>, Contents)> {
        let (bytes, first) = Chunk::large_bytes(layout.size(), layout.align())?;
        let before = self.enter();
        self.collect();
        let taken = self.source.take(bytes);
        self.leave(before);
        let (at, contents) = taken?;
        // SAFETY: memory of that many bytes, and ours.
        let chunk = unsafe { Chunk::large(at, self.owner, bytes, first) };
        Some((chunk.block(0), contents))
    }

    /// Takes in what other cores gave back.
    pub fn collect(&mut self) {
        if self.draining {
            return;
        }
        let Some(inbox) = self.team.get(self.owner as usize) else { return };
        if inbox.is_empty() {
            return;
        }
        let before = self.enter();
        self.draining = true;
        let mut next = inbox.take_all();
        while let Some(link) = next {
            // SAFETY: just taken from the inbox.
            let taken = unsafe { link.as_ref() };
            // SAFETY: as above.
            next = unsafe { taken.next() };
            // SAFETY: as above; what lies in an inbox is a batch.
            unsafe { self.open(link) };
        }
        self.draining = false;
        self.leave(before);
    }

    /// # Safety
    ///
    /// `link` was taken from this heap's inbox.
    unsafe fn open(&mut self, link: NonNull<Link>) {
        let batch = link.cast::<Batch>();
        // SAFETY: who pushed it wrote the runs; it is ours now, and a single block has the first words too.
        let count = unsafe { Batch::count(batch) };
        for number in (0..count).rev() {
            // SAFETY: below the count.
            let (start, blocks) = unsafe { Batch::run(batch, number) };
            // SAFETY: the batch lists blocks of this heap that nobody uses.
            let chunk = unsafe { Chunk::of_block(start) };
            // Backwards, so that they are taken in the order of their addresses.
            for number in (0..blocks).rev() {
                // SAFETY: a run lies in one chunk.
                let block = unsafe { start.add(number * chunk.fixed().block) };
                // SAFETY: as above.
                unsafe { self.push(chunk, block) };
            }
        }
        // The batch itself is a block: the sender's, or, without runs, the block that was given back.
        // SAFETY: nobody uses it any more.
        unsafe { self.give_plain(link.cast()) };
    }

    /// Sends all batches, takes in what came, and gives every empty chunk back to the source.
    pub fn trim(&mut self) {
        let before = self.enter();
        self.collect();
        self.flush();
        self.drop_outgoing();
        for class in 0..CLASSES {
            let Some(head) = self.heads[class] else { continue };
            // SAFETY: the chunk is ours, and no other reference is held here.
            if unsafe { head.state() }.used() != 0 {
                continue;
            }
            self.drop_head(class, head);
            self.retire(head);
        }
        if let Some(start) = self.reserve.take() {
            // SAFETY: an empty chunk.
            unsafe { self.source.give(start, CHUNK) };
        }
        self.leave(before);
    }

    /// Ends a heap: its chunks stay as they are, and the source can be used for another.
    pub fn into_source(self) -> P {
        self.source
    }

    /// The source.
    pub fn source(&self) -> &P {
        &self.source
    }
}

#[cfg(all(test, any(loom, shuttle)))]
#[path = "heap_models.rs"]
mod models;
