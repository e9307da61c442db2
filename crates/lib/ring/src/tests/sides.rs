//! Both sides as they are used.

use super::{Bell, Memory};
use crate::{Consumer, Env, Mapped, Refused, Shape, Submitter, Ticket};
use corey_abi::{Client, Error, Id, ObjRef, SegmentCalls, Transport, number};
use corey_lib_sync::Relax;

/// A program whose waiting is the kernel's turn.
struct Alternate<'a> {
    words: Mapped<'a>,
    kernel: Consumer,
    rung: u32,
}

impl Relax for Alternate<'_> {
    fn relax(&mut self) {
        let answer = |number, args: [u64; 6]| match number {
            number::segment_get_nbytes => Ok([args[0] + args[1], 0]),
            0x123 => Ok([args[5], u64::MAX]),
            _ => Err(Error::BadSyscall),
        };
        self.kernel.turn(&self.words, answer).unwrap();
        assert!(self.kernel.arm(&self.words), "it sleeps between calls");
    }
}

impl Env for Alternate<'_> {
    fn ring(&mut self) {
        self.rung += 1;
    }
}

#[test]
fn a_stub_calls_over_a_ring() {
    let shape = Shape::new(2).unwrap();
    let memory = Memory::new(shape);
    let words = memory.mapped(shape);
    let env = Alternate { words, kernel: Consumer::new(shape), rung: 0 };
    let mut program = Submitter::new(words, shape, env);
    for n in 0..100 {
        let object = ObjRef { share: Id(1 << 50 | n), object: Id(n) };
        assert_eq!(Client(&mut program).segment_get_nbytes(object), Ok((1 << 50) + 2 * n));
        let mut transport = &mut program;
        assert_eq!(transport.call::<6>(0x123, [9; 6]), Ok([9, u64::MAX]));
        assert_eq!(transport.call::<0>(0x124, [0; 6]), Err(Error::BadSyscall));
        assert_eq!(transport.call::<0>(1 << 40, [0; 6]), Err(Error::BadSyscall));
    }
    // The kernel slept before every call but the first, which found one that polled.
    assert_eq!(program.env().rung, 299);
}

#[test]
fn a_call_that_waits_comes_after_those_in_flight() {
    let shape = Shape::new(4).unwrap();
    let memory = Memory::new(shape);
    let words = memory.mapped(shape);
    let mut program = Submitter::new(words, shape, Bell::default());
    assert_eq!(program.submit::<1>(1, [1; 6]), Ok(Ticket(0)));
    assert_eq!((&mut program).call::<0>(1, [0; 6]), Err(Error::Busy));
    assert_eq!(program.submit::<1>(crate::NUMBERS, [1; 6]), Err(Refused::NoSuchCall));
    assert_eq!(program.in_flight(), 1);
}

#[test]
fn a_ring_that_ends_answers_what_is_in_flight() {
    let shape = Shape::new(16).unwrap();
    let memory = Memory::new(shape);
    let words = memory.mapped(shape);
    let mut program = Submitter::new(words, shape, Bell::default());
    let mut kernel = Consumer::new(shape);
    program.submit::<0>(1, [0; 6]).unwrap();
    program.flush();
    assert_eq!(kernel.turn(&words, |_, _| Ok([3, 0])), Ok(1));
    program.submit::<0>(2, [0; 6]).unwrap();
    kernel.end(&words, Error::CoreLost);
    assert_eq!(program.poll(), Some((Ticket(0), Ok([3, 0]))));
    let next = std::iter::from_fn(|| Some(program.poll())).flatten().next();
    assert_eq!(next, Some((Ticket(1), Err(Error::CoreLost))));
    assert_eq!(program.submit::<0>(1, [0; 6]), Err(Refused::Ended(Error::CoreLost)));
}

#[test]
fn memory_that_is_too_short_or_shifted_is_refused() {
    let shape = Shape::new(4).unwrap();
    let memory = Memory::new(Shape::new(8).unwrap());
    let start = (0..16).find(|n| Mapped::new(&memory.0[*n..], shape).is_some()).unwrap();
    assert!(Mapped::new(&memory.0[start + 1..], shape).is_none());
    assert!(Mapped::new(&memory.0[start..start + shape.words() - 1], shape).is_none());
}

#[test]
fn two_threads_call_and_serve() {
    let shape = Shape::new(8).unwrap();
    let memory = Memory::new(shape);
    let words = memory.mapped(shape);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut kernel = Consumer::new(shape);
            let mut served = 0;
            while served < 20_000 {
                served += kernel.turn(&words, |number, args| Ok([number + args[2], args[0]])).unwrap();
                std::thread::yield_now();
            }
        });
        let mut program = Submitter::new(words, shape, Bell::default());
        let (mut submitted, mut polled) = (0, 0);
        while polled < 20_000 {
            while submitted < 20_000 && program.submit::<3>(submitted % 100, [submitted; 6]).is_ok() {
                submitted += 1;
            }
            match program.poll() {
                Some((Ticket(ticket), result)) => {
                    assert_eq!((ticket, result), (polled, Ok([polled % 100 + polled, polled])));
                    polled += 1;
                }
                None => std::thread::yield_now(),
            }
        }
    });
}
