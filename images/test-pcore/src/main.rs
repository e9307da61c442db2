//! pcores: running, halting, what is reported.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Error, Home, Id, Kinds, Name, ObjRef, PcoreCalls, RunContext, ShareCalls};
use corey_libos_rt::sys::{address, pause, sys};
use corey_libos_rt::vm::Ended;
use corey_libos_rt::{Process, Status, entry, halt};
use corey_libos_test::{Fixture, Suite};

entry!(main);

static CALLS: AtomicU64 = AtomicU64::new(0);

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "pcore");
    current(&mut suite, &process);
    refused(&mut suite, &mut process);
    every_core(&mut suite, &mut process);
    halted_by_other(&mut suite, &mut process);
    halting_each_other(&mut suite, &mut process);
    all_halt_all(&mut suite, &mut process);
    storm(&mut suite, &mut process);
    suite.finish()
}

extern "C" fn answer(value: u64) -> ! {
    CALLS.fetch_add(1, Ordering::AcqRel);
    halt(value as u32)
}

extern "C" fn forever(_: u64) -> ! {
    CALLS.fetch_add(1, Ordering::AcqRel);
    loop {
        pause();
    }
}

/// Halts the pcore named by a share and an object in two statics, again and again.
static VICTIM: [[AtomicU64; 2]; 2] = [const { [const { AtomicU64::new(0) }; 2] }; 2];
static ARMED: AtomicU64 = AtomicU64::new(0);
extern "C" fn halter(which: u64) -> ! {
    ARMED.fetch_add(1, Ordering::AcqRel);
    while ARMED.load(Ordering::Acquire) < 3 {
        pause();
    }
    let [share, object] = &VICTIM[which as usize % 2];
    let victim =
        ObjRef { share: Id(share.load(Ordering::Acquire)), object: Id(object.load(Ordering::Acquire)) };
    let _ = sys().pcore_halt(victim, 40 + which);
    halt(50 + which as u32)
}

fn current(suite: &mut Suite, process: &Process) {
    suite.equal("the first program's pcore", sys().pcore_current(), Ok(process.pcore));
    let name = Name::new("again");
    let own = sys().pcore_alloc(process.program, 0, address(&name));
    suite.refused("its core is taken", own, Error::Busy);
    let far = sys().pcore_alloc(process.program, 5000, address(&name));
    suite.refused("a core that does not exist", far, Error::NotFound);
    let huge = sys().pcore_alloc(process.program, u64::MAX, address(&name));
    suite.refused("a core number that is none", huge, Error::NotFound);
}

fn refused(suite: &mut Suite, process: &mut Process) {
    if process.info.header.cores < 2 {
        return suite.check("runs on another core", true, "one core: there is none");
    }
    let Some(fixture) = suite.works("a status page", Fixture::new(process)) else { return };
    let Some(remote) = suite.works("a thread", fixture.start(process, 1, forever, 0)) else { return };
    let core = &remote.core;
    let mut context =
        RunContext { tree: core.space.tree, nshares: 1, entry: 0x1000, ..RunContext::default() };
    context.shares[0] = core.share;
    let run = |context: &RunContext| sys().pcore_run(core.pcore, address(context));
    suite.refused("a pcore that runs", run(&context), Error::Busy);
    suite.works("halted", sys().pcore_halt(core.pcore, 9));
    suite.equal("with that value", remote.wait(), Some(Ended::HaltedByOther(9)));
    suite.refused("halted twice", sys().pcore_halt(core.pcore, 9), Error::NotPermitted);
    suite.refused("a kernel core has no tree", run(&RunContext { mode: 1, ..context }), Error::BadArgument);
    suite.refused("an unknown mode", run(&RunContext { mode: 7, ..context }), Error::BadArgument);
    suite.refused("too many shares", run(&RunContext { nshares: 21, ..context }), Error::BadArgument);
    suite.refused(
        "the entry in the kernel's half",
        run(&RunContext { entry: 1 << 47, ..context }),
        Error::OutOfRange,
    );
    suite.refused(
        "a stack beyond the user half",
        run(&RunContext { stack: u64::MAX, ..context }),
        Error::OutOfRange,
    );
    let mut foreign = context;
    foreign.shares[0] = Id(0x1234_5678);
    suite.refused("a share out of reach", run(&foreign), Error::NotPermitted);
    let tree = ObjRef { share: process.program, ..core.space.tree };
    suite.refused("a tree outside the set", run(&RunContext { tree, ..context }), Error::NotPermitted);
    let tree = ObjRef { share: core.share, object: core.pcore.object };
    suite.refused("a pcore as tree", run(&RunContext { tree, ..context }), Error::WrongKind);
    let mut twice = RunContext { nshares: 2, ..context };
    twice.shares[1] = core.share;
    suite.refused("a share named twice", run(&twice), Error::BadArgument);
    let status = RunContext { status: process.pcore, ..context };
    suite.refused("a status in no segment", run(&status), Error::WrongKind);
    let page = ObjRef { share: process.program, object: process.info.header.segment };
    suite.refused(
        "a status off its alignment",
        run(&RunContext { status: page, status_offset: 8, ..context }),
        Error::Misaligned,
    );
    suite.refused(
        "a status outside",
        run(&RunContext { status: page, status_offset: 1 << 30, ..context }),
        Error::OutOfRange,
    );
    core.release();
}

