//! Models of the ring under loom and shuttle: one kernel core, which serves a ring of each program.

use crate::format::Head;
use crate::shape::AREA;
use crate::{Broken, Consumer, Env, Mapped, Refused, Shape, Submitter, Ticket, Words};
use core::ops::Range;
use corey_abi::Error;
use corey_lib_sync::Relax;
use corey_lib_sync::atomic::{AtomicU32, AtomicU64, Ordering};
use corey_lib_sync::explore::{self, Bounds, Yield};

/// All orders of two, some of three: threads wait for each other.
const BOUNDS: Bounds = Bounds { loom: &[(2, None, None), (3, Some(3), Some(6_000))], shuttle: 8 };

/// The smallest ring: it goes round after two lines, and one call is in flight.
fn small() -> Shape {
    Shape::new(2).unwrap()
}

/// So large that three calls are in flight.
fn large() -> Shape {
    Shape::new(4).unwrap()
}

/// A ring for each program.
fn rings(programs: usize, shape: Shape) -> Vec<Mapped<'static>> {
    let ring = |_| {
        let memory = explore::keep((0..shape.words() + AREA).map(|_| AtomicU64::new(0)).collect());
        let first = (0..AREA).find(|n| memory[*n..].as_ptr().addr().is_multiple_of(128)).unwrap();
        let words = Mapped::new(&memory[first..], shape).unwrap();
        (0..shape.words()).for_each(|index| _ = words.load(index));
        words
    };
    (0..programs).map(ring).collect()
}

