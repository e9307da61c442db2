//! `cargo xtask fuzz`: random calls from all cores, audited after each sequence.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::build::{self, Kernel, Medium, Size};
use crate::coverage::{self, Coverage};
use crate::monitor::Monitor;
use crate::qemu::{Boot, End, Execution, Machine, Outcome};
use crate::setup::{self, Need};
use crate::toolchain::Core;
use crate::{Result, paths};

/// A machine that says nothing for so long hangs: a sequence takes a second or two.
const PATIENCE: Duration = Duration::from_secs(120);
/// Calls of a run in CI.
pub(crate) const CI_CALLS: u64 = 5_000_000;
/// Calls of a run in CI that measures coverage.
pub(crate) const COVERED_CALLS: u64 = 200_000;

/// Words of `cargo xtask fuzz`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The first sequence's seed; without one, the time. A failed sequence's seed is printed: `--seed S --calls 1`
    /// runs that one.
    #[arg(long)]
    seed: Option<u64>,
    /// Virtual processors.
    #[arg(long, default_value_t = 4)]
    cores: u32,
    /// Calls in all.
    #[arg(long, default_value_t = CI_CALLS)]
    calls: u64,
    /// Calls of a sequence.
    #[arg(long, default_value_t = 20_000)]
    each: u64,
    /// Again and again, with new seeds, for so many hours.
    #[arg(long)]
    soak: Option<f64>,
    /// One host thread and an instruction clock: the same seed does the same, always.
    #[arg(long)]
    counted: bool,
    /// Says which edges of the kernel's crates were executed.
    #[arg(long)]
    coverage: bool,
    /// Processor model.
    #[arg(long, default_value = "max,-erms,-fsrm")]
    cpu: String,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Calls made.
    pub(crate) calls: u64,
    /// Sequences.
    pub(crate) sequences: u64,
    /// Calls of the table that worked at least once, and rows of the table.
    pub(crate) reached: (u64, u64),
    /// Calls that were answered by ring.
    pub(crate) by_ring: u64,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    /// Edges, with `coverage`.
    pub(crate) coverage: Option<Coverage>,
}

/// One run on one machine.
#[derive(Clone, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) medium: &'a Medium,
    /// The kernel's file with symbols, to measure coverage.
    pub(crate) covered: Option<&'a std::path::Path>,
    pub(crate) seed: u64,
    pub(crate) cores: u32,
    pub(crate) calls: u64,
    pub(crate) each: u64,
    pub(crate) cpu: &'a str,
    pub(crate) execution: Execution,
}

/// A seed that was not used before.
pub(crate) fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 >> 1
}

/// Runs until the calls are made, or for the hours asked for.
pub(crate) fn command(core: Option<Core>, options: &Options) -> Result<ExitCode> {
    setup::ensure(&[Need::Qemu])?;
    let mut images = build::images(core)?;
    if options.coverage {
        images = build::with_kernel(core, &images, Kernel::Coverage)?;
    }
    let medium = build::medium(&images, Size::Full)?;
    let start = Instant::now();
    let mut seed = options.seed.unwrap_or_else(fresh_seed);
    let mut sum = Report::default();
    loop {
        let run = Run {
            medium: &medium,
            covered: options.coverage.then_some(&images.kernel),
            seed,
            cores: options.cores,
            calls: options.calls,
            each: options.each,
            cpu: &options.cpu,
            execution: if options.counted { Execution::Counted } else { Execution::Multi },
        };
        let report = run.run(true)?;
        sum.calls += report.calls;
        sum.sequences += report.sequences;
        println!("{}", report.line());
        if let Some(coverage) = &report.coverage {
            print!("{coverage}");
        }
        if let Some(failure) = report.failure {
            println!("{failure}");
            return Ok(ExitCode::FAILURE);
        }
        let hours = start.elapsed().as_secs_f64() / 3600.0;
        if options.soak.is_none_or(|soak| hours >= soak) {
            println!("{} calls in {} sequences, nothing failed", sum.calls, sum.sequences);
            return Ok(ExitCode::SUCCESS);
        }
        seed = fresh_seed();
    }
}

