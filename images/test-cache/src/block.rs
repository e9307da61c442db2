//! Blocks that say what they are.

use corey_libos_cache::BLOCK;

const WORDS: usize = BLOCK / 8;

/// Word `index` of version `version` of block `block` of file `file`; the first is the version.
fn word(file: u64, block: u64, version: u64, index: usize) -> u64 {
    if index == 0 {
        return version;
    }
    (version ^ file << 40 ^ block << 48 ^ (index as u64) << 28).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// Makes a block.
pub(crate) fn fill(bytes: &mut [u8; BLOCK], file: u64, block: u64, version: u64) {
    for (index, eight) in bytes.chunks_exact_mut(8).enumerate() {
        eight.copy_from_slice(&word(file, block, version, index).to_le_bytes());
    }
}

/// Whether it is one version of block `block` of file `file`, or zeroes.
pub(crate) fn is_whole(bytes: &[u8; BLOCK], file: u64, block: u64) -> bool {
    let words =
        || bytes.chunks_exact(8).map(|eight| u64::from_le_bytes(eight.try_into().unwrap_or_default()));
    let version = words().next().unwrap_or(0);
    if version == 0 {
        return words().all(|word| word == 0);
    }
    words().take(WORDS).enumerate().all(|(index, found)| found == word(file, block, version, index))
}
