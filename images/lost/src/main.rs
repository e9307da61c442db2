//! All cores work, and some are made to stop: who is left finishes, and what is gone is told.
//!
//! ```text
//! boot   a thread on every core ─ (fails times) one is chosen, made to stop somehow, somewhen ─ the others do rounds
//!        ─ its status says "core lost", calls on it answer CoreLost ─ … ─ all end ─ audit
//! ```
//!
//! Words: `seed=N`, `fails=N`; `outside` says that something else makes the cores stop. It needs `images/kernel-probe`:
//! a call that no kernel has makes a core stop there.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; mapped memory by address")]

mod work;

use core::sync::atomic::Ordering;
use corey_abi::{
    AuditReport, Error, Home, Id, Kinds, MachineCalls, Name, ObjRef, PcoreCalls, ShareCalls, UserPtr, reason,
};
use corey_libos_rt::sys::{address, address_mut, pause, raw, rdtsc, sys};
use corey_libos_rt::vm::{Core, Space, clear_in, interior};
use corey_libos_rt::{Process, Status, entry, println};
use corey_libos_test::{Fixture, Random, Remote};
use work::{CORES, DONE, Ground, ORDERS, STOP, VA, round, thread};

entry!(main);

/// The call of `images/kernel-probe`: makes core `args[0]` stop in way `args[1]`, `args[2]` ticks from now.
const STOP_CORE: u64 = 0xf411;
/// Ways: without a word, saying so, at one instruction.
const WAYS: u64 = 3;
/// Slot of a root that links the common tree.
const SLOT: u64 = 401;
/// Rounds that each core must do after another one stopped.
const ROUNDS: u64 = 20;

fn main(mut process: Process) -> Status {
    match run(&mut process) {
        Ok(()) => Status::Success,
        Err((what, error)) => {
            println!("{{\"record\":\"lost-failed\",\"what\":\"{what}\",\"error\":\"{error:?}\"}}");
            Status::Failed
        }
    }
}

