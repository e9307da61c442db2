//! The program's side: calls go in, results come out in the same order.

use crate::format::{Completion, Head, NARROW, NUMBERS, REPEAT, Whole, narrow};
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
    /// The request line that is being filled, and how many of its words are published, and staged: whole units of two.
    line: Cursor,
    published: usize,
    filled: usize,
    staged: [u64; LINE],
    /// The last call of six arguments that was no repeat.
    whole: Whole,
    /// Calls whose results were not taken.
    in_flight: u64,
    /// Those whose results were: the next completion comes in the slot of this number.
    answered: u64,
    /// Calls that may be in flight: none when the ring ended.
    depth: u64,
    /// Whether something was published since the kernel's word was looked at.
    due: bool,
    /// The sleep for which the doorbell was rung.
    rung: u64,
    ended: Option<Error>,
    /// Looks at a completion before the next one at whether the ring ended.
    patience: u32,
}

/// Looks at a completion before the word that says whether the ring ended is looked at, again. Models have no time for them.
const PATIENCE: u32 = if cfg!(any(loom, shuttle)) { 0 } else { 63 };

/// The first `N` of `args`; the others are zero.
#[inline(always)]
fn first<const N: usize>(mut args: [Word; 6]) -> [Word; 6] {
    args.iter_mut().skip(N).for_each(|arg| *arg = 0);
    args
}

