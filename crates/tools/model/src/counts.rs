//! What one operation does, and how that changes with the number of cores.

use crate::span::Span;

/// Work of an operation that needs nobody else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Own {
    /// So many instructions, a `rep` instruction as one.
    Instructions(f64),
    /// So many cycles, measured at one core; instructions, copies and locked operations are in them.
    Cycles(Span),
}

/// What one operation of one core does, on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Work that needs nobody else.
    pub own: Own,
    /// Iterations of `rep` instructions, eight bytes each.
    pub rep: f64,
    /// Locked operations.
    pub locked: f64,
    /// Coherence events: lines that had to come from another core.
    pub events: f64,
    /// Of the events those on the one line that moves most, whichever core's operation moved it: a line has one
    /// place at a time, so this is what cores queue for. `None` where lines are not known.
    pub hottest: Option<f64>,
    /// Interrupts sent to other cores.
    pub interrupts: f64,
}

impl Counts {
    /// An operation that is nothing but instructions.
    pub const fn instructions(number: f64) -> Self {
        Self {
            own: Own::Instructions(number),
            rep: 0.0,
            locked: 0.0,
            events: 0.0,
            hottest: Some(0.0),
            interrupts: 0.0,
        }
    }

    /// Returns how many of the events are on a line that all cores want: none, what is known or one, all.
    pub fn queued(&self) -> Span {
        match self.hottest {
            Some(events) => Span::exactly(events.min(self.events)),
            None => Span::new(0.0, self.events.min(1.0), self.events),
        }
    }

    /// Returns what is left of `self` without `part`, never less than nothing.
    #[must_use]
    pub fn without(&self, part: &Self) -> Self {
        self.with(part, |all, part| (all - part).max(0.0))
    }

    /// Returns `f` of each pair of figures of `self` and `other`.
    fn with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let own = match (self.own, other.own) {
            (Own::Instructions(a), Own::Instructions(b)) => Own::Instructions(f(a, b)),
            (own, _) => own,
        };
        Self {
            own,
            rep: f(self.rep, other.rep),
            locked: f(self.locked, other.locked),
            events: f(self.events, other.events),
            hottest: self.hottest.zip(other.hottest).map(|(a, b)| f(a, b)),
            interrupts: f(self.interrupts, other.interrupts),
        }
    }
}

/// Counts at several numbers of cores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series(Vec<(u32, Counts)>);

impl Series {
    /// Makes a series; what comes later for the same number of cores replaces what came before.
    pub fn new(points: impl IntoIterator<Item = (u32, Counts)>) -> Self {
        let sorted: std::collections::BTreeMap<u32, Counts> =
            points.into_iter().map(|(cores, counts)| (cores, bounded(counts))).collect();
        Self(sorted.into_iter().collect())
    }

    /// Returns the largest number of cores that was counted.
    pub fn counted_to(&self) -> u32 {
        self.0.last().map_or(0, |(cores, _)| *cores)
    }

    /// Returns the counts at `cores`, and how bad they may be: between counted numbers a straight line; beyond the last what was
    /// counted there, at worst rising on as it did between the last two. `None` of an empty series.
    pub fn at(&self, cores: u32) -> Option<(Counts, Counts)> {
        let (first, last) = (self.0.first()?, self.0.last()?);
        if cores <= first.0 {
            return Some((first.1, first.1));
        }
        let line = |a: &(u32, Counts), b: &(u32, Counts)| {
            let part = f64::from(cores - a.0) / f64::from(b.0 - a.0);
            a.1.with(&b.1, |x, y| x + (y - x) * part)
        };
        let above = self.0.iter().position(|(counted, _)| cores <= *counted);
        Some(match (above, self.0.as_slice()) {
            (Some(above), points) => {
                let counts = line(&points[above - 1], &points[above]);
                (counts, counts)
            }
            (None, [.., a, b]) => (last.1, last.1.with(&line(a, b), f64::max)),
            (None, _) => (last.1, last.1),
        })
    }
}

/// `counts` as they are kept: the hottest line has no more events than there are.
fn bounded(counts: Counts) -> Counts {
    Counts { hottest: counts.hottest.map(|hottest| hottest.min(counts.events)), ..counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        let counts = |insn, events| Counts { events, hottest: None, ..Counts::instructions(insn) };
        Series::new([(4, counts(130.0, 8.0)), (1, counts(100.0, 0.0)), (2, counts(110.0, 4.0))])
    }

    #[test]
    fn counts_lie_on_a_line_between_those_that_were_counted() {
        let (at, worst) = series().at(3).unwrap();
        assert_eq!((at.own, at.events), (Own::Instructions(120.0), 6.0));
        assert_eq!(at, worst);
        assert_eq!(series().at(1).unwrap().0.events, 0.0);
    }

    #[test]
    fn beyond_the_last_count_it_stays_or_rises_on() {
        let (at, worst) = series().at(8).unwrap();
        assert_eq!((at.events, worst.events), (8.0, 16.0));
        assert_eq!((series().counted_to(), Series::default().at(1)), (4, None));
        let falling = Series::new([(1, Counts::instructions(9.0)), (2, Counts::instructions(5.0))]);
        assert_eq!(falling.at(64).unwrap().1.own, Own::Instructions(5.0), "nothing is expected to fall on");
    }

    #[test]
    fn without_lines_one_event_queues_and_all_may() {
        let counts = series().at(4).unwrap().0;
        assert_eq!(counts.queued(), Span::new(0.0, 1.0, 8.0));
        assert_eq!(Counts { hottest: Some(9.0), ..counts }.queued(), Span::exactly(8.0));
    }
}
