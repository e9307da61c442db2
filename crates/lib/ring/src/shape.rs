//! How large a ring is, and where its words lie.

/// Words of a cache line.
pub(crate) const LINE: usize = 8;
/// Words of two lines: what the processor may fetch together. No two areas of a ring have a part of one.
pub(crate) const AREA: usize = 2 * LINE;
/// Units of 16 bytes that a line has.
pub(crate) const UNITS: usize = 4;

/// Odd while the kernel sleeps, another odd number at each sleep. Written by the kernel.
pub(crate) const ARMED: usize = 0;
/// Why the ring ended: an error's code; 0 while it goes on. Written by the kernel.
pub(crate) const ENDED: usize = 1;

/// How large a ring is. Both sides have it from a call, never from the ring: what lies there, the program writes.
///
/// ```text
/// word 0               armed, ended                the kernel writes
/// word 16              requests     slots × 64 B   the program writes
///   + 8 × slots        completions  slots × 8 B    the kernel writes
///   + slots, up to 16n wide results slots × 16 B   the kernel writes
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Slots less one: all bits that a position in the ring has.
    mask: u32,
    /// The first word of the completions.
    completions: u32,
    /// The first word of the wide results.
    wide: u32,
}

impl Shape {
    /// The most slots.
    pub const LARGEST: u32 = 4096;

    /// A ring of `slots` slots: a power of two from 2 to [`Shape::LARGEST`].
    #[must_use]
    pub const fn new(slots: u32) -> Option<Self> {
        if slots < 2 || slots > Self::LARGEST || !slots.is_power_of_two() {
            return None;
        }
        let completions = AREA as u32 + LINE as u32 * slots;
        Some(Self { mask: slots - 1, completions, wide: completions + slots.next_multiple_of(AREA as u32) })
    }

    /// Slots.
    #[must_use]
    pub const fn slots(self) -> u32 {
        self.mask + 1
    }

    /// Calls that can be in flight: one less than there are slots.
    ///
    /// A call is in one line, and two that follow each other are in the same line or in neighbours. So `slots − 1` calls
    /// lie in as many lines at most, and the one line that is left is the one in which the kernel may still be, at a
    /// place where the next call did not fit. The program needs to know no more than how many calls are in flight.
    #[must_use]
    pub const fn depth(self) -> u32 {
        self.mask
    }

    /// Words of the ring.
    #[must_use]
    pub const fn words(self) -> usize {
        self.wide as usize + 2 * (self.mask as usize + 1)
    }

    /// The slot `count` before this one.
    #[inline(always)]
    pub(crate) const fn before(self, slot: usize, count: usize) -> usize {
        slot.wrapping_sub(count) & self.mask as usize
    }

    /// Where word `word` of request line `line` is. Lines and slots are those of a [`Cursor`].
    #[inline(always)]
    pub(crate) const fn request(self, line: usize, word: usize) -> usize {
        AREA + LINE * line + word
    }

    /// Where the completion in a slot is.
    #[inline(always)]
    pub(crate) const fn completion(self, slot: usize) -> usize {
        self.completions as usize + slot
    }

    /// Where result word 0 or 1 of a slot is.
    #[inline(always)]
    pub(crate) const fn wide(self, slot: usize, word: usize) -> usize {
        self.wide as usize + 2 * slot + word
    }
}

/// A position that goes round, and the phase bit of what is written there in this round: 1 in the first, so that a ring of
/// zeroes is empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// Less than the slots of the shape it advances with.
    pub(crate) at: usize,
    pub(crate) phase: u64,
}

impl Cursor {
    pub(crate) const START: Self = Self { at: 0, phase: 1 };

    /// The `count`-th position, from 0.
    #[inline(always)]
    pub(crate) fn of(count: u64, shape: Shape) -> Self {
        let slots = u64::from(shape.slots());
        Self { at: (count & (slots - 1)) as usize, phase: u64::from(count & slots == 0) }
    }

    #[inline(always)]
    pub(crate) fn advance(&mut self, shape: Shape) {
        self.at = (self.at + 1) & shape.mask as usize;
        self.phase ^= u64::from(self.at == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_has_a_power_of_two_of_slots() {
        for slots in [0, 1, 3, 12, 8192, u32::MAX] {
            assert_eq!(Shape::new(slots), None, "{slots}");
        }
        let shape = Shape::new(64).unwrap();
        assert_eq!((shape.slots(), shape.depth(), shape.words() * 8), (64, 63, 5760));
    }

    #[test]
    fn areas_share_no_two_lines_and_no_word_is_used_twice() {
        for slots in [2, 4, 8, 16, 64, 4096] {
            let shape = Shape::new(slots).unwrap();
            let slots = slots as usize;
            let requests = (0..slots).flat_map(|line| (0..LINE).map(move |word| shape.request(line, word)));
            let completions = (0..slots).map(|slot| shape.completion(slot));
            let wide = (0..slots).flat_map(|slot| (0..2).map(move |word| shape.wide(slot, word)));
            let mut all: Vec<usize> = [ARMED, ENDED].into_iter().collect();
            let mut pairs = vec![all[1] / AREA];
            for area in [requests.collect::<Vec<_>>(), completions.collect(), wide.collect()] {
                assert!(area[0] / AREA > *pairs.last().unwrap());
                pairs.push(area[area.len() - 1] / AREA);
                all.extend(area);
            }
            assert!(all.is_sorted_by(|a, b| a < b));
            assert_eq!(all.last(), Some(&(shape.words() - 1)));
        }
    }

    #[test]
    fn the_phase_turns_with_each_round() {
        let shape = Shape::new(2).unwrap();
        let mut cursor = Cursor::START;
        let mut seen = Vec::new();
        for count in 0..5 {
            let of = Cursor::of(count, shape);
            assert_eq!((of.at, of.phase), (cursor.at, cursor.phase));
            seen.push((cursor.at, cursor.phase));
            cursor.advance(shape);
        }
        assert_eq!(seen, [(0, 1), (1, 1), (0, 0), (1, 0), (0, 1)]);
    }
}
