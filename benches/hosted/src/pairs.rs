//! Pairs: ours and Linux's own do the same work in turn, in the same threads; so a ratio is of one moment.

use std::time::Instant;

use corey_lib_bench::Barrier;

use crate::host::Host;
use crate::rounds::{Heading, on_all, quantile, record};

/// Passes over all core counts: a slowdown is of one pass.
const PASSES: u64 = 5;

/// One thread's part of one side of a pair.
pub(crate) trait Side {
    /// Before each round, not timed; `meet` waits for the others.
    fn prepare(&mut self, meet: &dyn Fn()) {
        let _ = meet;
    }

    /// Operation `number` of a round.
    fn once(&mut self, number: u64);
}

impl<F: FnMut(u64)> Side for F {
    #[inline(always)]
    fn once(&mut self, number: u64) {
        self(number);
    }
}

/// Nanoseconds of one operation, one for each round, of ours and of Linux's own.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    ours: Vec<f64>,
    linux: Vec<f64>,
}

/// A row: what is measured, against what.
pub(crate) struct Case {
    /// As the table of benchmarks has it, or with more behind it.
    pub(crate) variant: &'static str,
    /// What Linux's side is.
    pub(crate) peer: &'static str,
    /// Operations of a round.
    pub(crate) operations: u64,
    /// Measures rounds at a number of processors.
    pub(crate) measure: fn(&Host, u32, u64) -> Result<Pair, String>,
}

/// Runs `rounds` rounds of `operations` operations on `cores` processors, of ours and of Linux's own in turn. Times
/// are of the first processor, with all at it.
pub(crate) fn alternate<A: Side, B: Side>(
    host: &Host,
    (cores, rounds, operations): (u32, u64, u64),
    sides: impl Fn(u32) -> (A, B) + Sync,
) -> Result<Pair, String> {
    let barrier = Barrier::default();
    let meet = || barrier.wait(cores, std::hint::spin_loop);
    on_all(host, cores, |core| {
        let (mut ours, mut linux) = sides(core);
        let mut pair = Pair::default();
        for _ in 0..rounds {
            pair.ours.push(round(&mut ours, operations, &meet));
            pair.linux.push(round(&mut linux, operations, &meet));
        }
        // What one has, another may use in its last round.
        meet();
        pair
    })
}

fn round(side: &mut impl Side, operations: u64, meet: &dyn Fn()) -> f64 {
    side.prepare(meet);
    meet();
    let start = Instant::now();
    (0..operations).for_each(|number| side.once(number));
    start.elapsed().as_nanos() as f64 / operations as f64
}

/// The value in the middle.
fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// `,"NAME":…,"NAME_low":…,"NAME_high":…` of the values' median and of what `tail` of them lie below and above.
fn spread(name: &str, mut values: Vec<f64>, tail: f64) -> String {
    values.sort_by(f64::total_cmp);
    let [low, middle, high] = [tail, 0.5, 1.0 - tail].map(|part| quantile(&values, part));
    format!(",\"{name}\":{middle:.3},\"{name}_low\":{low:.3},\"{name}_high\":{high:.3}")
}

/// What one core count gave: all rounds, and each pass's medians.
#[derive(Debug, Default)]
struct Gathered {
    all: Pair,
    passes: Vec<(f64, f64)>,
}

/// Measures a case at all `counts` and prints two records for each: ours and Linux's.
pub(crate) fn run(
    host: &Host,
    bench: &'static str,
    case: &Case,
    counts: &[u32],
    rounds: u64,
) -> Result<(), String> {
    let mut gathered: Vec<Gathered> = counts.iter().map(|_| Gathered::default()).collect();
    for _ in 0..PASSES.min(rounds) {
        for (cores, at) in counts.iter().zip(&mut gathered) {
            let Pair { ours, linux } = (case.measure)(host, *cores, rounds.div_ceil(PASSES))?;
            at.passes.push((middle(&ours), middle(&linux)));
            at.all.ours.extend(ours);
            at.all.linux.extend(linux);
        }
    }
    let alone = counts.iter().position(|cores| *cores == 1);
    for (position, cores) in counts.iter().enumerate() {
        let slowdown = |of: fn(&(f64, f64)) -> f64| match alone {
            Some(alone) if alone != position => {
                let (here, there) = (&gathered[position].passes, &gathered[alone].passes);
                // All of five: there are too few for tenths.
                spread("slowdown", here.iter().zip(there).map(|(n, one)| of(n) / of(one)).collect(), 0.0)
            }
            _ => String::new(),
        };
        let Pair { ours, linux } = &gathered[position].all;
        let ratios = ours.iter().zip(linux).map(|(a, b)| a / b).collect();
        let heading = |system| Heading {
            system,
            bench,
            variant: case.variant,
            cores: *cores,
            operations: case.operations,
        };
        let peer = format!(",\"peer\":\"{}\"", case.peer);
        let more = peer.clone() + &spread("ratio", ratios, 0.1) + &slowdown(|pass| pass.0);
        println!("{}", record(host, &heading("corey"), &mut ours.clone(), &more));
        println!(
            "{}",
            record(host, &heading("linux"), &mut linux.clone(), &(peer + &slowdown(|pass| pass.1)))
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn both_sides_do_every_operation_of_every_round() {
        let (host, sum) = (Host::find().unwrap(), AtomicU64::new(0));
        let add = |by: u64| {
            let sum = &sum;
            move |number: u64| {
                sum.fetch_add(by + number, Ordering::Relaxed);
            }
        };
        let pair = alternate(&host, (1, 3, 4), |_| (add(0), add(100))).unwrap();
        assert_eq!((pair.ours.len(), pair.linux.len()), (3, 3));
        assert_eq!(sum.into_inner(), 3 * (2 * 6 + 400));
    }

    #[test]
    fn a_spread_has_its_name() {
        let values = (0..=10).map(f64::from).collect();
        assert_eq!(spread("ratio", values, 0.1), ",\"ratio\":5.000,\"ratio_low\":1.000,\"ratio_high\":9.000");
    }
}
