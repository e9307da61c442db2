//! `cargo xtask lost`: cores that are made to stop while they all work, and what becomes of the others.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::build::{self, Kernel, Medium, Size};
use crate::fuzz::fresh_seed;
use crate::monitor::Monitor;
use crate::qemu::{Boot, End, Execution, Machine, Outcome};
use crate::setup::{self, Need};
use crate::toolchain::Core;
use crate::{Result, paths};

/// Failures of a run in CI, and of `--full`.
pub(crate) const CI: u64 = 100;
pub(crate) const FULL: u64 = 1000;
/// Milliseconds that a core may be silent: where the clock counts instructions, so that only a core that stopped is.
const PATIENCE: u64 = 20;
/// As above, in real time: this machine's other work keeps processors from running, too.
const REAL_PATIENCE: u64 = 250;
/// Failures of one boot, one after the other.
const EACH: u64 = 4;
const CORES: u32 = 6;
/// Longest time of a boot.
const LIMIT: Duration = Duration::from_secs(90);
/// Of so many boots in real time one has its cores stopped by machine checks, from outside.
const OUTSIDE: u64 = 4;

/// Words of `cargo xtask lost`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The first boot's seed; without one, the time. The seed of a boot that failed is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Failures in all.
    #[arg(long, default_value_t = CI)]
    fails: u64,
    /// Boots with one host thread and an instruction clock only, in which the same seed does the same, always; else every
    /// other one is in real time.
    #[arg(long, conflicts_with = "real")]
    counted: bool,
    /// Boots in real time only.
    #[arg(long)]
    real: bool,
    /// Shows what the machines say.
    #[arg(long)]
    aloud: bool,
}

/// What became of failures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Cores made to stop.
    fails: u64,
    /// Those whose objects were reclaimed, and quarantined.
    reclaimed: u64,
    quarantined: u64,
    /// Of those, which had said that they stop, and which had not.
    parked: u64,
    lost: u64,
    /// Locks that were taken over.
    locks: u64,
    /// Frames out of use at the end of all boots.
    frames: u64,
    /// What did not end as it should.
    pub(crate) failures: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fails, reclaimed, quarantined, parked, lost, locks, frames, .. } = self;
        write!(
            to,
            "recovered {} of {fails} (reclaimed {reclaimed}, quarantined {quarantined}; parked {parked}, lost {lost}; \
             {locks} locks taken over, {frames} frames out of use)",
            reclaimed + quarantined
        )
    }
}

/// Runs until so many cores were made to stop.
pub(crate) fn command(core: Option<Core>, options: &Options) -> Result<ExitCode> {
    setup::ensure(&[Need::Qemu])?;
    let images = build::images(core)?;
    let execution = match (options.counted, options.real) {
        (true, _) => Some(Execution::Counted),
        (_, true) => Some(Execution::Multi),
        _ => None,
    };
    let seed = options.seed.unwrap_or_else(fresh_seed);
    let report = run(core, &images, seed, options.fails, execution, options.aloud)?;
    report.failures.iter().for_each(|failure| println!("{failure}"));
    println!("{report}");
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As the command, on built images; without an execution each in turn.
pub(crate) fn run(
    core: Option<Core>,
    images: &build::Images,
    seed: u64,
    fails: u64,
    execution: Option<Execution>,
    aloud: bool,
) -> Result<Report> {
    let images = build::with_kernel(core, images, Kernel::Probe)?;
    let medium = build::medium(&images, Size::Full)?;
    let mut report = Report::default();
    let mut seed = seed;
    while report.fails < fails {
        let turn = if seed.is_multiple_of(2) { Execution::Counted } else { Execution::Multi };
        let execution = execution.unwrap_or(turn);
        // The clock of a counted machine stands still for whoever sends commands from outside.
        let outside = (seed / 2).is_multiple_of(OUTSIDE) && execution == Execution::Multi;
        boot(&medium, seed, EACH.min(fails - report.fails), execution, outside, aloud, &mut report)?;
        seed += 1;
    }
    Ok(report)
}

fn boot(
    medium: &Medium,
    seed: u64,
    fails: u64,
    execution: Execution,
    outside: bool,
    aloud: bool,
    report: &mut Report,
) -> Result<()> {
    let from = if outside { " outside" } else { "" };
    let patience = if execution == Execution::Counted { PATIENCE } else { REAL_PATIENCE };
    let words = format!("init=lost lost={patience} seed={seed} fails={fails}{from}");
    let (kernel, archive) = (medium.kernel.clone(), medium.archive.clone());
    let mut machine = Machine::new(CORES, "512M", Boot::Direct(kernel, Some(archive), words));
    machine.execution = execution;
    let socket = paths::work("test")?.join("lost-monitor");
    machine.monitor = Some(socket.clone());
    machine.patience = Some(Duration::from_secs(60));
    let mut number = seed;
    let mut trouble = None;
    let outcome = machine.run(LIMIT, |line| {
        if aloud {
            println!("  {line}");
        }
        if outside
            && let Some(record) = record(line, "lost-begin")
            && let Some(core) = record["core"].as_u64()
        {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            std::thread::sleep(Duration::from_micros(number >> 33 & 0xffff));
            trouble = machine_check(&socket, core).err().map(|error| error.to_string());
        }
    })?;
    judge(&outcome, seed, fails, execution, trouble, report);
    Ok(())
}

/// An uncorrectable error that is core `core`'s own.
fn machine_check(socket: &Path, core: u64) -> Result<()> {
    // Valid, uncorrected, enabled, context corrupt; in progress.
    Monitor::connect(socket)?.ask(&format!("mce {core} 1 0xb200000000000000 0x4 0x0 0x0")).map(|_| ())
}

fn record(line: &str, kind: &str) -> Option<Value> {
    serde_json::from_str::<Value>(line).ok().filter(|record| record["record"] == kind)
}

/// Adds what a boot did.
fn judge(
    outcome: &Outcome,
    seed: u64,
    fails: u64,
    execution: Execution,
    trouble: Option<String>,
    report: &mut Report,
) {
    let lines = || outcome.lines.iter();
    let count = |text: &str| lines().filter(|line| line.contains(text)).count() as u64;
    let found = lines().filter(|line| record(line, "lost-found").is_some()).count() as u64;
    let end = lines().find_map(|line| record(line, "lost-end"));
    report.fails += fails;
    report.locks += count("was a lost core's: what it protected is quarantined");
    if outcome.end == End::PoweredOff
        && found == fails
        && trouble.is_none()
        && let Some(end) = end
    {
        report.reclaimed += count("outside the kernel: reclaimed");
        report.quarantined += count("inside the kernel: quarantined");
        report.parked += count(" is parked, ");
        report.lost += count(" is lost, ");
        report.frames += end["quarantined"].as_u64().unwrap_or(0);
        return;
    }
    // What was found before the one that was not counts.
    report.reclaimed += count("outside the kernel: reclaimed").min(found);
    let counted = if execution == Execution::Counted { " --counted" } else { " --real" };
    report.failures.push(format!(
        "seed {seed}: {found} of {fails} found, ended as {:?}{}\nagain: cargo xtask lost --seed {seed} --fails {fails}{counted} --aloud\n{}",
        outcome.end,
        trouble.map_or_else(String::new, |trouble| format!(", {trouble}")),
        outcome.tail()
    ));
}
