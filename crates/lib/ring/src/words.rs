//! The words of a ring, as either side reaches them.

use crate::shape::Shape;
use corey_lib_sync::atomic::{AtomicU64, Ordering};

/// Words that two cores share, by index. A ring asks for indices below [`Shape::words`] only.
///
/// Any value will do for a word that is not there any more. On x86 every load and every store of an aligned word is what is asked for here: a plain `mov`.
pub trait Words {
    /// Loads a word, with acquire: what was stored before the store that left this value is seen by later loads.
    fn load(&self, index: usize) -> u64;

    /// Stores a word, with release: what was stored before is seen by who loads this value.
    fn store(&self, index: usize, word: u64);

    /// Stores words that follow each other, as [`Words::store`] does, from the last to the first.
    fn store_all<const N: usize>(&self, index: usize, words: &[u64; N]) {
        for (number, word) in words.iter().enumerate().rev() {
            self.store(index + number, *word);
        }
    }
}

/// A ring in ordinary memory: a program's side of it, and both sides on the host.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<'a>(&'a [AtomicU64]);

impl<'a> Mapped<'a> {
    /// The ring of this shape at the start of `words`; `None` when there are too few words, or when they do not begin at a
    /// multiple of 128 bytes: then lines of the two sides would overlap.
    #[must_use]
    pub fn new(words: &'a [AtomicU64], shape: Shape) -> Option<Self> {
        if !words.as_ptr().addr().is_multiple_of(crate::shape::AREA * size_of::<u64>()) {
            return None;
        }
        words.get(..shape.words()).map(Self)
    }
}

impl Words for Mapped<'_> {
    #[inline(always)]
    fn load(&self, index: usize) -> u64 {
        // No index is out of range; without unsafe code the processor has to look all the same.
        self.0.get(index).map_or(0, |word| word.load(Ordering::Acquire))
    }

    #[inline(always)]
    fn store(&self, index: usize, word: u64) {
        if let Some(at) = self.0.get(index) {
            at.store(word, Ordering::Release);
        }
    }

    #[inline(always)]
    fn store_all<const N: usize>(&self, index: usize, words: &[u64; N]) {
        // One look for all of them.
        if let Some(at) = self.0.get(index..).and_then(|words| words.first_chunk::<N>()) {
            at.iter().zip(words).rev().for_each(|(at, word)| at.store(*word, Ordering::Release));
        }
    }
}