/// A doorbell: how often it was rung.
#[derive(Clone, Copy)]
struct Bell(&'static AtomicU32);

impl Bell {
    fn new() -> Self {
        let bell = Self(&explore::keep(vec![AtomicU32::new(0)])[0]);
        bell.0.load(Ordering::Relaxed);
        bell
    }
}

impl Relax for Bell {
    fn relax(&mut self) {
        Yield.relax();
    }
}

impl Env for Bell {
    fn ring(&mut self) {
        // An interrupt orders what came before it.
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

type Program = Submitter<Mapped<'static>, Bell>;

/// The argument of call `number`: a head of the second round, when it is looked at as one.
fn word(number: u64) -> u64 {
    Head::new(0, 1, 77 + number).0
}

/// Submits call `number` of a program: whole lines and requests of other sizes in turn, so that every place of a line is
/// where something else was in the round before.
fn submit(program: &mut Program, number: u64) -> Result<(), Refused> {
    let args = [word(number); 6];
    let done = match number % 4 {
        0 => program.submit::<6>(number, args),
        1 => program.submit::<1>(number, args),
        2 => program.submit::<3>(number, [u64::MAX; 6]),
        _ => program.submit::<5>(number, args),
    };
    done.map(|ticket| assert_eq!(ticket, Ticket(number)))
}

/// Whether a call came as it was submitted.
fn is_whole(number: u64, args: [u64; 6]) -> bool {
    let word = word(number);
    args == match number % 4 {
        0 => [word; 6],
        1 => [word, 0, 0, 0, 0, 0],
        2 => [u64::MAX, u64::MAX, u64::MAX, 0, 0, 0],
        _ => [word, word, word, word, word, 0],
    }
}

/// Every second result has two words.
fn result(number: u64) -> Result<[u64; 2], Error> {
    if number % 2 == 0 { Ok([number, number + 1]) } else { Ok([number, 0]) }
}

/// The kernel's side of one ring.
struct Side {
    words: Mapped<'static>,
    kernel: Consumer,
    served: u64,
}

impl Side {
    fn turn(&mut self) {
        let Self { words, kernel, served } = self;
        let turn = kernel.turn(words, |number, args| {
            assert_eq!(number, *served, "once, and in order");
            assert!(is_whole(number, args), "whole: {number} {args:x?}");
            *served += 1;
            result(number)
        });
        assert!(turn.is_ok(), "{turn:?}");
    }
}

/// Takes the next result, if it is there.
fn look(program: &mut Program, number: u64) -> bool {
    let Some((ticket, answer)) = program.poll() else { return false };
    assert_eq!((ticket.0, answer), (number, result(number)));
    true
}

/// Makes calls, as many at once as the ring permits.
fn call_all(program: &mut Program, numbers: Range<u64>) {
    let mut next = numbers.start;
    for number in numbers.clone() {
        while next < numbers.end && submit(program, next).is_ok() {
            next += 1;
        }
        program.flush();
        while !look(program, number) {
            explore::yield_now();
        }
    }
}

/// Both sides of a ring for each program, after some calls: what is tried is how a ring goes round.
fn begun(programs: usize, shape: Shape, calls: u64, bell: Bell) -> (Vec<Program>, Vec<Side>) {
    let pairs = rings(programs, shape).into_iter().map(|words| {
        let mut side = Side { words, kernel: Consumer::new(shape), served: 0 };
        let mut program = Submitter::new(words, shape, bell);
        for number in 0..calls {
            submit(&mut program, number).unwrap();
            program.flush();
            side.turn();
            assert!(look(&mut program, number));
        }
        (program, side)
    });
    pairs.unzip()
}

/// Each program on a thread of its own, and the kernel here.
fn beside(programs: Vec<Program>, work: fn(&mut Program), kernel: impl FnOnce()) {
    let start = |mut program: Program| explore::spawn(move || work(&mut program));
    let threads: Vec<_> = programs.into_iter().map(start).collect();
    kernel();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn serve_until(mut sides: Vec<Side>, count: u64) {
    while sides.iter().any(|side| side.served < count) {
        sides.iter_mut().filter(|side| side.served < count).for_each(Side::turn);
        explore::yield_now();
    }
}

/// Calls and results arrive whole, once and in order.
#[test]
fn calls_and_results_arrive_whole_once_and_in_order() {
    explore::check_within(BOUNDS, |threads| {
        let bell = Bell::new();
        let (programs, sides) = begun(threads - 1, small(), 0, bell);
        beside(programs, |program| call_all(program, 0..2), || serve_until(sides, 2));
        assert_eq!(bell.0.load(Ordering::Relaxed), 0, "nobody slept");
    });
}

/// The same where the ring goes round: what lies there is of the round before.
#[test]
fn a_ring_goes_round() {
    explore::check_within(BOUNDS, |threads| {
        let (programs, sides) = begun(threads - 1, small(), 3, Bell::new());
        beside(programs, |program| call_all(program, 3..5), || serve_until(sides, 5));
    });
}

/// Who falls asleep while something is published is woken.
#[test]
fn no_wake_up_is_lost() {
    explore::check(|threads| {
        let rings = rings(threads - 1, small());
        let bell = Bell::new();
        let at = rings.clone();
        let slept = explore::all(threads, move |number| {
            if number == 0 {
                let arm = |words| {
                    let mut kernel = Consumer::new(small());
                    (kernel.arm(words), kernel)
                };
                return rings.iter().map(arm).collect();
            }
            let mut program = Submitter::new(rings[number - 1], small(), bell);
            submit(&mut program, 0).unwrap();
            program.flush();
            Vec::new()
        });
        let rung = bell.0.load(Ordering::Relaxed);
        let mut sleepers = 0;
        for (words, (sleeps, mut kernel)) in at.iter().zip(slept.into_iter().next().unwrap()) {
            assert_eq!(kernel.turn(words, |_, _| Ok([0, 0])), Ok(1), "a call was submitted");
            sleepers += u32::from(sleeps);
        }
        assert!(rung >= sleepers, "{sleepers} sleep, {rung} were rung for");
    });
}

/// As many calls in flight as there can be, around the end of the ring; they were submitted at once.
#[test]
fn calls_in_flight_together_are_answered_in_order() {
    explore::check_within(BOUNDS, |threads| {
        let (programs, sides) = begun(threads - 1, large(), 3, Bell::new());
        beside(programs, |program| call_all(program, 3..6), || serve_until(sides, 6));
    });
}

/// Who waits for two wake-ups, one after the other, has too many orders.
const SLEEPS: Bounds = Bounds { loom: &[(2, Some(3), Some(20_000)), (3, Some(2), Some(5_000))], shuttle: 8 };

/// A kernel core that sleeps whenever it finds nothing serves everybody.
#[test]
fn who_sleeps_again_is_woken_again() {
    explore::check_within(SLEEPS, |threads| {
        let bell = Bell::new();
        let (programs, mut sides) = begun(threads - 1, small(), 0, bell);
        let kernel = || {
            let mut heard = 0;
            loop {
                sides.iter_mut().for_each(Side::turn);
                if sides.iter().all(|side| side.served == 2) {
                    return;
                }
                // All are armed before it sleeps; what one finds ends that.
                if sides.iter_mut().all(|Side { words, kernel, .. }| kernel.arm(words)) {
                    while bell.0.load(Ordering::Acquire) == heard {
                        explore::yield_now();
                    }
                    heard = bell.0.load(Ordering::Acquire);
                }
            }
        };
        beside(programs, |program| call_all(program, 0..2), kernel);
    });
}

/// A program that rewrites what it published, while it is read: what is taken was there at one time, or the ring breaks.
#[test]
fn what_is_rewritten_while_it_is_read_is_one_of_both() {
    explore::check(|threads| {
        // Nobody goes round it.
        let shape = large();
        let rings = rings(threads - 1, shape);
        let heads = [Head::new(1, 1, 3), Head::new(1, 2, 4), Head::skip(1), Head::none(1)];
        explore::all(threads, move |number| {
            if number > 0 {
                let words = rings[number - 1];
                for (head, unit) in heads.into_iter().zip([0, 0, 1, 0]) {
                    words.store(shape.request(0, 2 * unit), head.0);
                }
                words.store(shape.request(1, 0), Head::new(1, 4, 5).0);
                return;
            }
            for words in &rings {
                let mut kernel = Consumer::new(shape);
                let turn = kernel.turn(words, |number, args| {
                    let possible = match number {
                        3 => args == [0; 6],
                        // Its second argument is where the skip is.
                        4 => [[0; 6], [0, Head::skip(1).0, 0, 0, 0, 0]].contains(&args),
                        5 => args == [0; 6],
                        _ => false,
                    };
                    assert!(possible, "{number} {args:?}");
                    Ok([0, 0])
                });
                match turn {
                    Ok(served) => assert!(served <= 3, "{served}"),
                    Err(Broken { line, unit, .. }) => assert!((line, unit) != (0, 0)),
                }
            }
        });
    });
}

/// A ring that ends: what was answered before has its result, the rest fails.
#[test]
fn what_was_answered_before_the_end_is_taken_before_it() {
    explore::check_within(BOUNDS, |threads| {
        let rings = rings(threads - 1, small());
        let bell = Bell::new();
        let results = explore::all(threads, move |number| {
            if number == 0 {
                let end = |words| {
                    let mut kernel = Consumer::new(small());
                    let served = kernel.turn(words, |_, _| Ok([7, 8]));
                    kernel.end(words, Error::CoreLost);
                    if served == Ok(1) { Ok([7, 8]) } else { Err(Error::CoreLost) }
                };
                return rings.iter().map(end).collect();
            }
            let mut program = Submitter::new(rings[number - 1], small(), bell);
            submit(&mut program, 0).unwrap();
            loop {
                if let Some((_, result)) = program.poll() {
                    return vec![result];
                }
                explore::yield_now();
            }
        });
        assert_eq!(results[0], results[1..].concat());
    });
}
