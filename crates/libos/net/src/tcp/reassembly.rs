//! Which bytes arrived before an earlier one.

use super::seq::Seq;

/// As many gaps as a receiver remembers; data behind one more is dropped, and comes again.
const RANGES: usize = 8;

#[derive(Clone, Copy, Default)]
struct Range {
    start: Seq,
    end: Seq,
}

/// Ranges of sequence numbers, in order, none touching another.
pub(crate) struct Ranges {
    ranges: [Range; RANGES],
    count: u8,
}

/// There are as many ranges as can be remembered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Ranges {
    pub(crate) const fn new() -> Self {
        let none = Range { start: Seq(0), end: Seq(0) };
        Self { ranges: [none; RANGES], count: 0 }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds `start..end`, joined with what it touches.
    pub(crate) fn insert(&mut self, mut start: Seq, mut end: Seq) -> Result<(), TooMany> {
        let old = self.ranges;
        let (mut kept, mut count, mut placed) = (Self::new(), 0, false);
        let mut push = |range| match kept.ranges.get_mut(count) {
            Some(place) => {
                *place = range;
                count += 1;
                Ok(())
            }
            None => Err(TooMany),
        };
        for range in old.iter().take(usize::from(self.count)) {
            if range.end.is_before(start) {
                push(*range)?;
            } else if range.start.is_after(end) {
                if !core::mem::replace(&mut placed, true) {
                    push(Range { start, end })?;
                }
                push(*range)?;
            } else {
                start = if range.start.is_before(start) { range.start } else { start };
                end = end.latest(range.end);
            }
        }
        if !placed {
            push(Range { start, end })?;
        }
        kept.count = count as u8;
        *self = kept;
        Ok(())
    }

    /// Everything before `next` is there; what is there from it on, too: up to where?
    pub(crate) fn advance(&mut self, mut next: Seq) -> Seq {
        while let Some(first) = self.ranges.first()
            && self.count > 0
            && !first.start.is_after(next)
        {
            next = next.latest(first.end);
            self.ranges.rotate_left(1);
            self.count -= 1;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn ranges_know_what_a_plain_list_of_bytes_knows_also_where_numbers_wrap() {
        let mut random = Random::new([7, 8]);
        for _ in 0..2_000 {
            let base = Seq((random.next() as u32) | 0xffff_ffc0);
            let (mut ranges, mut have, mut next) = (Ranges::new(), [false; 128], 0_u32);
            for _ in 0..40 {
                let start = next + random.below(100 - next.min(99));
                let end = start + 1 + random.below(8);
                if start == next {
                    (next..end).for_each(|n| have[n as usize] = true);
                    let seen = ranges.advance(base.plus(end));
                    next = have.iter().position(|byte| !byte).expect("never full") as u32;
                    assert_eq!(seen, base.plus(next));
                } else if ranges.insert(base.plus(start), base.plus(end)).is_ok() {
                    (start..end).for_each(|n| have[n as usize] = true);
                } else {
                    assert_eq!(usize::from(ranges.count), RANGES);
                }
            }
        }
    }
}
