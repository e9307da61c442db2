//! Heaps of several cores: whoever makes a heap or makes it larger, and whenever, its pointers are good everywhere.

use crate::{machine_pages, pages_left};
use alloc::alloc::alloc;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{AuditReport, MachineCalls};
use corey_libos_cores::{Failure, Here, How};
use corey_libos_rt::heaps;
use corey_libos_rt::sys::{address_mut, pause, sys};
use corey_libos_test::Suite;

pub(crate) fn all(suite: &mut Suite, here: &mut Here) {
    later(suite, here);
    boundary(suite, here);
    peaks(suite, here);
    early_ends(suite, here);
}

/// One word through which a vector goes from core to core.
#[derive(Default)]
struct Hand(AtomicU64);

impl Hand {
    fn give(&self, what: Vec<u64>) {
        self.0.store(Box::into_raw(Box::new(what)) as u64, Ordering::Release);
    }

    fn take(&self) -> Vec<u64> {
        loop {
            let at = self.0.swap(0, Ordering::AcqRel) as *mut Vec<u64>;
            if !at.is_null() {
                // SAFETY: `give` put a box in, and this took it out alone.
                return *unsafe { Box::from_raw(at) };
            }
            pause();
        }
    }
}

/// A reader runs before any heap but the first is there; then others make theirs, and it reads and frees what they
/// took.
fn later(suite: &mut Suite, here: &mut Here) {
    let cores = here.process().info.header.cores as u16;
    let (ready, hand) = (AtomicU64::new(0), Hand::default());
    let turns = u64::from(cores) - 1;
    let sum = here.scope(|scope| {
        let (ready, hand) = (&ready, &hand);
        let reader = scope.spawn(1, move |_| {
            // Running, and nothing of this core's heap exists.
            ready.store(1, Ordering::Release);
            (0..turns).map(|_| hand.take().iter().sum::<u64>()).sum::<u64>()
        })?;
        while ready.load(Ordering::Acquire) == 0 {
            pause();
        }
        for core in 2..cores {
            scope
                .spawn(core, move |_| {
                    hand.give((0..2000).collect());
                    while hand.0.load(Ordering::Acquire) != 0 {
                        pause();
                    }
                })?
                .join()?;
        }
        // And the first core's heap grows: a segment of its own, made after the reader began.
        hand.give((0..100_000).collect());
        reader.join()
    });
    let each = (0..2000).sum::<u64>() * (turns - 1);
    suite.equal(
        "a running thread reads and frees what heaps made later give it",
        sum,
        Ok(each + (0..100_000).sum::<u64>()),
    );
}

/// The same across a boundary of 1 GiB, where there is so much memory.
fn boundary(suite: &mut Suite, here: &mut Here) {
    const NAME: &str = "a heap grows across a boundary of 1 GiB under a running thread";
    const GIB: usize = 1 << 30;
    if machine_pages() < (GIB as u64 + (GIB as u64 >> 1)) / 4096 {
        return suite.check(NAME, true, "less than 1.5 GiB of memory: there is no second GiB");
    }
    let (ready, hand) = (AtomicU64::new(0), Hand::default());
    let words = GIB / 8;
    let result = here.scope(|scope| {
        let (ready, hand) = (&ready, &hand);
        let reader = scope.spawn(1, move |_| {
            ready.store(1, Ordering::Release);
            let mut large = hand.take();
            let ends =
                [large.spare_capacity_mut().first().copied(), large.spare_capacity_mut().last().copied()];
            // SAFETY: the first core wrote both.
            ends.map(|word| word.map(|word| unsafe { word.assume_init() }))
        })?;
        while ready.load(Ordering::Acquire) == 0 {
            pause();
        }
        // All of it is paid for, and two pages are touched.
        let mut large = Vec::<u64>::with_capacity(words);
        if let [first, .., last] = large.spare_capacity_mut() {
            first.write(11);
            last.write(22);
        }
        hand.give(large);
        reader.join()
    });
    suite.equal(NAME, result, Ok([Some(11), Some(22)]));
}

