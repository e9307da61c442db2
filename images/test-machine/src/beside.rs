//! What needs a second core.

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    AuditReport, CORE_BY_NUMBER, CoreStat, Error, Id, MachineCalls, MapFlags, ObjRef, PAGE_BYTES, PcoreCalls,
    Plain, ShareCalls, UserPtr, control, core_mode, counter,
};
use corey_libos_rt::sys::{address_mut, pause, segment, sys};
use corey_libos_rt::vm::{Ended, clear_in, interior, map_in};
use corey_libos_rt::{Process, halt, shared};
use corey_libos_test::{Fixture, Suite};

/// What the thread works on; statics are the program's, and every thread of it has them.
static WORD: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static BOOT: AtomicU64 = AtomicU64::new(0);
static TURNS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn all(suite: &mut Suite, process: &mut Process) {
    if process.info.header.cores < 2 {
        return suite.check("what needs a second core", true, "one core: there is none");
    }
    let Some(fixture) = suite.works("a status page", Fixture::new(process)) else { return };
    BOOT.store(process.boot.0, Ordering::Release);
    modes(suite, process, &fixture);
    without_key(suite, process, &fixture);
    rounds(suite, process, &fixture);
    audits(suite, process, &fixture);
}

pub(crate) fn stat(pcore: ObjRef) -> Result<CoreStat, Error> {
    let mut bytes = [0; CoreStat::BYTES];
    sys().core_stat(pcore, UserPtr(bytes.as_mut_ptr() as u64))?;
    CoreStat::from_bytes(&bytes).ok_or(Error::BadAddress)
}

/// Whether `is` comes true within a bounded number of turns.
fn comes(mut is: impl FnMut() -> bool) -> bool {
    (0..20_000_000).any(|_| {
        pause();
        is()
    })
}

/// Turns until the first word is 1; then sleeps until the second is.
extern "C" fn sleeper(at: u64) -> ! {
    // SAFETY: `modes` mapped the page for both.
    let words: &[AtomicU64; 2] = unsafe { shared(at) };
    while words[0].load(Ordering::Acquire) == 0 {
        TURNS.fetch_add(1, Ordering::Release);
    }
    let page =
        ObjRef { share: Id(WORD[0].load(Ordering::Acquire)), object: Id(WORD[1].load(Ordering::Acquire)) };
    while words[1].load(Ordering::Acquire) == 0 {
        if sys().core_wait(page, 8, 0, u64::MAX).is_err() {
            halt(9);
        }
    }
    halt(5)
}

/// A core is idle, works, sleeps and is idle again, as `core_stat` sees it; a fence reaches it while it works.
fn modes(suite: &mut Suite, process: &mut Process, fixture: &Fixture) {
    let by_number = ObjRef { share: process.boot, object: Id(CORE_BY_NUMBER | 1) };
    let mode = |pcore| stat(pcore).map(|stat| stat.mode);
    suite.equal("a core that nobody has is idle", mode(by_number), Ok(core_mode::IDLE));
    let Some(page) = suite.works("a page", segment(process.program, PAGE_BYTES, "word")) else { return };
    let Some((va, slot)) = suite.works("mapped", process.space.map(page, 1, MapFlags::WRITE)) else { return };
    // SAFETY: just mapped; used as these two words until the thread has ended.
    let words: &[AtomicU64; 2] = unsafe { shared(va) };
    WORD[0].store(page.share.0, Ordering::Release);
    WORD[1].store(page.object.0, Ordering::Release);
    let Some(remote) = suite.works("a thread", fixture.start(process, 1, sleeper, va)) else { return };
    suite.check("it works", comes(|| TURNS.load(Ordering::Acquire) > 0), "");
    let pcore = remote.core.pcore;
    suite.equal("and is seen to", mode(pcore), Ok(core_mode::USER));
    let seen = stat(pcore);
    let holds = seen.as_ref().is_ok_and(|seen| {
        let held = seen.shares.iter().find(|share| share.id == process.boot);
        held.is_some_and(|share| share.holders[0] & 3 == 3)
            && seen.core == 1
            && seen.tree == remote.core.space.tree.object
    });
    suite.check("with what it runs and holds, and who else does", holds, "");
    let ipis = || sys().counter_read(counter::IPIS).unwrap_or(0);
    let before = ipis();
    suite.works("a fence on a core that works", sys().core_fence(process.boot));
    suite.equal("costs one interrupt", ipis() - before, 1);
    let turns = TURNS.load(Ordering::Acquire);
    suite.check("and the core goes on", comes(|| TURNS.load(Ordering::Acquire) > turns), "");
    words[0].store(1, Ordering::Release);
    suite.check("it sleeps", comes(|| mode(pcore) == Ok(core_mode::WAITING)), "");
    suite.works("a fence on a core that sleeps", sys().core_fence(process.boot));
    suite.equal("a word nobody waits on", sys().core_wake(page, 0), Ok(0));
    words[1].store(1, Ordering::Release);
    // It may be between two looks at its word.
    suite.check(
        "core_wake wakes one core",
        comes(|| matches!(sys().core_wake(page, 8), Ok(1)) || remote.thread.poll().is_some()),
        "",
    );
    suite.equal("which goes on", remote.wait(), Some(Ended::Halted(5)));
    remote.core.release();
    suite.equal("and is idle", mode(by_number), Ok(core_mode::IDLE));
    suite.works("unmapped", process.space.unmap(slot));
}