impl Report {
    /// One line.
    pub(crate) fn line(&self) -> String {
        let (reached, of) = self.reached;
        format!(
            "{} calls ({} by ring) in {} sequences; {reached} of {of} calls worked at least once",
            self.calls, self.by_ring, self.sequences
        )
    }
}

impl Run<'_> {
    /// Boots, and listens. `aloud`: progress is shown.
    pub(crate) fn run(&self, aloud: bool) -> Result<Report> {
        let hold = if self.covered.is_some() { " hold" } else { "" };
        let words =
            format!("init=fuzz log=error seed={} calls={} each={}{hold}", self.seed, self.calls, self.each);
        println!("seed {}: {} calls on {} cores ({:?})", self.seed, self.calls, self.cores, self.execution);
        let (kernel, archive) = (self.medium.kernel.clone(), self.medium.archive.clone());
        let mut machine = Machine::new(self.cores, "512M", Boot::Direct(kernel, Some(archive), words));
        self.cpu.clone_into(&mut machine.cpu);
        machine.execution = self.execution;
        (machine.cards, machine.hub) = (vec!["e1000"; 2], true);
        machine.patience = Some(PATIENCE);
        let socket = paths::work("test")?.join("fuzz-monitor");
        machine.monitor = Some(socket.clone());
        let (mut shown, mut covered) = (Instant::now(), None);
        let outcome = machine.run(Duration::from_secs(24 * 3600), |line| {
            if aloud && line.contains("\"record\":\"fuzz\"") && shown.elapsed() > Duration::from_secs(10) {
                println!("  {line}");
                shown = Instant::now();
            }
            if let Some(kernel) = self.covered
                && line.contains("\"record\":\"fuzz-held\"")
            {
                covered = Some(Monitor::connect(&socket).and_then(|mut monitor| {
                    let coverage = coverage::read(kernel, &mut monitor);
                    monitor.quit();
                    coverage
                }));
            }
        })?;
        let mut report = self.report(&outcome);
        report.coverage = covered.transpose()?;
        Ok(report)
    }

    fn report(&self, outcome: &Outcome) -> Report {
        let records = || outcome.lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let number = |record: &Value, key: &str| record[key].as_u64().unwrap_or(0);
        let mut report = Report::default();
        for record in records().filter(|record| record["record"] == "fuzz-sum") {
            report.calls = number(&record, "calls");
            report.sequences = number(&record, "sequences");
            report.by_ring = number(&record, "by_ring");
            report.reached = (number(&record, "reached"), number(&record, "of"));
        }
        let broken = records().find(|record| record["record"] == "fuzz" && record["failed"] != "");
        let good = outcome.end == End::PoweredOff && report.calls >= self.calls;
        if broken.is_some() || !good {
            let mut last = self.seed;
            records().filter(|r| r["record"] == "fuzz").for_each(|record| last = number(&record, "seed"));
            let which = broken.as_ref().map_or_else(
                || format!("after the sequence with seed {last}"),
                |record| format!("the sequence with seed {}: {}", number(record, "seed"), record["failed"]),
            );
            let seed = broken.as_ref().map_or(last, |record| number(record, "seed"));
            // What the books said, and who holds what, lies before the tail.
            let books: Vec<&str> = outcome
                .lines
                .iter()
                .filter(|line| {
                    ["corey: audit", "AuditReport", "core ", "  0x"]
                        .iter()
                        .any(|start| line.starts_with(start))
                })
                .map(String::as_str)
                .collect();
            report.failure = Some(format!(
                "{which}; ended as {:?}\n{}\nagain: cargo xtask fuzz --seed {seed} --cores {} --calls {} --cpu {}\n{}",
                outcome.end,
                books.join("\n"),
                self.cores,
                2 * self.each,
                self.cpu,
                outcome.tail()
            ));
        }
        report
    }
}
