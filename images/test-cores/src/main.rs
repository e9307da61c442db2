//! Threads on cores: results, borrows, every way to fail, nothing left behind.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch what is not mapped")]

extern crate alloc;

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{AuditReport, Error, MachineCalls};
use corey_lib_sync::{Forced, Mode, Plain, Relax, RwLock, WriteGuard};
use corey_libos_cores::{Failure, Here, How};
use corey_libos_rt::sys::{address_mut, pause, sys};
use corey_libos_rt::vm::Core;
use corey_libos_rt::{Process, Status, entry, halt};
use corey_libos_test::Suite;
use heapless::Vec;

entry!(main);

fn main(process: Process) -> Status {
    let mut suite = Suite::new(&process, "cores");
    let cores = process.info.header.cores as u16;
    let mut here = Here::first(process);
    not_started(&mut suite, &mut here, cores);
    messages(&mut suite);
    if cores < 2 {
        suite.check("threads on other cores", true, "one core: there is none");
        return suite.finish();
    }
    every_core(&mut suite, &mut here, cores);
    borrows(&mut suite, &mut here);
    early_ends(&mut suite, &mut here);
    not_joined(&mut suite, &mut here);
    stacks(&mut suite, &mut here, cores);
    nested(&mut suite, &mut here, cores);
    quotas(&mut suite, &mut here);
    many(&mut suite, &mut here, cores);
    heaps(&mut suite, &mut here, cores);
    locks(&mut suite, &mut here, cores);
    suite.finish()
}

/// Threads allocate on their own heaps; the first thread reads and frees what they made.
fn heaps(suite: &mut Suite, here: &mut Here, cores: u16) {
    for _ in 0..3 {
        let sum = here.scope(|scope| {
            let mut threads = alloc::vec::Vec::new();
            for core in 1..cores {
                threads.push(scope.spawn(core, move |_| {
                    let mut all: alloc::vec::Vec<u64> = (0..5000).map(|n| n * u64::from(core)).collect();
                    all.reverse();
                    all
                })?);
            }
            let mut sum = 0;
            for thread in threads {
                sum += thread.join()?.iter().sum::<u64>();
            }
            Ok(sum)
        });
        let wanted = (1..u64::from(cores)).sum::<u64>() * (0..5000).sum::<u64>();
        suite.equal("vectors made on other cores", sum, Ok(wanted));
    }
}

/// Waits in user mode: interrupts come in between, and with them messages.
struct Pause;
impl Relax for Pause {
    fn relax(&mut self) {
        pause();
    }
}

const READERS: usize = 16;
const WRITES: u64 = 300;

