//! Counts: both guests under the line meter, cores taking turns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use comfy_table::{Table, presets};
use serde_json::Value;

use crate::lines::Lines;
use crate::process::quiet;
use crate::qemu::Execution;
use crate::symbols::Symbols;
use crate::{Result, paths, pool, toolchain};

use super::guest::{Guests, Meter, Mode, Said, System};
use super::profile::Profile;
use super::records::{Row, Stamp, median, or_dash, short};
use super::{Plan, caveats, folder, hot};

/// The figures of a row: what all its cores say, and what the guest counted itself.
#[derive(Clone, Debug, Default)]
struct Figures {
    cores: Vec<Value>,
    faults: Option<u64>,
    ipis: Option<u64>,
}

type Rows = BTreeMap<Row, BTreeMap<System, Figures>>;

/// What was counted.
#[derive(Default)]
struct Counted {
    /// Every record.
    all: Vec<String>,
    rows: Rows,
    /// What is missing, and why.
    missing: Vec<String>,
    lists: Vec<(System, hot::List)>,
    profiles: Vec<(System, Profile)>,
}

/// The figures of one row of ours.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) row: Row,
    /// Instructions of an operation: median of the cores' medians.
    pub(super) insn: f64,
    /// Events of an operation: mean of the cores' means.
    pub(super) events: f64,
}

/// Counts ours alone and prints nothing but progress.
///
/// # Errors
///
/// A record that is missing.
pub(super) fn figures(guests: &Guests, plans: &[Plan]) -> Result<Vec<Figure>> {
    let counted = collect(guests, plans, false)?;
    if let Some(failure) = counted.missing.first() {
        return Err(format!("not every record was given: {failure}").into());
    }
    let figure = |(row, systems): (&Row, &BTreeMap<System, Figures>)| {
        let ours = systems.get(&System::Corey)?;
        Some(Figure { row: row.clone(), insn: ours.instructions()?, events: ours.mean_events()? })
    };
    Ok(counted.rows.iter().filter_map(figure).collect())
}

/// One boot under the meter.
#[derive(Clone, Copy, Debug)]
struct Run<'a> {
    number: usize,
    system: System,
    plan: &'a Plan,
}

/// Where a run's counts, and Linux's function names, are.
#[derive(Debug)]
struct Files {
    out: PathBuf,
    kallsyms: PathBuf,
}

impl Run<'_> {
    fn count(&self, guests: &Guests, library: &Path, words: &str) -> Result<(&Self, Files, Said)> {
        let Self { number, system, plan } = self;
        let folder = folder()?;
        let file = |what: &str| folder.join(format!("{what}-{}-{number}", system.name()));
        let files = Files { out: file("count"), kallsyms: file("kallsyms") };
        let mode = Mode {
            cores: &plan.cores,
            execution: Execution::Counted,
            meter: Some(Meter { library, out: &files.out, words }),
            kallsyms: Some(&files.kallsyms),
            title: "counting (minutes, not seconds)",
        };
        let said = guests.run(*system, plan, mode)?;
        Ok((self, files, said))
    }
}

fn collect(guests: &Guests, plans: &[Plan], profiled: bool) -> Result<Counted> {
    let library = build_meter()?;
    let Counted { mut all, mut rows, mut missing, mut lists, mut profiles } = Counted::default();
    let words = if profiled { ",profile=on" } else { "" };
    let stamp = Stamp::new(Execution::Counted);
    let systems = guests.systems().into_iter();
    let runs = systems.flat_map(|system| plans.iter().map(move |plan| (system, plan)));
    let runs: Vec<Run<'_>> =
        runs.enumerate().map(|(number, (system, plan))| Run { number, system, plan }).collect();
    // The client of a card would wait for its processor, and its server for it.
    let (loaded, others): (Vec<&Run<'_>>, Vec<&Run<'_>>) = runs.iter().partition(|run| run.plan.cards);
    let mut done = pool::all(&others, pool::width(), |run| run.count(guests, &library, words))?;
    for run in loaded {
        done.push(run.count(guests, &library, words)?);
    }
    done.sort_by_key(|(run, ..)| run.number);
    for (Run { system, .. }, files, said) in done {
        let system = *system;
        missing.extend(said.failure.clone());
        let metered = std::fs::read_to_string(&files.out).unwrap_or_default();
        let symbols = symbols(guests, system, &files.kallsyms)?;
        let list = hot::List::new(&said, &metered, &symbols);
        if !join(&mut rows, system, &said, &metered) {
            missing.push(format!("{}: a report is not of its record", system.name()));
        }
        if profiled {
            let lines = if system == System::Corey { Lines::of(&guests.images)? } else { Lines::none() };
            profiles.push((system, Profile::new(&said, &metered, &symbols, &lines)));
        }
        all.extend(said.lines.iter().filter(|l| !hot::is_map(l)).map(|l| stamp.add(l, "")));
        let named = |line| stamp.add(line, &format!(",\"system\":\"{}\"{}", system.name(), list.more(line)));
        all.extend(metered.lines().map(named));
        lists.push((system, list));
    }
    Ok(Counted { all, rows, missing, lists, profiles })
}

