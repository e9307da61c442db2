//! `run`: from `pcore_run` to the first instruction on another core (benches/run).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; a status by address")]

use core::sync::atomic::AtomicU64;
use corey_abi::{Error, MapFlags, PAGE_BYTES};
use corey_lib_bench::region::{MACHINE_BEGIN as BEGIN, MACHINE_END as END};
use corey_lib_bench::table::RUN_DEFAULT;
use corey_libos_bench::{Worker, program};
use corey_libos_rt::sys::{marker, segment};
use corey_libos_rt::vm::{Ended, Thread, spawn};
use corey_libos_rt::{Process, Shared, Status, entry, halt, shared};

entry!(main);

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

/// The same without a word to the instrument.
extern "C" fn quiet() -> ! {
    halt(DONE)
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let (target, stack) = worker.target.ok_or(Error::NotFound)?;
    let status = segment(worker.share, PAGE_BYTES, "status")?;
    let (va, _) = worker.space.map(status, 1, MapFlags::WRITE)?;
    // SAFETY: just mapped, all zeroes, never unmapped, and nothing else is put there.
    let place = unsafe { shared::<Place>(va) };
    let run = |entry: extern "C" fn() -> !| {
        spawn(&target, (entry as usize as u64, stack), [0; 6], &[], (&place.0, status, 0))
    };
    let wait = |thread: Thread<'_>| match thread.join() {
        Ended::Halted(DONE) => Ok(()),
        _ => Err(Error::CoreLost),
    };
    // Once before, so that the pages are there on both sides.
    worker.meet();
    wait(run(quiet)?)?;
    let mut result = Ok(());
    let mut thread = Err(Error::NotFound);
    let slot = core::cell::RefCell::new(&mut thread);
    worker.region_between::<RUN_DEFAULT>(
        |_| {
            marker::<RUN_DEFAULT, BEGIN>();
            **slot.borrow_mut() = run(first);
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
