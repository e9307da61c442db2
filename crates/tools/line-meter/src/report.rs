//! Figures as JSON lines.

use std::fmt::Write;

use corey_lib_bench::table;

use std::collections::HashMap;

use crate::footprint::Touch;
use crate::meter::{Counts, Figures, Heat, Lines, Pair};

type Field = (&'static str, fn(&Counts) -> u64);

/// Fields that are given as median and mean; where operations end in batches, twice as mean.
const FIELDS: [Field; 8] = [
    ("insn_user", |c| c.insn_user),
    ("insn_kernel", |c| c.insn_kernel),
    ("rep", |c| c.rep),
    ("locked", |c| c.locked),
    ("mmio", |c| c.mmio),
    ("icr", |c| c.icr),
    ("cr3", |c| c.cr3),
    ("invlpg", |c| c.invlpg),
];

/// Returns the lines of one report of benchmark variant `id`: one `count` line for each core, one
/// for the machine and one for both ends if it had operations, `hot` lines for the `most` hottest pairs, `insn` lines
/// for every instruction of a profile, and one `meter` line that says what was left out.
///
/// `number` counts the reports from 0: the n-th belongs to the guest's n-th record.
pub fn lines(number: u64, id: u32, figures: &Figures, most: usize) -> String {
    let mut text = String::new();
    let head = format!("\"report\":{number},\"cores\":{}", figures.cores.len());
    if let Some(lines) = &figures.lines {
        shared(&mut text, id, &head, figures, lines);
    }
    // With footprints, `operations` records stand in their place.
    for (core, operations) in figures.cores.iter().filter(|_| figures.lines.is_none()) {
        line(&mut text, id, &format!("{head},\"core\":{core}"), operations);
    }
    if !figures.machine.is_empty() {
        line(&mut text, id, &format!("{head},\"machine\":true"), &figures.machine);
        line(&mut text, id, &format!("{head},\"machine\":\"ends\""), &figures.ends);
    }
    let sorted = |hot: &'_ HashMap<Pair, Heat>| {
        let mut pairs: Vec<(Pair, Heat)> = hot.iter().map(|(pair, heat)| (*pair, *heat)).collect();
        pairs.sort_by_key(|(pair, heat)| (std::cmp::Reverse(heat.events), *pair));
        pairs
    };
    let (pairs, machine) = (sorted(&figures.hot), sorted(&figures.hot_machine));
    let shown = pairs.iter().take(most).map(|pair| (pair, ""));
    for (((pc, line), heat), who) in
        shown.chain(machine.iter().take(most).map(|pair| (pair, "\"machine\":true,")))
    {
        put(
            &mut text,
            format_args!(
                "{{\"record\":\"hot\",{head},{who}\"bench\":{id},\"symbol_pc\":\"{pc:#x}\",\"line\":\"{:#x}\",\
                 \"vaddr\":\"{:#x}\",\"events\":{}}}",
                line << crate::directory::LINE_SHIFT,
                heat.vaddr,
                heat.events
            ),
        );
    }
    if let Some(profile) = &figures.profile {
        instructions(&mut text, id, &head, &profile.own);
        instructions(&mut text, id, &format!("{head},\"machine\":true"), &profile.machine);
    }
    let left_out = pairs.len().saturating_sub(most);
    let events: u64 = pairs.iter().skip(most).map(|(_, heat)| heat.events).sum();
    put(
        &mut text,
        format_args!(
            "{{\"record\":\"meter\",{head},\"bench\":{id},\"pairs\":{},\"pairs_left_out\":{left_out},\
             \"events_left_out\":{events},\"markers_misplaced\":{}}}",
            pairs.len(),
            figures.misplaced
        ),
    );
    text
}

