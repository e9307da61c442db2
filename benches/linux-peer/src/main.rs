//! The same benchmarks on Linux, as the guest's init.
//!
//! **Paper.** §8.1 runs each microbenchmark on Linux beside Corey. This program does the work of
//! `images/`' benchmark programs with Linux's own means (`benches/*/README.md` says which).
//!
//! **Invariants.** It is process 1 and never returns: it powers the machine off, or leaves through
//! the debug-exit port with the status the guest kernel would use. One writer makes records.
//!
//! **Sharing.** Workers share one `Arena`: the meeting of `lib/bench` and one outcome line each.
//!
//! **Testing.** Parsers are unit-tested; the rest is run under QEMU.
#![allow(unsafe_code, reason = "mmap, fork, raw system calls and port output")]

mod arena;
mod fig1;
mod figures;
mod files;
mod guest;
mod heap;
mod ring;
mod run;
mod rwlock;
mod tcp;
mod vm;
mod work;

use corey_lib_bench::record::emulated;
use corey_lib_bench::table::{Benchmark, id};
use corey_lib_bench::{MAX_CORES, Record, Request};

use crate::figures::Machine;
use crate::guest::{Failure, Records};

fn main() {
    std::panic::set_hook(Box::new(|info| guest::fail(&Failure::panic(info.to_string()))));
    if std::process::id() != 1 {
        eprintln!("linux-peer is the init of a benchmark guest; start it with `cargo xtask bench`");
        std::process::exit(2);
    }
    match run() {
        Ok(()) => guest::power_off(),
        Err(failure) => guest::fail(&failure),
    }
}

fn run() -> Result<(), Failure> {
    guest::mount_all()?;
    let cmdline = figures::read("/proc/cmdline")?;
    let mut request = Request::default();
    let mut kallsyms = false;
    let mut malloc = heap::Malloc::Glibc;
    for (key, value) in cmdline.split_whitespace().filter_map(|word| word.split_once('=')) {
        if key == "kallsyms" {
            kallsyms = value == "1";
        } else if key == "malloc" {
            malloc = heap::Malloc::parse(value)?;
        } else {
            request.take(key, value).map_err(|bad| Failure::command_line(bad.to_string()))?;
        }
    }
    let machine = Machine::read(&cmdline)?;
    let processors = machine.processors.min(MAX_CORES as u32);
    let counts = request.cores(processors).map_err(|bad| Failure::command_line(bad.to_string()))?;
    let mut records = Records::open()?;
    for (bench, variant) in request.selection() {
        for &cores in counts.as_slice() {
            let needed = bench.processors(variant, cores);
            if needed > processors && request.names_cores() {
                return Err(Failure::command_line(format!(
                    "{}: {cores} cores need {needed} processors, here are {processors}",
                    bench.name
                )));
            }
            if needed <= processors {
                run_one(&machine, &request, bench, (variant, malloc), cores, &mut records)?;
            }
        }
    }
    if kallsyms { guest::dump_kallsyms() } else { Ok(()) }
}

fn run_one(
    machine: &Machine,
    request: &Request,
    bench: &Benchmark,
    (variant, malloc): (u32, heap::Malloc),
    cores: u32,
    records: &mut Records,
) -> Result<(), Failure> {
    let (id, iters, turn) = (id(bench.number, variant), request.iters(bench, variant), request.turn);
    let job = work::Job { id, cores, iters, turn, malloc };
    figures::check_memory(&job)?;
    let mut listeners = Vec::new();
    if bench.needs_cards() {
        listeners = tcp::listen(id, cores)?;
        tcp::served(id, cores, iters).try_for_each(|served| records.write(&served))?;
    }
    let outcome = work::go(job, &listeners)?;
    let extra = [
        ("kernel", machine.kernel.as_str()),
        ("mitigations", machine.mitigations.as_str()),
        ("thp", machine.thp.as_str()),
        ("malloc", malloc.name()),
    ];
    // An emulator has no caches and no distances.
    let timed = !(bench.hardware_only() && emulated(&machine.cpu));
    let record = Record {
        system: "linux",
        bench: bench.name,
        variant: bench.variants[variant as usize],
        cores,
        iters: job.iters,
        turn: job.turn,
        ns: timed.then_some(outcome.ns),
        per_core_ns: if timed { &outcome.per_core_ns } else { &[] },
        faults: Some(outcome.faults),
        ipis: Some(outcome.ipis),
        shootdowns: Some(outcome.shootdowns),
        syscalls: job.syscalls(),
        cpu: &machine.cpu,
        tsc_hz: machine.tsc_hz,
        extra: &extra,
    };
    records.write(&record)
}
