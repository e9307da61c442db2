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

/// What is counted.
trait Operation {
    /// Does it once.
    fn once(&mut self) -> Result<(), Error>;
}

/// One call about a segment.
struct One<'a>(&'a mut Calls, ObjRef);

impl Operation for One<'_> {
    #[inline(always)]
    fn once(&mut self) -> Result<(), Error> {
        self.0.sys().segment_get_nbytes(self.1).map(|bytes| _ = core::hint::black_box(bytes))
    }
}

/// [`BATCH`] calls about a segment, then their answers.
struct Batch<'a>(&'a mut Calls, ObjRef);

impl Operation for Batch<'_> {
    // By itself it has the registers that 32 calls want; the call of it is less.
    #[inline(never)]
    fn once(&mut self) -> Result<(), Error> {
        let Self(calls, ObjRef { share, object }) = self;
        for _ in 0..BATCH {
            calls.submit::<2>(number::segment_get_nbytes, [share.0, object.0, 0, 0, 0, 0])?;
        }
        calls.flush();
        let (mut left, mut failed) = (u64::from(BATCH), None);
        while left != 0 {
            let came = calls.drain(|_, result| match result {
                Ok([bytes, _]) => _ = core::hint::black_box(bytes),
                Err(error) => failed = Some(error),
            });
            left -= came;
            if came == 0 {
                pause();
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Counts a variant's operations, on both sides. An operation is inlined where it is counted: a call would count, too.
#[inline(always)]
fn region<const ID: u32>(worker: &Worker, mut operation: impl Operation) -> Result<(), Error> {
    for _ in 0..WARM {
        operation.once()?;
    }
    let mut result = Ok(());
    worker.region::<ID>(|_| {
        marker::<ID, BEGIN>();
        if result.is_ok() {
            result = operation.once();
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
        0 => region::<RING_DEPTH_1>(worker, One(&mut calls, own)),
        _ => region::<RING_DEPTH_32>(worker, Batch(&mut calls, own)),
    };
    core.halt()?;
    result
}
