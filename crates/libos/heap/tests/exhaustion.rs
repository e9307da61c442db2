//! No memory at the n-th chunk, for all n: an answer, and nothing is lost.
#![cfg(not(any(loom, shuttle)))]
#![allow(unsafe_code, reason = "blocks are written and given back")]

mod host;

use corey_libos_heap::{Contents, Heap, Inbox, Pages};
use host::{Given, Host};
use std::alloc::Layout;
use std::ptr::NonNull;

/// Two heaps; each frees what the other took. Says whether memory sufficed.
fn scenario(first: usize, second: usize) -> bool {
    let given = Given::default();
    let inboxes = [Inbox::default(), Inbox::default()];
    // SAFETY: each position once; host memory is everybody's.
    let mut a = unsafe { Heap::<_>::shared(Host::new(&given, first), &inboxes, 0) };
    // SAFETY: as above.
    let mut b = unsafe { Heap::<_>::shared(Host::new(&given, second), &inboxes, 1) };
    let mut enough = true;
    let mut live = Vec::new();
    for n in 0..3000_usize {
        let layout = Layout::from_size_align([24, 300, 5000, 70_000][n % 4], 8).unwrap();
        let heap = if n % 2 == 0 { &mut a } else { &mut b };
        match heap.take(layout) {
            Some(block) => live.push((block, layout, n)),
            None => enough = false,
        }
        if n % 7 == 6 {
            for (block, layout, n) in live.drain(..) {
                let other = if n % 2 == 0 { &mut b } else { &mut a };
                // SAFETY: taken with this layout. Freeing needs no memory to succeed.
                unsafe { other.give(block, layout) };
            }
        }
    }
    for (block, layout, _) in live {
        // SAFETY: taken with this layout.
        unsafe { b.give(block, layout) };
    }
    for _ in 0..3 {
        a.trim();
        b.trim();
    }
    assert_eq!(given.chunks(), 0, "with {first} and {second} chunks");
    assert_eq!((a.source().left, b.source().left), (first, second));
    enough
}

/// A source where a thread ends: it panics after `left` chunks.
struct Ends {
    given: Host,
    left: usize,
}

impl Pages for Ends {
    fn take(&mut self, bytes: usize) -> Option<(NonNull<u8>, Contents)> {
        self.left = self.left.checked_sub(1).expect("the thread ends here");
        self.given.take(bytes)
    }

    unsafe fn give(&mut self, at: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.given.give(at, bytes) };
    }

    fn knows(&self, at: usize) -> bool {
        self.given.knows(at)
    }
}

#[test]
fn a_heap_whose_thread_ended_in_the_middle_of_a_change_is_known() {
    let given = Given::default();
    let mut heap = Heap::<_>::private(Ends { given: Host::new(&given, usize::MAX), left: 2 });
    let small = Layout::from_size_align(100, 8).unwrap();
    let large = Layout::from_size_align(100_000, 8).unwrap();
    let block = heap.take(small).unwrap();
    assert!(heap.take(large).is_some() && heap.is_whole());
    for layout in [large, Layout::from_size_align(2000, 8).unwrap()] {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| heap.take(layout)));
        assert!(ended.is_err() && !heap.is_whole(), "{layout:?}");
    }
    // Between changes it is whole again.
    let mut heap = Heap::<_>::private(Host::new(&given, 0));
    assert!(heap.take(small).is_none() && heap.is_whole());
    let _ = block;
}

#[test]
fn running_out_at_any_chunk_leaves_counts_as_before() {
    let mut sufficed = 0;
    for first in 0..12 {
        for second in 0..12 {
            sufficed += usize::from(scenario(first, second));
        }
    }
    assert!((1..144).contains(&sufficed), "{sufficed} of 144 had enough");
}
