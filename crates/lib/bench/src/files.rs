//! What the benchmarks `pread`, `pwrite` and `open` read, write and name, on both systems.

use core::ffi::CStr;
use core::fmt::{self, Write};

/// Bytes of a block: what `pread` reads, and what a whole write writes.
pub const BLOCK: usize = 4096;
/// Bytes of a partial write.
pub const PART: usize = 512;
/// The file that all cores use in the variants `same`; else core `n` uses file `n`.
pub const SAME: u32 = 0;
/// The block a file begins with, and the only one.
pub const FIRST: u64 = 0;
/// Operations before the region, so that it begins in the steady state.
pub const WARM: u64 = 1024;

/// Bytes between two partial writes that follow each other.
const STEP: u64 = 1024;

/// Word `index` of block `block` of file `file`: no two are alike, as far as a test can tell.
#[inline(always)]
pub const fn word(file: u32, block: u64, index: usize) -> u64 {
    let place = ((file as u64) << 40) ^ (block << 9) ^ index as u64;
    let mixed = (place ^ (place >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// The block number whose bytes core `core` writes over [`FIRST`]: so it shows whose write came last.
#[inline(always)]
pub const fn written(core: u32) -> u64 {
    1 + core as u64
}

/// Writes the bytes of block `block` of file `file` to `bytes`.
pub fn fill(file: u32, block: u64, bytes: &mut [u8; BLOCK]) {
    for (index, eight) in bytes.chunks_exact_mut(8).enumerate() {
        eight.copy_from_slice(&word(file, block, index).to_le_bytes());
    }
}

/// Whether `bytes` are what block `block` of file `file` has from byte `offset` on, a multiple of 8.
#[must_use]
pub fn holds(file: u32, block: u64, offset: usize, bytes: &[u8]) -> bool {
    let words = bytes.chunks(8).enumerate();
    words.fold(true, |good, (n, eight)| {
        good & word(file, block, offset / 8 + n).to_le_bytes().starts_with(eight)
    })
}

/// Where in the block operation `number` of a partial write begins.
#[inline(always)]
pub const fn part(number: u64) -> u64 {
    STEP * (number % (BLOCK as u64 / STEP))
}

/// The name of a file, on both systems: `data/f` and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// ASCII, then zeroes, of which there is at least one.
    text: [u8; 17],
    length: usize,
}

impl Name {
    /// The name of file `file`.
    #[must_use]
    pub fn new(file: u32) -> Self {
        let mut name = Self { text: [0; 17], length: 0 };
        // Six letters and ten digits at most.
        let _ = write!(name, "data/f{file}");
        name
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }

    /// The name with a zero behind it.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.text).unwrap_or_default()
    }
}

impl Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        // A zero stays behind it.
        if end >= self.text.len() {
            return Err(fmt::Error);
        }
        self.text[self.length..end].copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_reader_tells_blocks_and_places_apart() {
        let mut bytes = [0; BLOCK];
        fill(3, FIRST, &mut bytes);
        assert!(holds(3, FIRST, 0, &bytes));
        assert!(holds(3, FIRST, 1024, &bytes[1024..1024 + PART]));
        assert!(!holds(3, FIRST, 1032, &bytes[1024..1024 + PART]));
        assert!(!holds(4, FIRST, 0, &bytes) && !holds(3, written(0), 0, &bytes));
        bytes[4095] ^= 1;
        assert!(!holds(3, FIRST, 0, &bytes));
    }

    #[test]
    fn words_of_all_files_and_writers_differ() {
        let mut seen = BTreeSet::new();
        for file in 0..16 {
            for block in [FIRST, written(0), written(15)] {
                (0..BLOCK / 8).for_each(|index| assert!(seen.insert(word(file, block, index))));
            }
        }
    }

    #[test]
    fn partial_writes_stay_inside_the_block() {
        let starts: Vec<u64> = (0..5).map(part).collect();
        assert_eq!(starts, [0, 1024, 2048, 3072, 0]);
        assert!((0..8).all(|number| part(number) as usize + PART <= BLOCK));
    }

    #[test]
    fn names_end_with_a_zero() {
        assert_eq!(Name::new(0).as_str(), "data/f0");
        assert_eq!(Name::new(u32::MAX).as_str(), "data/f4294967295");
        assert_eq!(Name::new(u32::MAX).as_c_str().to_bytes().len(), 16);
    }
}