/// Readers on the other cores, this core writes: nobody sees a value half written, and none is lost.
fn readers<M: Mode>(
    here: &mut Here,
    cores: u16,
    lock: &RwLock<[u64; 16], READERS, M>,
    mut write: impl FnMut(&mut dyn FnMut(WriteGuard<'_, [u64; 16], READERS, M>)),
) -> Result<(u64, u64), Failure> {
    let over = AtomicU64::new(0);
    here.scope(|scope| {
        let over = &over;
        let mut threads = Vec::<_, READERS>::new();
        for core in 1..cores.min(READERS as u16) {
            let thread = scope.spawn(core, move |here| {
                let mut reader = lock.reader(usize::from(here.core())).expect("a slot per core");
                let (mut reads, mut wrong, mut last) = (0, 0, 0);
                // At least one after the last write.
                loop {
                    let end = over.load(Ordering::Acquire) != 0;
                    let value = *reader.read(&mut Pause);
                    let [first, ..] = value;
                    wrong += u64::from(first < last || value.iter().any(|word| *word != first));
                    (last, reads) = (first, reads + 1);
                    if end {
                        break;
                    }
                }
                (reads, wrong + u64::from(last != WRITES))
            })?;
            let _ = threads.push(thread);
        }
        for _ in 0..WRITES {
            write(&mut |mut value| value.iter_mut().for_each(|word| *word += 1));
        }
        over.store(1, Ordering::Release);
        threads.into_iter().try_fold((0, 0), |(reads, wrong), thread| {
            let (more, bad) = thread.join()?;
            Ok((reads + more, wrong + bad))
        })
    })
}

fn locks(suite: &mut Suite, here: &mut Here, cores: u16) {
    static PLAIN: RwLock<[u64; 16], READERS, Plain> = RwLock::new([0; 16]);
    static FORCED: RwLock<[u64; 16], READERS, Forced> = RwLock::new([0; 16]);
    let plain = readers(here, cores, &PLAIN, |with| with(PLAIN.write(&mut Pause)));
    let mut fence = here.fence();
    let forced = readers(here, cores, &FORCED, |with| with(FORCED.write(&mut fence, &mut Pause)));
    for (name, result) in [("plain", plain), ("forced", forced)] {
        let good = matches!(result, Ok((reads, 0)) if reads >= u64::from(cores.min(READERS as u16)) - 1);
        suite.check("what a reader-writer lock guards is whole", good, format_args!("{name}: {result:?}"));
    }
}

fn failed<T>(core: u16, how: How) -> Result<T, Failure> {
    Err(Failure { core, how })
}

fn not_started(suite: &mut Suite, here: &mut Here, cores: u16) {
    let own = here.scope(|scope| scope.spawn(0, |_| ()).map(|_| ()));
    suite.equal("one's own core is taken", own, failed(0, How::Taken));
    for core in [cores, 5000, u16::MAX] {
        let none = here.scope(|scope| scope.spawn(core, |_| ()).map(|_| ()));
        suite.equal("a core that does not exist", none, failed(core, How::NoSuchCore));
    }
    if cores < 2 {
        return;
    }
    let boot = here.process().boot;
    let Some(other) = suite.works("another owner takes core 1", Core::take(boot, 1, 64, 0)) else { return };
    let taken = here.scope(|scope| {
        let free = scope.free().filter(|core| *core == 1).count();
        suite.equal("it is not among the free ones", free, 0);
        scope.spawn(1, |_| ()).map(|_| ())
    });
    suite.equal("a core that is taken", taken, failed(1, How::Taken));
    other.release();
    let twice = here.scope(|scope| {
        let first = scope.spawn(1, |_| 1)?;
        let second = scope.spawn(1, |_| 2).map(|_| ());
        suite.equal(
            "a core of this scope is taken until the thread is joined",
            second,
            failed(1, How::Taken),
        );
        let first = first.join()?;
        Ok(first + scope.spawn(1, |_| 2)?.join()?)
    });
    suite.equal("and then free again", twice, Ok(3));
}

/// A failure says on which core, and what.
fn messages(suite: &mut Suite) {
    let not_started = "core 7: the thread was not started: ";
    let both = [
        (How::Taken, "core 7: ", "it is taken"),
        (How::NoSuchCore, "core 7: ", "there is no such core"),
        (How::NotStarted(Error::QuotaExceeded), not_started, "a share cannot pay for it (pages or objects)"),
        (How::NotStarted(Error::NoMemory), not_started, "no memory is left"),
        (
            How::NotStarted(Error::Full),
            not_started,
            "its parent holds too many shares, or its tree has no slot",
        ),
        (How::NotStarted(Error::NotFound), not_started, "NotFound"),
        (How::Panicked, "core 7: ", "the thread panicked"),
        (How::Halted(3), "core 7: ", "the thread halted with 3"),
        (How::HaltedByOther(4), "core 7: ", "another core halted the thread with 4"),
        (
            How::Fault { vector: 14, address: 0x1234 },
            "core 7: ",
            "the thread took exception 14 at address 0x1234",
        ),
        (How::Lost, "core 7: ", "the thread lost a share it stood on, or its core"),
    ];
    for (how, head, text) in both {
        suite.says("a failure says where and what", &Failure { core: 7, how }, format_args!("{head}{text}"));
    }
}

fn every_core(suite: &mut Suite, here: &mut Here, cores: u16) {
    let sum = here.scope(|scope| {
        let free: Vec<u16, 256> = scope.free().collect();
        suite.equal("all cores but this one are free", free.len(), usize::from(cores) - 1);
        suite.equal("the nearest comes first", free.first(), Some(&1));
        let mut threads = Vec::<_, 256>::new();
        for core in free {
            let thread = scope.spawn(core, move |here| (here.core(), u64::from(core) * 10))?;
            let _ = threads.push(thread);
        }
        threads.into_iter().try_fold(0, |sum, thread| {
            let core = thread.core();
            let (ran_on, value) = thread.join()?;
            Ok(if ran_on == core { sum + value } else { 0 })
        })
    });
    let wanted = (1..u64::from(cores)).sum::<u64>() * 10;
    suite.equal("a sum over all cores", sum, Ok(wanted));
}

fn borrows(suite: &mut Suite, here: &mut Here) {
    let numbers: [u64; 1000] = core::array::from_fn(|i| i as u64);
    let mut doubled = [0_u64; 1000];
    let count = AtomicU64::new(0);
    let result = here.scope(|scope| {
        let (from, to, count) = (&numbers, &mut doubled, &count);
        let thread = scope.spawn(1, move |_| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * 2);
            count.fetch_add(1, Ordering::AcqRel);
            &from[10..12]
        })?;
        while count.load(Ordering::Acquire) == 0 {
            pause();
        }
        thread.join()
    });
    suite.equal("a thread returns a reference to what it borrowed", result, Ok(&numbers[10..12]));
    let good = doubled.iter().zip(&numbers).all(|(to, from)| *to == from * 2);
    suite.check("what a thread wrote to its parent's stack is there", good, "");
}

