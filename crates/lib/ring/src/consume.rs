//! The kernel's side: requests come out, completions go in.

use crate::format::{Completion, Head, NUMBERS, REPEAT, Whole, widen};
use crate::shape::{ARMED, Cursor, ENDED, LINE, Shape, UNITS};
use crate::words::Words;
use corey_abi::{Error, Word};
use corey_lib_sync::atomic::{Ordering, fence};

/// Requests that one turn takes from a ring, so that each of a kernel core's devices gets its turn.
pub const BUDGET: u32 = 32;

/// A call, each of its words read once.
#[derive(Debug)]
#[must_use]
pub struct Request {
    /// Its number: any number below [`NUMBERS`].
    pub number: u64,
    /// Its argument words. What the program did not give is zero.
    pub args: [Word; 6],
    /// For [`Consumer::complete`].
    pub taken: Taken,
}

/// A call was taken, and is to be completed before the next one is.
#[derive(Debug)]
#[must_use]
pub struct Taken(());

/// What stands in a ring is no request: a library of the program's is wrong, or the program is hostile. Nobody can say where
/// the next request would be, so the ring has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The request line, and the unit in it.
    pub line: usize,
    /// See `line`.
    pub unit: usize,
    /// The word that was there.
    pub word: u64,
}

/// The kernel's side of a ring. Where it is, and how large the ring is, lies here and not in the ring: whatever the program
/// writes, and whenever, at worst other calls are taken than it meant.
#[derive(Debug)]
pub struct Consumer {
    shape: Shape,
    /// The next request's line and unit.
    line: Cursor,
    unit: usize,
    /// The last request of four units.
    whole: Whole,
    /// Where the next completion goes.
    next: Cursor,
    /// Completions that are not published, at the places that they have in their line, and how many before `next`.
    staged: [u64; LINE],
    unpublished: usize,
    /// What the program was told last: odd while this side may sleep.
    armed: u64,
    broken: Option<Broken>,
}

impl Consumer {
    /// The kernel's side of a ring of zeroes.
    #[must_use]
    pub const fn new(shape: Shape) -> Self {
        Self {
            shape,
            line: Cursor::START,
            unit: 0,
            whole: Whole::NONE,
            next: Cursor::START,
            staged: [0; LINE],
            unpublished: 0,
            armed: 0,
            broken: None,
        }
    }

