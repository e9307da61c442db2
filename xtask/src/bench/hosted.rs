//! Benchmarks on this machine's own processors, without a guest.

use std::process::{Command, ExitCode};

use comfy_table::{Table, presets};
use corey_lib_bench::Request;
use corey_lib_bench::table::hosted_names;
use serde_json::Value;

use crate::process::quiet;
use crate::{Result, paths, toolchain};

use super::records::{Stamp, or_dash, short};
use super::{Options, keep};

/// Builds the program, runs it, prints its records as a table.
pub(super) fn command(options: &Options) -> Result<ExitCode> {
    let words = match words(options) {
        Ok(words) => words,
        Err(text) => {
            eprintln!("xtask: {text}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut cargo = Command::new(toolchain::cargo());
    cargo.args(["build", "--release", "-p", "hosted"]).current_dir(paths::root());
    quiet("Building the hosted benchmark", &mut cargo)?;
    let mut program = Command::new(paths::target().join("release/hosted"));
    let text = quiet("Measuring this machine's processors", program.args(&words))?;
    let stamp = Stamp::hosted();
    let all: Vec<String> = text.lines().map(|line| stamp.add(line, "")).collect();
    let records: Vec<Value> = all.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let (machine, pairs): (Vec<Value>, Vec<Value>) =
        records.iter().cloned().partition(|r| r["system"] == "host");
    if !machine.is_empty() {
        println!("{}", table(&machine));
    }
    if !pairs.is_empty() {
        println!("{}", beside_linux(&pairs));
        println!(
            "ratio = ours / Linux's own, of rounds that alternate: less than 1 is faster. slowdown = time with that many \
             threads / time alone, in one pass over all core counts: median, lowest and highest pass."
        );
    }
    println!(
        "ns = nanoseconds per operation of one core on this machine's processors: median of the rounds, and \
         what a tenth of them lie below and above. Distance is what the kernel says of the two processors; in a \
         virtual machine that may not be where they are."
    );
    keep(options, &all)?;
    let whole = !records.is_empty() && records.len() == all.len();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The program's words; an error names what has a hosted form.
pub(super) fn words(options: &Options) -> std::result::Result<Vec<String>, String> {
    let mut request = Request::default();
    let valid: Vec<&str> = hosted_names().collect();
    let names = if options.names.is_empty() { valid.join(",") } else { options.names.join(",") };
    let mut words = vec![("bench", names)];
    words.extend(options.cores.clone().map(|cores| ("cores", cores)));
    words.extend(options.iters.map(|iters| ("iters", iters.to_string())));
    for (key, value) in &words {
        request.take(key, value).map_err(|bad| bad.to_string())?;
    }
    if let Some((other, _)) = request.selection().find(|(bench, _)| !bench.has_hosted_form()) {
        let valid = valid.join(" ");
        return Err(format!("{} has no hosted form; valid with --hosted: {valid}", other.name));
    }
    Ok(words.into_iter().map(|(key, value)| format!("{key}={value}")).collect())
}

fn table(records: &[Value]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(vec!["benchmark", "cores", "written by → read by", "distance", "ns", "rounds"]);
    for record in records {
        let text = |key: &str| record[key].as_str().map(str::to_owned);
        let number = |key: &str| or_dash(record[key].as_f64().map(short));
        let pair = record["from"].as_u64().zip(record["to"].as_u64());
        table.add_row(vec![
            format!("{}/{}", or_dash(text("bench")), or_dash(text("variant"))),
            number("cores"),
            or_dash(pair.map(|(from, to)| format!("{from} → {to}"))),
            or_dash(text("distance")),
            spread(record, "ns"),
            number("rounds"),
        ]);
    }
    table
}

/// A row for each record of ours and the record of Linux's own behind it.
fn beside_linux(records: &[Value]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(vec![
        "benchmark",
        "cores",
        "ours ns",
        "Linux ns",
        "Linux's own",
        "ratio",
        "ours, slowdown",
        "Linux, slowdown",
    ]);
    for pair in records.chunks_exact(2) {
        let [ours, linux] = pair else { continue };
        let text = |key: &str| ours[key].as_str().unwrap_or("?").to_owned();
        table.add_row(vec![
            format!("{}/{}", text("bench"), text("variant")),
            or_dash(ours["cores"].as_f64().map(short)),
            spread(ours, "ns"),
            spread(linux, "ns"),
            text("peer"),
            spread(ours, "ratio"),
            spread(ours, "slowdown"),
            spread(linux, "slowdown"),
        ]);
    }
    table
}

/// A figure and the range around it.
fn spread(record: &Value, key: &str) -> String {
    let figure = |end: &str| record[format!("{key}{end}")].as_f64().map(short);
    or_dash(
        figure("")
            .zip(figure("_low"))
            .zip(figure("_high"))
            .map(|((n, low), high)| format!("{n} ({low}–{high})")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_shown_with_its_distance() {
        let record = serde_json::json!({"bench": "fig1", "variant": "latency", "cores": 2, "from": 1, "to": 0,
            "distance": "same package", "rounds": 201, "ns": 48.25, "ns_low": 40.5, "ns_high": 60.0});
        let text = table(&[record]).to_string();
        for part in ["fig1/latency", "1 → 0", "same package", "48.2 (40.5–60)", "201"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn ours_stands_beside_linux() {
        let row = |system: &str, ns: f64| {
            serde_json::json!({"bench": "rwlock", "variant": "word", "system": system, "cores": 2, "peer": "lock",
                "rounds": 5, "ns": ns, "ns_low": 1.5, "ns_high": 9.5, "ratio": 0.25, "ratio_low": 0.2,
                "ratio_high": 0.3, "slowdown": 1.0, "slowdown_low": 0.98, "slowdown_high": 1.02})
        };
        let text = beside_linux(&[row("corey", 2.0), row("linux", 8.0)]).to_string();
        for part in ["rwlock/word", "2 (1.50–9.50)", "8 (1.50–9.50)", "0.25 (0.20–0.30)", "1 (0.98–1.02)"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
