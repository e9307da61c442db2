//! [`Bucket`]: a block of a directory.
//!
//! ```text
//! 0    heads: where the first record of each of 32 chains begins, 0 for none
//! 64   end: the first byte that no record has
//! 72   records, each at a multiple of 8: next, length of the name, kind, hash, file, name
//! ```
//!
//! It came out of shared memory: whatever is in it, reading it ends, and stays within it.

use crate::path::{NAME_MAX, Name};
use corey_libos_cache::{BLOCK, Env, FileId, Look, Search};

const CHAINS: usize = 32;
const END: usize = 64;
const FIRST: usize = 72;
const RECORD: usize = 16;
/// Most records in a block, and a bit.
const MOST: usize = BLOCK / RECORD;

/// Fewer than eight bytes, little endian, in three loads at most.
#[inline(always)]
fn few(bytes: &[u8]) -> u64 {
    let above = |have: usize| 8 * (bytes.len() - have) as u32;
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << above(4)
        }
        _ => match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => {
                u64::from(u16::from_le_bytes(*first)) | u64::from(u16::from_le_bytes(*last)) << above(2)
            }
            _ => bytes.first().map_or(0, |byte| u64::from(*byte)),
        },
    }
}

/// A block of names.
pub(crate) struct Bucket(pub(crate) [u8; BLOCK]);

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'b> {
    pub(crate) name: &'b [u8],
    pub(crate) hash: u32,
    pub(crate) kind: u8,
    pub(crate) file: FileId,
    next: usize,
}

impl Search for Name<'_> {
    type Found = Option<(FileId, u8)>;

    #[inline(always)]
    fn search<E: Env>(&self, block: &mut Look<'_, E>) -> Self::Found {
        Bucket::find_in(self, |at| block.word(at)).map(|(_, file, kind)| (file, kind))
    }
}

