//! From counts to operations a second.
//!
//! One operation takes the cycles of its own work, and a line's way for each event. The line that moves most is a server with
//! a queue: it is at one core at a time. All cores together are a closed queueing network of that server and a delay, which
//! exact mean value analysis solves. The band's upper end has the lower price for everything, and the bound that no queueing can
//! beat, `min(n / (own + line), 1 / line)`; its lower end has the higher price for everything.

use crate::counts::{Counts, Own, Series};
use crate::machine::Machine;
use crate::paper::{Point, READ_REP};
use crate::span::Span;

/// Numbers of cores that tables show.
pub const CORES: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];

/// What things cost that Figure 1's memory references do not say, in cycles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// An instruction, its references to the core's own caches included.
    pub instruction: Span,
    /// A locked operation beside that, on a line that is here.
    pub locked: Span,
    /// An interrupt, for the core that takes it.
    pub interrupt: Span,
    /// Where an iteration of eight bytes of a copy lies between its cheapest, from the core's own cache ([`ITERATION`]), and eight of
    /// them for a line from RAM that nothing overlaps: 0 to 1, on a logarithmic scale.
    pub copy: Span,
}

/// Cycles of an iteration of a copy at its cheapest.
pub const ITERATION: f64 = 1.0;

impl Cost {
    /// What is assumed where nothing was measured.
    pub const DECLARED: Self = Self {
        instruction: Span::new(0.5, 1.0, 2.0),
        locked: Span::new(10.0, 20.0, 40.0),
        interrupt: Span::new(500.0, 1000.0, 2000.0),
        copy: Span::new(0.0, 0.5, 1.0),
    };

    /// Calibrates what an instruction and an iteration of a copy cost by two points of the paper on one machine: two reads that differ
    /// in their instructions and copy as much, so there is one answer. `None` where it is no price.
    #[must_use]
    pub fn calibrated(self, reads: [(&Point, &Counts); 2]) -> Option<Self> {
        let [(first, a), (second, b)] = reads;
        let (Own::Instructions(a_number), Own::Instructions(b_number)) = (a.own, b.own) else { return None };
        let machine = first.machine;
        let far = (machine.ram / 8.0).max(ITERATION);
        let (a_rep, b_rep) = (READ_REP.max(a.rep), READ_REP.max(b.rep));
        // Cramer's rule.
        let solve = |a_cycles: f64, b_cycles: f64, locked: f64| {
            let (a_rest, b_rest) = (a_cycles - a.locked * locked, b_cycles - b.locked * locked);
            let determinant = a_number * b_rep - b_number * a_rep;
            let instruction = (a_rest * b_rep - b_rest * a_rep) / determinant;
            let iteration = (a_number * b_rest - b_number * a_rest) / determinant;
            (instruction, iteration.ln() / far.ln())
        };
        let (a_cycles, b_cycles) = (first.cycles(), second.cycles());
        let (instruction, copy) = solve(a_cycles.point, b_cycles.point, self.locked.point);
        let mut cost = Self { instruction: Span::exactly(instruction), copy: Span::exactly(copy), ..self };
        for a_cycles in [a_cycles.low, a_cycles.high] {
            for b_cycles in [b_cycles.low, b_cycles.high] {
                for locked in [self.locked.low, self.locked.high] {
                    let (instruction, copy) = solve(a_cycles, b_cycles, locked);
                    cost.instruction = cost.instruction.with(instruction);
                    cost.copy = cost.copy.with(copy);
                }
            }
        }
        let sound = cost.instruction.low > 0.0 && cost.instruction.is_sound() && cost.copy.is_sound();
        (sound && cost.copy.high <= 1.0).then_some(cost)
    }

    /// Returns the same with every price at one end of its band: one for each choice of ends.
    pub fn ends(&self) -> Vec<Self> {
        let end = |span: Span, high: bool| Span::exactly(if high { span.high } else { span.low });
        let choice = |bits: u32| Self {
            instruction: end(self.instruction, bits & 1 != 0),
            locked: end(self.locked, bits & 2 != 0),
            interrupt: end(self.interrupt, bits & 4 != 0),
            copy: end(self.copy, bits & 8 != 0),
        };
        (0..16).map(choice).collect()
    }

