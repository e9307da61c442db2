//! The buffer cache and the file system at their worst: in a cache that is too small for all files, cores read, write whole
//! blocks and parts, append, cut, create, rename, list, remove and evict at once.
//!
//! Every block says in each word which file, block and version it is: a reader that sees two versions in one block, or
//! another file's, saw a torn or a recycled one. Parts that two cores write of one block must all stay.
//!
//! Word: `seconds=N`; 2 and one for four cores without.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; a store in memory")]

extern crate alloc;

mod block;
mod work;

use alloc::vec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_libos_cache::{BLOCK, Memory, Shape};
use corey_libos_cores::{Failure, Here};
use corey_libos_mount::Volume;
use corey_libos_mount::fs::{Fs, Options};
use corey_libos_rt::sys::rdtsc;
use corey_libos_rt::{Process, Status, entry};
use corey_libos_test::Suite;

entry!(main);

/// Files that the store has, and blocks of each. The cache holds a third of them.
const STORED: u64 = 6;
const BLOCKS: u64 = 40;
/// Cores that take part at most.
const MOST: u16 = 32;

/// What all cores see.
struct Board {
    stop: AtomicU64,
    /// The first thing that went wrong: what, and a number.
    wrong: [AtomicU64; 2],
    /// What was done of each kind of work.
    done: [AtomicU64; work::KINDS],
}

static BOARD: Board = Board {
    stop: AtomicU64::new(0),
    wrong: [const { AtomicU64::new(0) }; 2],
    done: [const { AtomicU64::new(0) }; work::KINDS],
};

/// Notes that something went wrong.
fn wrong(what: u64, number: u64) {
    if BOARD.wrong[0].compare_exchange(0, what, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        BOARD.wrong[1].store(number, Ordering::Relaxed);
    }
}

fn main(process: Process) -> Status {
    let mut suite = Suite::new(&process, "cache");
    let cores = (process.info.header.cores as u16).min(MOST);
    let seconds = process.info.number("seconds=").unwrap_or(2 + u64::from(cores) / 4);
    let ticks = seconds * process.info.header.tsc_hz;
    let mut here = Here::first(process);
    if let Err(failure) = run(&mut suite, &mut here, cores, ticks) {
        suite.check("threads run to their end", false, format_args!("{failure:?}"));
    }
    suite.finish()
}

fn run(suite: &mut Suite, here: &mut Here, cores: u16, ticks: u64) -> Result<(), Failure> {
    let clients = u32::from(cores);
    let shape = Shape { clients, files: 64, blocks: (STORED * BLOCKS / 3) as u32 + 8 * clients + 64 };
    let program = here.process().program;
    let made = Volume::make(&mut here.process().space, program, 0, shape);
    let Ok((volume, cache)) = made else {
        suite.check("a volume is made", false, format_args!("{:?}", made.err()));
        return Ok(());
    };
    let mut memory = vec![[0_u8; BLOCK]; (STORED * BLOCKS) as usize];
    let at = NonNull::from(memory.as_mut_slice()).cast();
    // SAFETY: this store's alone from here on, and it stays until all threads ended.
    let store = &unsafe { Memory::new(at, STORED, BLOCKS) };
    let first = volume.client(cache, 0, store).map(Fs::format);
    let Ok(Ok(mut fs)) = first else {
        suite.check("a file system is made", false, "");
        return Ok(());
    };
    let prepared = work::prepare(&mut fs);
    suite.check("files are made", prepared.is_ok(), format_args!("{prepared:?}"));
    let results = here.scope(|scope| {
        let mut threads = heapless::Vec::<_, { MOST as usize }>::new();
        for core in 1..cores {
            let thread = scope.spawn(core, move |_| {
                match volume.client(cache, core.into(), store).map(Fs::mount) {
                    Ok(Ok(mut fs)) => work::until_stopped(&mut fs, core),
                    _ => wrong(work::NO_MOUNT, core.into()),
                }
            })?;
            let _ = threads.push(thread);
        }
        let start = rdtsc();
        let mut turn = 0;
        while rdtsc().wrapping_sub(start) < ticks && BOARD.wrong[0].load(Ordering::Relaxed) == 0 {
            work::turn(&mut fs, 0, turn);
            turn += 1;
        }
        BOARD.stop.store(1, Ordering::Release);
        threads.into_iter().try_for_each(|thread| thread.join())
    });
    suite.check("threads run to their end", results.is_ok(), format_args!("{results:?}"));
    let [what, number] = [0, 1].map(|at: usize| BOARD.wrong[at].load(Ordering::Relaxed));
    suite.check(
        "nobody sees a torn or foreign block, and no call fails",
        what == 0,
        format_args!("{what}: {number:#x}"),
    );
    let done = BOARD.done.each_ref().map(|count| count.load(Ordering::Relaxed));
    suite.check("every kind of work was done", done.iter().all(|count| *count > 0), format_args!("{done:?}"));
    let counters = fs.client().counters();
    suite.check(
        "blocks were evicted and read again",
        counters[1] > 0 && counters[2] > 0,
        format_args!("{counters:?}"),
    );
    let kept = work::parts_kept(&mut fs, cores);
    suite.check("no part of a block was lost", kept, "");
    audit(suite, &mut fs, shape, "after the work");
    let gone = work::remove_all(&mut fs);
    suite.check("everything is removed", gone.is_ok(), format_args!("{gone:?}"));
    let left = audit(suite, &mut fs, shape, "after removal");
    suite.equal("only the root is left", (left.files, left.dirty), (1, 0));
    suite.equal("its name is gone", fs.open("shared", Options::READ).is_err(), true);
    Ok(())
}

fn audit(suite: &mut Suite, fs: &mut work::Files<'_>, shape: Shape, when: &str) -> corey_libos_cache::Counts {
    let mut seen = vec![false; shape.blocks as usize + 1];
    let counts = fs
        .client()
        .audit(&mut |block| seen.get_mut(block as usize).is_some_and(|seen| !core::mem::replace(seen, true)));
    suite.check("every block is in one place", counts.wrong == 0, format_args!("{when}: {counts:?}"));
    counts
}