    /// How large the ring is.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Takes the next request, if there is one.
    ///
    /// # Errors
    ///
    /// [`Broken`], now and from then on; the program's calls in flight fail with [`Error::BadArgument`].
    ///
    /// # Cost
    ///
    /// Two words looked at, at most, when there is none. Otherwise at most eight words, all in one line but the first.
    #[inline]
    pub fn take<W: Words>(&mut self, words: &W) -> Result<Option<Request>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        if self.armed & 1 != 0 {
            self.armed += 1;
            words.store(ARMED, self.armed);
        }
        let mut head = self.head(words);
        if head == Head::skip(self.line.phase) && self.unit != 0 {
            self.end_line();
            head = self.head(words);
        }
        if !head.has(self.line.phase) {
            return Ok(None);
        }
        let (units, mut number) = (head.units(), head.number());
        let narrow = units == 1;
        let end = self.unit + units;
        let repeats = narrow && number == REPEAT && self.whole.number < NUMBERS;
        if end > UNITS || number >= NUMBERS && !repeats || !narrow && head.rest() != 0 {
            return Err(self.break_off(words, head));
        }
        let at = |word| self.shape.request(self.line.at, 2 * self.unit + word);
        let mut args = [0; 6];
        if narrow {
            let [a, b] = widen(head, words.load(at(1)));
            args = [a, b, 0, 0, 0, 0];
            if repeats {
                (number, args) = (self.whole.number, self.whole.with([a, b]));
            }
        } else {
            for (arg, word) in args.iter_mut().zip(1..2 * units) {
                *arg = words.load(at(word));
            }
            if units == UNITS {
                self.whole = Whole { number, args };
            }
        }
        if end == UNITS {
            self.end_line();
        } else {
            self.unit = end;
        }
        Ok(Some(Request { number, args, taken: Taken(()) }))
    }

    #[inline(always)]
    fn head<W: Words>(&self, words: &W) -> Head {
        Head(words.load(self.shape.request(self.line.at, 2 * self.unit)))
    }

    #[inline(always)]
    fn end_line(&mut self) {
        self.line.advance(self.shape);
        self.unit = 0;
    }

    #[cold]
    fn break_off<W: Words>(&mut self, words: &W, head: Head) -> Broken {
        let broken = Broken { line: self.line.at, unit: self.unit, word: head.0 };
        self.broken = Some(broken);
        self.stop(words, Error::BadArgument);
        broken
    }

    /// Answers a call. Its result is published with those of its line: when the line is full, or by [`Consumer::flush`].
    ///
    /// # Cost
    ///
    /// No shared line, but at the end of a line of completions, and where a result has two words or more than 56 bits.
    #[inline]
    pub fn complete<W: Words>(&mut self, words: &W, taken: Taken, result: Result<[Word; 2], Error>) {
        let Taken(()) = taken;
        let completion = Completion::of(result).unwrap_or_else(|| {
            for (number, word) in result.unwrap_or_default().into_iter().enumerate() {
                words.store(self.shape.wide(self.next.at, number), word);
            }
            Completion::WIDE
        });
        if let Some(place) = self.staged.get_mut(self.next.at % LINE) {
            *place = completion.0 | self.next.phase;
        }
        self.next.advance(self.shape);
        self.unpublished += 1;
        if self.next.at.is_multiple_of(LINE) {
            self.flush(words);
        }
    }

    /// Publishes completions: at the end of a turn, and before a call that takes long. The oldest comes last: the program
    /// looks at no other one before, so the line comes to it once, with all of them.
    #[inline]
    pub fn flush<W: Words>(&mut self, words: &W) {
        if self.unpublished == LINE {
            let first = self.shape.before(self.next.at, LINE);
            words.store_all(self.shape.completion(first), &self.staged);
        } else {
            for back in 1..=self.unpublished {
                let slot = self.shape.before(self.next.at, back);
                let word = self.staged.get(slot % LINE).copied().unwrap_or_default();
                words.store(self.shape.completion(slot), word);
            }
        }
        self.unpublished = 0;
    }

    /// One turn: at most [`BUDGET`] requests, until none is there, and their results. Gives how many there were.
    ///
    /// # Errors
    ///
    /// As [`Consumer::take`]; what was served before has its results.
    #[inline]
    pub fn turn<W: Words>(
        &mut self,
        words: &W,
        mut serve: impl FnMut(u64, [Word; 6]) -> Result<[Word; 2], Error>,
    ) -> Result<u32, Broken> {
        let mut served = 0;
        while served < BUDGET {
            let Some(Request { number, args, taken }) = self.take(words)? else { break };
            self.complete(words, taken, serve(number, args));
            served += 1;
        }
        self.flush(words);
        Ok(served)
    }

    /// Tells the program that this core is about to sleep, and looks again: whether it may. From then on whoever publishes
    /// rings; the next [`Consumer::take`] ends it.
    #[must_use]
    pub fn arm<W: Words>(&mut self, words: &W) -> bool {
        self.flush(words);
        // The next odd number: the program rings once for each.
        self.armed = (self.armed + 1) | 1;
        words.store(ARMED, self.armed);
        // Either this sees what was published, or the program sees that this armed.
        fence(Ordering::SeqCst);
        self.broken.is_some() || !self.head(words).has(self.line.phase)
    }

    /// Ends the ring, as when its memory goes: calls that were not answered fail with `error`.
    pub fn end<W: Words>(mut self, words: &W, error: Error) {
        if self.broken.is_none() {
            self.stop(words, error);
        }
    }

    fn stop<W: Words>(&mut self, words: &W, error: Error) {
        self.flush(words);
        words.store(ENDED, error as u64);
    }
}
