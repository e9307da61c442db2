//! The program's side: calls go in, results come out in the same order.

use crate::format::{Completion, Head, NARROW, NUMBERS, narrow};
use crate::shape::{ARMED, Cursor, ENDED, LINE, Shape, UNITS};
use crate::words::Words;
use corey_abi::{Error, Transport, Word};
use corey_lib_sync::Relax;
use corey_lib_sync::atomic::{Ordering, fence};

/// What the program does besides: [`Relax::relax`] while it waits, and waking the kernel.
pub trait Env: Relax {
    /// Rings the doorbell: the kernel core that polls this ring sleeps. Called once for each of its sleeps.
    fn ring(&mut self);
}

/// A call of a ring: how many were submitted before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Why a call was not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many are in flight as can be ([`Shape::depth`]): take results first.
    Full,
    /// No call has this number.
    NoSuchCall,
    /// The kernel ended the ring.
    Ended(Error),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::Full,
            Refused::NoSuchCall => Self::BadSyscall,
            Refused::Ended(error) => error,
        }
    }
}

/// The program's side of a ring; one core has it.
///
/// What is submitted is kept back until a line of requests is full, or until [`Submitter::flush`]. Nothing here believes
/// that the ring is still there: whatever its words become, calls return nothing, or nonsense, but do return.
#[derive(Debug)]
pub struct Submitter<W, E> {
    words: W,
    env: E,
    shape: Shape,
    /// The request line that is being filled, and how many of its units are published, and staged.
    line: Cursor,
    published: usize,
    filled: usize,
    staged: [u64; LINE],
    /// Where the next completion comes.
    next: Cursor,
    submitted: u64,
    answered: u64,
    /// Calls that may be in flight: none when the ring ended.
    depth: u64,
    /// Whether something was published since the kernel's word was looked at.
    due: bool,
    /// The sleep for which the doorbell was rung.
    rung: u64,
    ended: Option<Error>,
}

impl<W: Words, E: Env> Submitter<W, E> {
    /// The program's side of a ring of zeroes.
    pub fn new(words: W, shape: Shape, env: E) -> Self {
        Self {
            words,
            env,
            shape,
            line: Cursor::START,
            published: 0,
            filled: 0,
            staged: [0; LINE],
            next: Cursor::START,
            submitted: 0,
            answered: 0,
            depth: u64::from(shape.depth()),
            due: false,
            rung: 0,
            ended: None,
        }
    }

    /// Calls submitted whose results were not taken.
    #[inline(always)]
    pub fn in_flight(&self) -> u64 {
        self.submitted - self.answered
    }

    /// Submits call `number` with the first `N` of `args`.
    ///
    /// # Errors
    ///
    /// [`Refused`], with nothing changed.
    ///
    /// # Cost
    ///
    /// No shared line, but at the end of a line of requests: then that one is written, from its end to its beginning.
    #[inline(always)]
    pub fn submit<const N: usize>(&mut self, number: u64, args: [Word; 6]) -> Result<Ticket, Refused> {
        const { assert!(N <= 6, "a call has six argument words at most") };
        if number >= NUMBERS {
            return Err(Refused::NoSuchCall);
        }
        if self.in_flight() >= self.depth {
            return Err(self.ended.map_or(Refused::Full, Refused::Ended));
        }
        let mut args = args;
        args.iter_mut().skip(N).for_each(|arg| *arg = 0);
        let [a, b, ..] = args;
        if N <= 2 && (a | b) >> NARROW == 0 {
            self.stage(narrow(self.line.phase, number, [a, b]));
        } else {
            self.stage_whole::<N>(number, args);
        }
        if self.filled == UNITS {
            self.end_line();
        }
        let ticket = Ticket(self.submitted);
        self.submitted += 1;
        Ok(ticket)
    }

    /// Stages a request of whole arguments.
    #[inline(always)]
    fn stage_whole<const N: usize>(&mut self, number: u64, [a, b, c, d, e, f]: [Word; 6]) {
        let units = const { if N < 2 { 2 } else { N / 2 + 1 } };
        if self.filled + units > UNITS {
            self.stage([Head::skip(self.line.phase).0, 0]);
            self.end_line();
        }
        let head = Head::new(self.line.phase, units, number).0;
        match units {
            2 => self.stage([head, a, b, c]),
            3 => self.stage([head, a, b, c, d, e]),
            _ => self.stage([head, a, b, c, d, e, f, 0]),
        }
    }

    /// Stages a request's words, for which the line has room.
    #[inline(always)]
    fn stage<const M: usize>(&mut self, words: [u64; M]) {
        for (number, word) in words.into_iter().enumerate() {
            if let Some(at) = self.staged.get_mut((2 * self.filled + number) % LINE) {
                *at = word;
            }
        }
        self.filled += M / 2;
    }

