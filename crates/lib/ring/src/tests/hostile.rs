//! Words that no honest side would write.

use super::{Bell, Memory, Random};
use crate::format::{Head, REPEAT, Whole};
use crate::{BUDGET, Broken, Consumer, NUMBERS, Request, Shape, Submitter, Words};
use corey_abi::Error;
use std::cell::{Cell, RefCell};

/// Each load finds another word: a program that writes between any two loads.
struct Fickle {
    shape: Shape,
    random: RefCell<Random>,
    /// What was loaded since the last look.
    loaded: RefCell<Vec<(usize, u64)>>,
    /// Of eight words, how many are heads of requests that are possible.
    likely: Cell<u64>,
}

impl Words for Fickle {
    fn load(&self, index: usize) -> u64 {
        assert!(index < self.shape.words());
        let mut random = self.random.borrow_mut();
        let phase = random.below(2);
        let units = random.below(4) as usize + 1;
        let word = match random.below(8) {
            n if n < self.likely.get() => Head::new(phase, units, random.below(NUMBERS)).0,
            6 => Head::new(phase, 1, REPEAT).0,
            7 => Head::skip(phase).0,
            _ => random.word(),
        };
        self.loaded.borrow_mut().push((index, word));
        word
    }

    fn store(&self, index: usize, _: u64) {
        assert!(index < self.shape.words());
    }
}

/// The call that these words are, had they been there all the time, after the last one of four units.
fn meant(loaded: &[(usize, u64)], last: &mut Option<Whole>) -> (u64, [u64; 6]) {
    let skipped = loaded.len() > 1 && loaded[0].1 >> 1 == Head::skip(0).0 >> 1;
    let words: Vec<u64> = loaded.iter().skip(usize::from(skipped)).map(|(_, word)| *word).collect();
    let head = Head(words[0]);
    // The last word of a line carries nothing.
    assert_eq!(words.len(), (2 * head.units()).min(7));
    let mut args = [0; 6];
    if head.units() == 1 {
        args[..2].copy_from_slice(&crate::format::widen(head, words[1]));
    } else {
        args.iter_mut().zip(&words[1..]).for_each(|(arg, word)| *arg = *word);
    }
    let whole = Whole { number: head.number(), args };
    match (head.units(), whole.number) {
        (1, REPEAT) => {
            let last = last.unwrap();
            return (last.number, last.with([args[0], args[1]]));
        }
        (4, _) => *last = Some(whole),
        _ => {}
    }
    (whole.number, args)
}

#[test]
fn whatever_changes_while_it_is_read_each_word_is_read_once() {
    let mut taken = 0;
    for seed in 1..=20_000 {
        let shape = Shape::new(1 << (1 + seed % 5)).unwrap();
        let words = Fickle {
            shape,
            random: RefCell::new(Random(seed << 20 | 1)),
            loaded: RefCell::default(),
            likely: Cell::new(seed % 8),
        };
        let mut kernel = Consumer::new(shape);
        let mut last = None;
        for _ in 0..50 {
            words.loaded.borrow_mut().clear();
            let request = kernel.take(&words);
            let loaded = words.loaded.borrow();
            let mut indices: Vec<usize> = loaded.iter().map(|(index, _)| *index).collect();
            indices.sort_unstable();
            assert!(indices.windows(2).all(|two| two[0] < two[1]), "twice: {indices:?}");
            match request {
                Ok(Some(Request { number, args, taken: token })) => {
                    assert_eq!((number, args), meant(&loaded, &mut last));
                    drop(loaded);
                    kernel.complete(&words, token, Ok([args[0], args[1]]));
                    taken += 1;
                }
                Ok(None) => assert!(loaded.len() <= 2),
                Err(broken) => {
                    drop(loaded);
                    words.loaded.borrow_mut().clear();
                    assert_eq!(kernel.take(&words).unwrap_err(), broken);
                    assert!(words.loaded.borrow().is_empty(), "a broken ring is looked at no more");
                    break;
                }
            }
        }
        assert!(
            kernel.turn(&words, |_, _| Ok([0, 0])).is_ok_and(|n| n <= BUDGET) || kernel.take(&words).is_err()
        );
    }
    assert!(taken > 20_000, "{taken}");
}

/// A kernel's side that met `words` from the ring's first request word on.
fn met(words: &[u64]) -> Result<u32, Broken> {
    let shape = Shape::new(4).unwrap();
    let memory = Memory::new(shape);
    let mapped = memory.mapped(shape);
    for (number, word) in words.iter().enumerate() {
        mapped.store(shape.request(number / 8, number % 8), *word);
    }
    Consumer::new(shape).turn(&mapped, |_, _| Ok([0, 0]))
}