    /// Returns the price of an iteration of a copy on `machine`.
    pub fn iteration_on(&self, machine: &Machine) -> Span {
        let far = (machine.ram / 8.0).max(ITERATION);
        let at = |place: f64| ITERATION * (far / ITERATION).powf(place);
        Span::new(at(self.copy.low), at(self.copy.point), at(self.copy.high))
    }

    /// Returns the cycles of an operation's own work: all but events.
    pub fn own(&self, machine: &Machine, counts: &Counts) -> Span {
        let interrupts = self.interrupt.scaled(counts.interrupts);
        let own = match counts.own {
            Own::Cycles(cycles) => return cycles + interrupts,
            Own::Instructions(number) => self.instruction.scaled(number),
        };
        let copies = self.iteration_on(machine).scaled(counts.rep);
        own + copies + self.locked.scaled(counts.locked) + interrupts
    }

    /// Returns the cycles that one operation takes when nobody is in its way, of `cores` that take turns.
    pub fn alone(&self, machine: &Machine, cores: u32, counts: &Counts) -> Span {
        self.own(machine, counts) + machine.transfer(cores).scaled(counts.events)
    }
}

/// Cycles of one operation apart from the queue, and at the line that cores queue for.
#[derive(Clone, Copy, Debug)]
struct Demand {
    delay: f64,
    line: f64,
}

/// Predicts the operations a second of `cores` cores; `worst` are the counts at the lower end of the band.
pub fn throughput(machine: &Machine, cost: &Cost, cores: u32, counts: &Counts, worst: &Counts) -> Span {
    let line = machine.transfer(cores);
    let (own, queued) = (cost.own(machine, counts), counts.queued());
    let best = demand(counts, own.low, cost.locked.low, line.low, queued.low);
    let point = demand(counts, own.point, cost.locked.point, line.point, queued.point);
    let last = cost.own(machine, worst).high;
    let last = demand(worst, last, cost.locked.high, line.high, worst.queued().high);
    let n = f64::from(cores);
    let bound = (n / (best.delay + best.line)).min(1.0 / best.line);
    Span::new(queueing(last, cores), queueing(point, cores), bound).scaled(machine.clock)
}

/// Splits an operation: `queued` of its events are at the line, and as many of its locked operations, which hold the line meanwhile.
fn demand(counts: &Counts, own: f64, locked: f64, line: f64, queued: f64) -> Demand {
    let locked = (locked * counts.locked.min(queued)).min(own);
    Demand { delay: own - locked + (counts.events - queued) * line, line: queued * line + locked }
}

/// Exact mean value analysis: operations a cycle of `cores` customers at a server and a delay.
fn queueing(demand: Demand, cores: u32) -> f64 {
    let (mut waiting, mut rate) = (0.0, 0.0);
    for customers in 1..=cores {
        let at_line = demand.line * (1.0 + waiting);
        rate = f64::from(customers) / (demand.delay + at_line);
        waiting = rate * at_line;
    }
    rate
}