fn early_ends(suite: &mut Suite, here: &mut Here) {
    const NOWHERE: u64 = 0x7abc_def0_1238;
    let end = |here: &mut Here, work: fn(&mut Here)| here.scope(|scope| scope.spawn(1, work)?.join());
    let panicked = end(here, |here| assert!(here.core() > 1, "this panic is wanted"));
    suite.equal("a panic is reported with its core", panicked, failed(1, How::Panicked));
    // SAFETY: nothing is mapped there, and that is the test: the read faults.
    let fault = end(here, |_| unsafe { _ = black_box((NOWHERE as *const u64).read_volatile()) });
    let wanted = How::Fault { vector: 14, address: NOWHERE };
    suite.equal("a fault is reported with its address", fault, failed(1, wanted));
    suite.equal("so is a halt", end(here, |_| halt(77)), failed(1, How::Halted(77)));
    suite.equal("and a halt with 0", end(here, |_| halt(0)), failed(1, How::Halted(0)));
    suite.equal("then the core works again", end(here, |_| ()), Ok(()));
}

fn not_joined(suite: &mut Suite, here: &mut Here) {
    let done = AtomicU64::new(0);
    let result = here.scope(|scope| {
        let done = &done;
        scope.spawn(1, move |_| {
            (0..100_000).for_each(|_| pause());
            done.store(1, Ordering::Release);
        })?;
        Ok(5)
    });
    suite.equal("a scope waits for a thread that was not joined", result, Ok(5));
    suite.equal("until it ended", done.load(Ordering::Acquire), 1);
    let result = here.scope(|scope| scope.spawn(1, |_| panic!("this panic is wanted")).map(|_: _| ()));
    suite.equal("and reports how it failed", result, failed(1, How::Panicked));
    struct Dropped<'a>(&'a AtomicU64);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }
    let drops = AtomicU64::new(0);
    let result = here.scope(|scope| {
        let drops = &drops;
        scope.spawn(1, move |_| Dropped(drops)).map(|_| ())
    });
    suite.equal("a result nobody took", result, Ok(()));
    suite.equal("is dropped once", drops.load(Ordering::Acquire), 1);
    let result = here.scope(|scope| {
        let value = Dropped(&drops);
        scope.spawn(0, move |_| drop(value)).map(|_| ())
    });
    suite.equal("a closure that never ran", result, failed(0, How::Taken));
    suite.equal("is dropped too", drops.load(Ordering::Acquire), 2);
}

fn deeper(depth: u64) -> u64 {
    let mut frame = [depth; 64];
    black_box(&mut frame);
    let below = if depth == u64::MAX { 0 } else { deeper(depth + 1) };
    black_box(&frame);
    below + frame[0]
}

fn stacks(suite: &mut Suite, here: &mut Here, cores: u16) {
    let overflow = here.scope(|scope| scope.spawn(1, |_| deeper(0))?.join());
    let guard = matches!(overflow, Err(Failure { core: 1, how: How::Fault { vector: 14, .. } }));
    suite.check("a stack that overflows faults", guard, format_args!("{overflow:?}"));
    let (place, over) = (AtomicU64::new(0), AtomicU64::new(0));
    let name = "nobody else sees a thread's stack";
    if cores < 3 {
        return suite.check(name, true, "fewer than three cores: no sibling");
    }
    let result = here.scope(|scope| {
        let (place, over) = (&place, &over);
        let owner = scope.spawn(1, move |_| {
            let value = 42_u64;
            place.store(core::ptr::from_ref(black_box(&value)) as u64, Ordering::Release);
            while over.load(Ordering::Acquire) == 0 {
                pause();
            }
            value
        })?;
        while place.load(Ordering::Acquire) == 0 {
            pause();
        }
        let at = place.load(Ordering::Acquire);
        // SAFETY: no other core maps that stack, and that is the test: the read faults.
        let sibling = scope.spawn(2, move |_| unsafe { (at as *const u64).read_volatile() });
        let sibling = sibling.and_then(|thread| thread.join());
        over.store(1, Ordering::Release);
        let wanted = failed(2, How::Fault { vector: 14, address: at });
        Ok(sibling == wanted && owner.join()? == 42)
    });
    suite.equal(name, result, Ok(true));
}

