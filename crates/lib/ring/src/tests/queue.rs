//! A million operations, against plain queues.

use super::{Bell, Memory, Random};
use crate::{Consumer, NUMBERS, Refused, Request, Shape, Submitter, Ticket, Words};
use corey_abi::Error;
use std::collections::VecDeque;

type Call = (u64, [u64; 6]);
type Outcome = Result<[u64; 2], Error>;

/// What a ring should be.
#[derive(Default)]
struct Model {
    /// Submitted and not taken by the kernel.
    waiting: VecDeque<Call>,
    /// Answered, and not taken by the program.
    answered: VecDeque<Outcome>,
    submitted: u64,
    polled: u64,
}

/// Every fourth call is the last one of six arguments, with one to all of them changed.
fn call(random: &mut Random, last: &mut Call) -> (usize, Call) {
    let mut args = [0; 6];
    if random.below(4) == 0 {
        args = last.1;
        args[[2, 5, 2, 5, random.below(6) as usize][random.below(5) as usize]] = random.word();
        *last = (last.0, args);
        return (6, *last);
    }
    let count = random.below(7) as usize;
    args.iter_mut().take(count).for_each(|arg| *arg = random.word());
    let call = (random.below(NUMBERS), args);
    if count == 6 {
        *last = call;
    }
    (count, call)
}

fn submit<W: Words>(
    program: &mut Submitter<W, Bell>,
    count: usize,
    (number, args): Call,
) -> Result<Ticket, Refused> {
    match count {
        0 => program.submit::<0>(number, args),
        1 => program.submit::<1>(number, args),
        2 => program.submit::<2>(number, args),
        3 => program.submit::<3>(number, args),
        4 => program.submit::<4>(number, args),
        5 => program.submit::<5>(number, args),
        _ => program.submit::<6>(number, args),
    }
}

fn outcome(random: &mut Random) -> Outcome {
    match random.below(4) {
        0 => Err(Error::ALL[random.below(Error::ALL.len() as u64) as usize].0),
        1 => Ok([random.word(), random.word()]),
        _ => Ok([random.word(), 0]),
    }
}

/// Takes the oldest result, if there is one.
fn poll<W: Words>(program: &mut Submitter<W, Bell>, model: &mut Model) -> bool {
    let Some((ticket, result)) = program.poll() else { return false };
    assert_eq!(ticket, Ticket(model.polled));
    assert_eq!(Some(result), model.answered.pop_front());
    model.polled += 1;
    true
}

/// Serves the oldest request, if there is one.
fn serve<W: Words>(kernel: &mut Consumer, words: &W, model: &mut Model, random: &mut Random) -> bool {
    let Some(Request { number, args, taken }) = kernel.take(words).unwrap() else { return false };
    assert_eq!(Some((number, args)), model.waiting.pop_front());
    let result = outcome(random);
    kernel.complete(words, taken, result);
    model.answered.push_back(result);
    true
}

fn operate(slots: u32, operations: u32) {
    let shape = Shape::new(slots).unwrap();
    let memory = Memory::new(shape);
    let words = memory.mapped(shape);
    let mut random = Random(u64::from(slots) | 0x9e37_79b9_7f4a_7c15);
    let mut program = Submitter::new(words, shape, Bell::default());
    let mut kernel = Consumer::new(shape);
    let mut model = Model::default();
    let mut last = (5, [0; 6]);
    // Who is faster changes, so that the ring is full at times and empty at others.
    let mut eager = 3;
    for operation in 0..operations {
        if operation % 256 == 0 {
            eager = 1 + random.below(8);
        }
        match random.below(8 + eager) {
            0 => program.flush(),
            1 => kernel.flush(&words),
            2 => {
                let rung = program.env().0;
                if kernel.arm(&words) && program.in_flight() < u64::from(shape.depth()) {
                    let (count, call) = call(&mut random, &mut last);
                    model.waiting.push_back(call);
                    submit(&mut program, count, call).unwrap();
                    model.submitted += 1;
                    program.flush();
                    assert_eq!(program.env().0, rung + 1, "who sleeps is woken once");
                    program.flush();
                    assert_eq!(program.env().0, rung + 1, "and only once");
                }
            }
            3..6 => _ = poll(&mut program, &mut model),
            6..8 => _ = serve(&mut kernel, &words, &mut model, &mut random),
            _ => {
                let (count, call) = call(&mut random, &mut last);
                let full = program.in_flight() == u64::from(shape.depth());
                match submit(&mut program, count, call) {
                    Ok(ticket) => {
                        assert!(!full && ticket == Ticket(model.submitted));
                        model.waiting.push_back(call);
                        model.submitted += 1;
                    }
                    Err(refused) => assert_eq!((refused, full), (Refused::Full, true)),
                }
            }
        }
        assert_eq!(program.in_flight(), model.submitted - model.polled);
    }
    program.flush();
    while serve(&mut kernel, &words, &mut model, &mut random) {}
    kernel.flush(&words);
    while poll(&mut program, &mut model) {}
    assert_eq!((model.polled, program.in_flight()), (model.submitted, 0));
    assert!(model.submitted > u64::from(operations) / 20, "{}", model.submitted);
}

#[test]
fn a_million_operations_are_those_of_a_queue() {
    for slots in [2, 4, 8, 16, 64] {
        operate(slots, 200_000);
    }
}
