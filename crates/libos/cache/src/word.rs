//! [`Word`]: what a slot of a block tree holds.

const INDEX_BITS: u32 = 24;
const INDEX: u64 = (1 << INDEX_BITS) - 1;
const DIRTY: u64 = 1 << 63;
const GENERATION_BITS: u32 = 63 - INDEX_BITS;
const GENERATION: u64 = (1 << GENERATION_BITS) - 1;

/// Most blocks of a cache.
pub(crate) const MOST_BLOCKS: u32 = INDEX as u32;

/// A block's number, from 1, with its generation, and whether the backing lacks it; or a node with its height; or nothing, 0.
///
/// 39 bits of generation: a reader would have to copy while its block is reused 5 × 10¹¹ times, and end exactly then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    pub(crate) const NONE: Self = Self(0);

    /// Block `index` in generation `generation`.
    pub(crate) fn block(index: u32, generation: u64, dirty: bool) -> Self {
        Self(u64::from(index) | (generation & GENERATION) << INDEX_BITS | if dirty { DIRTY } else { 0 })
    }

    /// The node in block `index`, `height` levels above the blocks.
    pub(crate) fn node(index: u32, height: u32) -> Self {
        Self(u64::from(index) | u64::from(height) << INDEX_BITS)
    }

    #[inline(always)]
    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub(crate) fn index(self) -> u32 {
        (self.0 & INDEX) as u32
    }

    /// Of a node.
    pub(crate) fn height(self) -> u32 {
        (self.0 >> INDEX_BITS) as u32
    }

    pub(crate) fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }

    pub(crate) fn dirty(self) -> Self {
        Self(self.0 | DIRTY)
    }

    pub(crate) fn clean(self) -> Self {
        Self(self.0 & !DIRTY)
    }

    /// Whether `generation` is the block's.
    pub(crate) fn is_of(self, generation: u64) -> bool {
        self.0 >> INDEX_BITS & GENERATION == generation & GENERATION
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_do_not_touch() {
        let word = Word::block(MOST_BLOCKS, u64::MAX, false);
        assert!(word.index() == MOST_BLOCKS && word.is_of(u64::MAX) && !word.is_dirty() && !word.is_none());
        let word = Word::block(1, 0, true);
        assert!(word.index() == 1 && word.is_of(0) && word.is_dirty() && !word.clean().is_dirty());
        assert!(word.is_of(GENERATION + 1) && !word.is_of(1), "it begins again");
        let node = Word::node(7, 3);
        assert!(node.index() == 7 && node.height() == 3);
    }
}
