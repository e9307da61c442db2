//! What the words of a ring say.
//!
//! ```text
//! request, first word    bit 0 phase · bits 1–2 units − 1 · bits 3–15 number · bits 16–63 argument 0, its lower 48 bits
//!   1 unit               second word: bits 0–55 argument 1 · bits 56–63 argument 0, its upper 8 bits
//!   2, 3, 4 units        words 1 to 3, 5, 7: whole arguments; bits 16–63 of the first word are zero
//!   a repeat             1 unit, number 8,190: the last request of 4 units, with these as its arguments 2 and 5
//!   a skip               1 unit, number 8,191: the rest of the line is empty
//! completion             bit 0 phase · bits 1–7 error · bits 8–63 value
//! ```
//!
//! 56 bits are what an ID has, so a call that names an object is one unit: a quarter of a line. So is `device_buf`, the call that
//! is made for every frame, from the second on: of its six words an operation and an offset change, 2 and 5.

use corey_abi::{Error, Word};

/// Numbers that a call can have are less than this.
pub const NUMBERS: u64 = REPEAT;
/// The number of a repeat.
pub(crate) const REPEAT: u64 = SKIP - 1;
/// The number of what says that the rest of a line is empty, and all bits that a number has.
const SKIP: u64 = (1 << 13) - 1;

/// Bits of an argument in a request of one unit, and of a value in a completion.
pub(crate) const NARROW: u32 = 56;

/// The first word of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head(pub(crate) u64);

impl Head {
    #[inline(always)]
    pub(crate) const fn new(phase: u64, units: usize, number: u64) -> Self {
        Self(phase | (units as u64 - 1) << 1 | number << 3)
    }

    /// The rest of the line is empty.
    #[inline(always)]
    pub(crate) const fn skip(phase: u64) -> Self {
        Self::new(phase, 1, SKIP)
    }

    /// Nothing is here yet.
    #[inline(always)]
    pub(crate) const fn none(phase: u64) -> Self {
        Self(phase ^ 1)
    }

    #[inline(always)]
    pub(crate) const fn has(self, phase: u64) -> bool {
        self.0 & 1 == phase
    }

    #[inline(always)]
    pub(crate) const fn units(self) -> usize {
        (self.0 >> 1 & 3) as usize + 1
    }

    #[inline(always)]
    pub(crate) const fn number(self) -> u64 {
        self.0 >> 3 & SKIP
    }

    /// What is behind the number.
    #[inline(always)]
    pub(crate) const fn rest(self) -> u64 {
        self.0 >> 16
    }
}

/// A request of one unit: both of its words. The arguments have [`NARROW`] bits.
#[inline(always)]
pub(crate) const fn narrow(phase: u64, number: u64, [first, second]: [Word; 2]) -> [u64; 2] {
    [Head::new(phase, 1, number).0 | first << 16, second | first >> 48 << NARROW]
}

/// The arguments of a request of one unit.
#[inline(always)]
pub(crate) const fn widen(head: Head, second: u64) -> [Word; 2] {
    [head.rest() | second >> NARROW << 48, second & ((1 << NARROW) - 1)]
}

/// A call of six arguments, which a repeat is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    pub(crate) number: u64,
    pub(crate) args: [Word; 6],
}

impl Whole {
    /// None: no call has this number.
    pub(crate) const NONE: Self = Self { number: NUMBERS, args: [0; 6] };

    /// What a repeat says, if one says `next` after this.
    #[inline(always)]
    pub(crate) const fn repeat(&self, next: &Self) -> Option<[Word; 2]> {
        let ([a, b, _, d, e, _], [na, nb, nc, nd, ne, nf]) = (self.args, next.args);
        // One branch for all.
        let differs = self.number ^ next.number | a ^ na | b ^ nb | d ^ nd | e ^ ne | (nc | nf) >> NARROW;
        if differs == 0 { Some([nc, nf]) } else { None }
    }

    /// The arguments of a repeat that says this.
    #[inline(always)]
    pub(crate) const fn with(&self, [third, sixth]: [Word; 2]) -> [Word; 6] {
        let [a, b, _, d, e, _] = self.args;
        [a, b, third, d, e, sixth]
    }
}

/// A completion without its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion(pub(crate) u64);

/// The error of a completion whose two result words lie in the ring's wide area.
const WIDE: u64 = 127;

const _: () = {
    let mut rest = Error::ALL;
    while let [(error, _), after @ ..] = rest {
        assert!((*error as u64) < WIDE, "an error's code fits, and is no mark");
        rest = after;
    }
};

impl Completion {
    /// Its result words are in the wide area.
    pub(crate) const WIDE: Self = Self(WIDE << 1);

    /// What says `result`, if a completion can.
    #[inline(always)]
    pub(crate) const fn of(result: Result<[Word; 2], Error>) -> Option<Self> {
        match result {
            Ok([value, 0]) if value >> NARROW == 0 => Some(Self(value << 8)),
            Ok(_) => None,
            Err(error) => Some(Self((error as u64) << 1)),
        }
    }

    /// The value, if this is one of this phase: all other bits of its lowest byte are zero.
    #[inline(always)]
    pub(crate) const fn value(self, phase: u64) -> Option<Word> {
        if self.0 & 255 == phase { Some(self.0 >> 8) } else { None }
    }

    /// Whether it is of this phase.
    #[inline(always)]
    pub(crate) const fn has(self, phase: u64) -> bool {
        self.0 & 1 == phase
    }

    /// The result, or `None` when that is in the wide area. An error this library does not know reads as
    /// [`Error::Unsupported`].
    #[inline(always)]
    pub(crate) fn result(self) -> Option<Result<[Word; 2], Error>> {
        match self.0 >> 1 & 127 {
            0 => Some(Ok([self.0 >> 8, 0])),
            WIDE => None,
            code => Some(Err(Error::from_code(code).unwrap_or(Error::Unsupported))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_call_of_the_table_has_a_number_that_fits() {
        assert!(corey_abi::SYSCALLS.iter().all(|row| row.number < NUMBERS));
    }

    #[test]
    fn every_error_survives_a_completion() {
        for (error, _) in Error::ALL {
            assert_eq!(Completion::of(Err(*error)).unwrap().result(), Some(Err(*error)));
        }
        assert_eq!(Completion(99 << 1).result(), Some(Err(Error::Unsupported)));
    }

    #[test]
    fn what_is_too_wide_for_a_completion_is_not_cut() {
        for words in [[1 << NARROW, 0], [u64::MAX, 0], [0, 1]] {
            assert_eq!(Completion::of(Ok(words)), None);
        }
        assert_eq!(Completion::WIDE.result(), None);
    }

    proptest! {
        #[test]
        fn narrow_arguments_survive_one_unit(number in 0..NUMBERS, a in 0..1_u64 << NARROW, b in 0..1_u64 << NARROW) {
            let [head, second] = narrow(1, number, [a, b]);
            let head = Head(head);
            prop_assert!(head.has(1) && !head.has(0));
            prop_assert_eq!((head.units(), head.number(), widen(head, second)), (1, number, [a, b]));
        }

        #[test]
        fn narrow_values_survive_a_completion(value in 0..1_u64 << NARROW) {
            prop_assert_eq!(Completion::of(Ok([value, 0])).unwrap().result(), Some(Ok([value, 0])));
        }
    }
}
