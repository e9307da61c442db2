//! `ring`: calls by ring, one at a time and 32 together, to a kernel core of the caller's own (benches/ring).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::{Error, ObjRef, SegmentCalls, number};
use corey_lib_bench::region::{MACHINE_BEGIN as BEGIN, MACHINE_END as END};
use corey_lib_bench::table::{RING_DEPTH_1, RING_DEPTH_32};
use corey_libos_bench::{Worker, program};
use corey_libos_kernel_core::{Calls, KernelCore};
use corey_libos_rt::sys::{marker, pause, segment};
use corey_libos_rt::{Process, Status, entry};

entry!(main);

/// Calls that are submitted together in variant 1.
const BATCH: u32 = 32;
/// Slots of the ring: the fewest with which so many are in flight.
const SLOTS: u32 = 2 * BATCH;
/// Operations before the first that is counted.
const WARM: u32 = 100;

fn main(process: Process) -> Status {
    program(process, "ring", |_, _, _| (64, 0), work)
}

/// One call.
#[inline(always)]
fn one(calls: &mut Calls, of: ObjRef) -> Result<(), Error> {
    calls.sys().segment_get_nbytes(of).map(|bytes| _ = core::hint::black_box(bytes))
}

/// [`BATCH`] calls, then their answers.
#[inline(always)]
fn batch(calls: &mut Calls, of: ObjRef) -> Result<(), Error> {
    for _ in 0..BATCH {
        calls.submit::<2>(number::segment_get_nbytes, [of.share.0, of.object.0, 0, 0, 0, 0])?;
    }
    calls.flush();
    let mut left = BATCH;
    while left != 0 {
        match calls.poll() {
            Some((_, result)) => {
                core::hint::black_box(result)?;
                left -= 1;
            }
            None => pause(),
        }
    }
    Ok(())
}

/// Counts a variant's operations, on both sides.
#[inline(always)]
fn region<const ID: u32>(worker: &Worker, mut once: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    for _ in 0..WARM {
        once()?;
    }
    let mut result = Ok(());
    worker.region::<ID>(|_| {
        marker::<ID, BEGIN>();
        if result.is_ok() {
            result = once();
        }
        marker::<ID, END>();
    })?;
    result
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let (target, _) = worker.target.ok_or(Error::NotFound)?;
    let core = KernelCore::of(target);
    let own = segment(worker.share, 4096, "asked about")?;
    let mut calls = Calls::open(&mut worker.space, worker.share, &[worker.share], SLOTS, 0)?;
    core.poll_device(calls.device())?;
    core.run()?;
    let result = match worker.variant {
        0 => region::<RING_DEPTH_1>(worker, || one(&mut calls, own)),
        _ => region::<RING_DEPTH_32>(worker, || batch(&mut calls, own)),
    };
    core.halt()?;
    result
}
