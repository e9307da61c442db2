//! `rwlock`: taking a lock in read mode and giving it back (benches/rwlock).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; locks by address")]

use corey_abi::{Error, MapFlags, PAGE_BYTES};
use corey_lib_bench::ReadLocks;
use corey_lib_bench::locks::Pausing;
use corey_lib_bench::table::{RWLOCK_OURS, RWLOCK_TICKET, RWLOCK_WORD};
use corey_libos_bench::{Worker, program};
use corey_libos_rt::sys::{pause, segment};
use corey_libos_rt::{Process, Shared, Status, entry, shared};

entry!(main);

/// What all workers map.
#[repr(transparent)]
struct Locks(ReadLocks);

// SAFETY: `ReadLocks` says that all zeroes is valid, and its locks are there to be shared.
unsafe impl Shared for Locks {}

/// The locks, rounded up.
const PAGES: u64 = (size_of::<Locks>() as u64).div_ceil(PAGE_BYTES);

fn main(process: Process) -> Status {
    program(process, "rwlock", |_, _, _| (64, 2 * PAGES), work)
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    if worker.index == 0 {
        worker.offer(segment(worker.team, PAGES * PAGE_BYTES, "locks")?);
    }
    worker.meet();
    let at = worker.space.reserve(PAGES * PAGE_BYTES);
    worker.space.map_at(worker.offered(0), at, 0, PAGES, MapFlags::WRITE)?;
    // SAFETY: just mapped for good, and all zeroes at the start.
    let Locks(locks) = unsafe { shared(at) };
    let once = match worker.variant {
        0 => ours,
        1 => word,
        _ => ticket,
    };
    once(worker, locks)
}

fn ours(worker: &Worker, locks: &ReadLocks) -> Result<(), Error> {
    let mut reader = locks.ours.reader(worker.index as usize).ok_or(Error::OutOfRange)?;
    let mut once = || drop(reader.read(&mut Pausing(pause)));
    once();
    worker.region::<RWLOCK_OURS>(|_| once())
}

fn word(worker: &Worker, locks: &ReadLocks) -> Result<(), Error> {
    let once = || {
        locks.word.read(pause);
        locks.word.end_read();
    };
    once();
    worker.region::<RWLOCK_WORD>(|_| once())
}

fn ticket(worker: &Worker, locks: &ReadLocks) -> Result<(), Error> {
    let once = || {
        locks.ticket.lock(pause);
        locks.ticket.unlock();
    };
    once();
    worker.region::<RWLOCK_TICKET>(|_| once())
}
