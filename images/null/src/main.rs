//! `null`: the cheapest calls (benches/null).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::{Error, PcoreCalls, SegmentCalls};
use corey_lib_bench::table::{NULL_CURRENT, NULL_NBYTES};
use corey_libos_bench::{Worker, program};
use corey_libos_rt::sys::{segment, sys};
use corey_libos_rt::{Process, Status, entry};

entry!(main);

fn main(process: Process) -> Status {
    program(process, "null", |_, _, _| (16, 0), work)
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    if worker.variant == 0 {
        worker.region::<NULL_CURRENT>(|_| {
            let _ = core::hint::black_box(sys().pcore_current());
        })
    } else {
        let own = segment(worker.share, 4096, "null")?;
        worker.region::<NULL_NBYTES>(|_| {
            let _ = core::hint::black_box(sys().segment_get_nbytes(own));
        })
    }
}
