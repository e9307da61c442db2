//! Private heaps: nobody else's, bounded by a quota, given back.

use crate::pages_left;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::Error;
use corey_libos_cores::{Failure, Here, How};
use corey_libos_rt::heaps::{PrivateHeap, private as new_private};
use corey_libos_test::Suite;

fn layout(n: usize) -> Layout {
    let size = [24, 500, 3000, 40_000][n % 4];
    Layout::from_size_align(size, 8).unwrap_or(Layout::new::<u64>())
}

/// Takes blocks until there are no more, and gives them back. Returns how many there were.
fn fill(heap: &mut PrivateHeap) -> usize {
    let mut blocks = Vec::new();
    while let Some(block) = heap.take(layout(blocks.len())) {
        // SAFETY: just taken, and not smaller.
        unsafe { block.write_bytes(0x5a, 24) };
        blocks.push(block);
    }
    for (n, block) in blocks.iter().enumerate() {
        // SAFETY: taken with this layout, once.
        unsafe { heap.give(*block, layout(n)) };
    }
    blocks.len()
}

pub(crate) fn private(suite: &mut Suite, here: &mut Here) {
    let Some(mut heap) = suite.works("a private heap", new_private(here.process())) else { return };
    let word = heap.take(Layout::new::<u64>()).map(NonNull::cast::<u64>);
    let Some(word) = suite.works("a block of it", word.ok_or(Error::NoMemory)) else { return };
    // SAFETY: just taken.
    unsafe { word.write(7) };
    if here.process().info.header.cores < 2 {
        return;
    }
    // What the first thread has mapped, threads that begin later have, too; what a thread maps, no other.
    let place = AtomicU64::new(0);
    here.set_quota(8192, 256);
    let result = here.scope(|scope| {
        let place = &place;
        let counts = scope.spawn(1, move |here| {
            let mut heap = new_private(here.process())?;
            // Page tables, once made, stay.
            let first = fill(&mut heap);
            heap.trim();
            let before = pages_left(here.process().program);
            let second = fill(&mut heap);
            let peak = pages_left(here.process().program);
            heap.trim();
            let after = pages_left(here.process().program);
            let block = heap.take(Layout::new::<u64>()).ok_or(Error::NoMemory)?;
            place.store(block.as_ptr() as u64, Ordering::Release);
            Ok::<_, Error>(([first, second], [before, peak, after]))
        })?;
        counts.join()
    });
    match result {
        Ok(Ok(([first, second], [before, peak, after]))) => {
            suite.check(
                "a heap takes what its share can pay, and then says that there is no more",
                first > 1000,
                first,
            );
            suite.equal("freed blocks are there again", second, first);
            let good = before == after && peak < before;
            suite.check(
                "and all of it goes back to the share",
                good,
                format_args!("{before} {peak} {after}"),
            );
        }
        other => suite.check("a private heap on another core", false, format_args!("{other:?}")),
    }
    here.set_quota(1024, 256);
    let at = place.load(Ordering::Acquire);
    // SAFETY: it is not mapped there, and that is the test: the read faults.
    let read =
        here.scope(|scope| scope.spawn(1, move |_| unsafe { (at as *const u64).read_volatile() })?.join());
    let wanted = Err(Failure { core: 1, how: How::Fault { vector: 14, address: at } });
    suite.equal("a private heap is no other thread's", read, wanted);
    // SAFETY: written above.
    suite.equal("the first thread's is as it was", unsafe { word.read() }, 7);
    // SAFETY: taken above with this layout.
    unsafe { heap.give(word.cast(), Layout::new::<u64>()) };
    heap.trim();
}
