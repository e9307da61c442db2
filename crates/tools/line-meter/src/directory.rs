//! Who holds which cache line, with infinite caches.

use std::collections::HashMap;

/// Bytes in a line, as a shift.
pub const LINE_SHIFT: u32 = 6;
const LINES_IN_PAGE: usize = 64;
/// The most processors the directory tells apart.
pub const MAX_CPUS: usize = 256;
const NOBODY: u16 = u16::MAX;

/// What an instruction does to a line; a read-modify-write is one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads it.
    Read,
    /// Writes it.
    Write,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    holders: [u64; MAX_CPUS / 64],
    writer: u16,
}

const UNTOUCHED: Line = Line { holders: [0; MAX_CPUS / 64], writer: NOBODY };

/// The directory: line number (physical address >> 6) to holders and newest writer.
#[derive(Debug, Default)]
pub struct Directory {
    pages: HashMap<u64, usize>,
    lines: Vec<[Line; LINES_IN_PAGE]>,
    latest: Option<(u64, usize)>,
}

impl Directory {
    /// Returns a directory in which nobody holds anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets every line.
    pub fn forget(&mut self) {
        *self = Self::new();
    }

    fn line(&mut self, number: u64) -> &mut Line {
        let page = number / LINES_IN_PAGE as u64;
        let index = match self.latest {
            Some((latest, index)) if latest == page => index,
            _ => {
                let lines = &mut self.lines;
                let index = *self.pages.entry(page).or_insert_with(|| {
                    lines.push([UNTOUCHED; LINES_IN_PAGE]);
                    lines.len() - 1
                });
                self.latest = Some((page, index));
                index
            }
        };
        &mut self.lines[index][number as usize % LINES_IN_PAGE]
    }

    /// Records that `cpu` accesses line `number`; says whether that moves the line.
    pub fn access(&mut self, cpu: usize, number: u64, access: Access) -> bool {
        let line = self.line(number);
        let (word, bit) = (cpu / 64 % (MAX_CPUS / 64), 1_u64 << (cpu % 64));
        match access {
            Access::Read => {
                let held = line.holders[word] & bit != 0;
                let event = !held && line.writer != NOBODY && line.writer != cpu as u16;
                line.holders[word] |= bit;
                event
            }
            Access::Write => {
                line.holders[word] &= !bit;
                let event = line.holders.iter().any(|word| *word != 0);
                line.holders = [0; MAX_CPUS / 64];
                line.holders[word] = bit;
                line.writer = cpu as u16;
                event
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Access::{Read, Write};
    use super::*;

    fn events(accesses: &[(usize, u64, Access)]) -> Vec<bool> {
        let mut directory = Directory::new();
        accesses.iter().map(|&(cpu, line, access)| directory.access(cpu, line, access)).collect()
    }

    #[test]
    fn a_line_nobody_holds_is_free() {
        assert_eq!(events(&[(0, 7, Read), (1, 8, Write)]), [false, false]);
    }

    #[test]
    fn reading_what_another_core_only_read_is_free() {
        assert_eq!(events(&[(0, 7, Read), (1, 7, Read)]), [false, false]);
    }

    #[test]
    fn reading_what_another_core_wrote_counts_once() {
        let accesses = [(0, 7, Write), (1, 7, Read), (1, 7, Read), (0, 7, Read)];
        assert_eq!(events(&accesses), [false, true, false, false]);
    }

    #[test]
    fn every_later_reader_pays_for_the_newest_write() {
        let accesses = [(0, 7, Write), (1, 7, Read), (2, 7, Read)];
        assert_eq!(events(&accesses), [false, true, true]);
    }

    #[test]
    fn writing_what_another_core_holds_counts_however_many_hold_it() {
        let accesses = [(0, 7, Read), (1, 7, Read), (2, 7, Write), (2, 7, Write), (0, 7, Write)];
        assert_eq!(events(&accesses), [false, false, true, false, true]);
    }

    #[test]
    fn writing_what_only_this_core_holds_is_free() {
        assert_eq!(events(&[(3, 7, Read), (3, 7, Write)]), [false, false]);
    }

    #[test]
    fn other_lines_of_the_page_are_other_lines() {
        assert_eq!(events(&[(0, 64, Write), (1, 65, Write), (1, 128, Write)]), [false; 3]);
    }

    #[test]
    fn processors_beyond_64_are_told_apart() {
        let accesses = [(1, 7, Write), (65, 7, Read), (129, 7, Write), (65, 7, Write), (65, 7, Read)];
        assert_eq!(events(&accesses), [false, true, true, true, false]);
    }

    #[test]
    fn forgetting_makes_every_line_free() {
        let mut directory = Directory::new();
        assert!(!directory.access(0, 7, Write));
        directory.forget();
        assert!(!directory.access(1, 7, Read));
        assert!(!directory.access(1, 7, Write));
    }
}
