//! What is wrong: lines without an explanation, calls that cost more than they promise, exceptions of no use.

use std::collections::BTreeMap;
use std::fmt;

use corey_abi::{Cost, cost_of};
use corey_lib_sharing::{Case, EXCEPTIONS, LEFT_OUT, NOT_BY_RING, PAIR, Part, plan};

use super::analysis::{Line, Measured, Operations, Why, fits};

/// Lines shown of one kind.
const SHOWN: usize = 40;

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Private,
    Shared,
    Alone,
    Costs,
    Planted,
    Ring,
    PlantedRing,
    Exceptions,
}

impl Check {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Private, "calls on private objects share no line"),
        (Self::Shared, "calls on shared objects share only lines of these"),
        (Self::Alone, "a call alone on many cores shares no line"),
        (Self::Costs, "calls cost no more than they promise, and alone they move no line"),
        (Self::Planted, "a planted violation is found"),
        (Self::Ring, "calls by rings of two kernel cores share no line but each ring's own"),
        (Self::PlantedRing, "a planted violation of two kernel cores is found"),
        (Self::Exceptions, "every exception explains something"),
    ];
}

/// The result of a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// What was measured, a sentence each.
    summary: Vec<String>,
    /// What is wrong.
    wrong: Vec<(Check, String)>,
    /// What could be promised.
    advice: Vec<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }

    fn blame(&mut self, check: Check, text: String) {
        self.wrong.push((check, text));
    }

    /// What is wrong, by check; nothing is good.
    pub(crate) fn by_check(&self) -> Vec<(&'static str, Vec<String>)> {
        let of = |check| self.wrong.iter().filter(move |(c, _)| *c == check).map(|(_, text)| text.clone());
        Check::ALL.into_iter().map(|(check, name)| (name, of(check).collect())).collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.summary.iter().chain(&self.advice);
        all.into_iter().try_for_each(|line| writeln!(f, "sharing: {line}"))?;
        for (_, line) in self.wrong.iter().take(SHOWN) {
            writeln!(f, "  WRONG    {line}")?;
        }
        match self.wrong.len() {
            0 => writeln!(f, "sharing: nothing is shared but what was asked for"),
            n => writeln!(f, "sharing: {n} things are wrong"),
        }
    }
}

/// Judges a run; `complete` says that every pair of every part was measured.
pub(super) fn judge(found: &[Measured], complete: bool) -> Verdict {
    let mut verdict = Verdict::default();
    for (part, check) in [
        (Part::Private, Check::Private),
        (Part::Shared, Check::Shared),
        (Part::Alone, Check::Alone),
        (Part::Ring, Check::Ring),
    ] {
        let of: Vec<&Measured> = found.iter().filter(|m| m.part == part).collect();
        if of.is_empty() {
            continue;
        }
        let lines = of.iter().flat_map(|m| &m.lines);
        let count = |wanted: fn(&Why) -> bool| lines.clone().filter(|l| wanted(&l.why)).count();
        verdict.summary.push(format!(
            "{}: {} measured, {} lines shared: {} of an object that both can reach, {} known exceptions, {} unexplained",
            part.name(),
            of.len(),
            lines.clone().count(),
            count(|why| *why == Why::Object),
            count(|why| matches!(why, Why::Exception(_))),
            count(|why| *why == Why::Unexplained),
        ));
        unexplained(&mut verdict, check, &of);
    }
    for (what, why) in LEFT_OUT {
        verdict.summary.push(format!("not measured: {what}: {why}"));
    }
    by_ring(&mut verdict, found);
    costs(&mut verdict, found);
    planted(&mut verdict, found);
    stale(&mut verdict, found, complete);
    verdict
}

/// Lines that nothing explains: the same place and call sites once, however many pairs have it.
fn unexplained(verdict: &mut Verdict, check: Check, found: &[&Measured]) {
    let mut same = BTreeMap::<(String, String, String), (usize, String)>::new();
    for measured in found {
        for line in measured.lines.iter().filter(|line| line.why == Why::Unexplained) {
            let key = (line.writer.place.clone(), line.writer.site.clone(), line.other.site.clone());
            let text = format!("{}: {}", measured.part.name(), line.text());
            same.entry(key).or_insert((0, text)).0 += 1;
        }
    }
    let told = same.into_values().map(|(count, text)| match count {
        1 => text,
        _ => format!("{text} ({count} times)"),
    });
    verdict.wrong.extend(told.map(|text| (check, text)));
}

/// Whether an exception lets these two share.
fn excepted(measured: &Measured) -> bool {
    EXCEPTIONS.iter().any(|e| e.concerns(measured.part, measured.first, measured.second))
}

