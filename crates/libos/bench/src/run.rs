//! A benchmark program: every variant at every core count, then the next program.

use crate::team::{Failure, TARGET_PAGES, Team};
use crate::worker::Worker;
use core::sync::atomic::Ordering::Relaxed;
use corey_abi::{Error, Id, MachineCalls, control};
use corey_lib_bench::record::emulated;
use corey_lib_bench::table::Benchmark;
use corey_lib_bench::words::KEYS;
use corey_lib_bench::{BENCHMARKS, MAX_CORES, Record, Request};
use corey_libos_rt::sys::sys;
use corey_libos_rt::{Process, Status, exec_with, heaps, println};

/// Pages of the program's share for the heap of each core, in benchmarks whose cores have cards and stacks.
const HEAP_PAGES: u64 = 8192;

/// Words that others read.
const OTHERS: [&str; 10] =
    ["init", "pti", "log", "lost", "ip", "results", "heap", "frames", "rows", "columns"];

/// Reads the command line. On a mistake says what is valid.
///
/// # Errors
///
/// [`Status::BadCommandLine`], after the message.
pub fn request(process: &Process) -> Result<Request, Status> {
    let mut request = Request::default();
    for word in process.info.command_line().split_whitespace() {
        let known = match word.split_once('=') {
            Some((key, value)) => match request.take(key, value) {
                Ok(taken) => taken || OTHERS.contains(&key),
                Err(bad) => {
                    println!("{bad}");
                    return Err(Status::BadCommandLine);
                }
            },
            None => false,
        };
        if !known {
            println!("{word}: unknown word; valid: {} {}, each as key=value", Spaced(&KEYS), Spaced(&OTHERS));
            return Err(Status::BadCommandLine);
        }
    }
    if let Err(bad) = request.cores(process.info.header.cores as u32) {
        println!("{bad}");
        return Err(Status::BadCommandLine);
    }
    Ok(request)
}

struct Spaced<'a>(&'a [&'a str]);

impl core::fmt::Display for Spaced<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0
            .iter()
            .enumerate()
            .try_for_each(|(n, word)| write!(f, "{}{word}", if n == 0 { "" } else { " " }))
    }
}

/// The `main` of benchmark `name`: `work` is one worker, from preparing to the end of the region.
/// `pages` says how many pages a worker needs for `iters` operations, of its own and of the team's share.
pub fn program(
    mut process: Process,
    name: &str,
    pages: fn(u32, u32, u64) -> (u64, u64),
    work: fn(&mut Worker) -> Result<(), Error>,
) -> Status {
    let request = match request(&process) {
        Ok(request) => request,
        Err(status) => return status,
    };
    let Ok(counts) = request.cores(process.info.header.cores as u32) else { return Status::BadCommandLine };
    let mut status = Status::Success;
    for (bench, variant) in request.selection().filter(|(bench, _)| bench.name == name) {
        for &cores in counts.as_slice() {
            let (needed, present) = (bench.processors(variant, cores), process.info.header.cores as u32);
            if needed > present {
                println!("{name}: {cores} cores need {needed} processors, here are {present}");
                if request.names_cores() {
                    status = Status::BadCommandLine;
                }
                continue;
            }
            if let Err(failure) = one(&mut process, &request, bench, variant, cores, pages, work) {
                println!("{name}: variant {variant} at {cores} cores: {failure}");
                status = Status::Failed;
            }
        }
    }
    if status != Status::Success {
        return status;
    }
    let own = Benchmark::by_name(name).map_or(0, |b| b.number);
    next(&mut process, &request, own)
}

/// Runs the first requested benchmark after number `after`; without one all is done.
pub fn next(process: &mut Process, request: &Request, after: u32) -> Status {
    match BENCHMARKS
        .iter()
        .find(|b| b.number > after && request.selection().any(|(s, _)| s.number == b.number))
    {
        Some(bench) => {
            let most = process.info.header.cores.min(MAX_CORES as u64);
            let heaps = if bench.needs_cards() { most * HEAP_PAGES } else { 0 };
            let error = exec_with(process, bench.name, heaps);
            println!("{}: {error}", bench.name);
            Status::Failed
        }
        None => Status::Success,
    }
}

