//! Free lists by size class.

use core::alloc::Layout;
use core::ptr::NonNull;

/// log2 of the smallest block.
const SMALLEST: u32 = 4;
/// log2 of the largest block, exclusive: 2^39 bytes.
const CLASSES: usize = 36;
/// Bytes asked of the page source at once.
const CHUNK: usize = 256 * 1024;

/// Gives zeroed, page-aligned memory that stays.
pub trait Pages {
    /// `bytes` bytes, a multiple of 4096; `None` when there are none.
    fn pages(&mut self, bytes: usize) -> Option<NonNull<u8>>;
}

/// A heap over pages of `P`.
#[derive(Debug)]
pub struct Heap<P> {
    source: P,
    /// First free block of each class. A free block's first word links the next.
    free: [Option<NonNull<u8>>; CLASSES],
    /// What is left of the last chunk.
    fresh: (usize, usize),
}

fn class(layout: Layout) -> Option<(usize, usize)> {
    let bytes = layout.size().max(layout.align()).max(1 << SMALLEST).checked_next_power_of_two()?;
    let class = (bytes.trailing_zeros() - SMALLEST) as usize;
    (class < CLASSES).then_some((class, bytes))
}

impl<P: Pages> Heap<P> {
    /// An empty heap.
    pub const fn new(source: P) -> Self {
        Self { source, free: [None; CLASSES], fresh: (0, 0) }
    }

    /// Takes a block for `layout`. `None` when there is no memory, or `layout` exceeds 2^39 bytes.
    pub fn take(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let (class, bytes) = class(layout)?;
        if let Some(block) = self.free.get(class).copied().flatten() {
            // SAFETY: a free block belongs to the heap and holds the link (type invariant); it is aligned
            // to 16 bytes at least.
            self.free[class] = unsafe { block.cast::<Option<NonNull<u8>>>().read() };
            return Some(block);
        }
        if bytes > CHUNK / 4 {
            return self.source.pages(bytes.next_multiple_of(4096));
        }
        let (mut at, end) = self.fresh;
        at = at.next_multiple_of(bytes);
        if at + bytes > end {
            // What is left of the old chunk is cut into blocks later requests can use.
            self.cut(self.fresh.0, end);
            let chunk = self.source.pages(CHUNK)?.addr().get();
            self.fresh = (chunk, chunk + CHUNK);
            at = chunk.next_multiple_of(bytes);
        }
        self.fresh.0 = at + bytes;
        NonNull::new(at as *mut u8)
    }

    /// Gives the bytes `at .. end` to the free lists, in the largest aligned blocks.
    fn cut(&mut self, mut at: usize, end: usize) {
        while at + (1 << SMALLEST) <= end {
            let fits = (end - at).ilog2();
            let aligned = at.trailing_zeros().min(fits).max(SMALLEST);
            if let Some(block) = NonNull::new(at as *mut u8) {
                self.put(block, (aligned - SMALLEST) as usize);
            }
            at += 1 << aligned;
        }
    }

    fn put(&mut self, block: NonNull<u8>, class: usize) {
        // SAFETY: the block is the heap's, 16 bytes at least, aligned to 16.
        unsafe { block.cast::<Option<NonNull<u8>>>().write(self.free[class]) };
        self.free[class] = Some(block);
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// `block` came from [`Heap::take`] of this heap with the same `layout`, and is not used any more.
    pub unsafe fn give(&mut self, block: NonNull<u8>, layout: Layout) {
        if let Some((class, _)) = class(layout) {
            self.put(block, class);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    struct Host(usize);
    impl Pages for Host {
        fn pages(&mut self, bytes: usize) -> Option<NonNull<u8>> {
            self.0 = self.0.checked_sub(bytes)?;
            let layout = Layout::from_size_align(bytes, 1 << 20).ok()?;
            // SAFETY: the layout is not empty. Leaked: heaps never give pages back.
            NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
        }
    }

    #[test]
    fn live_blocks_never_overlap() {
        let mut heap = Heap::new(Host(64 << 20));
        let mut live: HashMap<usize, (Layout, u8)> = HashMap::new();
        let mut seed = 1_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize
        };
        for step in 0..20_000 {
            if random() % 3 < 2 && live.len() < 500 {
                let layout = Layout::from_size_align(random() % 5000 + 1, 1 << (random() % 8)).unwrap();
                let block = heap.take(layout).unwrap();
                assert_eq!(block.addr().get() % layout.align(), 0);
                // SAFETY: the block is ours.
                unsafe { block.write_bytes(step as u8, layout.size()) };
                assert!(live.insert(block.addr().get(), (layout, step as u8)).is_none());
            } else if let Some(&at) = live.keys().next() {
                let (layout, byte) = live.remove(&at).unwrap();
                // SAFETY: still ours.
                let bytes = unsafe { core::slice::from_raw_parts(at as *const u8, layout.size()) };
                assert!(bytes.iter().all(|b| *b == byte), "another block was written over this one");
                // SAFETY: taken with this layout.
                unsafe { heap.give(NonNull::new(at as *mut u8).unwrap(), layout) };
            }
        }
    }

    #[test]
    fn no_memory_is_an_answer() {
        let mut heap = Heap::new(Host(CHUNK));
        let big = Layout::from_size_align(CHUNK * 2, 8).unwrap();
        assert!(heap.take(big).is_none());
        let small = Layout::from_size_align(16, 8).unwrap();
        assert!(heap.take(small).is_some());
    }
}