/// Compares what calls on private objects did with what they promise.
fn costs(verdict: &mut Verdict, found: &[Measured]) {
    let mut highest = BTreeMap::<&str, Operations>::new();
    // What is wrong with a case: how often, and where first.
    let mut wrong = BTreeMap::<String, (usize, String)>::new();
    let private = found.iter().filter(|m| matches!(m.part, Part::Private | Part::Alone));
    for measured in private {
        let place = || {
            let (first, second) = (measured.first.name(), measured.second.name());
            format!("{}, {first} × {second}, {} cores", measured.part.name(), measured.workers)
        };
        for operations in &measured.operations {
            let Some(cost) = cost_of(operations.case.call()) else { continue };
            // Beside an exception, lines move that are not its own.
            let events =
                if excepted(measured) && measured.part == Part::Private { 0 } else { operations.events };
            let seen = Operations { events, ..*operations };
            let name = operations.case.name();
            let above = figures(cost, &seen).into_iter().filter(|(promised, had, _)| had > promised);
            let mut texts: Vec<String> = above
                .map(|(promised, had, what)| {
                    format!("{name} promises {promised} {what} at most and had {had}")
                })
                .collect();
            if seen.events > 0 && measured.part == Part::Alone && !excepted(measured) {
                texts.push(format!("{name} alone moves {} lines, and no exception says why", seen.events));
            }
            for text in texts {
                wrong.entry(text).or_insert_with(|| (0, place())).0 += 1;
            }
            let most = highest.entry(operations.case.call()).or_insert(seen);
            most.locks = most.locks.max(seen.locks);
            most.locked = most.locked.max(seen.locked);
            most.events = most.events.max(seen.events);
            most.interrupts = most.interrupts.max(seen.interrupts);
        }
    }
    for (text, (count, first)) in wrong {
        verdict.blame(Check::Costs, format!("{text} ({count} times; first: {first})"));
    }
    for (call, most) in highest {
        let Some(cost) = cost_of(call) else { continue };
        for (promised, had, what) in figures(cost, &most) {
            if promised != corey_abi::ANY && had < promised {
                verdict.advice.push(format!("{call} promises {promised} {what} and had {had} at most"));
            }
        }
    }
}