/// Predicts the whole curve, at every number of cores from 1 to 64; empty for an empty series.
pub fn curve(machine: &Machine, cost: &Cost, series: &Series) -> Vec<(u32, Span)> {
    let at = |cores: u32| {
        let (counts, worst) = series.at(cores)?;
        Some((cores, throughput(machine, cost, cores, &counts, &worst)))
    };
    (1..=64).filter_map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{AMD, INTEL, MACHINES};

    fn predict(machine: &Machine, cores: u32, counts: &Counts) -> Span {
        throughput(machine, &Cost::DECLARED, cores, counts, counts)
    }

    /// Counts of many kinds: instructions, events, how many of them queue.
    fn grid() -> impl Iterator<Item = Counts> {
        let hottest = [None, Some(0.0), Some(0.3), Some(1.0), Some(70.0)];
        [20.0, 300.0, 20_000.0].into_iter().flat_map(move |insn| {
            [0.0, 0.7, 2.0, 60.0].into_iter().flat_map(move |events| {
                hottest.map(|hottest| Counts {
                    rep: insn / 2.0,
                    locked: events,
                    events,
                    hottest,
                    interrupts: events / 10.0,
                    ..Counts::instructions(insn)
                })
            })
        })
    }

    #[test]
    fn the_band_contains_the_point() {
        for (machine, counts) in MACHINES.iter().flat_map(|m| grid().map(move |c| (m, c))) {
            for cores in 1..=64 {
                let span = predict(machine, cores, &counts);
                assert!(span.is_sound() && span.low > 0.0, "{} {cores} {counts:?} {span:?}", machine.name);
            }
        }
    }

    #[test]
    fn without_events_cores_add_up() {
        let one = predict(&AMD, 1, &Counts::instructions(100.0));
        let all = predict(&AMD, 64, &Counts::instructions(100.0));
        assert!((one.point - 1.9e7).abs() < 1.0);
        for (all, one) in [(all.low, one.low), (all.point, one.point), (all.high, one.high)] {
            assert!((all / one - 64.0).abs() < 1e-9);
        }
    }

    #[test]
    fn more_of_anything_is_never_faster() {
        for (machine, counts) in MACHINES.iter().flat_map(|m| grid().map(move |c| (m, c))) {
            let more = [
                Counts { events: counts.events + 1.0, ..counts },
                Counts { hottest: counts.hottest.map(|h| (h + 1.0).min(counts.events)), ..counts },
                Counts { locked: counts.locked + 1.0, ..counts },
                Counts { rep: counts.rep + 8.0, ..counts },
                Counts { interrupts: counts.interrupts + 1.0, ..counts },
            ];
            for (more, cores) in more.iter().flat_map(|more| [1, 2, 16, 64].map(|cores| (more, cores))) {
                let (a, b) = (predict(machine, cores, &counts), predict(machine, cores, more));
                let rounding = 1.0 + 1e-9;
                assert!(b.point <= a.point * rounding, "{more:?} at {cores}");
                assert!(b.low <= a.low * rounding && b.high <= a.high * rounding, "{more:?} at {cores}");
            }
        }
    }

    #[test]
    fn a_line_that_all_want_serves_one_at_a_time() {
        let counts = Counts { events: 1.0, hottest: Some(1.0), ..Counts::instructions(10.0) };
        let limit = INTEL.clock / INTEL.transfer(64).point;
        let found = predict(&INTEL, 64, &counts).point;
        assert!(found <= limit * (1.0 + 1e-9) && found > 0.99 * limit, "{found} {limit}");
    }

    #[test]
    fn two_reads_calibrate_what_instructions_and_copies_cost() {
        let [ours, linux] = ["corey", "linux"].map(|system| Point::of(system).unwrap());
        let read = |number, locked| Counts { rep: READ_REP, locked, ..Counts::instructions(number) };
        let (a, b) = (read(114.0, 0.0), read(1296.0, 6.0));
        let cost = Cost::DECLARED.calibrated([(ours, &a), (linux, &b)]).unwrap();
        for (point, counts) in [(ours, &a), (linux, &b)] {
            let found = throughput(point.machine, &cost, 1, counts, counts);
            assert!((found.point / point.rate - 1.0).abs() < 1e-9, "what was given comes out: {found:?}");
        }
        assert!(cost.instruction.contains(0.23) && cost.iteration_on(&INTEL).contains(1.79), "{cost:?}");
        assert_eq!(
            Cost::DECLARED.calibrated([(ours, &b), (linux, &a)]),
            None,
            "more instructions in less time"
        );
        assert_eq!(Cost::DECLARED.calibrated([(ours, &a), (ours, &a)]), None, "one equation");
    }
}
