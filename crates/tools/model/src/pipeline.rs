//! Operations that two cores do between them: a stack's core, and the kernel core that has its card (paper §7.2).
//!
//! While one core is at an operation, the other is at the next one: the core that has more to do says how many there are a second.
//! What one has to do for an operation is its own work and its events, at the price of a line that moves between two neighbours.

use crate::counts::Counts;
use crate::machine::Machine;
use crate::predict::Cost;
use crate::span::Span;

/// Cores of a pair.
const PAIR: u32 = 2;

/// One core that does all of an operation, and two that do it between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// What one core does for an operation.
    pub alone: Counts,
    /// What each of the two does.
    pub halves: [Counts; 2],
}

impl Split {
    /// Returns the operations a second of one core that does all.
    pub fn alone(&self, machine: &Machine, cost: &Cost) -> Span {
        rate(machine, cost, &self.alone)
    }

    /// Returns the operations a second that each of the two could do, if it never waited for the other.
    pub fn halves(&self, machine: &Machine, cost: &Cost) -> [Span; 2] {
        self.halves.each_ref().map(|half| rate(machine, cost, half))
    }

    /// Returns how many times as many operations two cores do as one. In the band are the ratios at all ends of all prices, each the same
    /// for one core and for two.
    pub fn gain(&self, machine: &Machine, cost: &Cost) -> Span {
        let gain = |cost: &Cost| {
            let cycles = |counts: &Counts| cost.alone(machine, PAIR, counts).point;
            cycles(&self.alone) / self.halves.iter().map(cycles).fold(0.0, f64::max)
        };
        cost.ends().iter().map(gain).fold(Span::exactly(gain(cost)), Span::with)
    }
}

fn rate(machine: &Machine, cost: &Cost, counts: &Counts) -> Span {
    let cycles = cost.alone(machine, PAIR, counts);
    let of = |cycles: f64| machine.clock / cycles;
    Span::new(of(cycles.high), of(cycles.point), of(cycles.low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{AMD, MACHINES};

    fn split(alone: f64, halves: [f64; 2], events: f64) -> Split {
        let half = |insn| Counts { events, ..Counts::instructions(insn) };
        Split { alone: Counts::instructions(alone), halves: halves.map(half) }
    }

    #[test]
    fn two_halves_are_twice_as_fast_and_unequal_ones_as_the_slower() {
        let gain = |halves| split(1000.0, halves, 0.0).gain(&AMD, &Cost::DECLARED);
        assert_eq!(
            gain([500.0, 500.0]),
            Span::exactly(2.0),
            "the price of an instruction is the same for both"
        );
        assert_eq!(gain([800.0, 200.0]), Span::exactly(1.25));
        assert_eq!(gain([200.0, 800.0]), Span::exactly(1.25));
    }

    #[test]
    fn lines_that_move_cost_what_the_machine_says() {
        for machine in &MACHINES {
            let split = split(1000.0, [500.0, 400.0], 4.0);
            let gain = split.gain(machine, &Cost::DECLARED);
            let line = machine.transfer(2).point;
            assert!((gain.point - 1000.0 / 4.0_f64.mul_add(line, 500.0)).abs() < 1e-9);
            assert!(gain.is_sound() && gain.low < gain.point && gain.point < gain.high, "{gain:?}");
            let [first, second] = split.halves(machine, &Cost::DECLARED);
            let alone = split.alone(machine, &Cost::DECLARED);
            assert!(first.is_sound() && first.point < second.point);
            assert!((first.point / alone.point - gain.point).abs() < 1e-9);
        }
    }
}