impl Bucket {
    pub(crate) const fn new() -> Self {
        Self([0; BLOCK])
    }

    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|bytes| bytes.first_chunk::<N>()).copied().unwrap_or([0; N])
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn head(hash: u32) -> usize {
        hash as usize % CHAINS * 2
    }

    fn end(&self) -> usize {
        usize::from(u16::from_le_bytes(self.get(END))).max(FIRST)
    }

    #[inline]
    fn record(&self, at: usize) -> Option<Record<'_>> {
        let head: &[u8; RECORD] = self.0.get(at..)?.first_chunk()?;
        let [n0, n1, length, kind, hash @ .., f0, f1, f2, f3, f4, f5, f6, f7] = *head;
        let name = self.0.get(at + RECORD..at + RECORD + usize::from(length))?;
        Some(Record {
            name,
            hash: u32::from_le_bytes(hash),
            kind,
            file: FileId(u64::from_le_bytes([f0, f1, f2, f3, f4, f5, f6, f7])),
            next: usize::from(u16::from_le_bytes([n0, n1])),
        })
    }

    /// Looks a name up in a block that `word` reads, which may be one that was not copied and changes meanwhile: this ends,
    /// whatever it says. Where its record is, the file, and its kind.
    #[inline(always)]
    pub(crate) fn find_in(
        name: &Name<'_>,
        mut word: impl FnMut(usize) -> u64,
    ) -> Option<(usize, FileId, u8)> {
        let head = Self::head(name.hash);
        let mut at = usize::from((word(head) >> (head % 8 * 8)) as u16);
        for _ in 0..MOST {
            if at == 0 {
                break;
            }
            let facts = word(at);
            let [_, _, length, kind, ..] = facts.to_le_bytes();
            if (facts >> 32) as u32 == name.hash && usize::from(length) == name.bytes.len() {
                let file = FileId(word(at + 8));
                let (words, rest) = name.bytes.as_chunks::<8>();
                let mut place = at + RECORD;
                let mut next = || {
                    place += 8;
                    word(place - 8)
                };
                let same = words.iter().all(|bytes| next() == u64::from_le_bytes(*bytes));
                // The bytes behind the name are another record's.
                if same && (rest.is_empty() || (next() ^ few(rest)) << (64 - 8 * rest.len()) == 0) {
                    return Some((at, file, kind));
                }
            }
            at = usize::from(facts as u16);
        }
        None
    }

    /// Adds a record; false when there is no room.
    pub(crate) fn add(&mut self, name: &Name<'_>, kind: u8, file: FileId) -> bool {
        let (at, head) = (self.end(), Self::head(name.hash));
        let after = (at + RECORD + name.bytes.len()).next_multiple_of(8);
        if name.bytes.len() > NAME_MAX || after > BLOCK {
            return false;
        }
        let next = self.get::<2>(head);
        self.set(at, &next);
        self.set(at + 2, &[name.bytes.len() as u8, kind]);
        self.set(at + 4, &name.hash.to_le_bytes());
        self.set(at + 8, &file.0.to_le_bytes());
        self.set(at + RECORD, name.bytes);
        self.set(head, &(at as u16).to_le_bytes());
        self.set(END, &(after as u16).to_le_bytes());
        true
    }

    /// Has the record of a name lead to another file.
    pub(crate) fn replace(&mut self, name: &Name<'_>, kind: u8, file: FileId) {
        if let Some((at, ..)) = Self::find_in(name, |at| u64::from_le_bytes(self.get(at & !7))) {
            self.set(at + 3, &[kind]);
            self.set(at + 8, &file.0.to_le_bytes());
        }
    }

    /// All records.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        (0..CHAINS).flat_map(move |chain| {
            let mut at = usize::from(u16::from_le_bytes(self.get(chain * 2)));
            let mut left = MOST;
            core::iter::from_fn(move || {
                left = left.checked_sub(1)?;
                let record = self.record(at).filter(|_| at != 0)?;
                at = record.next;
                Some(record)
            })
        })
    }

    /// Drops the records that `keep` says no to. Not inlined: it has a block on the stack.
    #[inline(never)]
    pub(crate) fn retain(&mut self, keep: impl Fn(&Record<'_>) -> bool) {
        let mut other = Self::new();
        for record in self.records().filter(|record| keep(record)) {
            // What fitted here fits there.
            let _ = other.add(&Name { bytes: record.name, hash: record.hash }, record.kind, record.file);
        }
        self.0.copy_from_slice(&other.0);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    fn name(text: &str) -> Name<'_> {
        crate::path::first(text.as_bytes()).unwrap().0
    }

    fn find(bucket: &Bucket, name: &Name<'_>) -> Option<(FileId, u8)> {
        let (_, file, kind) = Bucket::find_in(name, |at| u64::from_le_bytes(bucket.get(at & !7)))?;
        Some((file, kind))
    }

    #[test]
    fn names_go_in_are_found_and_go() {
        let names: Vec<String> = (0..120).map(|n| format!("file {n}")).collect();
        let mut bucket = Bucket::new();
        for (n, text) in names.iter().enumerate() {
            assert!(find(&bucket, &name(text)).is_none());
            assert!(bucket.add(&name(text), 1, FileId(n as u64)));
        }
        for (n, text) in names.iter().enumerate() {
            assert_eq!(find(&bucket, &name(text)), Some((FileId(n as u64), 1)));
            assert_eq!(find(&bucket, &name(&format!("{text}x"))), None);
        }
        assert_eq!(bucket.records().count(), 120);
        bucket.replace(&name("file 7"), 2, FileId(700));
        bucket.retain(|record| record.file.0 % 2 == 0);
        assert_eq!((bucket.records().count(), find(&bucket, &name("file 7")).unwrap().1), (61, 2));
    }

    #[test]
    fn few_bytes_are_a_word() {
        for count in 0..8 {
            let bytes: Vec<u8> = (1..=count).map(|n| n * 17).collect();
            let word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            assert_eq!(few(&bytes), word);
        }
    }

    #[test]
    fn a_full_one_says_so() {
        let mut bucket = Bucket::new();
        let long = "y".repeat(NAME_MAX);
        let count = (0..100)
            .take_while(|n| bucket.add(&name(&format!("{n:02}{}", &long[2..])), 1, FileId(1)))
            .count();
        assert_eq!((count, bucket.records().count()), ((BLOCK - FIRST) / 272, (BLOCK - FIRST) / 272));
    }

    #[test]
    fn whatever_is_in_it_reading_ends() {
        let mut seed = 1_u64;
        for _ in 0..2000 {
            let mut bucket = Bucket::new();
            for byte in &mut bucket.0 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (seed >> 40) as u8;
            }
            let _ = (bucket.records().count(), find(&bucket, &name("x")));
            let _ = bucket.add(&name("x"), 1, FileId(1));
        }
    }
}