/// Highest figures of the operations of each core, and the lines that two cores have in common.
fn shared(text: &mut String, id: u32, head: &str, figures: &Figures, lines: &Lines) {
    for (core, operations) in &figures.cores {
        let case = lines.ids.iter().find(|(number, _)| number == core).map_or(0, |(_, case)| *case);
        let highest = |field: fn(&Counts) -> u64| operations.iter().map(field).max().unwrap_or(0);
        put(
            text,
            format_args!(
                "{{\"record\":\"operations\",{head},\"part\":{id},\"core\":{core},\"case\":{case},\"ops\":{},\
                 \"insn\":{},\"locks_max\":{},\"locked_max\":{},\"events_max\":{},\"icr_max\":{},\"mmio_max\":{}}}",
                operations.len(),
                Values::of(operations, |c| c.insn_user + c.insn_kernel).median(),
                highest(|c| c.locks),
                highest(|c| c.locked),
                highest(|c| c.events),
                highest(|c| c.icr),
                highest(|c| c.mmio),
            ),
        );
    }
    for line in &lines.shared {
        let touch = |touch: &Touch| {
            format!(
                "{{\"core\":{},\"cpu\":{},\"pc\":\"{:#x}\",\"vaddr\":\"{:#x}\",\"addr\":\"{:#x}\",\"wrote\":{}}}",
                touch.party, touch.cpu, touch.pc, touch.vaddr, touch.physical, touch.wrote
            )
        };
        let (writer, other) = (touch(&line.writer), touch(&line.other));
        put(
            text,
            format_args!(
                "{{\"record\":\"shared\",{head},\"part\":{id},\"writer\":{writer},\"other\":{other}}}"
            ),
        );
    }
}

