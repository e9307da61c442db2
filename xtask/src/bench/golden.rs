//! The golden table: counts that may not rise, one file for each compiler version.
//!
//! `golden/rustc-1.95.jsonl`: a line that says why the table is as it is, then a line for each row. Instructions may
//! rise by 2 %, events not at all; what fell asks to be blessed. The counts of one binary repeat exactly.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::build::{self, Images, Size};
use crate::setup::{self, Need};
use crate::toolchain::{self, Core};
use crate::{Result, paths};

use super::counts::{self, Figure};
use super::guest::Guests;
use super::{Options, Peer, Plan, linux, plans};

/// Benchmarks and the core counts they are kept at.
const KEPT: [(&[&str], &str); 4] = [
    (&["null", "memclone", "pagepass"], "1,2,4,16"),
    (&["pread", "pwrite", "open", "rwlock"], "1,2,4,16"),
    (&["vm", "cfork", "run", "heap", "fig1/shootdown"], "1,2,4"),
    (&["ring"], "1"),
];
/// Operations of each core.
const ITERS: u64 = 256;
/// How much instructions may rise.
const RISE: f64 = 1.02;
/// Events are compared to this: means have three decimals.
const GRAIN: f64 = 0.0005;
/// Where events are no round number, one more or less in a whole run says nothing: how long a core waited. A rise by
/// this is two in a run.
const CHANCE: f64 = 2.0 / ITERS as f64;

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    name: String,
    cores: u64,
    insn: f64,
    events: f64,
}

/// What a comparison gave.
#[derive(Debug, Default, PartialEq, Eq)]
struct Comparison {
    /// What rose, is missing or is new.
    wrong: Vec<String>,
    /// What fell.
    better: Vec<String>,
}