/// Without the boot share nothing of the machine can be reached. Halts with the number of the first call that works.
extern "C" fn stranger(_: u64) -> ! {
    let boot = Id(BOOT.load(Ordering::Acquire));
    let mut report = AuditReport::default();
    let by_number = ObjRef { share: boot, object: Id(CORE_BY_NUMBER) };
    let answers = [
        sys().machine_control(boot, control::EXIT, 0),
        sys().machine_control(boot, control::LOG_LEVEL, 3),
        sys().audit(boot, address_mut(&mut report)),
        stat(by_number).map(|_| ()),
        sys().core_fence(boot),
        sys().share_list(boot, 0, UserPtr(0), 0).map(|_| ()),
        sys().core_wait(ObjRef { share: boot, object: boot }, 0, 0, 0),
        sys().core_wake(ObjRef { share: boot, object: boot }, 0).map(|_| ()),
    ];
    let wrong = answers.iter().position(|answer| *answer != Err(Error::NotFound));
    // What needs no share works.
    let own = sys().pcore_current().and_then(stat).is_ok_and(|stat| stat.core == 1 && stat.nshares == 1);
    let counts = sys().counter_read(counter::SYSCALLS).is_ok_and(|calls| calls > 0);
    halt(match wrong {
        Some(at) => at as u32,
        None if own && counts => 100,
        None => 99,
    })
}

fn without_key(suite: &mut Suite, process: &Process, fixture: &Fixture) {
    let entry = stranger as extern "C" fn(u64) -> ! as usize as u64;
    let started = fixture.start_with(process, 1, entry, 0, &[], &mut |_| Ok(()));
    let Some(remote) = suite.works("a thread without the boot share", started) else { return };
    let ended = remote.wait();
    suite.equal("it finds nothing through it", ended, Some(Ended::Halted(100)));
    remote.core.release();
}

/// Reads a page again and again.
extern "C" fn reader(at: u64) -> ! {
    loop {
        // SAFETY: mapped readable until the test ends this thread.
        let value = unsafe { (at as *const u64).read_volatile() };
        TURNS.fetch_add(1 + value, Ordering::Release);
    }
}

/// Taking a page from a tree that a second core has attached is one round, and one interrupt.
fn rounds(suite: &mut Suite, process: &mut Process, fixture: &Fixture) {
    let Some(tree) = suite.works("an interior tree", interior(process.boot, "common")) else { return };
    let pages = [0, 1].map(|_| segment(process.boot, PAGE_BYTES, "page"));
    let [Ok(kept), Ok(taken)] = pages else { return suite.check("two pages", false, "") };
    suite.works("one mapped", map_in(tree, 0, kept, 0, 1, MapFlags::WRITE));
    suite.works("the other, too", map_in(tree, 1, taken, PAGE_BYTES, 1, MapFlags::WRITE));
    let va = process.space.reserve(1 << 30);
    let Some(slot) = suite.works("linked here", process.space.link(tree, va)) else { return };
    TURNS.store(0, Ordering::Release);
    let entry = reader as extern "C" fn(u64) -> ! as usize as u64;
    // The thread has a copy of this address space, and so the tree.
    let started = fixture.start_with(process, 1, entry, va, &[process.boot], &mut |_| Ok(()));
    let Some(remote) = suite.works("and there", started) else { return };
    suite.check("where it is read", comes(|| TURNS.load(Ordering::Acquire) > 0), "");
    let count = |which| sys().counter_read(which).unwrap_or(0);
    let before = [counter::SHOOTDOWNS, counter::IPIS].map(count);
    suite.works("the page is taken away", clear_in(tree, 1));
    let after = [counter::SHOOTDOWNS, counter::IPIS].map(count);
    suite.equal("one round, one interrupt", [after[0] - before[0], after[1] - before[1]], [1, 1]);
    suite.works("the reader is halted", sys().pcore_halt(remote.core.pcore, 4));
    suite.equal("and says so", remote.wait(), Some(Ended::HaltedByOther(4)));
    remote.core.release();
    suite.works("unlinked", process.space.unmap(slot));
    for object in [tree, kept, taken] {
        suite.works("gone", sys().share_delobj(object));
    }
}

/// Halts with 0 when its audits went as they must.
extern "C" fn auditor(_: u64) -> ! {
    halt(u32::from(!three_audits()))
}

/// Audits until three worked; whether that came, the books balanced, and what did not work was busy.
fn three_audits() -> bool {
    let boot = Id(BOOT.load(Ordering::Acquire));
    let mut worked = 0;
    (0..100_000).all(|_| worked == 3 || one_audit(boot, &mut worked)) && worked == 3
}

/// False when the books do not balance, or the call failed otherwise than by `Busy`.
fn one_audit(boot: Id, worked: &mut u32) -> bool {
    let mut report = AuditReport::default();
    match sys().audit(boot, address_mut(&mut report)) {
        Ok(()) => {
            *worked += 1;
            report.is_sound()
        }
        Err(error) => error == Error::Busy,
    }
}

fn audits(suite: &mut Suite, process: &Process, fixture: &Fixture) {
    let Some(remote) = suite.works("a second auditor", fixture.start(process, 1, auditor, 0)) else { return };
    suite.check("two auditors at once: the books balance, or it is busy", three_audits(), "");
    suite.equal("for the other one, too", remote.wait(), Some(Ended::Halted(0)));
    remote.core.release();
}