fn instructions(text: &mut String, id: u32, head: &str, profile: &HashMap<u64, u64>) {
    let mut sorted: Vec<_> = profile.iter().collect();
    sorted.sort_unstable();
    for (pc, count) in sorted {
        put(
            text,
            format_args!(
                "{{\"record\":\"insn\",{head},\"bench\":{id},\"symbol_pc\":\"{pc:#x}\",\"count\":{count}}}"
            ),
        );
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes everything");
}

fn line(text: &mut String, id: u32, who: &str, operations: &[Counts]) {
    let (name, variant) = table::names(id).unwrap_or(("unknown", "unknown"));
    let mut line = format!(
        "{{\"record\":\"count\",\"id\":{id},\"bench\":\"{name}\",\"variant\":\"{variant}\",{who},\"ops\":{}",
        operations.len()
    );
    let mut add = |name: &str, suffix: &str, value: String| {
        write!(line, ",\"{name}{suffix}\":{value}").expect("a string takes everything");
    };
    for (name, field) in FIELDS {
        let values = Values::of(operations, field);
        let middle = if table::ends_in_batches(id) { values.mean() } else { values.median().to_string() };
        add(name, "", middle);
        add(name, "_mean", values.mean());
    }
    let events = Values::of(operations, |c| c.events);
    add("events", "_median", events.median().to_string());
    add("events", "_mean", events.mean());
    add("events", "_max", events.max().to_string());
    add("events", "_rep_max", Values::of(operations, |c| c.events_rep).max().to_string());
    // The worst operation outside copying and zeroing is a figure of its own.
    let other = Values::of(operations, |c| c.events - c.events_rep);
    add("events", "_other_max", other.max().to_string());
    put(text, format_args!("{line}}}"));
}

/// Sorted values of one field.
struct Values(Vec<u64>);

impl Values {
    fn of(operations: &[Counts], field: fn(&Counts) -> u64) -> Self {
        let mut values: Vec<u64> = operations.iter().map(field).collect();
        values.sort_unstable();
        Self(values)
    }

    /// The middle value; of an even number the lower middle.
    fn median(&self) -> u64 {
        self.0.get(self.0.len().saturating_sub(1) / 2).copied().unwrap_or(0)
    }

    /// The mean with three decimals.
    fn mean(&self) -> String {
        format!("{:.3}", self.0.iter().sum::<u64>() as f64 / self.0.len().max(1) as f64)
    }

    fn max(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint::SharedLine;
    use crate::meter::Profile;

    fn operation(insn_user: u64, events: u64) -> Counts {
        Counts { insn_user, events, ..Counts::default() }
    }

    #[test]
    fn a_core_line_has_medians_means_and_maximum() {
        let operations = vec![operation(5, 0), operation(100, 9), operation(6, 0)];
        let figures = Figures { cores: vec![(2, operations)], ..Figures::default() };
        let text = lines(3, table::NULL_CURRENT, &figures, 40);
        let first = text.lines().next().unwrap();
        for part in [
            "{\"record\":\"count\",\"id\":16,\"bench\":\"null\",\"variant\":\"current\",\"report\":3,\"cores\":1,\"core\":2,\"ops\":3,",
            "\"insn_user\":6,\"insn_user_mean\":37.000,",
            "\"events_median\":0,\"events_mean\":3.000,\"events_max\":9,",
        ] {
            assert!(first.contains(part), "{part} in {first}");
        }
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn the_machine_has_lines_of_its_own() {
        let machine = vec![operation(50, 4)];
        let figures = Figures { machine, ends: vec![operation(20, 3)], ..Figures::default() };
        let text = lines(0, table::RUN_DEFAULT, &figures, 2);
        let found: Vec<_> = text.lines().collect();
        assert!(found[0].contains("\"machine\":true,\"ops\":1,\"insn_user\":50"), "{text}");
        assert!(found[1].contains("\"machine\":\"ends\",\"ops\":1,\"insn_user\":20"), "{text}");
    }

    #[test]
    fn a_profile_has_a_line_for_each_instruction() {
        let profile = Profile { own: [(0x20, 3), (0x10, 1)].into(), machine: [(0x30, 2)].into() };
        let text = lines(0, 32, &Figures { profile: Some(profile), ..Figures::default() }, 2);
        let found: Vec<_> = text.lines().collect();
        assert!(
            found[0].contains("\"record\":\"insn\"")
                && found[0].contains("\"symbol_pc\":\"0x10\",\"count\":1")
        );
        assert!(found[1].contains("\"symbol_pc\":\"0x20\",\"count\":3"));
        assert!(found[2].contains("\"machine\":true") && found[2].contains("\"count\":2"));
    }

    #[test]
    fn what_is_left_out_is_said() {
        let heat = |events| Heat { events, vaddr: 0x10 };
        let hot = [((1, 1), heat(5)), ((2, 1), heat(7)), ((3, 4), heat(1))].into();
        let text = lines(0, 32, &Figures { hot, ..Figures::default() }, 2);
        let found: Vec<_> = text.lines().collect();
        assert!(found[0].contains("\"symbol_pc\":\"0x2\",\"line\":\"0x40\",\"vaddr\":\"0x10\",\"events\":7"));
        assert!(found[1].contains("\"events\":5"));
        assert!(found[2].contains("\"pairs\":3,\"pairs_left_out\":1,\"events_left_out\":1"));
    }

    #[test]
    fn a_shared_line_is_told_from_both_ends() {
        let touch = |core, pc, wrote| Touch { party: core, cpu: core, pc, vaddr: 5, physical: 0x48, wrote };
        let shared = vec![SharedLine { writer: touch(1, 0x20, true), other: touch(2, 0x30, false) }];
        let lines = Lines { ids: vec![(1, 0xc01), (2, 0xc02)], shared, touched: 9 };
        let cores = vec![(1, vec![operation(5, 2)]), (2, vec![operation(7, 0)])];
        let text = super::lines(4, 0xbf0, &Figures { cores, lines: Some(lines), ..Figures::default() }, 2);
        let found: Vec<_> = text.lines().collect();
        assert!(found[0].contains(
            "\"report\":4,\"cores\":2,\"part\":3056,\"core\":1,\"case\":3073,\"ops\":1,\"insn\":5"
        ));
        assert!(found[0].contains("\"events_max\":2"));
        assert!(found[2].contains("\"writer\":{\"core\":1,\"cpu\":1,\"pc\":\"0x20\",\"vaddr\":\"0x5\",\"addr\":\"0x48\",\"wrote\":true}"));
        assert!(found[2].contains("\"other\":{\"core\":2,") && found[2].contains("\"wrote\":false}"));
        assert!(found[3].contains("\"record\":\"meter\""));
        assert_eq!(found.len(), 4);
    }
}