/// Counts and compares, or with a reason writes the table.
pub(super) fn command(core: Option<Core>, reason: Option<&str>) -> Result<ExitCode> {
    if reason.is_some_and(|reason| reason.trim().len() < 12) {
        eprintln!("xtask: --reason: say in a sentence why the table changes");
        return Ok(ExitCode::from(2));
    }
    setup::ensure(&[Need::Qemu])?;
    let rows = count(&build::images(core)?)?;
    if let Some(reason) = reason {
        let path = path();
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(&path, write(&rows, reason))?;
        println!("golden: wrote {} rows to {}", rows.len(), path.display());
        return Ok(ExitCode::SUCCESS);
    }
    let compared = compare(&read(&path())?, &rows);
    for line in &compared.better {
        println!("golden: {line}");
    }
    if !compared.better.is_empty() {
        println!("golden: better than kept; keep it: cargo xtask bench --golden --bless --reason \"…\"");
    }
    for line in &compared.wrong {
        println!("  WRONG    {line}");
    }
    println!("golden: {} rows, {} wrong, {} better", rows.len(), compared.wrong.len(), compared.better.len());
    Ok(if compared.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is worse than the table.
pub(super) fn check(images: &Images) -> Result<Vec<String>> {
    let kept = read(&path())?;
    Ok(compare(&kept, &count(images)?).wrong)
}

fn count(images: &Images) -> Result<Vec<Kept>> {
    let medium = build::medium(images, Size::Slim)?;
    let guests = Guests { images: images.clone(), medium, peer: None, words: linux::words("") };
    let plans = KEPT.into_iter().map(|(names, cores)| {
        plans(&Options {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            cores: Some(cores.to_owned()),
            vs: Peer::None,
            json: None,
            report: None,
            count: true,
            profile: false,
            golden: true,
            bless: false,
            reason: None,
            hosted: false,
            linux_words: String::new(),
            iters: Some(ITERS),
            pairs: 1,
        })
    });
    let plans: Vec<Plan> = plans.collect::<std::result::Result<Vec<_>, _>>()?.concat();
    // Those who only wait take whatever time they are given.
    let figures = counts::figures(&guests, &plans)?.into_iter();
    let kept = figures.filter(|figure| !figure.row.name.ends_with("(machine)"));
    Ok(kept
        .map(|Figure { row, insn, events }| Kept { name: row.name, cores: row.cores, insn, events })
        .collect())
}

/// The table of this compiler.
fn path() -> PathBuf {
    paths::root().join("golden").join(format!("{}.jsonl", compiler(&toolchain::version())))
}

/// `rustc-1.95` of `rustc 1.95.0 (hash date)`.
fn compiler(version: &str) -> String {
    let number = version.split_whitespace().nth(1).unwrap_or("unknown");
    let parts: Vec<&str> = number.split(['.', '-']).take(2).collect();
    format!("rustc-{}", parts.join("."))
}

fn write(rows: &[Kept], reason: &str) -> String {
    let string = |text: &str| Value::String(text.to_owned()).to_string();
    let mut text =
        format!("{{\"record\":\"golden\",\"iters\":{ITERS},\"reason\":{}}}\n", string(reason.trim()));
    for Kept { name, cores, insn, events } in rows {
        let (name, events) = (string(name), rounded(*events));
        text += &format!("{{\"row\":{name},\"cores\":{cores},\"insn\":{insn},\"events\":{events}}}\n");
    }
    text
}

fn rounded(events: f64) -> f64 {
    (events * 1000.0).round() / 1000.0
}

fn read(path: &Path) -> Result<Vec<Kept>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!(
            "{}: {error}\nthere is no golden table for this compiler; make it from a tree that is known to be good: \
             cargo xtask bench --golden --bless --reason \"first table of this compiler\"",
            path.display()
        )
    })?;
    parse(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn parse(text: &str) -> std::result::Result<Vec<Kept>, String> {
    let mut lines = text.lines();
    let head: Value = serde_json::from_str(lines.next().unwrap_or_default()).map_err(|e| e.to_string())?;
    if head["record"] != "golden" || head["reason"].as_str().is_none_or(|reason| reason.len() < 12) {
        return Err("the first line must say why the table is as it is: \"reason\"".to_owned());
    }
    if head["iters"] != ITERS {
        return Err(format!("made with other operations than {ITERS} per core; bless it anew"));
    }
    let rows = lines.map(|line| {
        let value: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let row = || {
            Some(Kept {
                name: value["row"].as_str()?.to_owned(),
                cores: value["cores"].as_u64()?,
                insn: value["insn"].as_f64()?,
                events: value["events"].as_f64()?,
            })
        };
        row().ok_or_else(|| format!("not a row: {line}"))
    });
    rows.collect()
}

fn compare(kept: &[Kept], now: &[Kept]) -> Comparison {
    let mut compared = Comparison::default();
    for old in kept {
        let name = format!("{} at {} cores", old.name, old.cores);
        let Some(new) = now.iter().find(|new| new.name == old.name && new.cores == old.cores) else {
            compared.wrong.push(format!("{name}: not counted any more"));
            continue;
        };
        if new.insn > old.insn * RISE {
            let rise = (new.insn / old.insn - 1.0) * 100.0;
            compared.wrong.push(format!("{name}: {} instructions were {}: {rise:+.1} %", new.insn, old.insn));
        } else if new.insn < old.insn {
            compared.better.push(format!("{name}: {} instructions were {}", new.insn, old.insn));
        }
        let room = if old.events == 0.0 { GRAIN } else { GRAIN + CHANCE };
        if new.events > old.events + room {
            compared.wrong.push(format!("{name}: {:.3} events were {:.3}", new.events, old.events));
        } else if new.events < old.events - room {
            compared.better.push(format!("{name}: {:.3} events were {:.3}", new.events, old.events));
        }
    }
    for new in now.iter().filter(|new| !kept.iter().any(|old| old.name == new.name && old.cores == new.cores))
    {
        compared.wrong.push(format!("{} at {} cores: not in the table; bless it", new.name, new.cores));
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, insn: f64, events: f64) -> Kept {
        Kept { name: name.to_owned(), cores: 2, insn, events }
    }

    fn wrong(old: Kept, new: Kept) -> usize {
        compare(&[old], &[new]).wrong.len()
    }

    #[test]
    fn instructions_may_rise_by_two_percent_and_events_not_at_all() {
        assert_eq!(wrong(row("a", 100.0, 0.0), row("a", 102.0, 0.0)), 0);
        assert_eq!(wrong(row("a", 100.0, 0.0), row("a", 103.0, 0.0)), 1);
        assert_eq!(wrong(row("a", 100.0, 0.0), row("a", 100.0, 0.001)), 1);
        assert_eq!(wrong(row("a", 100.0, 8.0), row("a", 100.0, 8.004)), 0, "one in a run");
        assert_eq!(wrong(row("a", 100.0, 8.0), row("a", 100.0, 8.02)), 1);
        assert_eq!(wrong(row("a", 100.0, 8.0), row("a", 90.0, 7.0)), 0);
    }

    #[test]
    fn what_fell_asks_to_be_blessed() {
        let compared = compare(&[row("a", 100.0, 8.0)], &[row("a", 90.0, 7.0)]);
        assert_eq!((compared.wrong.len(), compared.better.len()), (0, 2));
    }

    #[test]
    fn a_row_that_is_gone_or_new_is_wrong() {
        assert_eq!(wrong(row("a", 1.0, 0.0), row("b", 1.0, 0.0)), 2);
    }

    #[test]
    fn a_table_comes_back_as_it_was_written_and_needs_a_reason() {
        let rows = [row("null/current", 78.0, 0.0), row("run/default (both ends)", 2884.5, 25.125)];
        assert_eq!(parse(&write(&rows, "a test of the table")).unwrap(), rows);
        assert!(parse(&write(&rows, "")).unwrap_err().contains("reason"));
        assert!(parse("").is_err());
    }

    #[test]
    fn the_file_is_named_after_the_compiler() {
        assert_eq!(compiler("rustc 1.95.0 (abc 2026-01-01)"), "rustc-1.95");
        assert_eq!(compiler("rustc 1.96.0-nightly (abc)"), "rustc-1.96");
    }

    /// The version that is used here has one, and every kept benchmark is in it.
    #[test]
    fn there_is_a_table_for_this_compiler() {
        let kept = read(&path()).unwrap();
        for (names, cores) in KEPT {
            for (name, cores) in names.iter().flat_map(|name| cores.split(',').map(move |n| (name, n))) {
                let cores: u64 = cores.parse().unwrap();
                let found = kept.iter().any(|row| row.name.starts_with(name) && row.cores == cores);
                assert!(found, "{name} at {cores} cores");
            }
        }
    }
}
