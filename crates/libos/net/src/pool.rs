//! Blocks of buffer memory, and chains of them that hold a stream's bytes.
//!
//! A connection without data holds no block. Blocks are made 64 at a time up to a limit, and then only change hands.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 1024;
/// Blocks made at once.
const SLAB: usize = 64;
const NONE: u32 = u32::MAX;

pub(crate) struct Pool {
    slabs: Vec<Box<[u8]>>,
    /// The block after this one, in its chain or in the chain of free ones.
    next: Vec<u32>,
    free: u32,
    used: usize,
    limit: usize,
}

impl Pool {
    /// At most `bytes` bytes of blocks.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            slabs: Vec::new(),
            next: Vec::new(),
            free: NONE,
            used: 0,
            limit: bytes.div_ceil(BLOCK * SLAB) * SLAB,
        }
    }

    /// Whether only the reserve is left: a quarter, for what arrives in order. Without one, two ends that send to each other
    /// could fill their pools with what they send, and neither could take what would free the other's.
    pub(crate) fn is_short(&self) -> bool {
        self.limit - self.used <= self.limit / 4
    }

    /// Blocks in use.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    fn take(&mut self, claim: Claim) -> Option<u32> {
        if claim == Claim::Spare && self.is_short() {
            return None;
        }
        if self.free == NONE {
            self.more()?;
        }
        let block = self.free;
        self.free = core::mem::replace(self.next.get_mut(block as usize)?, NONE);
        self.used += 1;
        Some(block)
    }

    #[cold]
    fn more(&mut self) -> Option<()> {
        let first = self.next.len();
        if first >= self.limit {
            return None;
        }
        self.slabs.push(vec![0; SLAB * BLOCK].into_boxed_slice());
        let last = first + SLAB - 1;
        self.next.extend((first..=last).map(|block| if block == last { NONE } else { block as u32 + 1 }));
        self.free = first as u32;
        Some(())
    }

    fn give(&mut self, block: u32) -> u32 {
        let Some(place) = self.next.get_mut(block as usize) else { return NONE };
        let next = core::mem::replace(place, self.free);
        self.free = block;
        self.used -= 1;
        next
    }

    fn after(&self, block: u32) -> u32 {
        self.next.get(block as usize).copied().unwrap_or(NONE)
    }

    fn bytes(&self, block: u32) -> &[u8] {
        let at = (block as usize % SLAB) * BLOCK;
        self.slabs.get(block as usize / SLAB).and_then(|slab| slab.get(at..at + BLOCK)).unwrap_or(&[])
    }

    fn bytes_mut(&mut self, block: u32) -> &mut [u8] {
        let at = (block as usize % SLAB) * BLOCK;
        self.slabs
            .get_mut(block as usize / SLAB)
            .and_then(|slab| slab.get_mut(at..at + BLOCK))
            .unwrap_or(&mut [])
    }

    /// Walks the free blocks.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let (mut free, mut block) = (0, self.free);
        while block != NONE {
            free += 1;
            block = self.after(block);
        }
        assert_eq!(free + self.used, self.next.len());
    }
}

/// Which blocks a chain may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// All but the reserve.
    Spare,
    All,
}

/// Bytes of a stream, from the first that is kept. Whoever uses it knows how many there are.
pub(crate) struct Chain {
    head: u32,
    tail: u32,
    blocks: u32,
    /// Where in the head the first byte lies.
    start: u32,
    /// A block found lately, and its number counted from the head: streams are used in order.
    cursor: u32,
    cursor_number: u32,
}

impl Chain {
    pub(crate) const fn new() -> Self {
        Self { head: NONE, tail: NONE, blocks: 0, start: 0, cursor: NONE, cursor_number: 0 }
    }

