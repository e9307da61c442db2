//! Upcalls: faults a program resolves itself, threads that take turns on one core, and a supervisor that
//! multiplexes two applications, which share nothing, on one core.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; contexts, canaries in registers")]

mod apps;
mod canary;

use canary::Canary;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{AddressTreeCalls, counter};
use corey_abi::{Error, MachineCalls, MapFlags, ObjRef, PAGE_BYTES, PcoreCalls, ShareCalls, TreeTable};
use corey_libos_rt::sys::{address_mut, segment, sys};
use corey_libos_rt::vm::{Ended, Space};
use corey_libos_rt::{Process, Status, entry, halt, shared};
use corey_libos_test::{Fixture, Suite};
use corey_libos_upcall::{Context, Handler, Threads, upcall_entry};

entry!(main);

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "upcall");
    refused(&mut suite, &process);
    faults(&mut suite, &mut process);
    threads(&mut suite, &mut process);
    registers(&mut suite, &mut process);
    bases(&mut suite, &mut process);
    broken_handlers(&mut suite, &mut process);
    waits(&mut suite, &mut process);
    apps::supervise(&mut suite, &mut process);
    suite.finish()
}

fn refused(suite: &mut Suite, process: &Process) {
    let tree = process.space.tree;
    let set = |handler, stack, masked| {
        let mut table = TreeTable { handler, stack, masked, ..TreeTable::default() };
        sys().at_set(tree, address_mut(&mut table))
    };
    suite.refused("a handler in the kernel's half", set(1 << 47, 0x1000, 0), Error::OutOfRange);
    suite.refused("a stack beyond the user half", set(0x1000, (1 << 47) + 16, 0), Error::OutOfRange);
    suite.refused("a stack that is not aligned", set(0x1000, 8, 0), Error::Misaligned);
    suite.refused("a masked word that is not aligned", set(0x1000, 0x1000, 4), Error::Misaligned);
    let interval = |ns| sys().pcore_set_interval(process.pcore, ns);
    suite.refused("a time slice of a microsecond", interval(1_000), Error::OutOfRange);
    suite.works("a time slice of 300 years", interval(u64::MAX / 2));
    suite.works("none", interval(0));
}

/// What the fault handler did.
static RESOLVED: AtomicU64 = AtomicU64::new(0);
static BREAKS: AtomicU64 = AtomicU64::new(0);
/// What it maps on demand: share, segment.
static LAZY: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static SPACE: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// Where pages appear on demand.
const LAZY_VA: u64 = 0x3000_0000_0000;

fn pair(from: &[AtomicU64; 2]) -> ObjRef {
    let [share, object] = from;
    ObjRef {
        share: corey_abi::Id(share.load(Ordering::Relaxed)),
        object: corey_abi::Id(object.load(Ordering::Relaxed)),
    }
}

fn keep(to: &[AtomicU64; 2], object: ObjRef) {
    to[0].store(object.share.0, Ordering::Relaxed);
    to[1].store(object.object.0, Ordering::Relaxed);
}

upcall_entry!(fault_entry, on_fault);

/// Maps pages below `LAZY_VA` on demand, steps over breakpoints; else the same fault again ends the program.
extern "C" fn on_fault(context: &mut Context) -> *const Context {
    let [vector, _, at] = context.event;
    match vector {
        14 if (LAZY_VA..LAZY_VA + 16 * PAGE_BYTES).contains(&at) => {
            let page = (at - LAZY_VA) / PAGE_BYTES;
            let mut space = Space::new(pair(&SPACE), 0, 40 + page);
            let mapped = space.map_at(pair(&LAZY), at & !(PAGE_BYTES - 1), page, 1, MapFlags::WRITE);
            RESOLVED.fetch_add(u64::from(mapped.is_ok()), Ordering::Relaxed);
        }
        3 => {
            BREAKS.fetch_add(1, Ordering::Relaxed);
        }
        _ => {}
    }
    context
}

