//! Counting all blocks.

use crate::backing::Backing;
use crate::client::{Client, Env};
use crate::pool::Lane;
use crate::word::Word;
use core::sync::atomic::Ordering;

/// Where the blocks of a cache are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files, those that were removed and are still held among them.
    pub files: u32,
    /// Blocks that were never used.
    pub fresh: u32,
    /// Blocks in chains.
    pub free: u32,
    /// Blocks of files.
    pub data: u32,
    /// Those of them that the backing lacks.
    pub dirty: u32,
    /// Blocks that are nodes.
    pub nodes: u32,
    /// Blocks that were found twice, and those that were not found.
    pub wrong: u32,
}

impl<E: Env, B: Backing> Client<'_, E, B> {
    /// Counts all blocks, while nobody changes anything. `seen` says whether a block is met for the first time.
    pub fn audit(&self, seen: &mut dyn FnMut(u32) -> bool) -> Counts {
        let cache = self.cache;
        let blocks = cache.shape().blocks;
        let mut counts = Counts::default();
        let mut twice = 0;
        let mut meet = |block: u32| twice += u32::from(block == 0 || block > blocks || !seen(block));
        let first = cache.common().fresh.load(Ordering::Relaxed).max(1);
        (first..=blocks).for_each(&mut meet);
        counts.fresh = (blocks + 1).saturating_sub(first);
        cache.each_free(&mut |block| {
            meet(block);
            counts.free += 1;
        });
        for slot in 0..cache.shape().files {
            let Some(file) = cache.file(slot).filter(|file| !file.state().is_free()) else { continue };
            counts.files += 1;
            let (mut nodes, mut data, mut dirty) = (0, 0, 0);
            let met = core::cell::RefCell::new(&mut meet);
            cache.each_slot(
                file,
                &mut |node| {
                    met.borrow_mut()(node);
                    nodes += 1;
                },
                &mut |_, slot| {
                    let word = Word(slot.load(Ordering::Relaxed));
                    met.borrow_mut()(word.index());
                    data += 1;
                    dirty += u32::from(word.is_dirty());
                    true
                },
            );
            counts.nodes += nodes;
            counts.data += data;
            counts.dirty += dirty;
        }
        let found = counts.fresh + counts.free + counts.data + counts.nodes;
        counts.wrong = twice + blocks.abs_diff(found);
        counts
    }

    /// Copies that were made again, blocks evicted, read and written, by all clients so far.
    #[must_use]
    pub fn counters(&self) -> [u64; 4] {
        let of = |lane: &Lane| {
            [&lane.retries, &lane.evicted, &lane.loaded, &lane.written]
                .map(|count| count.load(Ordering::Relaxed))
        };
        self.cache.lanes().fold([0; 4], |sum, (_, lane)| {
            let [a, b, c, d] = sum;
            let [e, f, g, h] = of(lane);
            [a + e, b + f, c + g, d + h]
        })
    }
}
