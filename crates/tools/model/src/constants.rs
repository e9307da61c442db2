//! Every number that goes into a prediction, with where it comes from.

use crate::machine::{MACHINES, REAL_CORES};
use crate::paper::{LINUX_READ_EVENTS, POINTS, READ_REP};
use crate::predict::Cost;
use crate::selftest::{ANSWER_EVENTS, LINUX_READ_LOCKED, LOCK_INSTRUCTIONS, SHOOTDOWN_REP, SHOOTDOWNS};
use crate::span::Span;
use crate::table::{band, markdown};

/// A number and its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// What it is.
    pub name: String,
    /// Its value and band.
    pub value: Span,
    /// Its unit.
    pub unit: &'static str,
    /// Where it comes from.
    pub source: &'static str,
}

/// Lists all of them: the paper's first, then what is declared.
pub fn constants() -> Vec<Constant> {
    let figure = "paper, Figure 1, memory references";
    let mut list = Vec::new();
    let mut add = |name: String, value: Span, unit: &'static str, source: &'static str| {
        list.push(Constant { name, value, unit, source });
    };
    for m in MACHINES {
        let mut latency = |name: &str, cycles: Option<f64>| {
            if let Some(cycles) = cycles {
                add(format!("{}: {name}", m.name), Span::exactly(cycles), "cycles", figure);
            }
        };
        latency("L1 access (listed, not used)", Some(m.l1));
        latency("L2 access (listed, not used)", Some(m.l2));
        latency("L3 access (listed, not used)", m.l3);
        latency("RAM", Some(m.ram));
        latency("remote RAM, one hop (listed, not used)", m.remote_ram.map(|[near, _]| near));
        latency("remote RAM, two hops (listed, not used)", m.remote_ram.map(|[_, far]| far));
        latency("L1 same die", m.same_die);
        latency("local cache", Some(m.local_cache));
        if m.remote_near < m.remote_far {
            latency("remote cache, one hop", Some(m.remote_near));
            latency("remote cache, two hops", Some(m.remote_far));
        } else {
            latency("remote cache", Some(m.remote_far));
        }
        add(format!("{}: clock", m.name), Span::exactly(m.clock), "cycles/s", "paper, §2");
        let transfer = m.transfer(REAL_CORES);
        let source = "nearest, mean of all pairs, farthest: from the rows above and §2's chips";
        add(format!("{}: a line's way at 16 cores", m.name), transfer, "cycles", source);
        let copy = Cost::DECLARED.iteration_on(&m);
        let source = "declared: 8 bytes a cycle at best, a line from RAM for each 8 at worst, geometric mean";
        add(format!("{}: a rep iteration", m.name), copy, "cycles", source);
    }
    for point in &POINTS {
        let half = point.rounding;
        let rate = Span::new(point.rate - half, point.rate, point.rate + half);
        add(
            format!("{}: reads on one core", point.system),
            rate,
            "reads/s",
            "paper, §7.3, Intel; band: its rounding",
        );
    }
    add("rep iterations of a read".into(), Span::exactly(READ_REP), "", "paper, §7.3: 4 KB; 8 bytes each");
    let misses = "paper, §7.3, a profile at 16 cores; all on the lock's line";
    add("linux: events of a read".into(), Span::exactly(LINUX_READ_EVENTS), "events", misses);
    let (ours, of) = ("counted on ours: bench fig1/lockcontended --count", "of a lock taken and given back");
    add(format!("{of}: instructions"), Span::exactly(LOCK_INSTRUCTIONS), "", ours);
    add(format!("{of}: events, locked operations, each"), Span::exactly(1.0), "", ours);
    add(
        "locked operations of a Linux read".into(),
        Span::exactly(LINUX_READ_LOCKED),
        "",
        "paper, §4.2: its lock is one word, taken and given back",
    );
    let ours = "counted on ours: bench fig1/shootdown --count; the paper has no counts";
    for shootdown in SHOOTDOWNS {
        let of = format!("of a shootdown, {} cores", shootdown.cores);
        add(format!("{of}: instructions of who asks"), Span::exactly(shootdown.instructions), "", ours);
        add(format!("{of}: its locked operations"), Span::exactly(shootdown.locked), "", ours);
        add(format!("{of}: its events"), Span::exactly(shootdown.events), "events", ours);
    }
    add("of a shootdown: rep iterations".into(), Span::exactly(SHOOTDOWN_REP), "", ours);
    add("of a shootdown: events of one that answers".into(), Span::exactly(ANSWER_EVENTS), "events", ours);
    let Cost { instruction, locked, interrupt, .. } = Cost::DECLARED;
    let declared = "declared; no figure of the paper";
    let unless = "declared; calibrated where pread was counted on both systems";
    add("an instruction".into(), instruction, "cycles", unless);
    add("a locked operation, its line here".into(), locked, "cycles", declared);
    add("an interrupt, for who takes it".into(), interrupt, "cycles", declared);
    list
}

/// Returns them as a table.
pub fn table() -> String {
    let row = |c: Constant| vec![c.name, band(c.value), c.unit.to_owned(), c.source.to_owned()];
    let rows: Vec<_> = constants().into_iter().map(row).collect();
    markdown(&["constant", "value (band)", "unit", "source"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_constant_is_sound_has_a_source_and_a_name_of_its_own() {
        let list = constants();
        for constant in &list {
            assert!(constant.value.is_sound() && !constant.source.is_empty(), "{constant:?}");
        }
        let names: std::collections::BTreeSet<&str> = list.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names.len(), list.len());
        assert_eq!(table().lines().count(), list.len() + 2);
    }

    #[test]
    fn nothing_held_back_is_among_them() {
        let held = crate::selftest::rows().into_iter().map(|row| row.measured);
        for (value, constant) in held.flat_map(|v| constants().into_iter().map(move |c| (v, c))) {
            assert!((constant.value.point - value).abs() > 0.1, "{}", constant.name);
        }
    }
}
