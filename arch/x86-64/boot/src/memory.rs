//! RAM as the loader describes it, less what is in use; and memory for what lives for good.

use core::mem::size_of;
use corey_arch_x86_64_paging::{TableSource, direct};
use corey_kernel_hal::{BootAlloc, PAGE_SIZE, Range};

/// Most pieces of RAM.
pub const PIECES: usize = 64;
/// What the boot tables map.
const BOOT_LIMIT: u64 = 1 << 32;

/// Free pieces of RAM, sorted, page aligned, disjoint.
#[derive(Debug, Default)]
pub struct Pieces(heapless::Vec<Range, PIECES>);

impl Pieces {
    /// Adds RAM: whole pages of it. False when there are too many pieces.
    pub fn add(&mut self, range: Range) -> bool {
        let start = range.start.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
        let range = Range { start, end: range.end & !(PAGE_SIZE - 1) };
        if range.start >= range.end {
            return true;
        }
        // What overlaps counts once.
        self.remove(range);
        let at = self.0.iter().position(|r| r.start > range.start).unwrap_or(self.0.len());
        self.0.insert(at, range).is_ok()
    }

    /// Takes out what is in use: every page touched.
    pub fn remove(&mut self, used: Range) {
        let start = used.start & !(PAGE_SIZE - 1);
        let end = used.end.checked_next_multiple_of(PAGE_SIZE).unwrap_or(!(PAGE_SIZE - 1));
        if start >= end {
            return;
        }
        let mut at = 0;
        while let Some(piece) = self.0.get_mut(at) {
            let (before, after) = (Range { end: start, ..*piece }, Range { start: end, ..*piece });
            if piece.end <= start || end <= piece.start {
                at += 1;
                continue;
            }
            match (before.start < before.end, after.start < after.end) {
                (true, true) => {
                    *piece = before;
                    // Without room the upper part is lost, never given out twice.
                    let _ = self.0.insert(at + 1, after);
                    at += 2;
                }
                (true, false) => {
                    *piece = before;
                    at += 1;
                }
                (false, true) => {
                    *piece = after;
                    at += 1;
                }
                (false, false) => {
                    self.0.remove(at);
                }
            }
        }
    }

    /// The pieces.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }
}

/// Boot memory: taken from the start of the largest piece, never given back.
#[derive(Debug)]
pub struct BootMemory {
    pieces: Pieces,
    ram_end: u64,
    /// Memory must lie below, until all of RAM is mapped.
    limit: u64,
}

impl BootMemory {
    /// What is left of `pieces`; only what the boot tables map, until [`BootMemory::all_mapped`].
    ///
    /// # Safety
    ///
    /// The pieces are RAM that nobody uses.
    #[must_use]
    pub unsafe fn new(pieces: Pieces) -> Self {
        let ram_end = pieces.ranges().last().map_or(0, |r| r.end);
        Self { pieces, ram_end, limit: BOOT_LIMIT }
    }

    /// The direct map is complete.
    pub fn all_mapped(&mut self) {
        self.limit = u64::MAX;
    }

    /// Physical address of `bytes` bytes, page aligned.
    ///
    /// # Panics
    ///
    /// When no piece is large enough.
    pub fn take(&mut self, bytes: u64) -> u64 {
        let bytes = bytes.next_multiple_of(PAGE_SIZE);
        let limit = self.limit;
        let fits = |r: &&mut Range| r.start + bytes <= r.end.min(limit);
        let piece = self.pieces.0.iter_mut().filter(fits).max_by_key(|r| r.end.min(limit) - r.start);
        let Some(piece) = piece else {
            panic!("not enough memory: {} KiB more in one piece are needed to boot", bytes / 1024)
        };
        let at = piece.start;
        piece.start += bytes;
        at
    }
}

impl TableSource for BootMemory {
    fn table(&mut self) -> u64 {
        let at = self.take(PAGE_SIZE);
        // SAFETY: `take` gave this page to nobody else, and it is in the live direct map.
        unsafe { corey_arch_x86_64_asm::zero_words(direct(at).cast(), 512) };
        at
    }
}

impl BootAlloc for BootMemory {
    fn slice<T: 'static>(&mut self, n: usize, mut make: impl FnMut(usize) -> T) -> &'static mut [T] {
        const { assert!(align_of::<T>() <= 4096) };
        let bytes = (size_of::<T>() as u64).checked_mul(n as u64).expect("boot structures are small");
        let first = direct(self.take(bytes.max(1))).cast::<T>();
        for i in 0..n {
            // SAFETY: inside what `take` gave to nobody else; pages are aligned enough.
            unsafe { first.wrapping_add(i).write(make(i)) };
        }
        // SAFETY: all `n` values were just written, and the memory is never given back.
        unsafe { core::slice::from_raw_parts_mut(first, n) }
    }

    fn ram_end(&self) -> u64 {
        self.ram_end
    }

    fn rest(&mut self) -> &'static [Range] {
        let room = self.slice(PIECES, |_| Range { start: 0, end: 0 });
        let pieces = core::mem::take(&mut self.pieces);
        let mut count = 0;
        for (to, from) in room.iter_mut().zip(pieces.ranges().iter().filter(|r| r.start < r.end)) {
            *to = *from;
            count += 1;
        }
        room.get(..count).expect("counted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> Range {
        Range { start: start * PAGE_SIZE, end: end * PAGE_SIZE }
    }

    #[test]
    fn what_is_used_is_cut_out() {
        let mut pieces = Pieces::default();
        assert!(pieces.add(range(100, 200)));
        assert!(pieces.add(range(0, 10)));
        pieces.remove(range(120, 130));
        pieces.remove(range(0, 4));
        pieces.remove(range(8, 12));
        pieces.remove(Range { start: 199 * PAGE_SIZE + 1, end: 199 * PAGE_SIZE + 2 });
        assert_eq!(pieces.ranges(), [range(4, 8), range(100, 120), range(130, 199)]);
    }

    #[test]
    fn overlapping_and_broken_descriptions_count_once() {
        let mut pieces = Pieces::default();
        assert!(pieces.add(range(10, 20)));
        assert!(pieces.add(range(15, 30)));
        assert!(pieces.add(Range { start: 50, end: 20 }));
        assert!(pieces.add(Range { start: u64::MAX - 1, end: u64::MAX }));
        assert!(pieces.add(Range { start: 40 * PAGE_SIZE + 1, end: 42 * PAGE_SIZE - 1 }));
        let pages: u64 = pieces.ranges().iter().map(|r| (r.end - r.start) / PAGE_SIZE).sum();
        assert_eq!(pages, 20);
    }
}
