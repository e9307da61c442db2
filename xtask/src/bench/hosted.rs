//! Benchmarks on this machine's own processors, without a guest.

use std::process::{Command, ExitCode};

use comfy_table::{Table, presets};
use corey_lib_bench::Request;
use serde_json::Value;

use crate::process::quiet;
use crate::{Result, paths, toolchain};

use super::records::{Stamp, or_dash, short};
use super::{Options, keep};

/// Benchmarks that have a hosted form.
const HOSTED: [&str; 1] = ["fig1"];

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
    println!("{}", table(&records));
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
    let names = if options.names.is_empty() { HOSTED.join(",") } else { options.names.join(",") };
    let mut words = vec![("bench", names)];
    words.extend(options.cores.clone().map(|cores| ("cores", cores)));
    words.extend(options.iters.map(|iters| ("iters", iters.to_string())));
    for (key, value) in &words {
        request.take(key, value).map_err(|bad| bad.to_string())?;
    }
    if let Some((other, _)) = request.selection().find(|(bench, _)| !HOSTED.contains(&bench.name)) {
        let valid = HOSTED.join(" ");
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
            format!("{} ({}–{})", number("ns"), number("ns_low"), number("ns_high")),
            number("rounds"),
        ]);
    }
    table
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
}
