//! Live blocks never overlap; memory goes back.
#![cfg(not(any(loom, shuttle)))]
#![allow(unsafe_code, reason = "blocks are written and given back")]

mod host;

use corey_libos_heap::{CHUNK, Heap, LARGEST};
use host::{Given, Host, fill, holds};
use proptest::collection::vec;
use proptest::prelude::*;
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;

#[derive(Clone, Debug)]
enum Step {
    Take(usize, u32),
    Give(usize),
    Resize(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![6 => 0_usize..300, 3 => 0_usize..5000, 1 => 0_usize..200_000];
    prop_oneof![
        5 => (size.clone(), 0_u32..16).prop_map(|(size, align)| Step::Take(size, align)),
        4 => any::<usize>().prop_map(Step::Give),
        1 => (any::<usize>(), size).prop_map(|(which, size)| Step::Resize(which, size)),
    ]
}

fn free_of_others(live: &BTreeMap<usize, (Layout, usize)>, at: usize, size: usize) -> bool {
    let before = live.range(..=at).next_back();
    let after = live.range(at..).next();
    before.is_none_or(|(start, (layout, _))| start + layout.size().max(1) <= at)
        && after.is_none_or(|(start, _)| at + size.max(1) <= *start)
}

fn run<const CHECKED: bool>(steps: &[Step], scarce: bool) {
    let given = Given::default();
    let mut heap = Heap::<_, CHECKED>::private(Host { scarce, ..Host::new(&given, usize::MAX) });
    let mut live = BTreeMap::<usize, (Layout, usize)>::new();
    for (number, step) in steps.iter().enumerate() {
        let nth = |which: usize| live.iter().nth(which % live.len().max(1)).map(|(at, of)| (*at, *of));
        match *step {
            Step::Take(size, align) => {
                let layout = Layout::from_size_align(size, 1 << align).unwrap();
                let block = heap.take(layout).unwrap();
                let at = block.addr().get();
                assert!(at.is_multiple_of(layout.align()), "{at:#x} for {layout:?}");
                assert!(free_of_others(&live, at, size), "{layout:?} at {at:#x}");
                fill(block, size, number);
                live.insert(at, (layout, number));
            }
            Step::Give(which) => {
                let Some((at, (layout, seed))) = nth(which) else { continue };
                live.remove(&at);
                let block = NonNull::new(at as *mut u8).unwrap();
                assert!(holds(block, layout.size(), seed));
                // SAFETY: taken with this layout, once.
                unsafe { heap.give(block, layout) };
            }
            Step::Resize(which, size) => {
                let Some((at, (layout, seed))) = nth(which) else { continue };
                live.remove(&at);
                let block = NonNull::new(at as *mut u8).unwrap();
                let size = size.max(1);
                // SAFETY: taken with this layout; it is forgotten here.
                let new = unsafe { heap.resize(block, layout, size) }.unwrap();
                assert!(holds(new, size.min(layout.size()), seed));
                assert!(free_of_others(&live, new.addr().get(), size));
                fill(new, size, number);
                let layout = Layout::from_size_align(size, layout.align()).unwrap();
                live.insert(new.addr().get(), (layout, number));
            }
        }
    }
    for (at, (layout, seed)) in live {
        let block = NonNull::new(at as *mut u8).unwrap();
        assert!(holds(block, layout.size(), seed));
        // SAFETY: taken with this layout, once.
        unsafe { heap.give(block, layout) };
    }
    heap.trim();
    assert_eq!(given.chunks(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn live_blocks_never_overlap(steps in vec(step(), 1..600), scarce: bool) {
        run::<false>(&steps, scarce);
    }

    #[test]
    fn nor_do_they_in_checking_mode(steps in vec(step(), 1..300), scarce: bool) {
        run::<true>(&steps, scarce);
    }
}

#[test]
fn a_class_is_used_to_its_last_block_and_its_chunks_go_back() {
    let given = Given::default();
    let mut heap = Heap::<_>::private(Host::new(&given, usize::MAX));
    for size in [16, 48, 1000, 4096, LARGEST] {
        let layout = Layout::from_size_align(size, 16).unwrap();
        // More than four chunks hold.
        let blocks: Vec<_> = (0..4 * CHUNK / size).map(|_| heap.take(layout).unwrap()).collect();
        assert!((5..=6).contains(&given.chunks()), "{size}: {} chunks", given.chunks());
        for block in &blocks {
            // SAFETY: taken with this layout.
            unsafe { heap.give(*block, layout) };
        }
        // The class's first, and one in reserve.
        assert!(given.chunks() <= 2, "{size}: {} chunks stay", given.chunks());
        heap.trim();
        assert_eq!(given.chunks(), 0);
    }
}

#[test]
fn large_blocks_have_memory_of_their_own_that_goes_back_at_once() {
    let given = Given::default();
    let mut heap = Heap::<_>::private(Host::new(&given, usize::MAX));
    for (size, align) in [(LARGEST + 1, 16), (CHUNK, 4096), (3 * CHUNK + 5, 65536), (1, 1 << 19)] {
        let layout = Layout::from_size_align(size, align).unwrap();
        let block = heap.take_zeroed(layout).unwrap();
        assert!(block.addr().get().is_multiple_of(align));
        // SAFETY: ours.
        let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), size) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        assert_eq!(given.chunks(), 1);
        fill(block, size, 7);
        // SAFETY: taken with this layout.
        unsafe { heap.give(block, layout) };
        assert_eq!(given.chunks(), 0);
    }
    for layout in [Layout::from_size_align(1, CHUNK), Layout::from_size_align(1 << 62, 1)] {
        assert!(heap.take(layout.unwrap()).is_none());
    }
}

#[test]
fn large_blocks_share_chunks_when_the_source_has_little_room() {
    let given = Given::default();
    let mut heap = Heap::<_>::private(Host { scarce: true, ..Host::new(&given, usize::MAX) });
    for (size, chunks) in [(40_000, 4), (200_000, 25), (300_000, 100)] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        let blocks: Vec<_> = (0..100).map(|_| heap.take_zeroed(layout).unwrap()).collect();
        assert_eq!(given.chunks(), chunks, "{size}");
        for (n, block) in blocks.iter().enumerate() {
            // SAFETY: ours.
            let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), size) };
            assert!(bytes.iter().all(|byte| *byte == 0), "{size}");
            fill(*block, size, n);
        }
        for (n, block) in blocks.iter().enumerate() {
            assert!(holds(*block, size, n));
            // SAFETY: taken with this layout.
            unsafe { heap.give(*block, layout) };
        }
        heap.trim();
        assert_eq!(given.chunks(), 0);
    }
}

#[test]
fn zeroed_blocks_are_zero_when_they_were_used_before() {
    let given = Given::default();
    let mut heap = Heap::<_>::private(Host::new(&given, usize::MAX));
    let layout = Layout::from_size_align(200, 8).unwrap();
    let block = heap.take(layout).unwrap();
    fill(block, 200, 1);
    // SAFETY: taken with this layout.
    unsafe { heap.give(block, layout) };
    let again = heap.take_zeroed(layout).unwrap();
    assert_eq!(again, block);
    // SAFETY: ours.
    assert!(unsafe { std::slice::from_raw_parts(again.as_ptr(), 200) }.iter().all(|byte| *byte == 0));
}