fn one(
    process: &mut Process,
    request: &Request,
    bench: &'static Benchmark,
    variant: u32,
    cores: u32,
    pages: fn(u32, u32, u64) -> (u64, u64),
    work: fn(&mut Worker) -> Result<(), Error>,
) -> Result<(), Failure> {
    if bench.needs_cards() {
        // Before anybody has a copy of this address space.
        heaps::open(process)?;
    }
    let iters = request.iters(bench, variant);
    let (own_pages, team_pages) = pages(variant, cores, iters);
    // What is forked takes its core itself.
    let targets = if bench.name == "cfork" { 0 } else { bench.processors(variant, cores) - cores };
    let mut team = Team::new(process, bench.name, team_pages + 1024 + u64::from(targets) * TARGET_PAGES)?;
    // The first worker uses a share of its own too.
    let name = corey_abi::Name::new("worker");
    let share = {
        use corey_abi::{Home, Kinds, ShareCalls};
        let at = corey_libos_rt::sys::address(&name);
        sys().share_alloc(process.boot, Kinds::all(), own_pages + 512, 64, Home::Any, at)?
    };
    let mut workers = heapless::Vec::<Worker, MAX_CORES>::new();
    for index in 0..cores {
        let worker = Worker {
            index,
            cores,
            iters,
            variant,
            space: process.space,
            share: if index == 0 { share } else { Id::NULL },
            team: team.share,
            target: None,
            first: core::ptr::from_ref::<Process>(process) as u64,
            turn: request.turn,
            tsc_hz: process.info.header.tsc_hz,
            arena: team.address,
            work,
        };
        // There are at most MAX_CORES cores.
        let _ = workers.push(worker);
    }
    // Who forks names the segments of the program, and who allocates the trees of its heaps.
    let more = (bench.name == "cfork" || bench.needs_cards()).then_some(process.program);
    let result = team.run(process, &mut workers, own_pages, targets, more);
    if result.is_ok() {
        report(process, request, bench, variant, &workers);
    }
    // What the first worker mapped goes with its share; `process.space` never knew of it.
    {
        use corey_abi::{ObjRef, ShareCalls};
        sys().share_delobj(ObjRef { share: process.boot, object: share })?;
        sys().self_drop(share)?;
    }
    team.end(process)?;
    result
}

fn report(process: &Process, request: &Request, bench: &'static Benchmark, variant: u32, workers: &[Worker]) {
    let Some(first) = workers.first() else { return };
    let figures = &first.arena().figures[..workers.len()];
    let sum = |of: &dyn Fn(&crate::arena::Figures) -> u64| Some(figures.iter().map(of).sum::<u64>());
    let starts = figures.iter().map(|f| f.start_ns.load(Relaxed)).min().unwrap_or(0);
    let ends = figures.iter().map(|f| f.end_ns.load(Relaxed)).max().unwrap_or(0);
    let per_core: heapless::Vec<u64, MAX_CORES> =
        figures.iter().map(|f| f.end_ns.load(Relaxed) - f.start_ns.load(Relaxed)).collect();
    // An emulator has no caches and no distances.
    let timed = !(bench.hardware_only() && emulated(process.info.cpu()));
    let record = Record {
        system: "corey",
        bench: bench.name,
        variant: bench.variants.get(variant as usize).copied().unwrap_or("?"),
        cores: first.cores,
        iters: first.iters,
        turn: request.turn,
        ns: timed.then_some(ends - starts),
        per_core_ns: if timed { &per_core } else { &[] },
        faults: sum(&|f| f.faults.load(Relaxed)),
        ipis: sum(&|f| f.ipis.load(Relaxed)),
        shootdowns: sum(&|f| f.shootdowns.load(Relaxed)),
        syscalls: sum(&|f| f.syscalls.load(Relaxed)),
        cpu: process.info.cpu(),
        tsc_hz: process.info.header.tsc_hz,
        extra: &[],
    };
    println!("{record}");
    if request.turn {
        // For the line meter's names. A program without the key gets none.
        let _ = sys().machine_control(process.boot, control::PRINT_OBJECTS, 0);
    }
}
