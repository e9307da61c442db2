//! Cores that stop for ever: whoever waits for one goes on, and what it had is reclaimed or quarantined.

mod common;

use common::*;
use corey_abi::{
    AuditReport, CORE_BY_NUMBER, Error, Home, Id, MachineCalls, ObjRef, PcoreCalls, SegmentCalls, ShareCalls,
    copy_mode, reason,
};
use corey_test_hal_host::{Booted, Death, User};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

struct Print;
impl log::Log for Print {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        println!("{}", record.args());
    }
    fn flush(&self) {}
}

const GIB: u64 = 1 << 30;
const VA: u64 = 0x6000_0000_0000;
const DEATHS: [Death; 3] = [Death::Stopped, Death::Stuck, Death::Silent];

fn boot_patient(cores: usize, words: &str) -> Booted {
    // Once; again changes nothing.
    let _ = log::set_logger(&Print);
    log::set_max_level(log::LevelFilter::Error);
    let bytes = (32 << 20) + cores as u64 * (2 << 20);
    boot_as(cores, bytes, words)
}

fn wait_for_end(booted: &Booted, core: u16) {
    while !booted.machine().has_stopped(core) {
        booted.machine().check();
        std::thread::yield_now();
    }
}

fn report(booted: &Booted) -> AuditReport {
    booted.on(0, |user| {
        let boot = start(user).boot;
        let at = put(user, &[0_u64; 8]);
        user.sys().audit(boot, at).expect("the boot share is held");
        take::<AuditReport>(user)
    })
}

/// What core 0 and a thread on another core have in common.
#[derive(Clone, Copy, Debug)]
struct Common {
    boot: Id,
    share: Id,
    tree: ObjRef,
    status: ObjRef,
    root: ObjRef,
}

fn common(user: &mut User<'_>) -> Common {
    let first = start(user);
    let share = share(user, first.boot, 2000, 800).unwrap();
    let tree = interior(user, share).unwrap();
    link(user, first.tree, 100, tree, VA).unwrap();
    let status = segment(user, first.boot, 1).unwrap();
    map(user, first.tree, 101, status, VA + GIB, 1).unwrap();
    Common { boot: first.boot, share, tree, status, root: first.tree }
}

/// A thread on `core` that has [`Common`] too, and reports its end in status `core`.
fn companion(user: &mut User<'_>, common: Common, core: u64) -> Thread {
    let made = thread(user, common.boot, core).unwrap();
    link(user, made.tree, 100, common.tree, VA).unwrap();
    run_with(user, made, |context| {
        context.shares[1] = common.share;
        context.nshares = 2;
        context.status = common.status;
        context.status_offset = 16 * core;
    })
    .unwrap();
    made
}

fn status(user: &mut User<'_>, core: u64) -> u64 {
    user.read(VA + GIB + 16 * core).unwrap() & 0xffff_ffff
}

/// Maps a page of a new segment in slot `slot` of the common tree, writes it, unmaps it.
fn one_page(user: &mut User<'_>, common: Common, slot: u64) -> Result<(), Error> {
    let page = segment(user, common.share, 1)?;
    map(user, common.tree, slot, page, slot * 4096, 1)?;
    let _ = user.write(VA + slot * 4096, slot);
    clear(user, common.tree, slot)?;
    user.sys().share_delobj(page)
}

