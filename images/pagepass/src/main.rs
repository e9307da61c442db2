//! `pagepass`: pages handed from core to core (benches/pagepass).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::{Error, MapFlags, PAGE_BYTES};
use corey_lib_bench::table::{PAGEPASS_INTERIOR, PAGEPASS_SEPARATE};
use corey_libos_bench::{Worker, program, touch};
use corey_libos_rt::sys::segment;
use corey_libos_rt::vm::{interior, map_in};
use corey_libos_rt::{Process, Status, entry};

entry!(main);

fn main(process: Process) -> Status {
    program(process, "pagepass", |_, _, iters| (iters / 256 + 64, iters + iters / 256 + 64), work)
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let pages = worker.iters;
    let base = worker.space.reserve(pages * PAGE_BYTES);
    if worker.variant == 0 {
        if worker.index == 0 {
            let tree = interior(worker.team, "pagepass")?;
            let array = segment(worker.team, pages * PAGE_BYTES, "array")?;
            map_in(tree, 0, array, 0, pages, MapFlags::WRITE)?;
            worker.offer(tree);
        }
        worker.meet();
        worker.space.link(worker.offered(0), base)?;
        worker.region::<PAGEPASS_INTERIOR>(|page| touch(base + page * PAGE_BYTES))
    } else {
        if worker.index == 0 {
            worker.offer(segment(worker.team, pages * PAGE_BYTES, "array")?);
        }
        worker.meet();
        worker.space.map_at(worker.offered(0), base, 0, pages, MapFlags::WRITE)?;
        worker.region::<PAGEPASS_SEPARATE>(|page| touch(base + page * PAGE_BYTES))
    }
}
