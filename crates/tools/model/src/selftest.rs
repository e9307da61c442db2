//! Predictions of what the paper measured and the model was not given.
//!
//! A value outside its band is a `MISS`, and stays one: nothing here was fitted.

use crate::counts::{Counts, Own};
use crate::machine::{AMD, INTEL, Machine, REAL_CORES};
use crate::paper::{LINUX_READ_EVENTS, Point};
use crate::predict::{Cost, throughput};
use crate::span::Span;
use crate::table::{band, markdown, short};

/// Instructions of a spin lock that is taken and given back: `cargo xtask bench fig1/lockcontended --count`.
pub(crate) const LOCK_INSTRUCTIONS: f64 = 8.0;
const LOCK: Counts =
    Counts { locked: 1.0, events: 1.0, hottest: Some(1.0), ..Counts::instructions(LOCK_INSTRUCTIONS) };

/// Of a read, the locked operations on the lock of Linux's buffer cache.
pub(crate) const LINUX_READ_LOCKED: f64 = 2.0;

/// What the core that asks for a shootdown does: `cargo xtask bench fig1/shootdown --count`.
pub(crate) struct Shootdown {
    pub(crate) cores: u32,
    pub(crate) instructions: f64,
    pub(crate) locked: f64,
    pub(crate) events: f64,
}

pub(crate) const SHOOTDOWNS: [Shootdown; 2] = [
    Shootdown { cores: 2, instructions: 1239.0, locked: 6.0, events: 5.0 },
    Shootdown { cores: 16, instructions: 2779.0, locked: 34.0, events: 33.0 },
];
/// Iterations of its `rep` instructions.
pub(crate) const SHOOTDOWN_REP: f64 = 64.0;
/// Events of each core that answers; all do at the same time, so the asking one waits for two and an interrupt.
pub(crate) const ANSWER_EVENTS: f64 = 2.0;

impl Shootdown {
    fn counts(&self) -> Counts {
        Counts {
            rep: SHOOTDOWN_REP,
            locked: self.locked,
            events: self.events + ANSWER_EVENTS,
            interrupts: 1.0,
            ..Counts::instructions(self.instructions)
        }
    }
}

/// A value of the paper beside its prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was measured, where.
    pub what: String,
    /// Its unit.
    pub unit: &'static str,
    /// What the model says.
    pub predicted: Span,
    /// What the paper says.
    pub measured: f64,
}

impl Row {
    /// Says whether the paper's value lies in the band.
    pub fn is_inside(&self) -> bool {
        self.predicted.contains(self.measured)
    }

    /// Returns the prediction divided by the paper's value.
    pub fn ratio(&self) -> f64 {
        self.predicted.point / self.measured
    }
}

/// Predicts everything that was held back.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (machine, measured) in [(&AMD, 4799.0), (&INTEL, 1063.0)] {
        rows.push(contended(machine, measured));
    }
    let die = INTEL.same_die.unwrap_or(INTEL.local_cache);
    for (machine, place, cycles, measured) in [
        (&AMD, "one hop", AMD.remote_near, 214.0),
        (&AMD, "two hops", AMD.remote_far, 269.0),
        (&INTEL, "same die", die, 204.0),
        (&INTEL, "same processor", INTEL.local_cache, 145.0),
        (&INTEL, "remote processor", INTEL.remote_far, 251.0),
    ] {
        let what = format!("{}: spin lock, uncontended, {place}", machine.name);
        let predicted = Cost::DECLARED.own(machine, &LOCK) + Span::exactly(cycles);
        rows.push(Row { what, unit: "cycles", predicted, measured });
    }
    for (machine, measured) in [(&AMD, [4247.0, 21_394.0]), (&INTEL, [7224.0, 21_270.0])] {
        for (shootdown, measured) in SHOOTDOWNS.iter().zip(measured) {
            let what = format!("{}: TLB shootdown, {} cores", machine.name, shootdown.cores);
            let predicted = Cost::DECLARED.alone(machine, REAL_CORES, &shootdown.counts());
            rows.push(Row { what, unit: "cycles", predicted, measured });
        }
    }
    rows.extend(read("linux", LINUX_READ_EVENTS, LINUX_READ_LOCKED, 1.1e6));
    rows.extend(read("corey", 0.0, 0.0, 27.2e6));
    rows
}

/// All cores at one lock with nothing in between: what one waits for it, held by each of the others once.
fn contended(machine: &Machine, measured: f64) -> Row {
    let rate = throughput(machine, &Cost::DECLARED, REAL_CORES, &LOCK, &LOCK);
    let cycles = |rate: f64| f64::from(REAL_CORES) * machine.clock / rate;
    let predicted = Span::new(cycles(rate.high), cycles(rate.point), cycles(rate.low));
    Row {
        what: format!("{}: spin lock, 16 cores contend", machine.name),
        unit: "cycles",
        predicted,
        measured,
    }
}

/// 16 cores that read one file, from the system's point at one core.
fn read(system: &str, events: f64, locked: f64, measured: f64) -> Option<Row> {
    let point = Point::of(system)?;
    let own = Own::Cycles(point.cycles());
    let counts = Counts { own, locked, events, hottest: Some(events), ..Counts::instructions(0.0) };
    let predicted = throughput(point.machine, &Cost::DECLARED, REAL_CORES, &counts, &counts);
    let what = format!("{}: pread of {system}, 16 cores", point.machine.name);
    Some(Row { what, unit: "reads/s", predicted, measured })
}

/// Returns the comparison as a table.
pub fn table() -> String {
    let row = |row: Row| {
        let verdict = if row.is_inside() { "inside" } else { "MISS" };
        let ratio = short(row.ratio());
        let predicted = band(row.predicted);
        vec![row.what, row.unit.to_owned(), predicted, short(row.measured), ratio, verdict.to_owned()]
    };
    let rows: Vec<_> = rows().into_iter().map(row).collect();
    markdown(&["held back", "unit", "predicted (band)", "paper", "ratio", "verdict"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_held_back_has_a_row_with_a_verdict() {
        let measured: Vec<f64> = rows().iter().map(|row| row.measured).collect();
        let paper = [
            4799.0, 1063.0, 214.0, 269.0, 204.0, 145.0, 251.0, 4247.0, 21_394.0, 7224.0, 21_270.0, 1.1e6,
            27.2e6,
        ];
        assert_eq!(measured, paper);
        let text = table();
        let verdicts = text.lines().filter(|l| l.ends_with("inside  |") || l.contains(" MISS "));
        assert_eq!(verdicts.count(), paper.len(), "{text}");
    }

    #[test]
    fn predictions_are_sound() {
        for row in rows() {
            assert!(row.predicted.is_sound() && row.predicted.low > 0.0, "{row:?}");
        }
    }

    #[test]
    fn the_page_shows_these_tables() {
        let page = include_str!("../../../../docs/model.md");
        for (name, text) in [("constants", crate::constants::table()), ("self-test", table())] {
            assert!(page.contains(&text), "docs/model.md, {name}: replace the table by\n{text}");
        }
    }
}
