//! Heaps of a team: blocks that others free, in batches and alone.
#![cfg(not(any(loom, shuttle)))]
#![allow(unsafe_code, reason = "blocks are written and given back")]

mod host;

use corey_libos_heap::{CHUNK, Heap, Inbox};
use host::{Given, Host, Random, fill, holds};
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::{Mutex, mpsc};

struct Block(NonNull<u8>, Layout, usize);
// SAFETY: a block is plain memory.
unsafe impl Send for Block {}

fn team(heaps: usize) -> Vec<Inbox> {
    (0..heaps).map(|_| Inbox::default()).collect()
}

fn heap<'t>(given: &Given, team: &'t [Inbox], position: usize) -> Heap<'t, Host> {
    // SAFETY: each test makes each position once; host memory is everybody's.
    unsafe { Heap::shared(Host::new(given, usize::MAX), team, position as u32) }
}

fn layout(random: &mut Random) -> Layout {
    let size = match random.below(100) {
        0 => random.below(100_000),
        1..20 => random.below(5000),
        _ => random.below(256),
    };
    Layout::from_size_align(size.max(1), 1 << random.below(7)).unwrap()
}

/// All heaps send, and take in, until nothing is on the way.
fn settle(heaps: &mut [Heap<'_, Host>]) {
    for _ in 0..3 {
        heaps.iter_mut().for_each(Heap::trim);
    }
}

#[test]
fn what_the_neighbour_frees_comes_back_and_is_used_again() {
    const ROUNDS: usize = 60;
    const EACH: usize = 500;
    let (given, inboxes) = (Given::default(), team(3));
    let mut heaps: Vec<_> = (0..3).map(|n| heap(&given, &inboxes, n)).collect();
    std::thread::scope(|scope| {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..3).map(|_| mpsc::sync_channel::<Vec<Block>>(2)).unzip();
        for (n, (heap, receiver)) in heaps.iter_mut().zip(receivers).enumerate() {
            let next = senders[(n + 1) % 3].clone();
            scope.spawn(move || {
                let mut random = Random(n as u64);
                for round in 0..ROUNDS {
                    let blocks = (0..EACH).map(|k| {
                        let (layout, seed) = (layout(&mut random), round * EACH + k);
                        let block = heap.take(layout).unwrap();
                        fill(block, layout.size(), seed);
                        Block(block, layout, seed)
                    });
                    next.send(blocks.collect()).unwrap();
                    for Block(block, layout, seed) in receiver.recv().unwrap() {
                        assert!(holds(block, layout.size(), seed));
                        // SAFETY: taken with this layout, sent once.
                        unsafe { heap.give(block, layout) };
                    }
                }
            });
        }
    });
    // 3 cores of some 60 classes and large blocks: memory in use does not grow with the rounds.
    assert!(given.chunks() < 3 * 60, "{} chunks", given.chunks());
    settle(&mut heaps);
    assert_eq!(given.chunks(), 0);
}

#[test]
fn random_exchange_keeps_every_block_whole() {
    const SLOTS: usize = 400;
    let (given, inboxes) = (Given::default(), team(4));
    let mut heaps: Vec<_> = (0..4).map(|n| heap(&given, &inboxes, n)).collect();
    let slots: Vec<Mutex<Option<Block>>> = (0..SLOTS).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for (n, heap) in heaps.iter_mut().enumerate() {
            let slots = &slots;
            scope.spawn(move || {
                let mut random = Random(100 + n as u64);
                for k in 0..20_000 {
                    let (layout, seed) = (layout(&mut random), k + n);
                    let block = heap.take(layout).unwrap();
                    fill(block, layout.size(), seed);
                    let mine = Some(Block(block, layout, seed));
                    let old = std::mem::replace(&mut *slots[random.below(SLOTS)].lock().unwrap(), mine);
                    if let Some(Block(block, layout, seed)) = old {
                        assert!(holds(block, layout.size(), seed));
                        // SAFETY: taken with this layout; out of its slot.
                        unsafe { heap.give(block, layout) };
                    }
                }
            });
        }
    });
    for slot in slots {
        if let Some(Block(block, layout, seed)) = slot.into_inner().unwrap() {
            assert!(holds(block, layout.size(), seed));
            // SAFETY: as above.
            unsafe { heaps[0].give(block, layout) };
        }
    }
    settle(&mut heaps);
    assert_eq!(given.chunks(), 0);
}

#[test]
fn freeing_anothers_block_writes_nothing_in_it() {
    let (given, inboxes) = (Given::default(), team(2));
    let mut heaps: Vec<_> = (0..2).map(|n| heap(&given, &inboxes, n)).collect();
    let layout = Layout::from_size_align(64, 8).unwrap();
    let blocks: Vec<_> = (0..1000).map(|_| heaps[0].take(layout).unwrap()).collect();
    for block in &blocks {
        fill(*block, 64, 3);
        // SAFETY: taken with this layout.
        unsafe { heaps[1].give(*block, layout) };
    }
    assert!(blocks.iter().all(|block| holds(*block, 64, 3)));
    // More than one batch is there already, before any flush: most blocks come back.
    heaps[0].collect();
    let back = blocks.iter().filter(|block| !holds(**block, 64, 3)).count();
    assert!(back >= 500, "{back} of 1000 came back");
    settle(&mut heaps);
    assert_eq!(given.chunks(), 0);
}

#[test]
fn a_large_block_goes_home_at_once() {
    let (given, inboxes) = (Given::default(), team(2));
    let mut heaps: Vec<_> = (0..2).map(|n| heap(&given, &inboxes, n)).collect();
    let layout = Layout::from_size_align(2 * CHUNK, 8).unwrap();
    let block = heaps[0].take(layout).unwrap();
    // SAFETY: taken with this layout.
    unsafe { heaps[1].give(block, layout) };
    assert_eq!(given.chunks(), 1);
    heaps[0].collect();
    assert_eq!(given.chunks(), 0);
}
