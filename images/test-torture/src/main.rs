//! Shootdown at its worst: cores hammer pages of an interior tree that others unmap, whose frames are used again at
//! once, while readers are halted and started, leave the tree and attach it, and wait in the kernel.
//!
//! ```text
//! two owners   each slot, again and again: a segment filled with the slot's next number ─ mapped in the tree
//!              ─ unmapped ─ ended ─ its frames taken for private pages with a secret ─ which must stay as it is
//! readers      each slot: floor read ─ page read: a number of this slot, not below the floor ─ own word written
//! main         halts a reader, gives its core back, starts another there; looks whether all go on
//! ```
//!
//! What a reader finds under a slot is what is mapped there, or a fault. Whoever sees less than the floor, another
//! slot's number or a secret uses a page that was taken away; whoever writes into a secret, too.
//!
//! Word: `seconds=N`; 3 and one for two cores without.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; mapped memory by address")]

mod owner;
mod reader;

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Error, Id, MapFlags, ObjRef, PAGE_BYTES, ShareCalls};
use corey_libos_rt::sys::{pause, rdtsc, segment, sys};
use corey_libos_rt::vm::{Space, interior};
use corey_libos_rt::{Process, Status, entry};
use corey_libos_test::{Fixture, Remote, Suite, touch};
use corey_libos_upcall::Handler;

entry!(main);

const GIB: u64 = 1 << 30;
/// Slots of the tree that owners change, and pages of each.
const SLOTS: u64 = 8;
const PAGES: u64 = 2;
/// Cores that own slots.
const OWNERS: u16 = 2;
/// The slot of a thread's root that links the tree.
const LINK: u64 = 300;
/// Cores that take part at most.
const MOST: usize = 64;
/// Seconds without a turn of a core that make a stall.
const STALL: u64 = 60;

/// A number and whatever else is on its line is one core's.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Own(AtomicU64);

/// What all cores look at.
#[derive(Debug)]
struct Board {
    /// Nothing below this is mapped under a slot any more.
    floor: [AtomicU64; SLOTS as usize],
    /// Nothing above this ever was.
    ceiling: [AtomicU64; SLOTS as usize],
    stop: AtomicU64,
    /// The tree, where it is linked, and a segment to wait on.
    tree: [AtomicU64; 2],
    at: AtomicU64,
    bell: [AtomicU64; 2],
    /// Roots of the cores: share, tree.
    roots: [[AtomicU64; 2]; MOST],
    /// Turns of each core.
    turns: [Own; MOST],
    /// Reads that found a page, that faulted, that were wrong; secrets that were not kept; calls that failed.
    found: AtomicU64,
    faulted: AtomicU64,
    wrong: AtomicU64,
    broken: AtomicU64,
    failed: AtomicU64,
}

static BOARD: Board = Board {
    floor: [const { AtomicU64::new(0) }; SLOTS as usize],
    ceiling: [const { AtomicU64::new(0) }; SLOTS as usize],
    stop: AtomicU64::new(0),
    tree: [const { AtomicU64::new(0) }; 2],
    at: AtomicU64::new(0),
    bell: [const { AtomicU64::new(0) }; 2],
    roots: [const { [const { AtomicU64::new(0) }; 2] }; MOST],
    turns: [const { Own(AtomicU64::new(0)) }; MOST],
    found: AtomicU64::new(0),
    faulted: AtomicU64::new(0),
    wrong: AtomicU64::new(0),
    broken: AtomicU64::new(0),
    failed: AtomicU64::new(0),
};

/// The number of generation `generation` of slot `slot`.
fn number(slot: u64, generation: u64) -> u64 {
    0x5107 << 48 | slot << 40 | generation
}

fn put(to: &[AtomicU64; 2], object: ObjRef) {
    to[0].store(object.share.0, Ordering::Relaxed);
    to[1].store(object.object.0, Ordering::Release);
}

fn get(from: &[AtomicU64; 2]) -> ObjRef {
    let object = Id(from[1].load(Ordering::Acquire));
    ObjRef { share: Id(from[0].load(Ordering::Relaxed)), object }
}

/// Notes a call that failed, and which.
fn note(error: Error, place: u64) {
    let _ = BOARD.failed.compare_exchange(0, place << 8 | error as u64, Ordering::Relaxed, Ordering::Relaxed);
}

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "torture");
    let cores = process.info.header.cores.min(MOST as u64) as u16;
    if cores <= OWNERS + 1 {
        suite.check("two owners and a reader", true, "not with so few cores");
        return suite.finish();
    }
    // Emulated processors take turns: many of them need longer.
    let seconds = process.info.number("seconds=").unwrap_or(3 + u64::from(cores) / 2);
    match run(&mut process, cores, seconds) {
        Ok(report) => report.check(&mut suite, cores),
        Err(error) => suite.check("the torture", false, format_args!("{error:?}")),
    }
    suite.finish()
}