fn faults(suite: &mut Suite, process: &mut Process) {
    let Some(lazy) = suite.works("sixteen pages", segment(process.program, 16 * PAGE_BYTES, "lazy")) else {
        return;
    };
    keep(&LAZY, lazy);
    keep(&SPACE, process.space.tree);
    let entry = fault_entry as *const () as u64;
    let installed = Handler::install(&mut process.space, process.program, entry, 0);
    if suite.works("a handler", installed).is_none() {
        return;
    }
    let before = sys().counter_read(counter::FAULTS).unwrap_or(0);
    let mut sum = 0.0_f64;
    for page in 0..16 {
        // A value that lives in an SSE register across the upcall.
        sum += page as f64 + 0.5;
        // SAFETY: the handler maps the page.
        unsafe { ((LAZY_VA + page * PAGE_BYTES) as *mut u64).write_volatile(page) };
    }
    suite.equal("sixteen faults were resolved by the program", RESOLVED.load(Ordering::Relaxed), 16);
    suite.check("FPU registers are kept", (sum - 128.0).abs() < 1e-9, format_args!("{sum}"));
    let faults = sys().counter_read(counter::FAULTS).unwrap_or(0) - before;
    suite.check("each faulted", faults >= 16, format_args!("{faults}"));
    // SAFETY: the handler returns behind the breakpoint.
    unsafe { core::arch::asm!("int3") };
    suite.equal("a breakpoint too", BREAKS.load(Ordering::Relaxed), 1);
    let mut table = TreeTable::default();
    let got = sys().at_get(process.space.tree, address_mut(&mut table));
    suite.refused("at_get needs room", got, Error::OutOfRange);
    suite.works("no handler", process.space.set_handler(0, 0, 0));
    suite.works("gone", sys().share_delobj(lazy));
}

/// Counts of the two threads, and their sums.
static COUNTS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static SUMS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static DONE: AtomicU64 = AtomicU64::new(0);
const ROUNDS: u64 = 30;

