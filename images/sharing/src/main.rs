//! `sharing`: every case of `crates/lib/sharing` against every other, for `cargo xtask sharing`.
//!
//! Core 0 conducts: it says which two cases come next and tells the meter when to report. Cores 1 … n work, each on a
//! ground of its own or on one that they share; cores n + 1 … 2n are their targets, where they run something; and one
//! more is the target of the shared ground. Between two markers there is one call, and nothing else.
//!
//! By ring, cores 6 and 7 are the kernel cores of workers 1 and 2, and all calls of a case go by the worker's ring. Behind the
//! call there is a second one that names nothing, so that what the kernel core does after its answer lies between the markers.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; workers and their grounds by address")]

mod drivers;
mod files;
mod ground;
mod objects;
mod stage;
mod way;
mod words;
mod worker;

use corey_abi::{Error, MachineCalls, PAGE_BYTES, ShareCalls, control};
use corey_lib_bench::Kind;
use corey_lib_sharing::{Part, plan};
use corey_libos_rt::sys::{marker, segment, sys};
use corey_libos_rt::{Process, Status, entry, println, release_console, retake_console};
use stage::{Order, Stage};
use words::Words;
use worker::Team;

entry!(main);

/// Rounds before the measured ones: tables grow, caches fill.
const WARM: u64 = 4;

fn main(mut process: Process) -> Status {
    let words = match Words::read(process.info.command_line(), process.info.header.cores) {
        Ok(words) => words,
        Err(bad) => {
            println!("{bad}");
            return Status::BadCommandLine;
        }
    };
    match run(&mut process, &words) {
        Ok(status) => status,
        Err(error) => {
            // Perhaps it was let go.
            let _ = retake_console();
            println!("sharing: a system call failed: {error:?}");
            Status::Failed
        }
    }
}

fn run(process: &mut Process, words: &Words) -> Result<Status, Error> {
    let mut team = Team::start(process, words)?;
    // The console is a device of the cases.
    release_console()?;
    // What only this core could see is free when it makes something else.
    sys().share_delobj(segment(process.program, PAGE_BYTES, "next")?)?;
    let mut done = [0_u32; Part::ALL.len()];
    for (part, count) in Part::ALL.into_iter().zip(&mut done).filter(|(part, _)| words.has(*part)) {
        for (first, second) in plan(part, words.workers, words.seed, words.only) {
            let iters = if first.is_heavy() || second.is_heavy() { words.heavy } else { words.iters };
            measure(&mut team, Order { part, first, second, iters });
            *count += 1;
            if team.stage().failed() {
                break;
            }
        }
    }
    // Once, and now: a frame that had an owner earlier may have been another's when it was measured.
    print_objects(process)?;
    team.end();
    // Whoever had it last gives it up when it makes something, or the boot core here.
    while retake_console() == Err(Error::Busy) {
        sys().machine_info(team.scratch())?;
    }
    for (part, count) in Part::ALL.into_iter().zip(done).filter(|(part, _)| words.has(*part)) {
        println!("{{\"record\":\"sharing\",\"part\":\"{}\",\"measured\":{count}}}", part.name());
    }
    Ok(team.stage().tell())
}

/// One measurement: rounds to warm up, measured rounds, the report.
fn measure(team: &mut Team, order: Order) {
    team.give(order);
    team.meet();
    // Warm.
    team.meet();
    marker::<0, { Kind::Forget as u32 }>();
    team.meet();
    // Measured.
    team.meet();
    match order.part {
        Part::Private => marker::<{ Part::Private.id() }, { Kind::Report as u32 }>(),
        Part::Shared => marker::<{ Part::Shared.id() }, { Kind::Report as u32 }>(),
        Part::Alone => marker::<{ Part::Alone.id() }, { Kind::Report as u32 }>(),
        Part::Planted => marker::<{ Part::Planted.id() }, { Kind::Report as u32 }>(),
        Part::Ring => marker::<{ Part::Ring.id() }, { Kind::Report as u32 }>(),
        Part::PlantedRing => marker::<{ Part::PlantedRing.id() }, { Kind::Report as u32 }>(),
    }
    team.meet();
}

fn print_objects(process: &Process) -> Result<(), Error> {
    sys().machine_control(process.boot, control::PRINT_OBJECTS, 0)
}

/// What every worker needs of the program.
pub(crate) type Shared = &'static Stage;