/// Counts in each guest, prints table and hot list, and where instructions go if `profiled`; returns every record
/// and what is missing.
pub(super) fn measure(guests: &Guests, plans: &[Plan], profiled: bool) -> Result<(Vec<String>, Vec<String>)> {
    let Counted { all, rows, missing, lists, profiles } = collect(guests, plans, profiled)?;
    println!("{}", table(&rows));
    println!(
        "Per operation. insn = instructions, median, user and kernel, a rep instruction as one; \
         rep = its iterations; events = cache lines that moved: mean of the cores' means (highest \
         operation, highest of rep instructions alone); ratio = Linux / ours of insn.\n\
         (both ends) = of machine-wide operations, the cores that began and ended each; (machine) = of all \
         cores, those included that only wait meanwhile."
    );
    for (system, list) in &lists {
        println!("\nWhere lines move in {}, most events first:", system.name());
        println!("{list}");
    }
    for (system, profile) in &profiles {
        println!("Where instructions go in {}, per operation:", system.name());
        println!("{profile}");
    }
    caveats();
    Ok((all, missing))
}

/// Builds the line meter; returns the plugin.
pub(crate) fn build_meter() -> Result<PathBuf> {
    let mut cargo = Command::new(toolchain::cargo());
    cargo.args(["build", "--release", "-p", "corey-tools-line-meter"]);
    quiet("Building the line meter", cargo.current_dir(paths::root()))?;
    Ok(paths::target().join("release/libcorey_tools_line_meter.so"))
}

fn symbols(guests: &Guests, system: System, kallsyms: &Path) -> Result<Symbols> {
    let mut symbols = Symbols::default();
    match (system, &guests.peer) {
        (System::Linux, Some(linux)) => {
            symbols.add_elf(&linux.peer, "peer:")?;
            let text = std::fs::read(kallsyms).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let inside = text.lines().skip_while(|l| l.trim() != "KALLSYMS-BEGIN").skip(1);
            symbols.add_kallsyms(inside.take_while(|l| l.trim() != "KALLSYMS-END"));
        }
        _ => {
            symbols.add_elf(&guests.images.kernel, "")?;
            for program in &guests.images.programs {
                symbols.add_elf(&program.elf, &format!("{}:", program.name))?;
            }
        }
    }
    Ok(symbols)
}

/// Puts records and counts into rows: the n-th report belongs to the guest's n-th record. Says
/// whether each record had one.
fn join(rows: &mut Rows, system: System, said: &Said, metered: &str) -> bool {
    let parsed = |l: &str| serde_json::from_str::<Value>(l).ok();
    let records: Vec<Value> =
        said.lines.iter().filter_map(|l| parsed(l)).filter(|r| r["record"] == "bench").collect();
    let (mut whole, mut reports) = (true, 0);
    for line in metered.lines().filter_map(parsed) {
        let report = line["report"].as_u64().unwrap_or(u64::MAX);
        let record = usize::try_from(report).ok().and_then(|n| records.get(n));
        let Some((record, row)) = record.and_then(|r| Some((r, Row::of(r)?))) else { continue };
        let figures = rows.entry(row.for_line(&line)).or_default().entry(system).or_default();
        match line["record"].as_str() {
            Some("count") => {
                let same = line["bench"] == record["bench"] && line["variant"] == record["variant"];
                if !same {
                    eprintln!("{}: report {report} is not of its record", system.name());
                    whole = false;
                }
                figures.cores.push(line);
            }
            Some("meter") => {
                reports += 1;
                figures.faults = record["faults"].as_u64();
                figures.ipis = record["ipis"].as_u64();
            }
            _ => {}
        }
    }
    if reports != records.len() {
        eprintln!("{}: {reports} reports for {} records", system.name(), records.len());
    }
    whole && reports == records.len()
}

