//! `cargo xtask sharing`: every call against every other under the line meter. Nothing is shared unless it was asked for.

mod analysis;
mod boot;
mod page;
mod picture;
mod verdict;

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use corey_lib_sharing::{Case, PAIR, Part, plan};

use crate::bench::{Stamp, build_meter};
use crate::build::{self, Images, Medium, Size};
use crate::lines::Lines;
use crate::qemu::Execution;
use crate::setup::{self, Need};
use crate::symbols::Symbols;
use crate::toolchain::Core;
use crate::{Result, paths};

use analysis::{Measured, Names};
use boot::Files;

/// Words of `cargo xtask sharing`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Every pair of the shared part and of that by ring too, and calls alone at 1, 2, 4, 16 and 64 cores.
    #[arg(long)]
    full: bool,
    /// Which tenth of the shared part and of that by ring is run, 0 to 9; without: another one every day.
    #[arg(long)]
    seed: Option<u64>,
    /// Measured rounds of each pair.
    #[arg(long, default_value_t = 8)]
    iters: u64,
    /// Only pairs with this case, as in segment_copy:write.
    #[arg(long)]
    case: Option<String>,
    /// Only these parts, as in ring,planted-ring.
    #[arg(long, value_delimiter = ',', value_parser = part)]
    part: Vec<Part>,
    /// Judge the records of the last run with the same words anew, without running anything.
    #[arg(long)]
    again: bool,
    /// Draw docs/sharing.svg, the README's heat map.
    #[arg(long, requires = "full", conflicts_with_all = ["case", "part"])]
    keep: bool,
}

/// The part with this name.
fn part(name: &str) -> std::result::Result<Part, String> {
    Part::by_name(name).ok_or_else(|| format!("no such part; valid: {}", Part::ALL.map(Part::name).join(" ")))
}

/// One boot: parts that are measured with so many workers.
#[derive(Clone, Debug)]
struct Run {
    parts: Vec<Part>,
    workers: u32,
    iters: u64,
}

/// What a boot measures, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    part: Part,
    first: Case,
    second: Case,
}

/// Measures, writes `target/sharing`, says what is wrong.
pub(crate) fn command(core: Option<Core>, options: &Options) -> Result<ExitCode> {
    let case = match options.case.as_deref().map(|name| Case::by_name(name).ok_or(name)) {
        Some(Err(name)) => {
            let names: Vec<&str> = Case::ALL.iter().map(|case| case.name()).collect();
            eprintln!("xtask: {name}: no such case; valid: {}", names.join(" "));
            return Ok(ExitCode::from(2));
        }
        other => other.and_then(std::result::Result::ok),
    };
    setup::ensure(&[Need::Qemu])?;
    let images = build::images(core)?;
    let medium = build::medium(&images, Size::Full)?;
    let found = measure(&images, &medium, options, case)?;
    let verdict = verdict::judge(&found, options.full && case.is_none() && options.part.is_empty());
    print!("{verdict}");
    if options.keep {
        let path = paths::root().join("docs/sharing.svg");
        std::fs::write(&path, picture::svg(&found))?;
        println!("sharing: {}", path.display());
    }
    Ok(if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As the command with default words, or with `full`; for the tests. Returns what is wrong.
pub(crate) fn check(images: &Images, medium: &Medium, full: bool) -> Result<verdict::Verdict> {
    let options = Options { full, iters: 8, ..Options::default() };
    Ok(verdict::judge(&measure(images, medium, &options, None)?, full))
}

/// Runs all boots and writes records and page.
fn measure(images: &Images, medium: &Medium, options: &Options, case: Option<Case>) -> Result<Vec<Measured>> {
    let library = build_meter()?;
    let dir = paths::work("sharing")?;
    let seed = (!options.full).then(|| options.seed.unwrap_or_else(today) % 10);
    if let Some(seed) = seed {
        println!(
            "sharing: the shared part and that by ring run tenth {seed}; again: cargo xtask sharing --seed {seed}"
        );
    }
    let mut symbols = Symbols::default();
    symbols.add_elf(&images.kernel, "")?;
    for program in images.programs.iter().filter(|p| p.name == "sharing") {
        symbols.add_elf(&program.elf, "sharing:")?;
    }
    let lines = Lines::of(images)?;
    let mut found = Vec::new();
    for run in runs(options) {
        let start = Instant::now();
        let steps = steps(&run, seed, case);
        let files = Files::new(&dir, &run);
        if !options.again {
            files.boot(medium, &library, &run, seed, case)?;
        }
        let (said, metered) = files.read()?;
        let names = Names::new(&said, &symbols, &lines);
        found.extend(analysis::read(&steps, run.workers, &metered, &names)?);
        let time = start.elapsed().as_secs_f64();
        let (parts, workers, count) = (boot::names(&run), run.workers, steps.len());
        println!("sharing: {parts} with {workers} cores: {count} measured in {time:.0} s");
    }
    let stamp = Stamp::new(Execution::Counted);
    let text: String = found
        .iter()
        .flat_map(Measured::records)
        .flat_map(|line| [stamp.add(&line, ""), "\n".to_owned()])
        .collect();
    let (records, page) = (dir.join("sharing.jsonl"), dir.join("sharing.html"));
    std::fs::write(&records, text)?;
    let machine = format!("{} cases. {}", Case::ALL.len(), stamp.words());
    std::fs::write(&page, page::html(&found, seed, &machine))?;
    println!("sharing: {} and {}", page.display(), records.display());
    Ok(found)
}

/// Days since 1970.
fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400)
}