    /// Publishes what is staged of the line, and goes to the next one.
    fn end_line(&mut self) {
        self.publish();
        self.line.advance(self.shape);
        (self.published, self.filled) = (0, 0);
    }

    /// Publishes what is staged. The first word of all comes last: the kernel looks at no other one before, so the line
    /// comes to it once, with everything.
    #[inline(always)]
    fn publish(&mut self) {
        let Self { line, filled, published, .. } = *self;
        if filled == published {
            return;
        }
        let start = self.shape.request(line.at, 0);
        if filled - published == UNITS {
            self.words.store_line(start, &self.staged);
        } else {
            // In the last round an argument may have been where the kernel looks next.
            if filled < UNITS {
                self.words.store(start + 2 * filled, Head::none(line.phase).0);
            }
            let (units, _) = self.staged.as_chunks::<2>();
            for unit in (published..filled).rev() {
                let [first, second] = units.get(unit % UNITS).copied().unwrap_or_default();
                self.words.store(start + 2 * unit + 1, second);
                self.words.store(start + 2 * unit, first);
            }
        }
        self.published = filled;
        self.due = true;
    }

    /// Publishes all that was submitted, and wakes the kernel if it sleeps.
    ///
    /// # Cost
    ///
    /// One line written. A store→load fence and a look at the kernel's word, which changes when it falls asleep and when
    /// it wakes.
    #[inline(always)]
    pub fn flush(&mut self) {
        self.publish();
        if !self.due {
            return;
        }
        self.due = false;
        // Either the kernel, which armed before it looked again, sees what was published, or this sees that it armed.
        fence(Ordering::SeqCst);
        let armed = self.words.load(ARMED);
        if armed & 1 != 0 && armed != self.rung {
            self.rung = armed;
            self.env.ring();
        }
    }

    /// Takes the result of the oldest call in flight, if it is there. What was not flushed is, when it is not.
    ///
    /// # Cost
    ///
    /// Reads a line of eight completions.
    #[inline(always)]
    pub fn poll(&mut self) -> Option<(Ticket, Result<[Word; 2], Error>)> {
        let word = self.words.load(self.shape.completion(self.next.at));
        if word & 1 != self.next.phase || self.in_flight() == 0 {
            return self.nothing_yet();
        }
        let completion = Completion(word);
        if !completion.is_value() {
            return self.no_value(completion);
        }
        Some(self.answer(Ok([word >> 8, 0])))
    }

    /// The oldest call's result is an error, or lies in the wide area.
    #[cold]
    fn no_value(&mut self, completion: Completion) -> Option<(Ticket, Result<[Word; 2], Error>)> {
        let wide = || Ok([0, 1].map(|number| self.words.load(self.shape.wide(self.next.at, number))));
        let result = completion.result().unwrap_or_else(wide);
        Some(self.answer(result))
    }

    #[inline(always)]
    fn answer(&mut self, result: Result<[Word; 2], Error>) -> (Ticket, Result<[Word; 2], Error>) {
        let ticket = Ticket(self.answered);
        self.answered += 1;
        self.next.advance(self.shape);
        (ticket, result)
    }

    /// The oldest call in flight, if any, has no result: none yet, or none ever.
    #[cold]
    fn nothing_yet(&mut self) -> Option<(Ticket, Result<[Word; 2], Error>)> {
        if self.in_flight() == 0 {
            return None;
        }
        if let Some(error) = self.ended {
            return Some(self.answer(Err(error)));
        }
        self.flush();
        // Not believed at once: what was answered before the end is taken first, by the next look at the completion.
        self.ended = Error::from_code(self.words.load(ENDED));
        if self.ended.is_some() {
            self.depth = 0;
        }
        None
    }

    /// What the program does besides.
    pub fn env(&mut self) -> &mut E {
        &mut self.env
    }
}

/// A call that waits for its result. Answers [`Error::Busy`] when others are in flight: their results would come first.
impl<W: Words, E: Env> Transport for &mut Submitter<W, E> {
    #[inline(always)]
    fn call<const N: usize>(&mut self, number: u64, args: [Word; 6]) -> Result<[Word; 2], Error> {
        if self.in_flight() != 0 {
            return Err(Error::Busy);
        }
        self.submit::<N>(number, args)?;
        self.flush();
        loop {
            if let Some((_, result)) = self.poll() {
                return result;
            }
            self.env.relax();
        }
    }
}

const _: () = assert!(LINE == 2 * UNITS);
