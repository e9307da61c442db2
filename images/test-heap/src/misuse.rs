//! What checking mode finds, and where it says that it was; without it nothing is looked at.

use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_libos_cores::{Failure, Here, How};
use corey_libos_heap::{Heap, Wrong};
use corey_libos_rt::heaps;
use corey_libos_test::Suite;

const LAYOUT: Layout = Layout::new::<[u64; 5]>();

/// A block of the calling core's heap.
fn block() -> *mut u8 {
    // SAFETY: the layout is not empty.
    let at = unsafe { alloc(LAYOUT) };
    // Or the compiler sees that nobody needs it.
    core::hint::black_box(at)
}

fn twice() {
    let at = block();
    // SAFETY: the second time is the misuse.
    (0..2).for_each(|_| unsafe { dealloc(at, LAYOUT) });
}

fn behind() {
    let at = block();
    // SAFETY: the misuse: the byte lies behind the block, in its red zone.
    unsafe { at.wrapping_add(LAYOUT.size()).write_volatile(1) };
    // SAFETY: taken with this layout.
    unsafe { dealloc(at, LAYOUT) };
}

fn foreign() {
    let mut word = 5_u64;
    // SAFETY: the misuse: it lies on the stack.
    unsafe { dealloc((&raw mut word).cast(), LAYOUT) };
}

fn inside() {
    let at = block();
    // SAFETY: the misuse: no block begins there.
    unsafe { dealloc(at.wrapping_add(16), LAYOUT) };
}

fn nowhere() {
    // SAFETY: the misuse: no heap has a chunk there.
    unsafe { dealloc((heaps::Team::BASE + (3 << 30)) as *mut u8, LAYOUT) };
}

fn size() {
    // SAFETY: the misuse: it was taken with another layout.
    unsafe { dealloc(block(), Layout::new::<[u64; 6]>()) };
}

pub(crate) fn all(suite: &mut Suite, here: &mut Here) {
    let words = here.process().info.command_line();
    suite.equal("the command line chooses checking", heaps::is_checking(), words.contains("heap=check"));
    callers(suite);
    if !heaps::is_checking() {
        return;
    }
    let panicked = Err(Failure { core: 1, how: How::Panicked });
    let cases: [(&str, fn()); 6] = [
        ("freed twice", twice),
        ("written behind its end", behind),
        ("not of a heap", foreign),
        ("not the start of a block", inside),
        ("where no heap has memory", nowhere),
        ("freed with another size", size),
    ];
    for (name, misuse) in cases {
        let ended = here.scope(|scope| scope.spawn(1, move |_| misuse())?.join());
        suite.equal(name, ended, panicked);
    }
    // Taken here, freed there, and here again.
    let at = AtomicU64::new(block() as u64);
    let lent = &at;
    let free = move |_: &mut Here| {
        // SAFETY: taken with this layout; the second time is the misuse.
        unsafe { dealloc(lent.load(Ordering::Relaxed) as *mut u8, LAYOUT) };
    };
    let first = here.scope(|scope| scope.spawn(1, free)?.join());
    let second = here.scope(|scope| scope.spawn(1, free)?.join());
    suite.equal("twice on another core than it was taken", (first, second), (Ok(()), panicked));
    let mut own = match heaps::private(here.process()) {
        Ok(plain) => Heap::<_, true>::private(plain.into_source()),
        Err(error) => return suite.check("a private heap", false, format_args!("{error:?}")),
    };
    let found = NonNull::new(block()).map(|block| own.inspect(block, LAYOUT).map_err(|misuse| misuse.wrong));
    suite.equal("a private heap knows its own blocks only", found, Some(Err(Wrong::Foreign)));
    if let Some(block) = own.take(LAYOUT) {
        suite.equal("and those it knows", own.inspect(block, LAYOUT), Ok(()));
        // SAFETY: taken with this layout.
        unsafe { own.give(block, LAYOUT) };
    }
    own.trim();
}

#[inline(never)]
fn called(from: &mut [u64; 16]) {
    let here = 0_u64;
    let mut found = heapless::Vec::<u64, 16>::new();
    found.extend(corey_libos_rt::callers(&here).take(16));
    from.iter_mut().zip(found).for_each(|(to, caller)| *to = caller);
    core::hint::black_box(from);
}

/// The callers of `called` lie in this function, and those are found.
#[inline(never)]
fn callers(suite: &mut Suite) {
    let mut from = [0; 16];
    called(&mut from);
    let this = callers as fn(&mut Suite) as usize as u64;
    let found = from.iter().any(|address| (this..this + 512).contains(address));
    suite.check("a report names its callers", found, format_args!("{from:x?}, this is {this:#x}"));
}
