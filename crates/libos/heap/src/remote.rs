//! Blocks of other heaps, on their way home: addresses in batches, nothing in the blocks.
//!
//! A batch holds runs: blocks of one chunk that follow each other. A consumer that frees in the order of
//! allocation so sends a hundred blocks in two lines.

use crate::chunk::{Chunk, LARGE};
use crate::heap::{Heap, Pages};
use crate::inbox::Link;
use crate::sizes::CLASSES;
use core::alloc::Layout;
use core::ptr::NonNull;

/// Runs in a batch.
const RUNS: usize = 126;
/// Blocks in a batch, at most.
const BLOCKS: u32 = 512;
/// Bits of a run that count its blocks. The rest is the address, in units of 16 bytes.
const COUNT_BITS: u32 = 20;

/// A batch: itself a block of the sender's heap, and freed like one by who receives it.
#[repr(C)]
pub(crate) struct Batch {
    link: Link,
    /// Runs in it. 0: no batch, but a block that carries itself.
    count: u64,
    runs: [u64; RUNS],
}

/// What goes to one heap. Only the sender touches it.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Outgoing {
    batch: Option<NonNull<Batch>>,
    /// Blocks and runs in the batch.
    blocks: u32,
    count: u32,
    /// For each class the run that grew last, from 1; 0 for none.
    last: [u8; CLASSES],
}

fn encode(start: NonNull<u8>, count: u64) -> u64 {
    ((start.addr().get() as u64 >> 4) << COUNT_BITS) | count
}

impl Outgoing {
    /// Adds a block to the batch, which has room. Says whether it is full now.
    #[inline(always)]
    fn add(&mut self, block: NonNull<u8>, class: usize, bytes: usize) -> bool {
        let Some(batch) = self.batch else { return false };
        self.blocks += 1;
        let (address, step) = (encode(block, 0), encode_step(bytes));
        let last = &mut self.last[class];
        if *last != 0 {
            // SAFETY: the run is one of this batch's.
            let place = unsafe { Batch::at(batch, usize::from(*last) - 1) };
            // SAFETY: the batch is this heap's until it is sent.
            let run = unsafe { place.read() };
            let first = run >> COUNT_BITS << COUNT_BITS;
            // A run stays in its chunk: another chunk's header lies between.
            let longer = if address == first + (run - first) * step {
                run + 1
            } else if address + step == first {
                run - step + 1
            } else {
                0
            };
            if longer != 0 {
                // SAFETY: as above.
                unsafe { place.write(longer) };
                return self.blocks == BLOCKS;
            }
        }
        // SAFETY: a batch that is full of runs was sent.
        let place = unsafe { Batch::at(batch, self.count as usize) };
        // SAFETY: the batch is this heap's until it is sent.
        unsafe { place.write(encode(block, 1)) };
        self.count += 1;
        *last = self.count as u8;
        self.blocks == BLOCKS || self.count as usize == RUNS
    }
}

impl Batch {
    /// # Safety
    ///
    /// `batch` is a batch, or a block with its first two words, and the caller's.
    pub(crate) unsafe fn count(batch: NonNull<Self>) -> usize {
        // SAFETY: the caller's promise.
        unsafe { (*batch.as_ptr()).count as usize }
    }

    /// Run `number`: its first block, and how many.
    ///
    /// # Safety
    ///
    /// `batch` is a batch, the caller's, and `number` below its count.
    pub(crate) unsafe fn run(batch: NonNull<Self>, number: usize) -> (NonNull<u8>, usize) {
        // SAFETY: the caller's promise.
        let place = unsafe { Self::at(batch, number) };
        // SAFETY: as above.
        let run = unsafe { place.read() };
        let start = ((run >> COUNT_BITS) << 4) as usize as *mut u8;
        // SAFETY: runs are made of addresses of blocks.
        let start = unsafe { NonNull::new_unchecked(start) };
        (start, (run & ((1 << COUNT_BITS) - 1)) as usize)
    }

    /// # Safety
    ///
    /// `batch` is a batch and `number` below [`RUNS`].
    unsafe fn at(batch: NonNull<Self>, number: usize) -> *mut u64 {
        // SAFETY: the caller's promise.
        let runs = unsafe { &raw mut (*batch.as_ptr()).runs };
        // SAFETY: the caller's promise.
        unsafe { runs.cast::<u64>().add(number) }
    }

    /// Writes the first two words at `at`.
    ///
    /// # Safety
    ///
    /// 16 bytes there are the caller's.
    unsafe fn begin(at: NonNull<Self>, count: usize) {
        // SAFETY: the caller's promise.
        let link = unsafe { &raw mut (*at.as_ptr()).link };
        // SAFETY: the caller's promise.
        unsafe { link.write(Link::new()) };
        // SAFETY: the caller's promise.
        unsafe { (*at.as_ptr()).count = count as u64 };
    }
}