type Failure = (&'static str, Option<Error>);

fn step<T>(what: &'static str, result: Result<T, Error>) -> Result<T, Failure> {
    result.map_err(|error| (what, Some(error)))
}

fn expect(what: &'static str, holds: bool) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err((what, None)) }
}

fn start(
    process: &Process,
    fixture: &Fixture,
    ground: Ground,
    core: u16,
    seed: u64,
) -> Result<Remote, Error> {
    let mut prepare = |at: &mut Core| {
        let orders = [
            ground.share.0,
            ground.tree.object.0,
            at.share.0,
            at.space.tree.object.0,
            at.pcore.object.0,
            seed,
        ];
        let to = &ORDERS[usize::from(core) % CORES];
        to.iter().zip(orders).for_each(|(to, from)| to.store(from, Ordering::Release));
        Ok(())
    };
    let entry = thread as extern "C" fn(u64) -> ! as usize as u64;
    fixture.start_with(process, core, entry, core.into(), &[ground.share], &mut prepare)
}

fn run(process: &mut Process) -> Result<(), Failure> {
    let cores = (process.info.header.cores as usize).min(CORES);
    let seed = process.info.number("seed=").unwrap_or(1);
    let fails = process.info.number("fails=").unwrap_or(1).min(cores as u64 - 2);
    let outside = process.info.has_word("outside");
    let mut random = Random::new(seed);
    let name = Name::new("common");
    let all = Kinds::all();
    let made = sys().share_alloc(process.boot, all, 20_000, 4_000, Home::Any, address(&name));
    let share = step("the common share", made)?;
    let tree = step("the common tree", interior(share, "common"))?;
    step("linking it", Space::link_at(process.space.tree, SLOT, tree, VA))?;
    let ground = Ground { share, tree, own: None };
    let fixture = step("status words", Fixture::new(process))?;
    let mut threads: [Option<Remote>; CORES] = [None; CORES];
    for (core, thread) in threads.iter_mut().enumerate().take(cores).skip(1) {
        let remote = start(process, &fixture, ground, core as u16, random.below(u64::MAX));
        *thread = Some(step("a thread", remote)?);
    }
    let mut living: [bool; CORES] = core::array::from_fn(|core| core < cores);
    rounds(&living, ground, &mut random, &fixture, None)?;
    for number in 0..fails {
        let victim = loop {
            let core = 1 + random.below(cores as u64 - 1) as usize;
            if living[core] {
                break core;
            }
        };
        let (way, delay) = (1 + random.below(WAYS), random.below(3_000_000));
        println!(
            "{{\"record\":\"lost-begin\",\"seed\":{seed},\"number\":{number},\"core\":{victim},\"way\":{way}}}"
        );
        if !outside {
            step("making a core stop", raw(STOP_CORE, [victim as u64, way, delay, 0, 0, 0]))?;
        }
        let begin = rdtsc();
        living[victim] = false;
        let remote = threads[victim].ok_or(("a victim without a thread", None))?;
        rounds(&living, ground, &mut random, &fixture, outside.then_some(victim))?;
        // Whoever waited for it found out; if nobody did, this does.
        let stat = sys().core_stat(remote.core.pcore, UserPtr(0));
        expect("core_stat on a lost core", stat == Err(Error::CoreLost))?;
        let halt = sys().pcore_halt(remote.core.pcore, 0);
        expect("pcore_halt on a lost core", halt == Err(Error::CoreLost))?;
        while status(&fixture, victim) != reason::CORE_LOST {
            expect("the status says so", rdtsc() - begin < process.info.header.tsc_hz * 20)?;
            pause();
        }
        remote.core.release();
        let name = Name::new("again");
        let again = sys().pcore_alloc(process.boot, victim as u64, address(&name));
        expect("pcore_alloc of a lost core", again == Err(Error::CoreLost))?;
        println!("{{\"record\":\"lost-found\",\"seed\":{seed},\"number\":{number},\"core\":{victim}}}");
    }
    STOP.store(1, Ordering::Release);
    for core in (1..cores).filter(|core| living[*core]) {
        let Some(remote) = threads[core] else { continue };
        let ended = remote.wait();
        expect("the others finish", ended.is_some())?;
        remote.core.release();
    }
    step("unlinking", clear_in(process.space.tree, SLOT))?;
    step("the common share's end", sys().share_delobj(ObjRef { share: process.boot, object: share }))?;
    step("the common share's end", sys().self_drop(share))?;
    audit(process.boot, fails)
}

/// The first status word of a core.
fn status(fixture: &Fixture, core: usize) -> u32 {
    let ([first, _], _, _) = fixture.status(core as u16);
    first.load(Ordering::Acquire) as u32
}

/// Works until every living core has done some rounds more, and `victim` is gone.
fn rounds(
    living: &[bool; CORES],
    ground: Ground,
    random: &mut Random,
    fixture: &Fixture,
    victim: Option<usize>,
) -> Result<(), Failure> {
    let before: [u64; CORES] = core::array::from_fn(|core| DONE[core].load(Ordering::Relaxed));
    loop {
        round(0, ground, random);
        let mut all = victim.is_none_or(|core| status(fixture, core) == reason::CORE_LOST);
        for core in (0..CORES).filter(|core| living[*core]) {
            all &= DONE[core].load(Ordering::Relaxed) >= before[core] + ROUNDS;
            expect("a core that works is called lost", status(fixture, core) != reason::CORE_LOST)?;
        }
        if all {
            return Ok(());
        }
    }
}

fn audit(boot: Id, fails: u64) -> Result<(), Failure> {
    let mut report = AuditReport::default();
    step("an audit", sys().audit(boot, address_mut(&mut report)))?;
    let AuditReport { frames, owned, free, limbo, objects, errors, quarantined, .. } = report;
    println!(
        "{{\"record\":\"lost-end\",\"fails\":{fails},\"errors\":{errors},\"objects\":{objects},\"quarantined\":{quarantined}}}"
    );
    expect("frames", frames == owned + free + limbo + quarantined)?;
    expect("the audit is clean", errors == 0)
}