#[derive(Debug, Default)]
struct Report {
    restarts: u64,
    stalled: Option<u16>,
}

impl Report {
    fn check(&self, suite: &mut Suite, cores: u16) {
        let [found, faulted, wrong, broken, failed] =
            [&BOARD.found, &BOARD.faulted, &BOARD.wrong, &BOARD.broken, &BOARD.failed]
                .map(|count| count.load(Ordering::Acquire));
        let ceilings = BOARD.ceiling.iter().map(|c| c.load(Ordering::Relaxed));
        let (rounds, least) = (ceilings.clone().sum::<u64>(), ceilings.min().unwrap_or(0));
        let detail = format_args!("{found} pages read, {faulted} faults, first wrong one {wrong:#x}");
        suite.check("nobody reads a page that was taken away", wrong == 0, detail);
        suite.check(
            "nobody writes into a page that was taken away",
            broken == 0,
            format_args!("{broken:#x}"),
        );
        suite.check("no call fails", failed == 0, format_args!("{failed:#x}"));
        suite.check("no core stands still", self.stalled.is_none(), format_args!("{:?}", self.stalled));
        suite.check("every slot was mapped and reused", least > 2, format_args!("{rounds} times in all"));
        suite.check("readers read and fault", found > 0 && faulted > 0, "");
        let restarts = self.restarts;
        suite.check(
            "readers were halted and started",
            restarts > 0,
            format_args!("{restarts} on {cores} cores"),
        );
    }
}

fn start(fixture: &Fixture, process: &Process, core: u16) -> Result<Remote, Error> {
    let entry = if core < OWNERS + 1 { owner::entry() } else { reader::entry() };
    let mut own = process.space;
    let shares = [process.boot, process.console];
    fixture.start_with(process, core, entry, core.into(), &shares, &mut |core_taken| {
        Handler::prepare(&mut own, &mut core_taken.space, core_taken.share, touch::handler(), 0)?;
        put(&BOARD.roots[usize::from(core)], core_taken.space.tree);
        Space::link_at(core_taken.space.tree, LINK, get(&BOARD.tree), BOARD.at.load(Ordering::Relaxed))
    })
}

fn run(process: &mut Process, cores: u16, seconds: u64) -> Result<Report, Error> {
    let fixture = Fixture::new(process)?;
    put(&BOARD.tree, interior(process.boot, "torture")?);
    BOARD.at.store(process.space.reserve(GIB), Ordering::Relaxed);
    let bell = segment(process.boot, PAGE_BYTES, "bell")?;
    process.space.map(bell, 1, MapFlags::WRITE)?;
    put(&BOARD.bell, bell);
    let mut remotes = [None; MOST];
    for core in 1..cores {
        remotes[usize::from(core)] = Some(start(&fixture, process, core)?);
    }
    let mut report = Report::default();
    watch(process, &fixture, &mut remotes, cores, seconds, &mut report)?;
    BOARD.stop.store(1, Ordering::Release);
    for (core, remote) in (0..).zip(&remotes) {
        if let Some(remote) = remote {
            if remote.wait().is_none() {
                report.stalled.get_or_insert(core);
            }
            remote.core.release();
        }
    }
    sys().share_delobj(get(&BOARD.tree))?;
    sys().share_delobj(bell)?;
    Ok(report)
}

/// Halts and starts readers until the time is up; sees who stands still.
fn watch(
    process: &Process,
    fixture: &Fixture,
    remotes: &mut [Option<Remote>; MOST],
    cores: u16,
    seconds: u64,
    report: &mut Report,
) -> Result<(), Error> {
    use corey_abi::PcoreCalls;
    let hz = process.info.header.tsc_hz;
    let begin = rdtsc();
    // When each core's count was seen to change, and the count.
    let mut seen = [(begin, u64::MAX); MOST];
    let readers = OWNERS + 1..cores;
    let mut next = readers.clone().cycle();
    while rdtsc() - begin < seconds * hz || report.restarts == 0 {
        for core in 1..cores {
            let place = usize::from(core);
            let turns = BOARD.turns[place].0.load(Ordering::Relaxed);
            if seen[place].1 != turns {
                seen[place] = (rdtsc(), turns);
            } else if rdtsc() - seen[place].0 > STALL * hz {
                report.stalled = Some(core);
                return Ok(());
            }
        }
        let Some(core) = next.next() else { return Ok(()) };
        let place = usize::from(core);
        if let Some(remote) = remotes[place].take() {
            // It may wait in the kernel, fault, link the tree, or be asked to forget a page just now.
            sys().pcore_halt(remote.core.pcore, 1)?;
            let ended = remote.wait();
            remote.core.release();
            if ended.is_none() {
                report.stalled = Some(core);
                return Ok(());
            }
            remotes[place] = Some(start(fixture, process, core)?);
            report.restarts += 1;
        }
        (0..2_000).for_each(|_| pause());
    }
    Ok(())
}