fn every_core(suite: &mut Suite, process: &mut Process) {
    let Some(fixture) = suite.works("a status page", Fixture::new(process)) else { return };
    let mut good = 0;
    let others = process.info.header.cores as u16 - 1;
    for core in 1..=others {
        let value = 1000 + u64::from(core);
        let ended = fixture.start(process, core, answer, value).map(|remote| remote.join());
        good += u16::from(ended == Ok(Ended::Halted(value as u32)));
    }
    suite.check(
        "every core runs a thread and reports its value",
        good == others,
        format_args!("{good} of {others}"),
    );
}

fn halted_by_other(suite: &mut Suite, process: &mut Process) {
    let name = "a thread that never calls the kernel is halted by another core";
    if process.info.header.cores < 2 {
        return suite.check(name, true, "one core: nobody else");
    }
    let Ok(fixture) = Fixture::new(process) else { return suite.check(name, false, "no fixture") };
    CALLS.store(0, Ordering::Release);
    let Ok(remote) = fixture.start(process, 1, forever, 0) else {
        return suite.check(name, false, "not started");
    };
    while CALLS.load(Ordering::Acquire) == 0 {
        pause();
    }
    let halted = sys().pcore_halt(remote.core.pcore, 77);
    let ended = remote.wait();
    suite.check(
        name,
        halted.is_ok() && ended == Some(Ended::HaltedByOther(77)),
        format_args!("{halted:?} {ended:?}"),
    );
    remote.core.release();
    CALLS.store(0, Ordering::Release);
    let Ok(remote) = fixture.start(process, 1, forever, 0) else {
        return suite.check("again", false, "not started");
    };
    while CALLS.load(Ordering::Acquire) == 0 {
        pause();
    }
    // No halt: what it stands on goes away.
    let gone = sys().share_delobj(remote.core.space.tree);
    let ended = remote.wait();
    let good = gone.is_ok() && ended == Some(Ended::Lost);
    suite.check("a thread whose root tree goes is halted", good, format_args!("{gone:?} {ended:?}"));
    remote.core.release();
    CALLS.store(0, Ordering::Release);
    let Ok(remote) = fixture.start(process, 1, forever, 0) else {
        return suite.check("once more", false, "not started");
    };
    while CALLS.load(Ordering::Acquire) == 0 {
        pause();
    }
    let gone = sys().share_delobj(remote.core.pcore);
    let ended = remote.wait();
    let good = gone.is_ok() && ended == Some(Ended::Lost);
    suite.check("a thread whose pcore goes is halted", good, format_args!("{gone:?} {ended:?}"));
    remote.core.release();
    let again = fixture.start(process, 1, answer, 5).map(|remote| remote.join());
    suite.check("its core is free again", again == Ok(Ended::Halted(5)), format_args!("{again:?}"));
}

fn halting_each_other(suite: &mut Suite, process: &mut Process) {
    let name = "two cores that halt each other both end";
    if process.info.header.cores < 3 {
        return suite.check(name, true, "fewer than three cores: no two others");
    }
    let Ok(fixture) = Fixture::new(process) else { return suite.check(name, false, "no fixture") };
    let label = Name::new("both");
    let Ok(both) = sys().share_alloc(process.boot, Kinds::all(), 0, 8, Home::Any, address(&label)) else {
        return suite.check(name, false, "no share");
    };
    let mut good = 0;
    for _ in 0..10 {
        ARMED.store(0, Ordering::Release);
        let shares = [process.boot, process.console, both];
        let entry = halter as extern "C" fn(u64) -> ! as usize as u64;
        let start = |core: u16, which: u64| {
            fixture.start_with(process, core, entry, which, &shares, &mut |taken| {
                sys().share_addobj(both, taken.pcore)?;
                let [share, object] = &VICTIM[1 - which as usize];
                share.store(both.0, Ordering::Release);
                object.store(taken.pcore.object.0, Ordering::Release);
                Ok(())
            })
        };
        let (Ok(one), Ok(two)) = (start(1, 0), start(2, 1)) else { break };
        while ARMED.load(Ordering::Acquire) < 2 {
            pause();
        }
        ARMED.fetch_add(1, Ordering::AcqRel);
        good += u32::from(one.wait().is_some() && two.wait().is_some());
        for remote in [one, two] {
            let _ = sys().share_delobj(ObjRef { share: both, object: remote.core.pcore.object });
            remote.core.release();
        }
    }
    suite.check(name, good == 10, format_args!("{good} of 10 rounds"));
    let _ = sys().share_delobj(ObjRef { share: process.boot, object: both });
    let _ = sys().self_drop(both);
}

