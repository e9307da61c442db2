//! `cargo xtask bench`: our guest beside a Linux guest, as times or as counts.

mod counts;
mod golden;
mod guest;
mod hosted;
mod hot;
mod linux;
mod load;
mod profile;
mod records;
mod times;

use std::path::PathBuf;
use std::process::ExitCode;

use corey_lib_bench::{Benchmark, CoreList, Request};
use corey_tools_report::{LIMITS, Records};

use crate::build::{self, Size};
use crate::setup::{self, Need};
use crate::toolchain::Core;
use crate::{Result, paths, pool, report};

pub(crate) use counts::build_meter;
use guest::Guests;
pub(crate) use records::Stamp;

/// Words of `cargo xtask bench`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Benchmarks: NAME or NAME/VARIANT; without: every one that exists.
    names: Vec<String>,
    /// Core counts, as in 1,2,4; without: 1, 2, 4 … up to this machine's (with --count 1,2,4,16).
    #[arg(long)]
    cores: Option<String>,
    /// What stands beside ours.
    #[arg(long, value_enum, default_value_t = Peer::Linux)]
    vs: Peer,
    /// Write every record to this file, one JSON object a line.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write a page of this run, with charts and predictions, to FILE (without: report.html in the build folder).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["golden", "hosted"])]
    report: Option<Option<PathBuf>>,
    /// Count instructions and cache-line movements, cores taking turns, instead of timing.
    #[arg(long)]
    count: bool,
    /// With --count: say which functions the instructions are in, inlined ones told apart.
    #[arg(long, requires = "count")]
    profile: bool,
    /// Count a fixed set and compare it with the golden table of this compiler (golden/): fails when instructions rise
    /// over 2 % or events rise at all.
    #[arg(long, conflicts_with_all = ["count", "hosted", "names"])]
    golden: bool,
    /// With --golden: write the table anew; --reason says why it changes.
    #[arg(long, requires_all = ["golden", "reason"])]
    bless: bool,
    /// With --bless: why the table changes, a sentence that is kept in it.
    #[arg(long, requires = "bless")]
    reason: Option<String>,
    /// Measure on this machine's own processors, without a guest; only benchmarks that have such a form: pread heap fig1 pwrite rwlock.
    #[arg(long, conflicts_with = "count")]
    hosted: bool,
    /// Words for the Linux kernel in place of ours with the same key, as in
    /// "transparent_hugepage=always mitigations=auto"; its records say what was in force.
    #[arg(long, default_value = "")]
    linux_words: String,
    /// Operations per core; without: each benchmark's default.
    #[arg(long)]
    iters: Option<u64>,
    /// Runs of each guest when timing; their medians are shown.
    #[arg(long, default_value_t = 5)]
    pairs: u32,
}

/// What stands beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// Debian's 6.12 kernel.
    Linux,
    /// Nothing.
    None,
}

/// What both guests are asked to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The words `bench= iters= turn=`, without `cores=`.
    words: String,
    /// Core counts.
    cores: Vec<u32>,
    /// Records for each core count.
    rows: usize,
    /// The most pages one core touches.
    pages: u64,
    /// Processors for each core: benchmarks that run something on another one need two.
    factor: u32,
    /// Whether each core needs a network card, and a client of this machine at its other end.
    cards: bool,
}

impl Plan {
    /// Processors of this machine that so many cores keep busy.
    fn busy(&self, cores: u32) -> u32 {
        cores * (self.factor + u32::from(self.cards))
    }
}