#[test]
fn what_is_no_request_breaks_the_ring() {
    let one = Head::new(1, 1, 7).0;
    let skip = Head::skip(1).0;
    assert_eq!(met(&[one, 0, one, 0]), Ok(2));
    assert_eq!(met(&[one, 0, skip]), Ok(1), "a skip, and nothing yet in the next line");
    let broken = |unit, word| Err(Broken { line: 0, unit, word });
    assert_eq!(met(&[skip]), broken(0, skip), "an empty line");
    assert_eq!(met(&[skip | 2]), broken(0, skip | 2), "a skip of two units");
    assert_eq!(met(&[one, 0, Head::new(1, 4, 7).0]), broken(1, Head::new(1, 4, 7).0), "over the line's end");
    let repeat = Head::new(1, 1, REPEAT).0;
    assert_eq!(met(&[repeat]), broken(0, repeat), "a repeat of nothing");
    assert_eq!(met(&[one, 0, repeat]), broken(1, repeat), "of a request of one unit");
    assert_eq!(met(&[Head::new(1, 4, 7).0, 1, 2, 3, 4, 5, 6, 0, repeat]), Ok(2));
    assert_eq!(met(&[repeat | 2]), broken(0, repeat | 2), "a repeat of two units");
    let reserved = Head::new(1, 2, 7).0 | 1 << 16;
    assert_eq!(met(&[reserved]), broken(0, reserved), "a bit that means nothing yet");
    let two_skips = [one, 0, skip, 0, 0, 0, 0, 0, skip];
    assert_eq!(met(&two_skips), Err(Broken { line: 1, unit: 0, word: skip }));
}

#[test]
fn a_turn_ends_though_the_program_never_does() {
    // A whole round of requests of one unit is there; in the next round the phase is another.
    let shape = Shape::new(64).unwrap();
    let memory = Memory::new(shape);
    let words = memory.mapped(shape);
    for unit in 0..4 * 64 {
        words.store(shape.request(unit / 4, 2 * (unit % 4)), Head::new(1, 1, 7).0);
    }
    let mut kernel = Consumer::new(shape);
    let mut turns = 0;
    while kernel.turn(&words, |_, _| Ok([0, 0])) == Ok(BUDGET) {
        turns += 1;
    }
    assert_eq!(turns, 4 * 64 / BUDGET);
}

#[test]
fn calls_of_a_broken_ring_fail_after_those_that_were_answered() {
    let shape = Shape::new(8).unwrap();
    let memory = Memory::new(shape);
    let words = memory.mapped(shape);
    let mut program = Submitter::new(words, shape, Bell::default());
    let mut kernel = Consumer::new(shape);
    for number in 0..4 {
        program.submit::<3>(number, [number; 6]).unwrap();
    }
    program.flush();
    // The third call's head.
    words.store(shape.request(1, 0), Head::skip(1).0);
    let broken = kernel.turn(&words, |number, _| Ok([number, 0])).unwrap_err();
    assert_eq!((broken.line, broken.unit), (1, 0));
    assert!(kernel.arm(&words), "nothing of a broken ring keeps a core awake");
    let mut results = Vec::new();
    while program.in_flight() > 0 {
        results.extend(program.poll().map(|(_, result)| result));
    }
    let fails = Err(Error::BadArgument);
    assert_eq!(results, [Ok([0, 0]), Ok([1, 0]), fails, fails]);
    assert_eq!(program.submit::<0>(1, [0; 6]).map_err(Error::from), Err(Error::BadArgument));
    assert_eq!(program.poll(), None);
}

#[test]
fn a_ring_that_became_something_else_is_survived() {
    let shape = Shape::new(4).unwrap();
    let memory = Memory::new(shape);
    let words = memory.mapped(shape);
    let mut random = Random(77);
    for _ in 0..2_000 {
        let mut program = Submitter::new(words, shape, Bell::default());
        let mut polled = 0;
        for _ in 0..100 {
            words.store(random.below(shape.words() as u64) as usize, random.word());
            match random.below(4) {
                0 => _ = program.submit::<2>(random.below(9000), [random.word(); 6]),
                1 => _ = program.submit::<6>(random.below(9000), [random.word(); 6]),
                2 => program.flush(),
                _ => polled += u64::from(program.poll().is_some()),
            }
            assert!(program.in_flight() <= 3);
        }
        assert!(polled <= 100);
    }
}