/// Counts until the other one has counted too, many times over: it never yields by itself.
fn count(which: usize) {
    let mut sum = 0.0_f64;
    for round in 0..ROUNDS {
        let seen = COUNTS[1 - which].load(Ordering::Relaxed);
        COUNTS[which].fetch_add(1, Ordering::Relaxed);
        while COUNTS[1 - which].load(Ordering::Relaxed) == seen && DONE.load(Ordering::Relaxed) == 0 {
            // Registers that only a saved FPU state keeps.
            sum = core::hint::black_box(sum + 1.0) - 1.0;
        }
        sum += (round * (which as u64 + 1)) as f64;
    }
    SUMS[which].store(sum as u64, Ordering::Relaxed);
    DONE.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn second(threads: u64) -> ! {
    count(1);
    // SAFETY: `two_threads` passes its own `Threads`, which stay.
    unsafe { &*(threads as *const Threads) }.exit()
}

/// Runs `first` here and `second(threads)` on a thread that takes turns with it, to the end of both.
fn two_threads(
    suite: &mut Suite,
    process: &mut Process,
    first: impl FnOnce(),
    second: extern "C" fn(u64) -> !,
) -> Option<()> {
    let object = suite.works("a stack", segment(process.program, 8 * PAGE_BYTES, "stack"))?;
    let (va, _) = suite.works("mapped", process.space.map(object, 8, MapFlags::WRITE))?;
    let pages = (size_of::<Threads>() as u64).div_ceil(PAGE_BYTES);
    let place = suite.works("a place", segment(process.program, pages * PAGE_BYTES, "threads"))?;
    let (at, _) = suite.works("mapped", process.space.map(place, pages, MapFlags::WRITE))?;
    let at = at as *mut Threads;
    // SAFETY: mapped for good, large enough, and used as this only.
    unsafe { at.write(Threads::new(process.pcore)) };
    // SAFETY: just written; stays.
    let threads: &'static Threads = unsafe { &*at };
    DONE.store(0, Ordering::Relaxed);
    COUNTS.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    suite.works("a second thread", threads.add(second, at as u64, va + 8 * PAGE_BYTES));
    let started = threads.start(&mut process.space, process.program, 200_000);
    suite.works("taking turns of 200 µs", started)?;
    first();
    while DONE.load(Ordering::Relaxed) < 2 {
        core::hint::spin_loop();
    }
    suite.works("no more turns", threads.stop());
    suite.works("no handler", process.space.set_handler(0, 0, 0))
}

fn threads(suite: &mut Suite, process: &mut Process) {
    if two_threads(suite, process, || count(0), second).is_none() {
        return;
    }
    let total = (0..ROUNDS).sum::<u64>();
    let sums = [0, 1].map(|which: usize| SUMS[which].load(Ordering::Relaxed));
    suite.equal("both threads ran to their end, with their own FPU registers", sums, [total, 2 * total]);
}

/// Interruptions that each canary shall survive.
const SWITCHES: u64 = 20;
/// What was wrong with each, all together.
static WRONG: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Holds a canary until the other thread has run so often in the middle of that.
fn hold(which: usize) {
    let mut canary = Canary::new(which as u64, canary::form());
    let mut switches = 0;
    // The first to be done ends it: the other one alone is not interrupted any more.
    while switches < SWITCHES && DONE.load(Ordering::Relaxed) == 0 {
        COUNTS[which].fetch_add(1, Ordering::Relaxed);
        let seen = COUNTS[1 - which].load(Ordering::Relaxed);
        Canary::hold(&mut canary, 20_000);
        WRONG[which].fetch_or(canary.wrong(), Ordering::Relaxed);
        switches += u64::from(COUNTS[1 - which].load(Ordering::Relaxed) != seen);
    }
    SUMS[which].store(switches, Ordering::Relaxed);
    DONE.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn second_hold(threads: u64) -> ! {
    hold(1);
    // SAFETY: as in `second`.
    unsafe { &*(threads as *const Threads) }.exit()
}

fn registers(suite: &mut Suite, process: &mut Process) {
    if two_threads(suite, process, || hold(0), second_hold).is_none() {
        return;
    }
    let switches = SUMS.each_ref().map(|sum| sum.load(Ordering::Relaxed));
    let wrong = WRONG.each_ref().map(|wrong| wrong.load(Ordering::Relaxed));
    let detail = format_args!("form {}, {switches:?} switches, {wrong:x?} wrong", canary::form());
    suite.check(
        "two threads on a core keep every register, x87, SSE and AVX, and bases",
        wrong == [0; 2] && switches.iter().all(|n| *n >= SWITCHES / 2),
        detail,
    );
}

/// FS and GS base are the program's, whatever they are: the kernel finds its own at every way in.
fn bases(suite: &mut Suite, process: &mut Process) {
    let name = "a program's FS and GS bases survive calls and faults";
    if canary::form() & 2 == 0 {
        return suite.check(name, true, "this processor lets no program write them");
    }
    let Some(lazy) = suite.works("pages", segment(process.program, 4 * PAGE_BYTES, "lazy")) else { return };
    let Some((va, slot)) = suite.works("mapped", process.space.map(lazy, 4, MapFlags::WRITE)) else { return };
    let mut kept = 0;
    for (page, base) in [0, 0xffff_8000_0000_0000, u64::MAX - 0xfff, 1 << 46].into_iter().enumerate() {
        let at = va + page as u64 * PAGE_BYTES;
        let (fs, gs): (u64, u64);
        // SAFETY: neither is used by compiled code; the page is mapped. In between a call and a fault.
        unsafe {
            core::arch::asm!(
                "wrfsbase {base}", "wrgsbase {base}",
                "mov byte ptr [{at}], 1",
                "syscall",
                "rdfsbase {fs}", "rdgsbase {gs}",
                "wrfsbase {zero}", "wrgsbase {zero}",
                base = in(reg) base, at = in(reg) at, zero = in(reg) 0_u64,
                fs = out(reg) fs, gs = out(reg) gs,
                // A number that no call has.
                inout("rax") u64::MAX => _, out("rcx") _, out("r11") _, out("rdx") _,
                out("rdi") _, out("rsi") _, out("r8") _, out("r9") _, out("r10") _,
            );
        }
        kept += u32::from((fs, gs) == (base, base));
    }
    suite.equal(name, kept, 4);
    suite.works("unmapped", process.space.unmap(slot));
    suite.works("gone", sys().share_delobj(lazy));
}

upcall_entry!(bad_entry, on_bad);

/// A handler that faults.
extern "C" fn on_bad(context: &mut Context) -> *const Context {
    // SAFETY: the fault is what is tested.
    unsafe { (0x10 as *const u8).read_volatile() };
    context
}

/// Faults on a core whose tree has a handler without stack (0), a handler that faults (1), none (2).
extern "C" fn faulter(_: u64) -> ! {
    // SAFETY: the fault is what is tested.
    unsafe { (0x20 as *const u8).read_volatile() };
    halt(7)
}

extern "C" fn spinner(_: u64) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

fn broken_handlers(suite: &mut Suite, process: &mut Process) {
    if process.info.header.cores < 2 {
        return suite.check("broken handlers", true, "one core: they would end the run");
    }
    let Some(fixture) = suite.works("a status page", Fixture::new(process)) else { return };
    let shares = [process.boot, process.console];
    let start = |entry: extern "C" fn(u64) -> !, kind: u64| {
        fixture.start_with(process, 1, entry as usize as u64, 0, &shares, &mut |core| match kind {
            0 => core.space.set_handler(bad_entry as *const () as u64, 0x5000, 0),
            1 => {
                let entry = bad_entry as *const () as u64;
                // A copy: what is mapped in between is unmapped again.
                let mut own = process.space;
                Handler::prepare(&mut own, &mut core.space, core.share, entry, 0).map(|_| ())
            }
            _ => Ok(()),
        })
    };
    for (kind, name, at) in [
        (0, "a handler without a stack halts", 0x20),
        (1, "a handler that faults halts", 0x10),
        (2, "no handler halts", 0x20),
    ] {
        let ended = start(faulter, kind).map(|remote| {
            let ended = remote.wait();
            remote.core.release();
            ended
        });
        suite.equal(name, ended, Ok(Some(Ended::Fault(14, at))));
    }
    let ended = start(spinner, 2).map(|remote| {
        let set = sys().pcore_set_interval(remote.core.pcore, 50_000);
        let ended = remote.wait();
        remote.core.release();
        (set, matches!(ended, Some(Ended::Fault(32, _))))
    });
    suite.equal("a tick without a handler halts", ended, Ok((Ok(()), true)));
}

/// A core waits for its word, answers, and so on.
extern "C" fn echo(at: u64) -> ! {
    // SAFETY: `waits` mapped the page for both.
    let words: &[AtomicU64; 2] = unsafe { shared(at) };
    for round in 1..=20 {
        while words[0].load(Ordering::Acquire) < round {
            if sys().core_wait(pair(&LAZY), 0, round - 1, u64::MAX).is_err() {
                halt(1);
            }
        }
        words[1].store(round, Ordering::Release);
        if sys().core_wake(pair(&LAZY), 8).is_err() {
            halt(2);
        }
    }
    halt(0)
}

fn waits(suite: &mut Suite, process: &mut Process) {
    let Some(page) = suite.works("a page", segment(process.program, PAGE_BYTES, "words")) else { return };
    let Some((va, _)) = suite.works("mapped", process.space.map(page, 1, MapFlags::WRITE)) else { return };
    // SAFETY: just mapped, for good.
    let words: &[AtomicU64; 2] = unsafe { shared(va) };
    suite.equal("a word that differs", sys().core_wait(page, 0, 5, u64::MAX), Ok(()));
    suite.refused("two milliseconds", sys().core_wait(page, 0, 0, 2_000_000), Error::TimedOut);
    suite.refused("no time at all", sys().core_wait(page, 0, 0, 0), Error::TimedOut);
    suite.refused("a word across two", sys().core_wait(page, 4, 0, 0), Error::Misaligned);
    suite.refused("a word beyond the end", sys().core_wait(page, PAGE_BYTES, 0, 0), Error::OutOfRange);
    suite.equal("nobody to wake", sys().core_wake(page, 0), Ok(0));
    if process.info.header.cores < 2 {
        return;
    }
    keep(&LAZY, page);
    let Some(fixture) = suite.works("a status page", Fixture::new(process)) else { return };
    let shares = [process.boot, process.console];
    let entry = echo as extern "C" fn(u64) -> ! as usize as u64;
    let started = fixture.start_with(process, 1, entry, va, &shares, &mut |_| Ok(()));
    let Some(remote) = suite.works("a core that answers", started) else { return };
    for round in 1..=20 {
        words[0].store(round, Ordering::Release);
        suite_quiet(sys().core_wake(page, 0));
        while words[1].load(Ordering::Acquire) < round {
            suite_quiet(sys().core_wait(page, 8, round - 1, u64::MAX).map(|()| 0));
        }
    }
    suite.equal("twenty questions and answers, asleep in between", remote.join(), Ended::Halted(0));
    // A core that sleeps for ever can still be halted.
    let started = fixture.start_with(process, 1, entry, va + 2048, &shares, &mut |_| Ok(()));
    let Some(remote) = suite.works("a core that sleeps", started) else { return };
    suite.works("is halted", sys().pcore_halt(remote.core.pcore, 3));
    suite.equal("and says so", remote.join(), Ended::HaltedByOther(3));
}

/// What fails here shows as an answer that never comes.
fn suite_quiet(result: Result<u64, Error>) {
    let _ = result;
}