    /// Writes `data` from byte `at` on; how many bytes found room.
    pub(crate) fn write(&mut self, pool: &mut Pool, at: usize, data: &[u8], claim: Claim) -> usize {
        let first = self.start as usize + at;
        let blocks = (first + data.len()).div_ceil(BLOCK);
        while (self.blocks as usize) < blocks {
            let Some(block) = pool.take(claim) else { break };
            if self.head == NONE {
                self.head = block;
            } else if let Some(next) = pool.next.get_mut(self.tail as usize) {
                *next = block;
            }
            self.tail = block;
            self.blocks += 1;
        }
        let room = (self.blocks as usize * BLOCK).saturating_sub(first).min(data.len());
        let (mut position, mut rest) = (first, data.get(..room).unwrap_or(&[]));
        while !rest.is_empty() {
            let block = self.seek(pool, position / BLOCK);
            let into = pool.bytes_mut(block).get_mut(position % BLOCK..).unwrap_or(&mut []);
            let count = into.len().min(rest.len());
            if count == 0 {
                break;
            }
            let (now, later) = rest.split_at(count);
            into.split_at_mut(count).0.copy_from_slice(now);
            position += count;
            rest = later;
        }
        room
    }

    /// Copies bytes from byte `at` on.
    pub(crate) fn read(&mut self, pool: &Pool, at: usize, into: &mut [u8]) {
        let (mut position, mut rest) = (self.start as usize + at, into);
        while !rest.is_empty() {
            let block = self.seek(pool, position / BLOCK);
            let from = pool.bytes(block).get(position % BLOCK..).unwrap_or(&[]);
            let count = from.len().min(rest.len());
            if count == 0 {
                break;
            }
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(from.split_at(count).0);
            position += count;
            rest = later;
        }
    }

    fn seek(&mut self, pool: &Pool, number: usize) -> u32 {
        if number + 1 == self.blocks as usize {
            return self.tail;
        }
        if self.cursor == NONE || (self.cursor_number as usize) > number {
            (self.cursor, self.cursor_number) = (self.head, 0);
        }
        while (self.cursor_number as usize) < number && self.cursor != NONE {
            self.cursor = pool.after(self.cursor);
            self.cursor_number += 1;
        }
        self.cursor
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn consume(&mut self, pool: &mut Pool, count: usize) {
        self.start += count as u32;
        while self.start as usize >= BLOCK && self.head != NONE {
            if self.cursor_number == 0 {
                self.cursor = NONE;
            }
            self.cursor_number = self.cursor_number.saturating_sub(1);
            self.head = pool.give(self.head);
            self.blocks -= 1;
            self.start -= BLOCK as u32;
        }
        if self.head == NONE {
            *self = Self::new();
        }
    }

    /// Gives every block back: no byte is kept.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        while self.blocks > 0 {
            self.head = pool.give(self.head);
            self.blocks -= 1;
        }
        *self = Self::new();
    }

    #[cfg(test)]
    pub(crate) fn blocks(&self) -> usize {
        self.blocks as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::VecDeque;

    #[test]
    fn a_chain_keeps_bytes_like_a_queue_and_gives_every_block_back() {
        let (mut pool, mut chain, mut model) = (Pool::new(SLAB * BLOCK), Chain::new(), VecDeque::new());
        let mut random = Random::new([5, 6]);
        for step in 0..5_000_u32 {
            if random.below(2) == 0 {
                let data: Vec<u8> = (0..random.below(5000)).map(|n| (n ^ step) as u8).collect();
                let wrote = chain.write(&mut pool, model.len(), &data, Claim::All);
                assert!(wrote == data.len() || pool.used() == SLAB);
                model.extend(&data[..wrote]);
            } else {
                let at = random.below(model.len() as u32 + 1) as usize;
                let mut seen = vec![0; (model.len() - at).min(3000)];
                chain.read(&pool, at, &mut seen);
                assert!(seen.iter().eq(model.range(at..at + seen.len())));
                let gone = random.below(model.len() as u32 + 1) as usize;
                chain.consume(&mut pool, gone);
                model.drain(..gone);
                if model.is_empty() {
                    chain.clear(&mut pool);
                }
            }
            assert_eq!(chain.blocks(), pool.used());
            assert!(pool.used() <= model.len() / BLOCK + 2);
        }
        chain.clear(&mut pool);
        assert_eq!(pool.used(), 0);
        pool.check();
    }
}
