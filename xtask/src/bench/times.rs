//! Times: alternating pairs, medians, and ratios only where they mean something.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use serde_json::Value;

use crate::Result;
use crate::qemu::Execution;

use super::guest::{Guests, Mode, System};
use super::records::{Row, Stamp, median, or_dash, short, spread};
use super::{Plan, caveats, host_cores};

/// What one run gave for a row.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    /// Nanoseconds per operation of one core; `None` where there were more processors than here.
    ns: Option<f64>,
    faults: Option<u64>,
    ipis: Option<u64>,
}

/// Said where a benchmark's times are missing because they would mean nothing.
const HARDWARE_ONLY: &str = "fig1 has no times under an emulator, which has no caches and no distances: its ns is null. \
                             Times of this machine: cargo xtask bench --hosted fig1; counts: --count.";

type Samples = BTreeMap<Row, BTreeMap<System, Vec<Sample>>>;

/// Runs the pairs, prints the table, and returns every record and what is missing.
pub(super) fn measure(guests: &Guests, plans: &[Plan], pairs: u32) -> Result<(Vec<String>, Vec<String>)> {
    let host = host_cores();
    let (mut all, mut samples, mut missing) = (Vec::new(), Samples::new(), Vec::new());
    let mut run = |plan: &Plan, system, cores: &[u32], execution, title: &str| -> Result<()> {
        let mode = Mode { cores, execution, meter: None, kallsyms: None, title };
        let said = guests.run(system, plan, mode)?;
        missing.extend(said.failure.clone());
        let stamp = Stamp::new(execution);
        for line in &said.lines {
            collect(&mut samples, system, line, execution == Execution::Multi);
            all.push(stamp.add(line, ""));
        }
        Ok(())
    };
    for plan in plans {
        let (timed, volume): (Vec<u32>, Vec<u32>) = plan.cores.iter().partition(|n| plan.busy(**n) <= host);
        if !timed.is_empty() {
            for pair in 1..=pairs {
                for system in guests.systems() {
                    run(plan, system, &timed, Execution::Multi, &format!("run {pair} of {pairs}"))?;
                }
            }
        }
        if !volume.is_empty() {
            let title = format!("more processors than this machine's {host}, without times");
            for system in guests.systems() {
                run(plan, system, &volume, Execution::Single, &title)?;
            }
        }
    }
    println!("{}", table(&samples));
    println!(
        "ns = nanoseconds per operation of one core, median of {pairs} alternating runs and their \
         spread; ratio = Linux / ours.\n– = not measured: more virtual processors than this \
         machine has."
    );
    if samples.keys().any(Row::hardware_only) {
        println!("{HARDWARE_ONLY}");
    }
    caveats();
    Ok((all, missing))
}

fn collect(samples: &mut Samples, system: System, line: &str, timed: bool) {
    let Ok(record) = serde_json::from_str::<Value>(line) else { return };
    if record["record"] != "bench" {
        return;
    }
    let Some(row) = Row::of(&record) else { return };
    let per_operation = || Some(record["ns"].as_f64()? / record["iters"].as_f64()?);
    let sample = Sample {
        ns: if timed { per_operation() } else { None },
        faults: record["faults"].as_u64(),
        ipis: record["ipis"].as_u64(),
    };
    samples.entry(row).or_default().entry(system).or_default().push(sample);
}

fn table(samples: &Samples) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(vec![
        "benchmark",
        "cores",
        "ours ns",
        "Linux ns",
        "ratio",
        "faults",
        "Linux",
        "IPIs",
        "Linux",
    ]);
    for (row, systems) in samples {
        let of = |system| systems.get(&system).map_or(&[][..], Vec::as_slice);
        let (ours, linux) = (of(System::Corey), of(System::Linux));
        let ratios: Vec<f64> = ours.iter().zip(linux).filter_map(|(a, b)| Some(b.ns? / a.ns?)).collect();
        table.add_row(vec![
            row.name.clone(),
            row.cores.to_string(),
            spread(ours.iter().filter_map(|s| s.ns)),
            spread(linux.iter().filter_map(|s| s.ns)),
            spread(ratios.into_iter()),
            figure(ours, |s| s.faults),
            figure(linux, |s| s.faults),
            figure(ours, |s| s.ipis),
            figure(linux, |s| s.ipis),
        ]);
    }
    table
}

fn figure(samples: &[Sample], field: fn(&Sample) -> Option<u64>) -> String {
    let values: Vec<f64> = samples.iter().filter_map(|s| Some(field(s)? as f64)).collect();
    or_dash(median(&values).map(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ns: u64) -> String {
        format!(
            "{{\"record\":\"bench\",\"bench\":\"null\",\"variant\":\"current\",\"cores\":1,\
             \"iters\":10,\"ns\":{ns},\"faults\":0,\"ipis\":null}}"
        )
    }

    #[test]
    fn the_ratio_is_of_pairs_and_unknown_figures_are_dashes() {
        let mut samples = Samples::new();
        for (ours, linux) in [(100, 300), (200, 400), (100, 500)] {
            collect(&mut samples, System::Corey, &line(ours), true);
            collect(&mut samples, System::Linux, &line(linux), true);
        }
        let text = table(&samples).to_string();
        assert!(text.contains("10 (10–20)") && text.contains("40 (30–50)"), "{text}");
        assert!(text.contains("3 (2–5)") && text.contains('–'), "{text}");
    }

    #[test]
    fn without_times_there_is_no_ratio() {
        let mut samples = Samples::new();
        collect(&mut samples, System::Corey, &line(100), false);
        let sample = samples.values().next().unwrap()[&System::Corey][0];
        assert_eq!(sample, Sample { ns: None, faults: Some(0), ipis: None });
    }
}
