//! `cargo xtask test`: groups of cases, each with a count and its minutes.

mod boot;
mod fuzz;
mod hard;
mod host;
mod isolated;
mod locality;
mod lost;
mod minutes;
mod models;
mod mutants;
mod net;
mod panics;
mod screens;
mod vm;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::build::{self, Images, Medium, Size};
use crate::process::interrupted;
use crate::setup::{self, Need};
use crate::toolchain::Core;
use crate::{Result, bench, pool, sharing};

use minutes::Minutes;
use models::Checker;
pub(crate) use net::{Inside, inside};

/// Minutes of the long run without `--minutes`.
const SOAK: u64 = 10;

/// Words of `cargo xtask test`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Every combination of processor, core count and boot path, and the benchmarks' numbers.
    #[arg(long)]
    full: bool,
    /// One group only.
    #[arg(long, value_enum)]
    only: Option<Group>,
    /// Of the planted mistakes only those with this in their names.
    #[arg(long, value_name = "TEXT")]
    planted: Option<String>,
    /// Seed of what the network is tested with; without: another one each time. It is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Minutes that each machine of the group soak is loaded; without: 10.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: Option<u64>,
    /// Keep the minutes of the groups that ran in golden/minutes.jsonl.
    #[arg(long, conflicts_with = "full")]
    keep: bool,
}

/// A group, in the order they run: the first red one is the lowest broken layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    /// Formatting, clippy, layers, the manual.
    Static,
    /// Unit, property and documentation tests on this machine.
    Host,
    /// Models, exhaustive: two threads, and three with few preemptions.
    Loom,
    /// The same models with eight threads, and whole kernels: random schedules.
    Shuttle,
    /// Machines of many kinds, good and bad.
    Boot,
    /// Programs inside the machine, one group of tests each.
    Vm,
    /// A server in the machine, and Linux as its client: over good wires and bad ones.
    Net,
    /// Servers on eight processors under load for ten minutes: with `--full`, or asked for.
    Soak,
    /// Every call against every other under the line meter.
    Sharing,
    /// Counts against the golden table.
    Golden,
    /// What hardens the kernel, each with what shows it missing.
    Hard,
    /// Cores that are made to stop.
    Lost,
    /// Random calls from four cores, and which code they reach.
    Fuzz,
    /// Mistakes planted in a copy of the sources, each to be noticed: with `--full`, or asked for.
    Planted,
    /// A short benchmark beside Linux.
    Bench,
}

const GROUPS: [Group; 15] = [
    Group::Static,
    Group::Host,
    Group::Loom,
    Group::Shuttle,
    Group::Boot,
    Group::Vm,
    Group::Net,
    Group::Soak,
    Group::Sharing,
    Group::Golden,
    Group::Hard,
    Group::Lost,
    Group::Fuzz,
    Group::Planted,
    Group::Bench,
];