/// Promised, seen, and of what.
fn figures(cost: &Cost, seen: &Operations) -> [(u64, u64, &'static str); 4] {
    [
        (cost.locks, seen.locks, "locks"),
        (cost.locked, seen.locked, "atomic operations"),
        (cost.events, seen.events, "events"),
        (cost.interrupts, seen.interrupts, "interrupts"),
    ]
}

/// Says what went by ring. Every caller moves lines to and from its own kernel core, or the meter does not see what that does.
fn by_ring(verdict: &mut Verdict, found: &[Measured]) {
    let of = || found.iter().filter(|m| m.part == Part::Ring);
    if of().next().is_none() {
        return;
    }
    let (ran, all) = (of().count(), plan(Part::Ring, PAIR, None, None).count());
    let cases = Case::ALL.iter().filter(|case| case.why_not_by_ring().is_none()).count();
    verdict.summary.push(format!(
        "ring: ran {ran} of {all} pairs of the {cases} of {} cases that go by ring",
        Case::ALL.len()
    ));
    for (cases, why) in NOT_BY_RING {
        let names: Vec<&str> = cases.iter().map(|case| case.name()).collect();
        verdict.summary.push(format!("not by ring: {}: {why}", names.join(", ")));
    }
    for measured in of() {
        for operations in &measured.operations {
            let own =
                |line: &&Line| [&line.writer, &line.other].iter().all(|side| side.core == operations.core);
            if !measured.lines.iter().any(|line| own(&line)) {
                let (first, second) = (measured.first.name(), measured.second.name());
                let text = format!(
                    "ring, {first} × {second}: no line goes over between core {} and its kernel core: this tool is blind",
                    operations.core
                );
                verdict.blame(Check::Ring, text);
            }
        }
    }
}

/// The planted violations must have been found, with their field: both cores set the size of one segment, by ring both
/// kernel cores.
fn planted(verdict: &mut Verdict, found: &[Measured]) {
    const OBJECT: &str = "Segment:both growing";
    const FIELD: &str = "Segment:both growing.npages";
    for measured in found {
        let check = match measured.part {
            Part::Planted => Check::Planted,
            Part::PlantedRing => Check::PlantedRing,
            _ => continue,
        };
        // Between the two callers' operations; by ring it is their kernel cores that do it.
        let is_it = |line: &&Line| {
            let sides = [&line.writer, &line.other];
            let by_ring = sides.iter().all(|side| (side.cpu != side.core) == measured.part.is_by_ring());
            line.why == Why::Unexplained
                && by_ring
                && line.writer.core != line.other.core
                && line.writer.place == FIELD
                && line.other.place.starts_with(OBJECT)
        };
        match measured.lines.iter().find(is_it) {
            Some(line) => verdict.summary.push(format!("planted, and found: {}", line.text())),
            None => verdict.blame(
                check,
                format!(
                    "{}: a planted violation was not found ({FIELD}): this tool is blind",
                    measured.part.name()
                ),
            ),
        }
    }
}

/// Exceptions that explain nothing any more.
fn stale(verdict: &mut Verdict, found: &[Measured], complete: bool) {
    for exception in EXCEPTIONS {
        let concerned = found.iter().filter(|m| exception.concerns(m.part, m.first, m.second));
        // Alone, lines that move between a core and its target are no other worker's.
        let used = |m: &Measured| {
            // One that another exception explains too is not of no use.
            let excepted = |line: &&Line| matches!(line.why, Why::Exception(_));
            m.lines.iter().filter(excepted).any(|l| fits(exception, m.part, &l.writer, &l.other))
                || m.part == Part::Alone && m.operations.iter().any(|o| o.events > 0)
        };
        let used = concerned.into_iter().any(used);
        if complete && !used {
            verdict
                .blame(Check::Exceptions, format!("an exception explains nothing any more: {exception:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::analysis::tests::{measured, measured_by};
    use super::*;

    fn wrong(found: &[Measured], check: &str) -> Vec<String> {
        let all = judge(found, false).by_check();
        all.into_iter().find(|(name, _)| name.contains(check)).unwrap().1
    }

    #[test]
    fn an_unexplained_line_fails_and_says_where() {
        let found = measured(Part::Private, Case::SegmentGrow, Case::SegmentGetNbytes, &[(0x1100, 0x1100)]);
        let wrong = wrong(&found, "private objects share");
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].contains("Segment:both growing.npages: written by grow"), "{wrong:?}");
    }

    #[test]
    fn the_same_line_of_many_pairs_is_told_once() {
        let pair = || measured(Part::Private, Case::SegmentGrow, Case::SegmentGetNbytes, &[(0x1100, 0x1100)]);
        let found = [pair(), pair(), pair()].concat();
        let wrong = wrong(&found, "private objects share");
        assert!(wrong.len() == 1 && wrong[0].ends_with("(3 times)"), "{wrong:?}");
    }

    #[test]
    fn a_tool_that_finds_no_planted_violation_is_blind() {
        let planted = |lines| measured(Part::Planted, Case::SegmentGrow, Case::SegmentGrow, lines);
        assert!(wrong(&planted(&[]), "planted")[0].contains("blind"));
        assert!(
            wrong(&planted(&[(0x2100, 0x2100)]), "planted")[0].contains("blind"),
            "another line does not count"
        );
        assert!(wrong(&planted(&[(0x1100, 0x1100)]), "planted").is_empty());
    }

    #[test]
    fn by_ring_it_must_be_two_kernel_cores_that_share_the_planted_line() {
        let planted =
            |side, lines| measured_by(Part::PlantedRing, Case::SegmentGrow, Case::SegmentGrow, lines, side);
        let line = &[((1, 0x1100), (2, 0x1100))];
        assert!(wrong(&planted(5, line), "planted violation of two kernel").is_empty());
        assert!(wrong(&planted(0, line), "planted violation of two kernel")[0].contains("blind"));
        let own = &[((1, 0x1100), (1, 0x1100))];
        assert!(wrong(&planted(5, own), "planted violation of two kernel")[0].contains("blind"));
    }

    #[test]
    fn a_kernel_core_that_touches_nothing_of_its_callers_is_not_believed() {
        let ring = |lines: &[_]| measured_by(Part::Ring, Case::ObjGetName, Case::CounterRead, lines, 5);
        // The calls go over, at both cores.
        let (first, second) = (((1, 0x4000), (1, 0x4000)), ((2, 0x4100), (2, 0x4100)));
        assert!(wrong(&ring(&[first, second]), "rings of two kernel cores").is_empty());
        let blind = wrong(&ring(&[first]), "rings of two kernel cores");
        assert!(blind.len() == 1 && blind[0].contains("core 2 and its kernel core"), "{blind:?}");
    }

    #[test]
    fn a_call_that_costs_more_than_it_promises_fails() {
        let mut found = measured(Part::Alone, Case::CounterRead, Case::CounterRead, &[]);
        assert!(wrong(&found, "promise").is_empty());
        found[0].operations[0].locks = 9;
        assert!(wrong(&found, "promise")[0].contains("promises 0 locks at most and had 9"));
        found[0].operations[0].locks = 0;
        found[0].operations[1].events = 1;
        assert_eq!(wrong(&found, "promise").len(), 2, "more than promised, and no exception says why");
    }

    #[test]
    fn exceptions_that_explain_nothing_fail_a_full_run() {
        let verdict = judge(&[], true);
        let stale = verdict.wrong.iter().filter(|(check, _)| *check == Check::Exceptions).count();
        assert_eq!(stale, EXCEPTIONS.len());
        assert!(judge(&[], false).is_good());
    }

    #[test]
    fn what_moves_lines_alone_has_an_exception_for_it() {
        for case in Case::ALL {
            let Some(cost) = cost_of(case.call()) else { continue };
            let excepted = EXCEPTIONS.iter().any(|e| e.concerns(Part::Alone, *case, *case));
            assert!(cost.events == 0 || excepted, "{}: add an exception for Part::Alone", case.name());
        }
    }
}
