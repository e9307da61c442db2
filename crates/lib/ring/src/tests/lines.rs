//! Which lines move: a directory of them, as the line meter has one.

use super::{Bell, Memory, Random};
use crate::shape::LINE;
use crate::{Consumer, Mapped, Shape, Submitter, Words};
use std::cell::{Cell, RefCell};

/// Infinite caches of two cores.
struct Directory {
    /// Of each line: who has it as it is, a bit for each core.
    lines: RefCell<Vec<u8>>,
    events: Cell<u64>,
}

/// A core's way to the words. A read of a line whose newest write is another core's is an event, and a write to a line that
/// another core has.
struct Core<'a> {
    words: Mapped<'a>,
    directory: &'a Directory,
    bit: u8,
}

impl Core<'_> {
    fn count(&self) {
        self.directory.events.set(self.directory.events.get() + 1);
    }
}

impl Words for Core<'_> {
    fn load(&self, index: usize) -> u64 {
        let has = &mut self.directory.lines.borrow_mut()[index / LINE];
        if *has & self.bit == 0 {
            *has |= self.bit;
            self.count();
        }
        self.words.load(index)
    }

    fn store(&self, index: usize, word: u64) {
        let has = &mut self.directory.lines.borrow_mut()[index / LINE];
        if *has != self.bit {
            *has = self.bit;
            self.count();
        }
        self.words.store(index, word);
    }
}

/// Events of each call, of `rounds` batches of `depth` calls of `submit`. The kernel polls after each thing the program does.
fn events(depth: u64, rounds: u64, submit: fn(&mut Submitter<Core<'_>, Bell>)) -> f64 {
    let shape = Shape::new(64).unwrap();
    let memory = Memory::new(shape);
    let words = memory.mapped(shape);
    let lines = RefCell::new(vec![3; shape.words().div_ceil(LINE)]);
    let directory = Directory { lines, events: Cell::new(0) };
    let core = |bit| Core { words, directory: &directory, bit };
    let mut program = Submitter::new(core(1), shape, Bell::default());
    let (kernels, mut kernel) = (core(2), Consumer::new(shape));
    let mut turn = || kernel.turn(&kernels, |number, _| Ok([number, 0])).unwrap();
    let mut random = Random(5);
    for round in 0..rounds + 1 {
        if round == 1 {
            // The first round finds lines that both have.
            directory.events.set(0);
        }
        for _ in 0..depth {
            submit(&mut program);
            (0..random.below(3)).for_each(|_| _ = turn());
        }
        program.flush();
        while program.in_flight() > 0 {
            program.poll();
            turn();
        }
    }
    directory.events.get() as f64 / (depth * rounds) as f64
}

fn one_unit(program: &mut Submitter<Core<'_>, Bell>) {
    program.submit::<2>(0x21, [5, 1 << 55, 0, 0, 0, 0]).unwrap();
}

fn two_units(program: &mut Submitter<Core<'_>, Bell>) {
    program.submit::<3>(0x21, [u64::MAX; 6]).unwrap();
}

fn a_line(program: &mut Submitter<Core<'_>, Bell>) {
    program.submit::<6>(0x21, [u64::MAX; 6]).unwrap();
}

/// As each frame's is: what changes is an operation and an offset.
fn a_buffer(program: &mut Submitter<Core<'_>, Bell>) {
    let offset = 4096 * program.in_flight();
    program.submit::<6>(0x54, [u64::MAX, 7, 1 << 54, u64::MAX, 8, offset]).unwrap();
}

#[test]
fn a_call_by_itself_moves_two_lines_twice() {
    for call in [one_unit, two_units, a_line, a_buffer] {
        assert_eq!(events(1, 10_000, call), 4.0);
    }
}

#[test]
fn of_32_calls_each_moves_three_quarters_of_a_line() {
    assert_eq!(events(32, 1_000, one_unit), 0.75);
    assert_eq!(events(32, 1_000, two_units), 1.25);
    // Arguments of 64 bits that change.
    assert_eq!(events(32, 1_000, a_line), 2.25);
    // The very first had a line, so that 32 lie in nine lines.
    assert_eq!(events(32, 1_000, a_buffer), 0.8125);
}
