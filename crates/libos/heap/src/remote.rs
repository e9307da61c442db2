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
        let before = self.enter();
        // SAFETY: the caller's promise.
        unsafe { self.batch(chunk, block) };
        self.leave(before);
    }

    /// # Safety
    ///
    /// As [`Heap::give_other`].
    unsafe fn batch(&mut self, chunk: Chunk, block: NonNull<u8>) {
        let fixed = chunk.fixed();
        let owner = fixed.owner as usize;
        assert!(owner < self.team.len(), "heap {}: {block:p} belongs to no heap of its team", self.owner);
        if fixed.class == LARGE {
            // Nobody waits for a batch to fill while so much memory lies idle.
            // SAFETY: the caller's promise.
            return unsafe { self.send_single(owner, block) };
        }
        let Some(record) = self.outgoing(owner) else {
            // SAFETY: the caller's promise.
            return unsafe { self.send_single(owner, block) };
        };
        let batch = match record.batch {
            Some(batch) => batch,
            None => {
                let Some(batch) = self.take_plain(Layout::new::<Batch>()) else {
                    // SAFETY: the caller's promise.
                    return unsafe { self.send_single(owner, block) };
                };
                // Taking memory may have sent blocks the same way.
                let record = self.outgoing(owner).expect("the records exist");
                match record.batch {
                    Some(other) => {
                        // SAFETY: just taken, from this heap.
                        unsafe { self.give_plain(batch) };
                        other
                    }
                    None => *record.batch.insert(batch.cast()),
                }
            }
        };
        let record = self.outgoing(owner).expect("the records exist");
        record.blocks += 1;
        let last = &mut record.last[fixed.class as usize];
        if *last != 0 {
            // SAFETY: the run is one of this batch's.
            let place = unsafe { Batch::at(batch, usize::from(*last) - 1) };
            // SAFETY: the batch is this heap's until it is sent.
            let run = unsafe { place.read() };
            let (address, first) = (encode(block, 0), run >> COUNT_BITS << COUNT_BITS);
            let step = encode_step(fixed.block);
            let blocks = run & ((1 << COUNT_BITS) - 1);
            // A run stays in its chunk: another chunk's header lies between.
            if address == first + blocks * step {
                // SAFETY: as above.
                unsafe { place.write(run + 1) };
                return self.sent_if_full(owner);
            }
            if address + step == first {
                // SAFETY: as above.
                unsafe { place.write(run - step + 1) };
                return self.sent_if_full(owner);
            }
        }
        // SAFETY: a batch that is full of runs was sent.
        let place = unsafe { Batch::at(batch, record.count as usize) };
        record.count += 1;
        *last = record.count as u8;
        // SAFETY: the batch is this heap's until it is sent.
        unsafe { place.write(encode(block, 1)) };
        self.sent_if_full(owner);
    }

    fn sent_if_full(&mut self, owner: usize) {
        let Some(record) = self.outgoing(owner) else { return };
        if record.blocks == BLOCKS || record.count as usize == RUNS {
            self.send(owner);
        }
    }

    /// Sends a block that carries itself: its first two words are written.
    ///
    /// # Safety
    ///
    /// `block` is heap `owner`'s, and nobody uses it.
    unsafe fn send_single(&mut self, owner: usize, block: NonNull<u8>) {
        let single = block.cast::<Batch>();
        // SAFETY: a block is 16 bytes at least.
        unsafe { Batch::begin(single, 0) };
        // SAFETY: nobody uses the block any more, and its memory stays until its owner takes it.
        unsafe { self.team[owner].push(single.cast()) };
    }

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

#[cfg(not(loom))]
const _: () = assert!(size_of::<Batch>() == 1024 && size_of::<Outgoing>() == 128);
