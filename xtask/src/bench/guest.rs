//! Running one guest once: which machine, which words, and what counts as success.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::build::{Images, Medium, Size};
use crate::qemu::{Boot, End, Execution, Machine};
use crate::{Result, iso};

use super::Plan;
use super::linux::Linux;
use super::load::Load;

pub(super) use corey_tools_report::System;

/// What can be booted.
#[derive(Debug)]
pub(super) struct Guests {
    /// Ours, with symbols.
    pub(super) images: Images,
    /// Ours, as booted.
    pub(super) medium: Medium,
    /// The peer, where one is wanted.
    pub(super) peer: Option<Linux>,
    /// Its kernel's words.
    pub(super) words: String,
}

/// The line meter of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter<'a> {
    /// The plugin.
    pub(super) library: &'a Path,
    /// Where its lines go.
    pub(super) out: &'a Path,
    /// More of its words, each after a comma.
    pub(super) words: &'a str,
}

/// How to run a guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode<'a> {
    /// Core counts of this run.
    pub(super) cores: &'a [u32],
    /// How instructions are executed.
    pub(super) execution: Execution,
    /// The meter.
    pub(super) meter: Option<Meter<'a>>,
    /// Where Linux's function names go.
    pub(super) kallsyms: Option<&'a Path>,
    /// For people.
    pub(super) title: &'a str,
}

/// What a guest said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Lines that start with `{`.
    pub(super) lines: Vec<String>,
    /// Why it is not complete.
    pub(super) failure: Option<String>,
}

impl Guests {
    /// Both systems, or ours alone, where no peer is wanted.
    pub(super) fn systems(&self) -> Vec<System> {
        let peer = self.peer.as_ref().map(|_| System::Linux);
        [Some(System::Corey), peer].into_iter().flatten().collect()
    }

    /// Boots `system`, runs the plan at the core counts of `mode`, and waits for its end. A peer that fails is a stranger's: it is
    /// run once more, and that is said.
    pub(super) fn run(&self, system: System, plan: &Plan, mode: Mode<'_>) -> Result<Said> {
        let said = self.once(system, plan, mode)?;
        match said.failure {
            Some(failure) if system == System::Linux => {
                println!("the peer is run once more: {failure}");
                self.once(system, plan, mode)
            }
            _ => Ok(said),
        }
    }

    fn once(&self, system: System, plan: &Plan, mode: Mode<'_>) -> Result<Said> {
        let list: Vec<String> = mode.cores.iter().map(u32::to_string).collect();
        let words = format!("{} cores={}", plan.words, list.join(","));
        let most = plan.factor * mode.cores.iter().copied().max().unwrap_or(1);
        let mut machine = Machine::new(most, &memory(plan, most), self.boot(system, &words, &mode)?);
        machine.execution = mode.execution;
        if let Some(Meter { library, out, words }) = mode.meter {
            machine.plugin = Some(format!("{},out={}{words}", library.display(), out.display()));
        }
        if system == System::Linux {
            machine.second_serial = mode.kallsyms.map(Path::to_path_buf);
        }
        let mut load = if plan.cards { Some(Load::new(most / plan.factor)?) } else { None };
        if let Some(load) = &load {
            machine.cards = vec!["e1000"; load.wires().len()];
            machine.wires = load.wires().to_vec();
        }
        let expected = plan.rows * mode.cores.len();
        let mut seen = 0;
        let progress = Progress::new(mode.title, system);
        let limit = Duration::from_secs(if mode.meter.is_some() { 3600 } else { 900 });
        let outcome = machine.run(limit, |line| {
            if let Some(load) = &mut load {
                load.hear(line);
            }
            if is_bench(line) {
                seen += 1;
                progress.show(seen, expected, line);
            }
        })?;
        progress.end();
        let failure = match outcome.end {
            End::PoweredOff if seen == expected => None,
            End::PoweredOff => Some(format!("gave {seen} of {expected} records")),
            End::Status(n) => Some(format!("ended with status {n}")),
            End::TimedOut => Some(format!("did not end within {} s", limit.as_secs())),
            End::Broken => Some("QEMU failed".to_owned()),
        };
        // Linux may move a process to another processor between a beginning and its end.
        let failure = failure.or(mode.meter.and_then(misplaced));
        let failure =
            failure.map(|why| format!("{} {why}\n{}\n{}", system.name(), machine.line(), outcome.tail()));
        let mut lines: Vec<String> = outcome.lines.into_iter().filter(|l| l.starts_with('{')).collect();
        let mut failure = failure;
        if let Some(load) = load {
            let (records, wrong) = load.end(system);
            lines.extend(records);
            failure = failure.or(wrong.map(|wrong| format!("{} {wrong}", system.name())));
        }
        Ok(Said { lines, failure })
    }

    fn boot(&self, system: System, words: &str, mode: &Mode<'_>) -> Result<Boot> {
        let (medium, peer) = (&self.medium, self.peer.as_ref());
        Ok(match (system, peer) {
            (System::Linux, Some(linux)) => {
                let kallsyms = if mode.kallsyms.is_some() { " kallsyms=1" } else { "" };
                let words = format!("{} {words}{kallsyms}", self.words);
                direct(&linux.kernel, &linux.initramfs, words)
            }
            // Firmware and GRUB would run under the meter too; the result is the same.
            _ if mode.meter.is_some() => direct(&medium.kernel, &medium.archive, words.to_owned()),
            _ => Boot::Iso(iso::write(medium, Size::Slim, words, "bench.iso")?),
        })
    }
}

fn direct(kernel: &Path, ramdisk: &Path, words: String) -> Boot {
    Boot::Direct(kernel.to_path_buf(), Some(PathBuf::from(ramdisk)), words)
}

/// Room for every core's pages, and half a GiB for the rest, in MiB; at least 2 GiB.
fn memory(plan: &Plan, cores: u32) -> String {
    let pages = plan.pages.saturating_mul(u64::from(cores)) * 5 / 4;
    format!("{}M", (512 + pages / 256).max(2048))
}

/// Says so when a report of the meter's has markers that belong to no operation.
fn misplaced(meter: Meter<'_>) -> Option<String> {
    let text = std::fs::read_to_string(meter.out).unwrap_or_default();
    let reports = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let wrong = reports.filter(|report| report["markers_misplaced"].as_u64().is_some_and(|count| count != 0));
    let count = wrong.count();
    (count != 0)
        .then(|| format!("ended an operation on another processor than it began on, in {count} reports"))
}

fn is_bench(line: &str) -> bool {
    line.starts_with('{') && serde_json::from_str::<Value>(line).is_ok_and(|value| value["record"] == "bench")
}

/// One line that is rewritten on a terminal, one line per guest elsewhere.
struct Progress {
    title: String,
    terminal: bool,
}

impl Progress {
    fn new(title: &str, system: System) -> Self {
        let title = format!("{title}: {}", system.name());
        let terminal = std::io::stderr().is_terminal();
        if terminal {
            eprint!("{title} boots");
        } else {
            eprintln!("{title}");
        }
        Self { title, terminal }
    }

    fn show(&self, seen: usize, expected: usize, line: &str) {
        if self.terminal {
            let value: Value = serde_json::from_str(line).unwrap_or_default();
            let what = |key: &str| value[key].as_str().unwrap_or("?").to_owned();
            eprint!("\r\x1b[K{} {seen}/{expected} {}/{}", self.title, what("bench"), what("variant"));
            let _ = std::io::stderr().flush();
        }
    }

    fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