impl Figures {
    fn values(&self, key: &str) -> Vec<f64> {
        self.cores.iter().filter_map(|core| core[key].as_f64()).collect()
    }

    /// Median of the cores' medians.
    fn instructions(&self) -> Option<f64> {
        Some(median(&self.values("insn_user"))? + median(&self.values("insn_kernel"))?)
    }

    fn middle(&self, key: &str) -> String {
        or_dash(median(&self.values(key)).map(short))
    }

    /// Mean of the cores' means.
    fn mean_events(&self) -> Option<f64> {
        let means = self.values("events_mean");
        (!means.is_empty()).then(|| means.iter().sum::<f64>() / means.len() as f64)
    }

    fn events(&self) -> String {
        let highest = |key| short(self.values(key).into_iter().fold(0.0, f64::max));
        or_dash(self.mean_events().map(|mean| {
            format!("{} ({}, {})", short(mean), highest("events_max"), highest("events_rep_max"))
        }))
    }
}

fn table(rows: &Rows) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(vec![
        "benchmark",
        "cores",
        "ours insn",
        "events",
        "rep",
        "locked",
        "MMIO",
        "Linux insn",
        "events",
        "rep",
        "locked",
        "MMIO",
        "ratio",
        "faults",
        "Linux",
        "IPIs",
        "Linux",
    ]);
    let nothing = Figures::default();
    for (row, systems) in rows {
        let of = |system| systems.get(&system).unwrap_or(&nothing);
        let (ours, linux) = (of(System::Corey), of(System::Linux));
        let ratio = || Some(short(linux.instructions()? / ours.instructions()?));
        let mut cells = vec![row.name.clone(), row.cores.to_string()];
        for figures in [ours, linux] {
            cells.push(or_dash(figures.instructions().map(short)));
            cells.push(figures.events());
            cells.extend(["rep", "locked", "mmio"].map(|key| figures.middle(key)));
        }
        cells.push(or_dash(ratio()));
        let count = |n: Option<u64>| or_dash(n.map(|n| n.to_string()));
        cells.extend([ours.faults, linux.faults, ours.ipis, linux.ipis].map(count));
        table.add_row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_wide_figures_are_rows_of_their_own() {
        let record = "{\"record\":\"bench\",\"bench\":\"run\",\"variant\":\"default\",\"cores\":1}";
        let said = Said { lines: vec![record.to_owned()], failure: None };
        let count = |who: &str, insn: u32| {
            format!(
                "{{\"record\":\"count\",\"bench\":\"run\",\"variant\":\"default\",\"report\":0,{who},\"insn_user\":{insn},\"insn_kernel\":0}}\n"
            )
        };
        let metered = count("\"core\":0", 5)
            + &count("\"machine\":true", 90)
            + &count("\"machine\":\"ends\"", 9)
            + "{\"record\":\"meter\",\"report\":0,\"markers_misplaced\":0}\n";
        let mut rows = Rows::new();
        assert!(join(&mut rows, System::Corey, &said, &metered));
        let found: Vec<_> = rows.values().map(|row| row[&System::Corey].instructions()).collect();
        assert_eq!(found, [Some(5.0), Some(9.0), Some(90.0)]);
    }

    #[test]
    fn reports_join_records_by_position() {
        let record = |variant: &str| {
            format!(
                "{{\"record\":\"bench\",\"bench\":\"null\",\"variant\":\"{variant}\",\"cores\":1,\"faults\":3,\"ipis\":0}}"
            )
        };
        let said = Said { lines: vec![record("current"), record("nbytes")], failure: None };
        let metered = "{\"record\":\"count\",\"bench\":\"null\",\"variant\":\"nbytes\",\"report\":1,\"insn_user\":5,\"insn_kernel\":40,\"events_mean\":0.5,\"events_max\":9,\"events_rep_max\":2}\n\
                       {\"record\":\"meter\",\"report\":1,\"markers_misplaced\":0}\n";
        let mut rows = Rows::new();
        assert!(!join(&mut rows, System::Corey, &said, metered), "one record has no report");
        let figures = &rows.values().next().unwrap()[&System::Corey];
        assert_eq!(figures.instructions(), Some(45.0));
        assert_eq!(figures.events(), "0.50 (9, 2)");
        assert_eq!(figures.faults, Some(3));
    }
}