fn nested(suite: &mut Suite, here: &mut Here, cores: u16) {
    let name = "a thread spawns a thread that borrows from both";
    if cores < 3 {
        return suite.check(name, true, "fewer than three cores: nowhere to");
    }
    let outer = [1_u64, 2, 3];
    let result = here.scope(|scope| {
        let outer = &outer;
        let thread = scope.spawn(1, move |here| {
            let inner = [10_u64, 20, 30];
            here.scope(|scope| {
                let inner = &inner;
                scope.spawn(2, move |_| outer.iter().sum::<u64>() + inner.iter().sum::<u64>())?.join()
            })
        })?;
        thread.join()?
    });
    suite.equal(name, result, Ok(66));
    let result = here.scope(|scope| {
        let below = |here: &mut Here| here.scope(|scope| scope.spawn(2, |_| halt(9))?.join());
        let thread =
            scope.spawn(1, move |here| (below(here), here.scope(|s| s.spawn(1, |_| ()).map(|_| ()))))?;
        thread.join()
    });
    let wanted = (failed::<()>(2, How::Halted(9)), failed(1, How::Taken));
    suite.equal("a failure below is its parent's to report", result, Ok(wanted));
}

/// Live objects, and frames that are not free.
fn owned(here: &mut Here) -> (u64, u64) {
    let mut report = AuditReport::default();
    // A failure leaves zeroes, which equal nothing that is counted.
    let _ = sys().audit(here.process().boot, address_mut(&mut report));
    (report.objects, report.owned + report.limbo)
}

/// As many objects as before, and fewer frames more than one for each of `spawns`: what the last threads owned
/// waits until every core was outside the kernel once, so that some are still on their way.
fn nothing_left(suite: &mut Suite, name: &str, spawns: u64, before: (u64, u64), after: (u64, u64)) {
    let good = before.0 > 0 && after.0 == before.0 && after.1 < before.1 + spawns;
    suite.check(name, good, format_args!("objects and frames {before:?}, then {after:?}"));
}

fn quotas(suite: &mut Suite, here: &mut Here) {
    let (mut few, mut started, mut other) = (0, 0, None);
    let before = owned(here);
    for pages in 0..64 {
        here.set_quota(pages, 64);
        match here.scope(|scope| scope.spawn(1, |_| 1)?.join()) {
            Ok(_) => started += 1,
            Err(Failure { core: 1, how: How::NotStarted(Error::QuotaExceeded) }) => few += 1,
            // A page for the thread's own tables may be what is missing: then its first access faults.
            Err(Failure { core: 1, how: How::Fault { .. } | How::Lost }) => few += 1,
            Err(failure) => other = Some(failure),
        }
    }
    suite.equal("too small a quota is an error", other, None);
    suite.check("at each page of it", few > 16 && started > 0, format_args!("{few} failed, {started} ran"));
    here.set_quota(1024, 256);
    let after = owned(here);
    nothing_left(suite, "what failed left nothing", 64, before, after);
    here.set_quota(u64::MAX, 64);
    let huge = here.scope(|scope| scope.spawn(1, |_| 1)?.join());
    suite.equal("more than there is", huge, failed(1, How::NotStarted(Error::QuotaExceeded)));
    here.set_quota(1024, 256);
    suite.audit("the books balance after failed spawns");
}

fn many(suite: &mut Suite, here: &mut Here, cores: u16) {
    let rounds = 200_u64;
    let before = owned(here);
    let sum = here.scope(|scope| {
        (0..rounds).try_fold(0, |sum, round| {
            let core = 1 + (round % u64::from(cores - 1)) as u16;
            Ok(sum + scope.spawn(core, move |_| round)?.join()?)
        })
    });
    suite.equal("200 spawns in a row", sum, Ok(rounds * (rounds - 1) / 2));
    let after = owned(here);
    nothing_left(suite, "leave nothing behind", rounds, before, after);
    let scopes = (0..50)
        .try_fold(0, |sum, round| here.scope(|scope| Ok(sum + scope.spawn(1, move |_| round)?.join()?)));
    suite.equal("50 scopes in a row", scopes, Ok(50 * 49 / 2));
}
