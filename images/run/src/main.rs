//! `run`: from `pcore_run` to the first instruction on another core (benches/run).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; a status by address")]

use core::sync::atomic::AtomicU64;
use corey_abi::{Error, MapFlags, PAGE_BYTES};
use corey_lib_bench::Kind;
use corey_lib_bench::table::RUN_DEFAULT;
use corey_libos_bench::{Worker, program};
use corey_libos_rt::sys::{marker, segment};
use corey_libos_rt::vm::{Ended, Thread, spawn};
use corey_libos_rt::{Process, Shared, Status, entry, halt, shared};

entry!(main);

const BEGIN: u32 = Kind::MachineBegin as u32;
const END: u32 = Kind::MachineEnd as u32;
/// What the target halts with.
const DONE: u32 = 7;

/// Where the kernel reports the target's end; all zeroes at the start.
#[repr(C)]
struct Place([AtomicU64; 2]);

// SAFETY: atomics only, all zeroes is valid.
unsafe impl Shared for Place {}

fn main(process: Process) -> Status {
    program(process, "run", |_, _, _| (64, 0), work)
}

/// The target's first instruction, and its end.
extern "C" fn first() -> ! {
    marker::<RUN_DEFAULT, END>();
    halt(DONE)
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let (target, stack) = worker.target.ok_or(Error::NotFound)?;
    let status = segment(worker.share, PAGE_BYTES, "status")?;
    let (va, _) = worker.space.map(status, 1, MapFlags::WRITE)?;
    // SAFETY: just mapped, all zeroes, never unmapped, and nothing else is put there.
    let place = unsafe { shared::<Place>(va) };
    let entry = first as extern "C" fn() -> ! as usize as u64;
    let run = || spawn(&target, (entry, stack), [0; 6], &[], (&place.0, status, 0));
    let wait = |thread: Thread<'_>| match thread.join() {
        Ended::Halted(DONE) => Ok(()),
        _ => Err(Error::CoreLost),
    };
    // Once before, so that the pages are there on both sides.
    worker.meet();
    wait(run()?)?;
    let mut result = Ok(());
    let mut thread = Err(Error::NotFound);
    let slot = core::cell::RefCell::new(&mut thread);
    worker.region_between::<RUN_DEFAULT>(
        |_| {
            marker::<RUN_DEFAULT, BEGIN>();
            **slot.borrow_mut() = run();
        },
        |_| {
            let ended = core::mem::replace(&mut **slot.borrow_mut(), Err(Error::NotFound)).and_then(wait);
            if result.is_ok() {
                result = ended;
            }
        },
    )?;
    result
}
