//! `fig1`: lines, locks and shootdowns (benches/fig1).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; lines by address")]

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{AddressTreeCalls, Error, MapFlags, Mapping, PAGE_BYTES, mapping_kind};
use corey_lib_bench::Lock;
use corey_lib_bench::region::{MACHINE_BEGIN as BEGIN, MACHINE_END as END};
use corey_lib_bench::table::{FIG1_LATENCY, FIG1_LOCK, FIG1_LOCKCONTENDED, FIG1_SHOOTDOWN};
use corey_libos_bench::{Worker, program, touch};
use corey_libos_rt::sys::{address, marker, pause, segment, sys};
use corey_libos_rt::vm::interior;
use corey_libos_rt::{Process, Shared, Status, entry, shared};

entry!(main);

/// Words of a line, and of the one an adjacent-line prefetcher would take with it.
const LINE: usize = 16;
/// Lines of one page.
const LINES: usize = PAGE_BYTES as usize / 8 / LINE;
/// Distance of the cores' pages in the interior tree: page tables of their own.
const STEP: u64 = 2 << 20;

fn main(process: Process) -> Status {
    program(process, "fig1", |_, cores, _| (64, u64::from(cores) * 16), work)
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    match worker.variant {
        0 => latency(worker),
        1 => {
            let lock = Lock::default();
            worker.region::<FIG1_LOCK>(|_| once(&lock))
        }
        2 => {
            let lock = worker.lock();
            worker.region::<FIG1_LOCKCONTENDED>(|_| once(lock))
        }
        _ => shootdown(worker),
    }
}

#[inline(always)]
fn once(lock: &Lock) {
    lock.lock(pause);
    lock.unlock();
}

/// One page of lines: core `k` writes those of its own page, and reader `i` reads line `i` of them.
#[repr(C)]
struct Page([[AtomicU64; LINE]; LINES]);

// SAFETY: atomics only, all zeroes is valid.
unsafe impl Shared for Page {}

/// Reads lines last written by another core, each of the others in turn.
fn latency(worker: &mut Worker) -> Result<(), Error> {
    let (cores, me) = (worker.cores as usize, worker.index as usize);
    if cores > LINES {
        return Err(Error::OutOfRange);
    }
    worker.offer(segment(worker.team, PAGE_BYTES, "lines")?);
    worker.meet();
    let base = worker.space.reserve(cores as u64 * PAGE_BYTES);
    for other in 0..worker.cores {
        let va = base + u64::from(other) * PAGE_BYTES;
        worker.space.map_at(worker.offered(other), va, 0, 1, MapFlags::WRITE)?;
    }
    // SAFETY: just mapped for good, atomics on every side, all zeroes at the start.
    let page = |core: usize| unsafe { shared::<Page>(base + core as u64 * PAGE_BYTES) };
    let write = || page(me).0.iter().take(cores).for_each(|line| line[0].store(1, Ordering::Relaxed));
    for other in 0..cores {
        // Every page is mapped here before anything counts.
        let _ = page(other).0[me][0].load(Ordering::Relaxed);
    }
    worker.meet();
    write();
    let others = cores.max(2) - 1;
    worker.region_between::<FIG1_LATENCY>(
        |index| {
            let from = (me + 1 + index as usize % others) % cores;
            core::hint::black_box(page(from).0[me][0].load(Ordering::Acquire));
        },
        |_| write(),
    )
}

/// Unmaps a page of an interior tree that every core links; mapping and touching it again is outside.
fn shootdown(worker: &mut Worker) -> Result<(), Error> {
    if worker.index == 0 {
        worker.offer(interior(worker.team, "fig1")?);
    }
    worker.meet();
    let tree = worker.offered(0);
    let page = segment(worker.share, PAGE_BYTES, "page")?;
    let base = worker.space.reserve(1 << 30);
    worker.space.link(tree, base)?;
    let (slot, offset) = (u64::from(worker.index), u64::from(worker.index) * STEP);
    let off = Mapping::default();
    let on = Mapping {
        kind: mapping_kind::SEGMENT,
        flags: MapFlags::WRITE.bits(),
        object: page,
        va: offset,
        npages: 1,
        ..Mapping::default()
    };
    let map = || sys().at_set_slot(tree, slot, address(&on)).map(|()| touch(base + offset));
    map()?;
    let (mut unmapped, mut mapped) = (Ok(()), Ok(()));
    worker.region_between::<FIG1_SHOOTDOWN>(
        |_| {
            marker::<FIG1_SHOOTDOWN, BEGIN>();
            let result = sys().at_set_slot(tree, slot, address(&off));
            marker::<FIG1_SHOOTDOWN, END>();
            unmapped = unmapped.and(result);
        },
        |_| mapped = mapped.and_then(|()| map()),
    )?;
    unmapped.and(mapped)
}