#[test]
fn a_core_that_stops_in_user_mode_holds_nobody_up_and_is_reclaimed() {
    for death in DEATHS {
        let booted = boot_patient(3, "lost=5");
        let (common, made) = booted.on(0, |user| {
            let common = common(user);
            (common, companion(user, common, 1))
        });
        booted.on(1, move |user| one_page(user, common, 1).unwrap());
        booted.machine().stop_core(1, 1, death);
        wait_for_end(&booted, 1);
        booted.on(0, move |user| {
            assert_eq!(status(user, 1), reason::RUNNING.into());
            // The first unmapping waits for the lost core; the rest find it gone.
            for slot in 0..20 {
                one_page(user, common, slot).unwrap();
            }
            assert_eq!(status(user, 1), reason::CORE_LOST.into(), "{death:?}");
            assert_eq!(run(user, made, &[]), Err(Error::CoreLost));
            assert_eq!(user.sys().pcore_halt(made.pcore, 0), Err(Error::CoreLost));
            assert_eq!(user.sys().pcore_set_interval(made.pcore, 0), Err(Error::CoreLost));
            let at = put(user, &0_u64);
            assert_eq!(user.sys().core_stat(made.pcore, at), Err(Error::CoreLost));
            // Its share was dropped with the core: nothing is left but its name here.
            end(user, common.boot, made.share);
            let at = name(user, "again");
            assert_eq!(user.sys().pcore_alloc(common.boot, 1, at), Err(Error::CoreLost));
            clear(user, common.root, 100).unwrap();
            end(user, common.boot, common.share);
            // Another core takes its place.
            let next = self::common(user);
            companion(user, next, 2);
        });
        let told = report(&booted);
        assert_eq!(told.errors, 0, "{death:?}: {told:?}");
        assert!(told.quarantined <= 128, "more than its cache: {told:?}");
    }
}

#[test]
fn an_idle_core_that_stops_is_told_by_whoever_needs_it() {
    for death in DEATHS {
        let booted = boot_patient(2, "lost=5");
        booted.machine().stop_core(1, 1, death);
        wait_for_end(&booted, 1);
        booted.on(0, move |user| {
            let boot = start(user).boot;
            let made = thread(user, boot, 1).unwrap();
            // Nobody has found out: a run is left there, and nobody waits for it.
            run(user, made, &[]).unwrap();
            assert_eq!(user.sys().pcore_halt(made.pcore, 0), Err(Error::CoreLost));
            assert_eq!(run(user, made, &[]), Err(Error::CoreLost));
            end(user, boot, made.share);
        });
        let told = report(&booted);
        assert_eq!(told.errors, 0, "{death:?}: {told:?}");
    }
}

#[test]
fn an_audit_does_without_a_core_that_stopped_and_goes_on_when_the_auditor_did() {
    for (steps, death) in (40..).step_by(97).zip(DEATHS.into_iter().cycle()).take(12) {
        let booted = boot_patient(3, "lost=5");
        let common = booted.on(0, |user| {
            let common = common(user);
            let made = thread(user, common.boot, 1).unwrap();
            run(user, made, &[common.boot]).unwrap();
            common
        });
        let _never = booted.start(1, move |user| {
            loop {
                let at = put(user, &[0_u64; 8]);
                let _ = user.sys().audit(common.boot, at);
            }
        });
        booted.machine().stop_core(1, steps, death);
        wait_for_end(&booted, 1);
        booted.on(0, move |user| {
            for slot in 0..5 {
                one_page(user, common, slot).unwrap();
            }
            // If nobody waited for it before.
            let at = put(user, &0_u64);
            let core = ObjRef { share: common.boot, object: Id(CORE_BY_NUMBER | 1) };
            assert_eq!(user.sys().core_stat(core, at), Err(Error::CoreLost));
        });
        // Its audit ends with it.
        for _ in 0..2 {
            assert_eq!(report(&booted).errors, 0);
        }
    }
}

/// What a thread does until it is told to stop: all that takes locks, asks other cores, or claims something.
fn storm(
    user: &mut User<'_>,
    common: Common,
    made: Option<Thread>,
    core: u64,
    stop: &AtomicBool,
    done: &AtomicU64,
) {
    let mut round = 0;
    while !stop.load(Ordering::SeqCst) && !user.has_left() {
        let slot = core * 16 + round % 16;
        let _ = calls(user, common, made, slot, round);
        round += 1;
        done.fetch_add(1, Ordering::SeqCst);
    }
}