impl<P: Pages, const CHECKED: bool> Heap<'_, P, CHECKED> {
    fn outgoing_layout(&self) -> Option<Layout> {
        Layout::array::<Outgoing>(self.team.len()).ok()
    }

    /// The record of heap `owner`; `None` when there is no memory for the records.
    fn outgoing(&mut self, owner: usize) -> Option<&mut Outgoing> {
        let all = match self.outgoing {
            Some(all) => all,
            None => {
                let layout = self.outgoing_layout()?;
                let all = self.take_plain(layout)?;
                // SAFETY: a block of that size. Zero is no batch, no runs.
                unsafe { all.write_bytes(0, layout.size()) };
                *self.outgoing.insert(all.cast())
            }
        };
        // SAFETY: `owner` is a position in the team.
        let mut record = unsafe { all.add(owner) };
        // SAFETY: only this heap has the records, and the result borrows the heap.
        Some(unsafe { record.as_mut() })
    }

    /// Gives a block of another heap back.
    ///
    /// # Panics
    ///
    /// When no heap of the team owns it.
    ///
    /// # Safety
    ///
    /// `block` is a block of `chunk` that nobody uses, and `chunk` another heap's.
    #[inline(never)]
    pub(crate) unsafe fn give_other(&mut self, chunk: Chunk, block: NonNull<u8>) {
        let fixed = chunk.fixed();
        let owner = fixed.owner as usize;
        assert!(owner < self.team.len(), "heap {}: {block:p} belongs to no heap of its team", self.owner);
        let before = self.enter();
        let full = match self.batch(owner, fixed.class) {
            Some(record) => record.add(block, fixed.class as usize, fixed.block),
            None => {
                // SAFETY: the caller's promise.
                unsafe { self.send_single(owner, block) };
                false
            }
        };
        if full {
            self.send(owner);
        }
        self.leave(before);
    }

    /// The record of heap `owner`, with a batch in it, for a block of `class`; `None` for a large one, and without
    /// memory.
    #[inline(always)]
    fn batch(&mut self, owner: usize, class: u32) -> Option<&mut Outgoing> {
        if class == LARGE {
            // Nobody waits for a batch to fill while so much memory lies idle.
            return None;
        }
        let ready = self.outgoing.is_some_and(|all| {
            // SAFETY: `owner` is a position in the team.
            let record = unsafe { all.add(owner) };
            // SAFETY: only this heap has the records.
            unsafe { record.as_ref() }.batch.is_some()
        });
        if ready { self.outgoing(owner) } else { self.new_batch(owner) }
    }

    #[cold]
    #[inline(never)]
    fn new_batch(&mut self, owner: usize) -> Option<&mut Outgoing> {
        self.outgoing(owner)?;
        let batch = self.take_plain(Layout::new::<Batch>())?;
        // Taking memory may have sent blocks the same way.
        if self.outgoing(owner)?.batch.is_some() {
            // SAFETY: just taken, from this heap.
            unsafe { self.give_plain(batch) };
        } else {
            self.outgoing(owner)?.batch = Some(batch.cast());
        }
        self.outgoing(owner)
    }

    /// Sends a block that carries itself: its first two words are written.
    ///
    /// # Safety
    ///
    /// `block` is heap `owner`'s, and nobody uses it.
    #[cold]
    #[inline(never)]
    unsafe fn send_single(&mut self, owner: usize, block: NonNull<u8>) {
        let single = block.cast::<Batch>();
        // SAFETY: a block is 16 bytes at least.
        unsafe { Batch::begin(single, 0) };
        // SAFETY: nobody uses the block any more, and its memory stays until its owner takes it.
        unsafe { self.team[owner].push(single.cast()) };
    }

    #[cold]
    #[inline(never)]
    fn send(&mut self, owner: usize) {
        let Some(record) = self.outgoing(owner) else { return };
        let Some(batch) = record.batch.take() else { return };
        let (blocks, count) = (record.blocks, record.count as usize);
        (record.blocks, record.count, record.last) = (0, 0, [0; CLASSES]);
        if blocks == 1 {
            // Not worth a batch, which the receiver would have to send back: two heaps that trim would never
            // be done.
            // SAFETY: the batch holds one run.
            let (block, _) = unsafe { Batch::run(batch, 0) };
            // SAFETY: the run's block was given back.
            unsafe { self.send_single(owner, block) };
            // SAFETY: this heap's own block.
            return unsafe { self.give_plain(batch.cast()) };
        }
        // SAFETY: the batch is this heap's.
        unsafe { Batch::begin(batch, count) };
        // SAFETY: the receiver has the batch alone from here, and gives it back as a block.
        unsafe { self.team[owner].push(batch.cast()) };
    }

    /// Sends every batch, full or not: for a core that will not free for a while.
    pub fn flush(&mut self) {
        if self.outgoing.is_some() {
            let before = self.enter();
            (0..self.team.len()).for_each(|owner| self.send(owner));
            self.leave(before);
        }
    }

    /// Frees the records, after a flush.
    pub(crate) fn drop_outgoing(&mut self) {
        if let Some(all) = self.outgoing.take() {
            // SAFETY: this heap's own block; all batches were sent.
            unsafe { self.give_plain(all.cast()) };
        }
    }
}

/// The distance of two blocks of `bytes` in runs.
const fn encode_step(bytes: usize) -> u64 {
    (bytes as u64 >> 4) << COUNT_BITS
}

const _: () = assert!(size_of::<Batch>() == 1024 && size_of::<Outgoing>() == 128);