fn runs(options: &Options) -> Vec<Run> {
    let iters = options.iters;
    let pairs = Run { parts: vec![Part::Private, Part::Shared, Part::Planted], workers: PAIR, iters };
    let by_ring = Run { parts: vec![Part::Ring, Part::PlantedRing], workers: PAIR, iters };
    let counts: &[u32] = if options.full { &[1, 2, 4, 16, 64] } else { &[16] };
    // A thousand operations in all.
    let alone = counts.iter().map(|&workers| {
        let iters = if workers == 64 { iters } else { iters.max(1024 / u64::from(workers)) };
        Run { parts: vec![Part::Alone], workers, iters }
    });
    let mut all: Vec<Run> = [pairs, by_ring].into_iter().chain(alone).collect();
    if !options.part.is_empty() {
        all.iter_mut().for_each(|run| run.parts.retain(|part| options.part.contains(part)));
        all.retain(|run| !run.parts.is_empty());
    }
    all
}

fn steps(run: &Run, seed: Option<u64>, case: Option<Case>) -> Vec<Step> {
    // The order of parts is the guest's, whatever order they are asked for in.
    let parts = Part::ALL.into_iter().filter(|part| run.parts.contains(part));
    parts
        .flat_map(|part| {
            plan(part, run.workers, seed, case).map(move |(first, second)| Step { part, first, second })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_asked_for_all_private_pairs_and_a_tenth_of_the_shared_ones() {
        let options = Options { iters: 8, ..Options::default() };
        let runs = runs(&options);
        assert_eq!(runs.iter().map(|run| run.workers).collect::<Vec<_>>(), [2, 2, 16]);
        let steps = steps(&runs[0], Some(3), None);
        let count = |part| steps.iter().filter(|step| step.part == part).count();
        let all = Case::ALL.len() * Case::ALL.len();
        assert_eq!((count(Part::Private), count(Part::Planted)), (all, 1));
        assert!((all / 12..all / 8).contains(&count(Part::Shared)));
        assert_eq!(steps.last().unwrap().part, Part::Planted, "the guest's order");
        assert_eq!(super::steps(&runs[2], Some(3), None).len(), Case::ALL.len());
        let by_ring = super::steps(&runs[1], Some(3), None);
        let cases = Case::ALL.iter().filter(|case| case.why_not_by_ring().is_none()).count();
        assert!((cases * cases / 12..cases * cases / 8).contains(&by_ring.len()));
        assert_eq!(by_ring.last().unwrap().part, Part::PlantedRing);
    }

    #[test]
    fn each_call_alone_is_done_a_thousand_times() {
        for run in runs(&Options { iters: 8, full: true, ..Options::default() }) {
            let rounds = run.iters * u64::from(run.workers);
            assert!(run.parts != [Part::Alone] || run.workers == 64 || rounds >= 1000, "{run:?}");
        }
    }
}