/// Measures and prints.
pub(crate) fn command(core: Option<Core>, options: &Options) -> Result<ExitCode> {
    if options.hosted {
        return hosted::command(options);
    }
    if options.golden {
        return golden::command(core, options.reason.as_deref());
    }
    let plans = match plans(options) {
        Ok(plans) => plans,
        Err(text) => {
            eprintln!("xtask: {text}");
            return Ok(ExitCode::from(2));
        }
    };
    setup::ensure(&[Need::Qemu])?;
    let images = build::images(core)?;
    let medium = build::medium(&images, Size::Slim)?;
    let peer = match options.vs {
        Peer::Linux => Some(linux::prepare()?),
        Peer::None => None,
    };
    let words = linux::words(&options.linux_words);
    let guests = Guests { images, medium, peer, words };
    let (all, missing) = if options.count {
        counts::measure(&guests, &plans, options.profile)?
    } else {
        times::measure(&guests, &plans, options.pairs.max(1))?
    };
    keep(options, &all)?;
    // Last, where one looks.
    missing.iter().for_each(|failure| println!("not complete: {failure}"));
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares with the golden table; for the tests. Says what rose.
pub(crate) fn golden(images: &build::Images) -> Result<Vec<String>> {
    golden::check(images)
}

/// Writes the records where they are wanted.
fn keep(options: &Options, all: &[String]) -> Result<()> {
    if let Some(path) = &options.json {
        let text: String = all.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("{} records in {}", all.len(), path.display());
    }
    if let Some(path) = &options.report {
        report::write(&Records::read(all.iter().map(String::as_str)), path.as_deref())?;
    }
    Ok(())
}

/// A short run of every benchmark in both guests, as times and as counts; with `full` the run the
/// README shows.
pub(crate) fn smoke(core: Option<Core>, full: bool) -> Result<()> {
    let (iters, pairs) = if full { (None, 5) } else { (Some(300), 1) };
    let given = Options {
        names: Vec::new(),
        cores: None,
        vs: Peer::Linux,
        json: None,
        report: None,
        count: false,
        profile: false,
        golden: false,
        bless: false,
        reason: None,
        hosted: false,
        linux_words: String::new(),
        iters,
        pairs,
    };
    let hosted = Options { hosted: true, ..given.clone() };
    // All names again, but counted on fewer processors: the meter makes both guests slow.
    let cores = (!full).then(|| "1,2".to_owned());
    for options in [hosted, given.clone(), Options { count: true, cores, ..given }] {
        if command(core, &options)? != ExitCode::SUCCESS {
            return Err("not every record was given".into());
        }
    }
    Ok(())
}

/// Checks the words the way both guests would, before anything is built. One plan for each number of processors
/// that a core needs: idle ones would disturb the times of the others.
fn plans(options: &Options) -> std::result::Result<Vec<Plan>, String> {
    let mut request = Request::default();
    let mut words = Vec::new();
    let mut take = |key: &str, value: String| {
        request.take(key, &value).map_err(|bad| bad.to_string())?;
        if key != "bench" {
            words.push(format!("{key}={value}"));
        }
        Ok::<(), String>(())
    };
    if !options.names.is_empty() {
        take("bench", options.names.join(","))?;
    }
    if let Some(iters) = options.iters {
        take("iters", iters.to_string())?;
    }
    if options.count {
        take("turn", "1".to_owned())?;
    }
    let mut cores = CoreList::doubling_to(host_cores());
    let given = options.cores.clone().or(options.count.then(|| "1,2,4,16".to_owned()));
    if let Some(list) = given {
        request.take("cores", &list).map_err(|bad| bad.to_string())?;
        cores = request.cores(256).map_err(|bad| bad.to_string())?;
    }
    let of = |(factor, cards): (u32, bool)| {
        let belongs = |(bench, variant): &(&Benchmark, u32)| {
            bench.processors(*variant, 1) == factor && bench.needs_cards() == cards
        };
        let selected: Vec<_> = request.selection().filter(belongs).collect();
        // Benchmarks are all named, so that both guests run the same ones whatever else they know.
        let name = |(bench, variant): &(&Benchmark, u32)| {
            let all =
                selected.iter().filter(|(b, _)| b.number == bench.number).count() == bench.variants.len();
            let variant = if all { None } else { bench.variants.get(*variant as usize) };
            variant.map_or_else(|| bench.name.to_owned(), |variant| format!("{}/{variant}", bench.name))
        };
        let mut names: Vec<String> = selected.iter().map(name).collect();
        names.dedup();
        Plan {
            words: [vec![format!("bench={}", names.join(","))], words.clone()].concat().join(" "),
            cores: cores.as_slice().to_vec(),
            rows: selected.len(),
            pages: selected
                .iter()
                .map(|(bench, variant)| 2 * request.iters(bench, *variant))
                .max()
                .unwrap_or(0),
            factor,
            cards,
        }
    };
    Ok([(1, false), (2, false), (1, true), (2, true)]
        .map(of)
        .into_iter()
        .filter(|plan| plan.rows != 0)
        .collect())
}

/// Processors of this machine.
fn host_cores() -> u32 {
    u32::try_from(pool::width()).unwrap_or(1)
}

/// A folder for what a measurement leaves behind.
fn folder() -> Result<PathBuf> {
    Ok(paths::work("bench")?)
}

/// What every output says.
fn caveats() {
    println!("{LIMITS}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(names: &[&str], cores: Option<&str>, count: bool) -> Options {
        Options {
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            cores: cores.map(str::to_owned),
            vs: Peer::None,
            json: None,
            report: None,
            count,
            profile: false,
            golden: false,
            bless: false,
            reason: None,
            hosted: false,
            linux_words: String::new(),
            iters: None,
            pairs: 5,
        }
    }

    #[test]
    fn everything_that_exists_is_named() {
        let plans = plans(&options(&[], Some("1,2"), false)).unwrap();
        let words: Vec<&str> = plans.iter().map(|plan| plan.words.as_str()).collect();
        for bench in &corey_lib_bench::BENCHMARKS {
            assert!(words.iter().any(|w| w.contains(bench.name)), "{}", bench.name);
        }
        assert!(words[0].starts_with("bench=null,memclone,pagepass,pread,vm"), "{}", words[0]);
        assert_eq!(plans[0].cores, [1, 2]);
        let rows: usize = plans.iter().map(|plan| plan.rows).sum();
        assert_eq!(rows, corey_lib_bench::BENCHMARKS.iter().map(|b| b.variants.len()).sum::<usize>());
    }

    #[test]
    fn targets_get_processors_of_their_own() {
        let plans = plans(&options(&["run", "null/current"], None, true)).unwrap();
        let found: Vec<_> = plans.iter().map(|plan| (plan.words.as_str(), plan.factor)).collect();
        assert_eq!(found, [("bench=null/current turn=1", 1), ("bench=run turn=1", 2)]);
    }

    #[test]
    fn a_client_keeps_a_processor_busy_beside_each_core() {
        let plans = plans(&options(&["tcp", "null/current"], None, true)).unwrap();
        let found: Vec<_> =
            plans.iter().map(|plan| (plan.words.as_str(), plan.cards, plan.busy(2))).collect();
        assert_eq!(
            found,
            [
                ("bench=null/current turn=1", false, 2),
                ("bench=tcp/stack,tcp/shared,tcp/echo,tcp/bulk-in,tcp/bulk-out turn=1", true, 4),
                ("bench=tcp/kernelcore turn=1", true, 6),
            ]
        );
    }

    #[test]
    fn counting_takes_turns_at_four_core_counts() {
        let plans = plans(&options(&["null/nbytes"], None, true)).unwrap();
        assert_eq!(plans[0].words, "bench=null/nbytes turn=1");
        assert_eq!((plans[0].cores.as_slice(), plans[0].rows), (&[1, 2, 4, 16][..], 1));
    }

    #[test]
    fn unknown_names_list_the_valid_ones() {
        let text = plans(&options(&["nul"], None, false)).unwrap_err();
        assert!(text.contains("valid: null"));
    }

    #[test]
    fn only_some_benchmarks_have_a_hosted_form() {
        let text = hosted::words(&options(&["fig1/lock", "null"], None, false)).unwrap_err();
        assert_eq!(text, "null has no hosted form; valid with --hosted: pread heap fig1 pwrite rwlock ring");
        let given = Options { iters: Some(9), ..options(&["fig1/lock"], Some("1,2"), false) };
        assert_eq!(hosted::words(&given).unwrap(), ["bench=fig1/lock", "cores=1,2", "iters=9"]);
        assert_eq!(
            hosted::words(&options(&[], None, false)).unwrap(),
            ["bench=pread,heap,fig1,pwrite,rwlock,ring"]
        );
    }
}