/// Frames of the machine that are not free.
fn owned(here: &mut Here) -> u64 {
    let mut report = AuditReport::default();
    // The first audit lets the other cores free what they keep, the second what waited for them.
    for _ in 0..3 {
        // A failure leaves zeroes, which equal nothing that is counted.
        let _ = sys().audit(here.process().boot, address_mut(&mut report));
    }
    report.owned - report.slots
}

/// Thread 1 takes a lot, this one frees it: after a trim the machine has its memory back.
fn peaks(suite: &mut Suite, here: &mut Here) {
    const BLOCKS: usize = 20_000;
    let mut peak = 0;
    let mut round = |here: &mut Here| {
        let made = here.scope(|scope| {
            scope.spawn(1, |_| (0..BLOCKS).map(|n| vec![n as u8; 100 + n % 900]).collect::<Vec<_>>())?.join()
        });
        let good = made.map(|all| {
            peak = pages_left(here.process().program);
            // Freed here: they go home in batches, to a heap that nobody has.
            all.iter().zip(0..).filter(|(v, n)| v.len() == 100 + n % 900 && v[50] == *n as u8).count()
        });
        heaps::trim();
        heaps::trim();
        good
    };
    let first = round(here);
    suite.equal("vectors made on another core", first, Ok(BLOCKS));
    let before = (pages_left(here.process().program), owned(here));
    let second = round(here);
    suite.equal("and once more", second, Ok(BLOCKS));
    let after = (pages_left(here.process().program), owned(here));
    suite.check(
        "at the peak they had been paid for",
        peak + 2000 < before.0,
        format_args!("{peak} pages left, {} before", before.0),
    );
    let good = after.0 == before.0 && after.1 <= before.1 + 16;
    suite.check("then all of it is the kernel's again", good, format_args!("{before:?}, then {after:?}"));
}

/// Threads that end with batches under way, by returning, by a panic and by a fault.
fn early_ends(suite: &mut Suite, here: &mut Here) {
    const BLOCKS: usize = 300;
    let layout = Layout::new::<[u64; 20]>();
    let take = || -> Vec<u64> {
        // SAFETY: the layout is not empty.
        (0..BLOCKS).map(|_| unsafe { alloc(layout) } as u64).collect()
    };
    let ends = |here: &mut Here, how: fn()| {
        let blocks = take();
        let lent = &blocks;
        let ended = here.scope(|scope| {
            scope
                .spawn(1, move |_| {
                    // Fewer than a batch: they are under way when the thread ends.
                    for block in lent {
                        // SAFETY: taken above with this layout, and given back here only.
                        unsafe { alloc::alloc::dealloc(*block as *mut u8, layout) };
                    }
                    how();
                })?
                .join()
        });
        (ended, blocks)
    };
    let (returned, first) = ends(here, || ());
    suite.equal("a thread that returns", returned, Ok(()));
    let again = take();
    let back = again.iter().filter(|block| first.contains(block)).count();
    // The record of batches is a block, too.
    suite.check("has sent home what it freed", back + 1 >= BLOCKS, back);
    let (panicked, second) = ends(here, || panic!("this panic is wanted"));
    suite.equal("a thread that panics", panicked, Err(Failure { core: 1, how: How::Panicked }));
    // SAFETY: nothing is mapped there, and that is the test: the read faults.
    let (faulted, third) = ends(here, || unsafe { _ = (0x50 as *const u64).read_volatile() });
    let wanted = Err(Failure { core: 1, how: How::Fault { vector: 14, address: 0x50 } });
    suite.equal("and one that faults", faulted, wanted);
    let next = here.scope(|scope| scope.spawn(1, |_| vec![5_u64; 1000].iter().sum::<u64>())?.join());
    suite.equal("leave a heap that the core's next thread goes on with", next, Ok(5000));
    let again = take();
    let back = again.iter().filter(|block| second.contains(block) || third.contains(block)).count();
    suite.check("which sends home what they had freed", back + 2 >= BLOCKS, back);
}