fn calls(
    user: &mut User<'_>,
    common: Common,
    made: Option<Thread>,
    slot: u64,
    round: u64,
) -> Result<(), Error> {
    let page = segment(user, common.share, 4)?;
    map(user, common.tree, slot, page, slot * 0x4000, 4)?;
    for word in 0..4 {
        let _ = user.write(VA + slot * 0x4000 + word * 4096, word);
    }
    if round.is_multiple_of(2) {
        let at = name(user, "copy");
        let copy = user.sys().segment_copy(page, common.share, copy_mode::ON_WRITE, Home::Any, at)?;
        let _ = user.write(VA + slot * 0x4000, 9);
        user.sys().share_delobj(ObjRef { share: common.share, object: copy })?;
    }
    if round.is_multiple_of(3) {
        user.sys().segment_set_nbytes(page, 4096)?;
    }
    if let Some(made) = made {
        // Of its own share: another tree, a share in it.
        let tree = root(user, made.share)?;
        map(user, tree, 3, page, VA, 1)?;
        user.sys().share_delobj(tree)?;
        let child = share(user, made.share, 5, 5)?;
        let inner = segment(user, child, 2)?;
        map(user, made.tree, 7, inner, VA + 4 * GIB, 2)?;
        let _ = user.write(VA + 4 * GIB, 1);
        end(user, made.share, child);
    }
    let _ = user.sys().core_wait(page, 0, 0, 1000);
    let _ = user.sys().core_wake(page, 0);
    clear(user, common.tree, slot)?;
    user.sys().share_delobj(page)
}

/// A storm with one failure; says how many objects are left.
fn survive(seed: u64) -> u64 {
    let cores = 4;
    let booted = boot_patient(cores, "lost=4");
    let death = DEATHS[(seed % 3) as usize];
    let (common, threads) = booted.on(0, move |user| {
        let common = common(user);
        (common, (1..cores as u64).map(|core| companion(user, common, core)).collect::<Vec<_>>())
    });
    let stop = Arc::new(AtomicBool::new(false));
    let done: Vec<_> = (0..cores).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let work: Vec<_> = (0..cores as u16)
        .map(|core| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done[usize::from(core)]));
            let made = usize::from(core).checked_sub(1).map(|at| threads[at]);
            booted.start(core, move |user| storm(user, common, made, core.into(), &stop, &done))
        })
        .collect();
    // Some way into the storm, by the steps of the core itself: so the point is the seed's.
    booted.machine().stop_core(1, 3_000 + seed.wrapping_mul(7919) % 5_000, death);
    wait_for_end(&booted, 1);
    // The others go on.
    let before: Vec<u64> = done.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    for core in [0, 2, 3] {
        while done[core].load(Ordering::SeqCst) < before[core] + 20 {
            booted.machine().check();
            std::thread::yield_now();
        }
    }
    stop.store(true, Ordering::SeqCst);
    for core in [0, 2, 3] {
        booted.wait(&work[core]);
    }
    let told = booted.on(0, move |user| {
        let at = put(user, &0_u64);
        assert_eq!(user.sys().core_stat(threads[0].pcore, at), Err(Error::CoreLost));
        let told = status(user, 1);
        for made in &threads[1..] {
            user.sys().pcore_halt(made.pcore, 0).unwrap();
            end(user, common.boot, made.share);
        }
        end(user, common.boot, threads[0].share);
        told
    });
    assert_eq!(told, reason::CORE_LOST.into(), "its starter was not told");
    let report = report(&booted);
    assert_eq!(report.errors, 0, "seed {seed}, {death:?}: {report:?}");
    report.objects
}

#[test]
fn a_core_that_stops_anywhere_holds_nobody_up() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let first = number("COREY_LOST_SEED");
    let range = first.unwrap_or(0)
        ..first.unwrap_or(0) + number("COREY_LOST_COUNT").unwrap_or(if first.is_some() { 1 } else { 24 });
    for seed in range {
        println!("seed {seed}: {} objects are left", survive(seed));
    }
}