impl Group {
    /// Whether it is of the set that runs without `--full`.
    fn is_in_ci(self) -> bool {
        !matches!(self, Self::Planted | Self::Soak)
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// As expected.
    Passed,
    /// Not as expected, and how.
    Failed(String),
    /// Not run, and why.
    Skipped(String),
}

/// One case.
type Case = (String, Verdict);

/// What was built for the machine's groups; built when the first of them runs.
#[derive(Debug)]
struct Built {
    images: Images,
    medium: Medium,
}

/// Runs the groups and prints the sums.
pub(crate) fn command(core: Option<Core>, options: &Options) -> Result<ExitCode> {
    let (mut sums, mut minutes) = ([0_usize; 3], Vec::<Minutes>::new());
    let mut built = None;
    for group in GROUPS {
        if options.only.is_some_and(|only| only != group) {
            continue;
        }
        if !group.is_in_ci() && !options.full && options.only.is_none() {
            continue;
        }
        let start = Instant::now();
        println!("== {group:?}");
        let cases = match run(group, core, options, &mut built) {
            Ok(cases) => cases,
            Err(error) => vec![(format!("{group:?}"), Verdict::Failed(error.to_string()))],
        };
        if interrupted() {
            return Err("interrupted".into());
        }
        let counts = count(&cases);
        let ran = counts[0] + counts[1];
        let time = start.elapsed().as_secs_f64() / 60.0;
        let taken = Minutes {
            group: format!("{group:?}"),
            minutes: time,
            ran: ran as u64,
            of: (ran + counts[2]) as u64,
            cores: pool::width() as u64,
        };
        println!("{}", sentence(&taken));
        minutes.push(taken);
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    println!("== Minutes");
    for taken in &minutes {
        println!("{}", sentence(taken));
    }
    let sum: f64 = minutes.iter().map(|taken| taken.minutes).sum();
    println!("in all {sum:.1} minutes; on two cores {} at most without --full", minutes::MOST);
    if options.keep {
        minutes::keep(&minutes, &ci_groups())?;
    }
    println!("{} passed, {} failed, {} skipped", sums[0], sums[1], sums[2]);
    Ok(if sums[1] == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The names of the groups that run without `--full`.
fn ci_groups() -> Vec<String> {
    GROUPS.into_iter().filter(|group| group.is_in_ci()).map(|group| format!("{group:?}")).collect()
}

fn sentence(taken: &Minutes) -> String {
    let Minutes { group, minutes, ran, of, .. } = taken;
    format!("{group}: ran {ran} of {of} in {minutes:.1} minutes")
}

fn run(group: Group, core: Option<Core>, options: &Options, built: &mut Option<Built>) -> Result<Vec<Case>> {
    let full = options.full;
    match group {
        Group::Static => Ok(host::static_checks(core)),
        Group::Host => host::tests(),
        Group::Loom => models::cases(Checker::Loom, full),
        Group::Shuttle => models::cases(Checker::Shuttle, full),
        Group::Boot => {
            let built = prepare(core, built)?;
            Ok([boot::cases(built, full)?, screens::cases(built)?].concat())
        }
        Group::Vm => vm::cases(prepare(core, built)?, full),
        Group::Net => {
            let seed = options.seed.unwrap_or_else(clock);
            Ok(net::cases(prepare(core, built)?, full, seed))
        }
        Group::Soak => {
            let time = Duration::from_secs(60 * options.minutes.unwrap_or(SOAK));
            net::soak(prepare(core, built)?, time)
        }
        Group::Sharing => {
            let built = prepare(core, built)?;
            let verdict = sharing::check(&built.images, &built.medium, full)?;
            print!("{verdict}");
            let case = |(name, wrong): (&str, Vec<String>)| {
                let verdict =
                    if wrong.is_empty() { Verdict::Passed } else { Verdict::Failed(wrong.join("\n")) };
                (name.to_owned(), verdict)
            };
            let cases: Vec<Case> = verdict.by_check().into_iter().map(case).collect();
            cases.iter().for_each(|case| show(case, None));
            Ok(cases)
        }
        Group::Golden => {
            let wrong = bench::golden(&prepare(core, built)?.images)?;
            let verdict = if wrong.is_empty() { Verdict::Passed } else { Verdict::Failed(wrong.join("\n")) };
            let case = ("counts are not above the golden table".to_owned(), verdict);
            show(&case, None);
            Ok(vec![case])
        }
        Group::Fuzz => fuzz::cases(core, prepare(core, built)?),
        Group::Hard => hard::cases(core, prepare(core, built)?),
        Group::Lost => lost::cases(core, prepare(core, built)?, full),
        Group::Planted => mutants::cases(core, built, options.planted.as_deref().unwrap_or_default()),
        Group::Bench => {
            let (name, verdict) = ("benchmarks in both guests".to_owned(), bench::smoke(core, full));
            let verdict = verdict.map_or_else(|e| Verdict::Failed(e.to_string()), |()| Verdict::Passed);
            let case = (name, verdict);
            show(&case, None);
            Ok(vec![case])
        }
    }
}

/// Microseconds since 1970: a seed that was not there before.
fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

fn prepare(core: Option<Core>, built: &mut Option<Built>) -> Result<&Built> {
    if built.is_none() {
        setup::ensure(&[Need::Qemu])?;
        let images = build::images(core)?;
        let medium = build::medium(&images, Size::Full)?;
        *built = Some(Built { images, medium });
    }
    Ok(built.as_ref().expect("it was just built"))
}

fn count(cases: &[Case]) -> [usize; 3] {
    let of = |wanted: fn(&Verdict) -> bool| cases.iter().filter(|(_, v)| wanted(v)).count();
    [
        of(|v| matches!(v, Verdict::Passed)),
        of(|v| matches!(v, Verdict::Failed(_))),
        of(|v| matches!(v, Verdict::Skipped(_))),
    ]
}

/// Prints a case as soon as it ended.
fn show(case: &Case, start: Option<Instant>) {
    let (name, verdict) = case;
    let time = start.map_or_else(String::new, |s| format!(" ({:.1} s)", s.elapsed().as_secs_f64()));
    match verdict {
        Verdict::Passed => println!("  ok       {name}{time}"),
        Verdict::Skipped(why) => println!("  skipped  {name}: {why}"),
        Verdict::Failed(how) => println!("  FAILED   {name}{time}: {how}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit holds for what was kept last, and every group was.
    #[test]
    fn all_groups_together_stay_within_their_minutes() {
        let kept = minutes::kept().expect("golden/minutes.jsonl: cargo xtask test --keep");
        let groups: Vec<String> = kept.iter().map(|taken| taken.group.clone()).collect();
        assert_eq!(groups, ci_groups(), "cargo xtask test --only GROUP --keep");
        let sum: f64 = kept.iter().map(|taken| taken.minutes).sum();
        assert!(sum <= minutes::MOST, "{sum} minutes are more than {}", minutes::MOST);
        assert!(kept.iter().all(|taken| taken.ran > 0 && taken.ran <= taken.of && taken.cores >= 2));
    }

    #[test]
    fn verdicts_are_counted_apart() {
        let case = |v| (String::new(), v);
        let failed = Verdict::Failed("x".into());
        let cases = [case(Verdict::Passed), case(failed), case(Verdict::Skipped("y".into()))];
        assert_eq!(count(&cases), [1, 1, 1]);
    }
}
