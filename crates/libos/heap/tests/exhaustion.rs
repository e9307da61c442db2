//! No memory at the n-th chunk, for all n: an answer, and nothing is lost.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "blocks are written and given back")]

mod host;

use corey_libos_heap::{Heap, Inbox};
use host::{Given, Host};
use std::alloc::Layout;

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