/// Every core's pcore: object IDs in a share that all hold.
static ALL: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Halts all others, in the order of their numbers after one's own; argument: own number, and the share above.
extern "C" fn halts_all(argument: u64) -> ! {
    let (own, both) = (argument % 64, Id(argument / 64));
    ARMED.fetch_add(1, Ordering::AcqRel);
    while ARMED.load(Ordering::Acquire) < 1000 {
        pause();
    }
    for step in 1..64 {
        let object = Id(ALL[((own + step) % 64) as usize].load(Ordering::Acquire));
        if object != Id::NULL {
            // It may be over already, or halt this one first.
            let _ = sys().pcore_halt(ObjRef { share: both, object }, own);
        }
    }
    halt(own as u32)
}

fn all_halt_all(suite: &mut Suite, process: &mut Process) {
    let name = "all cores halt all others at once, and all end";
    let others = process.info.header.cores.min(64) as u16 - 1;
    let Ok(fixture) = Fixture::new(process) else { return suite.check(name, false, "no fixture") };
    let label = Name::new("all");
    let Ok(both) = sys().share_alloc(process.boot, Kinds::all(), 0, 64, Home::Any, address(&label)) else {
        return suite.check(name, false, "no share");
    };
    let mut good = 0;
    for _ in 0..5 {
        ARMED.store(0, Ordering::Release);
        let mut remotes = [None; 64];
        for core in 1..=others {
            let shares = [process.boot, process.console, both];
            let entry = halts_all as extern "C" fn(u64) -> ! as usize as u64;
            let argument = both.0 * 64 + u64::from(core);
            let started = fixture.start_with(process, core, entry, argument, &shares, &mut |taken| {
                ALL[usize::from(core)].store(taken.pcore.object.0, Ordering::Release);
                sys().share_addobj(both, taken.pcore)
            });
            remotes[usize::from(core)] = started.ok();
        }
        while ARMED.load(Ordering::Acquire) < u64::from(others) {
            pause();
        }
        ARMED.store(1000, Ordering::Release);
        for (core, remote) in remotes.iter().enumerate().filter_map(|(n, r)| Some((n, r.as_ref()?))) {
            let fits = match remote.wait() {
                Some(Ended::Halted(own)) => own as usize == core,
                Some(Ended::HaltedByOther(by)) => {
                    (1..=u32::from(others)).contains(&by) && by as usize != core
                }
                _ => false,
            };
            good += u32::from(fits);
            ALL[core].store(0, Ordering::Release);
            let _ = sys().share_delobj(ObjRef { share: both, object: remote.core.pcore.object });
            remote.core.release();
        }
    }
    let wanted = 5 * u32::from(others);
    suite.check(name, good == wanted, format_args!("{good} of {wanted}"));
    let _ = sys().share_delobj(ObjRef { share: process.boot, object: both });
    let _ = sys().self_drop(both);
}

fn storm(suite: &mut Suite, process: &mut Process) {
    let rounds = 20;
    let Ok(fixture) = Fixture::new(process) else { return suite.check("storm", false, "no fixture") };
    let others = process.info.header.cores.min(64) as u16 - 1;
    let mut good = 0;
    for round in 0..rounds {
        let mut remotes = [None; 64];
        for core in 1..=others {
            let entry = if (round + u64::from(core)) % 2 == 0 { answer } else { forever };
            remotes[usize::from(core)] = fixture.start(process, core, entry, round).ok();
        }
        for (core, remote) in
            remotes.iter().enumerate().filter_map(|(core, r)| Some((core as u64, r.as_ref()?)))
        {
            let wanted = if (round + core).is_multiple_of(2) {
                Ended::Halted(round as u32)
            } else {
                // It may have not begun its first instruction: that makes no difference.
                let _ = sys().pcore_halt(remote.core.pcore, round);
                Ended::HaltedByOther(round as u32)
            };
            good += u64::from(remote.wait() == Some(wanted));
            remote.core.release();
        }
    }
    let wanted = rounds * u64::from(others);
    suite.check("a storm of runs and halts on all cores", good == wanted, format_args!("{good} of {wanted}"));
}