/// Those of a call of `N` arguments that one unit can say.
#[inline(always)]
fn in_one_unit<const N: usize>([a, b, ..]: [Word; 6]) -> Option<[Word; 2]> {
    (N <= 2 && (a | b) >> NARROW == 0).then_some([a, b])
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
            whole: Whole::NONE,
            in_flight: 0,
            answered: 0,
            depth: u64::from(shape.depth()),
            due: false,
            rung: 0,
            ended: None,
            patience: 0,
        }
    }

    /// Calls submitted whose results were not taken.
    #[inline(always)]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
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
        if self.in_flight >= self.depth {
            return Err(self.ended.map_or(Refused::Full, Refused::Ended));
        }
        let args = first::<N>(args);
        let whole = Whole { number, args };
        if let Some(args) = in_one_unit::<N>(args) {
            self.stage(narrow(self.line.phase, number, args));
        } else if N == 6
            && let Some(changed) = self.whole.repeat(&whole)
        {
            self.stage(narrow(self.line.phase, REPEAT, changed));
        } else {
            self.stage_whole::<N>(number, args);
            if N == 6 {
                self.whole = whole;
            }
        }
        if self.filled == LINE {
            self.end_line();
        }
        let ticket = Ticket(self.answered + self.in_flight);
        self.in_flight += 1;
        Ok(ticket)
    }

    /// Stages a request of whole arguments.
    #[inline(always)]
    fn stage_whole<const N: usize>(&mut self, number: u64, [a, b, c, d, e, f]: [Word; 6]) {
        let units = const { if N < 2 { 2 } else { N / 2 + 1 } };
        if self.filled + 2 * units > LINE {
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
        // Whole units: an even number.
        let first = self.filled & (LINE - 2);
        for (number, word) in words.into_iter().enumerate() {
            if let Some(at) = self.staged.get_mut(first + number) {
                *at = word;
            }
        }
        self.filled += M;
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
        if filled - published == LINE {
            self.words.store_all(start, &self.staged);
        } else {
            let (units, _) = self.staged.as_chunks::<2>();
            let unit = |word: usize| units.get(word / 2 % UNITS).copied().unwrap_or_default();
            self.store_last(filled - 2, unit(filled - 2));
            // Mostly a call is published by itself.
            if filled - published > 2 {
                let before = (published..filled - 2).step_by(2).rev();
                before.for_each(|at| self.words.store_all(start + at, &unit(at)));
            }
        }
        self.published = filled;
        self.due = true;
    }

    /// Stores the last unit of those that are published, and that behind it is nothing: in the last round an argument may have
    /// been where the kernel looks next.
    #[inline(always)]
    fn store_last(&self, at: usize, [first, second]: [u64; 2]) {
        let start = self.shape.request(self.line.at, at);
        if at + 2 < LINE {
            self.words.store_all(start, &[first, second, Head::none(self.line.phase).0]);
        } else {
            self.words.store_all(start, &[first, second]);
        }
    }

    /// Submits and publishes a request of one unit when nothing else is staged.
    #[inline(always)]
    fn publish_one(&mut self, number: u64, args: [Word; 2]) {
        self.store_last(self.filled, narrow(self.line.phase, number, args));
        self.in_flight += 1;
        self.due = true;
        self.filled += 2;
        self.published = self.filled;
        if self.filled == LINE {
            self.end_line();
        }
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
        if self.due {
            self.look_for_sleep();
        }
    }

    /// Wakes the kernel if it sleeps.
    #[inline(always)]
    fn look_for_sleep(&mut self) {
        self.due = false;
        // Either the kernel, which armed before it looked again, sees what was published, or this sees that it armed.
        fence(Ordering::SeqCst);
        let armed = self.words.load(ARMED);
        if armed & 1 != 0 && armed != self.rung {
            self.rung = armed;
            self.env.ring();
        }
    }

    /// Takes the result of the oldest call in flight, if it is there. What was not flushed is, when it is not. That the ring
    /// ended may be seen some looks later.
    ///
    /// # Cost
    ///
    /// Reads a line of eight completions.
    #[inline(always)]
    pub fn poll(&mut self) -> Option<(Ticket, Result<[Word; 2], Error>)> {
        let next = Cursor::of(self.answered, self.shape);
        let completion = Completion(self.words.load(self.shape.completion(next.at)));
        match completion.value(next.phase).filter(|_| self.in_flight != 0) {
            Some(value) => Some(self.answer(Ok([value, 0]))),
            None => self.no_value(completion, next),
        }
    }

    /// Takes all results that are there, oldest first, and says how many. As [`Submitter::poll`], and cheaper for many.
    #[inline(always)]
    pub fn drain(&mut self, mut each: impl FnMut(Ticket, Result<[Word; 2], Error>)) -> u64 {
        // In registers: what comes from another core could change all memory, as far as the compiler knows.
        let (shape, first, end) = (self.shape, self.answered, self.answered + self.in_flight);
        let mut at = first;
        'all: while at != end {
            let Cursor { at: slot, phase } = Cursor::of(at, shape);
            // To the end of the ring the phase is the same.
            let slots = slot..shape.slots() as usize;
            for slot in slots.take((end - at) as usize) {
                let completion = Completion(self.words.load(shape.completion(slot)));
                let Some(value) = completion.value(phase) else {
                    if !completion.has(phase) {
                        break 'all;
                    }
                    each(Ticket(at), self.read(completion, slot));
                    at += 1;
                    continue 'all;
                };
                each(Ticket(at), Ok([value, 0]));
                at += 1;
            }
        }
        (self.answered, self.in_flight) = (at, end - at);
        if at == first
            && let Some((ticket, result)) = self.nothing_yet()
        {
            each(ticket, result);
        }
        self.answered - first
    }

    /// Waits for the result of the only call in flight, which was published.
    #[inline(always)]
    fn wait(&mut self) -> Result<[Word; 2], Error> {
        let next = Cursor::of(self.answered, self.shape);
        let slot = self.shape.completion(next.at);
        loop {
            let completion = Completion(self.words.load(slot));
            if let Some(value) = completion.value(next.phase) {
                let _ = self.answer(());
                return Ok([value, 0]);
            }
            if completion.has(next.phase) {
                let _ = self.answer(());
                return self.read(completion, next.at);
            }
            if self.patience == 0 {
                if let Some((_, result)) = self.nothing_yet() {
                    return result;
                }
            } else {
                self.patience -= 1;
            }
            self.env.relax();
        }
    }

    /// A result that is an error, or lies in the wide area.
    #[cold]
    fn read(&self, completion: Completion, slot: usize) -> Result<[Word; 2], Error> {
        let wide = || Ok([0, 1].map(|number| self.words.load(self.shape.wide(slot, number))));
        completion.result().unwrap_or_else(wide)
    }

    /// The oldest call's result is no value: an error, or in the wide area, or not there.
    #[cold]
    fn no_value(&mut self, completion: Completion, at: Cursor) -> Option<(Ticket, Result<[Word; 2], Error>)> {
        if !completion.has(at.phase) || self.in_flight == 0 {
            return self.nothing_yet();
        }
        let result = self.read(completion, at.at);
        Some(self.answer(result))
    }

    #[inline(always)]
    fn answer<T>(&mut self, result: T) -> (Ticket, T) {
        let ticket = Ticket(self.answered);
        self.answered += 1;
        self.in_flight -= 1;
        (ticket, result)
    }

    /// The oldest call in flight, if any, has no result: none yet, or none ever.
    #[cold]
    fn nothing_yet(&mut self) -> Option<(Ticket, Result<[Word; 2], Error>)> {
        if self.patience != 0 && self.filled == self.published && !self.due {
            self.patience -= 1;
            return None;
        }
        self.patience = PATIENCE;
        if self.in_flight == 0 {
            return None;
        }
        if let Some(error) = self.ended {
            self.patience = 0;
            return Some(self.answer(Err(error)));
        }
        self.flush();
        // Not believed at once: what was answered before the end is taken first, by the next look at the completion.
        self.ended = Error::from_code(self.words.load(ENDED));
        if self.ended.is_some() {
            (self.depth, self.patience) = (0, 0);
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
        if self.in_flight != 0 {
            return Err(Error::Busy);
        }
        match in_one_unit::<N>(first::<N>(args)).filter(|_| number < NUMBERS && self.depth != 0) {
            // Nothing is in flight, so nothing is staged either.
            Some(args) => {
                self.publish_one(number, args);
                self.look_for_sleep();
            }
            None => {
                self.submit::<N>(number, args)?;
                self.flush();
            }
        }
        self.wait()
    }
}

const _: () = assert!(LINE == 2 * UNITS);
