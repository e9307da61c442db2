//! `memclone`: every core touches pages of its own (benches/memclone).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::{Error, MapFlags, PAGE_BYTES};
use corey_lib_bench::table::{MEMCLONE_INTERIOR, MEMCLONE_PRIVATE, MEMCLONE_SHARED};
use corey_libos_bench::{Worker, program, touch};
use corey_libos_rt::sys::segment;
use corey_libos_rt::vm::{interior, map_in};
use corey_libos_rt::{Process, Status, entry};

entry!(main);

const GIB: u64 = 1 << 30;
/// Page-table pages of one core's array, and a little more.
const fn tables(pages: u64) -> u64 {
    pages / 512 * 2 + 16
}

fn main(process: Process) -> Status {
    program(
        process,
        "memclone",
        |_, cores, iters| (iters + tables(iters), u64::from(cores) * (tables(iters) + 4)),
        work,
    )
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let pages = worker.iters;
    let array = segment(worker.share, pages * PAGE_BYTES, "array")?;
    let base =
        worker.space.reserve(u64::from(worker.cores) * GIB.max((pages * PAGE_BYTES).next_multiple_of(GIB)));
    match worker.variant {
        0 => {
            if pages * PAGE_BYTES > GIB {
                return Err(Error::OutOfRange);
            }
            let own = interior(worker.team, "memclone")?;
            map_in(own, 0, array, 0, pages, MapFlags::WRITE)?;
            worker.offer(own);
            worker.meet();
            for other in 0..worker.cores {
                let tree = worker.offered(other);
                worker.space.link(tree, base + u64::from(other) * GIB)?;
            }
            let start = base + u64::from(worker.index) * GIB;
            worker.region::<MEMCLONE_INTERIOR>(|page| touch(start + page * PAGE_BYTES))
        }
        1 => {
            // Arrays lie apart, so that no two cores' entries share a line of the upper table either.
            let step = (GIB / u64::from(worker.cores.next_power_of_two())).min(64 << 20);
            if pages * PAGE_BYTES > step {
                return Err(Error::OutOfRange);
            }
            if worker.index == 0 {
                worker.offer(interior(worker.team, "memclone")?);
            }
            worker.meet();
            let tree = worker.offered(0);
            let offset = u64::from(worker.index) * step;
            // Slots of different cores lie in records of their own.
            map_in(tree, u64::from(worker.index), array, offset, pages, MapFlags::WRITE)?;
            worker.space.link(tree, base)?;
            let start = base + offset;
            worker.region::<MEMCLONE_SHARED>(|page| touch(start + page * PAGE_BYTES))
        }
        _ => {
            worker.space.map_at(array, base, 0, pages, MapFlags::WRITE)?;
            worker.region::<MEMCLONE_PRIVATE>(|page| touch(base + page * PAGE_BYTES))
        }
    }
}
