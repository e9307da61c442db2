//! loom's models of whole heaps: frees on their way while heaps take, trim and end.

use super::*;
use crate::tenure::{Found, Tenure};
use loom::cell::UnsafeCell;
use loom::thread;
use std::alloc::{alloc_zeroed, dealloc};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts chunks; not loom's atomics, so that counting adds no interleavings.
#[derive(Clone, Default)]
struct Host(Arc<AtomicUsize>);

impl Pages for Host {
    fn take(&mut self, bytes: usize) -> Option<(NonNull<u8>, Contents)> {
        self.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: not empty.
        let at = unsafe { alloc_zeroed(Layout::from_size_align(bytes, CHUNK).unwrap()) };
        Some((NonNull::new(at).unwrap(), Contents::Zero))
    }

    unsafe fn give(&mut self, at: NonNull<u8>, bytes: usize) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: it was taken with this layout.
        unsafe { dealloc(at.as_ptr(), Layout::from_size_align(bytes, CHUNK).unwrap()) };
    }

    fn knows(&self, _: usize) -> bool {
        true
    }
}

/// Blocks that have room for loom's link.
const LAYOUT: Layout = Layout::new::<[u64; 64]>();

struct Blocks(Vec<NonNull<u8>>);
// SAFETY: blocks are plain memory.
unsafe impl Send for Blocks {}

fn team(heaps: usize, host: &Host) -> Vec<Heap<'static, Host>> {
    let inboxes: &'static [Inbox] = (0..heaps).map(|_| Inbox::default()).collect::<Vec<_>>().leak();
    // SAFETY: each position once; the host's memory is everybody's.
    (0..heaps).map(|n| unsafe { Heap::shared(host.clone(), inboxes, n as u32) }).collect()
}

fn take(heap: &mut Heap<'static, Host>, count: usize) -> Blocks {
    Blocks((0..count).map(|_| heap.take(LAYOUT).unwrap()).collect())
}

fn give(heap: &mut Heap<'static, Host>, blocks: Blocks) {
    for block in blocks.0 {
        // SAFETY: taken with this layout, given once.
        unsafe { heap.give(block, LAYOUT) };
    }
}

/// Two consumers free a producer's blocks, one in a batch and one alone, and end; the producer goes on meanwhile
/// and ends last. Nothing is lost.
#[test]
fn what_consumers_free_comes_home_whoever_ends_first() {
    let early = Arc::new(AtomicUsize::new(0));
    let seen = early.clone();
    // Every interleaving takes a minute; those with at most three switches away from a thread that could go on, seconds.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let host = Host::default();
        let mut heaps = team(3, &host);
        let (third, second, mut first) = (heaps.pop().unwrap(), heaps.pop().unwrap(), heaps.pop().unwrap());
        let consumers = [(second, 2), (third, 1)].map(|(mut heap, count)| {
            let blocks = take(&mut first, count);
            thread::spawn(move || {
                give(&mut heap, blocks);
                heap.flush();
                heap
            })
        });
        // Or loom looks only where nothing has come yet (see `inbox`).
        thread::yield_now();
        early.fetch_add(usize::from(!first.team[0].is_empty()), Ordering::Relaxed);
        first.collect();
        let own = take(&mut first, 1);
        give(&mut first, own);
        let mut heaps: Vec<_> = consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect();
        // The batch is a block of its sender, and goes back to it.
        for _ in 0..2 {
            first.trim();
            heaps.iter_mut().for_each(Heap::trim);
        }
        assert_eq!(host.0.load(Ordering::Relaxed), 0);
    });
    assert!(seen.load(Ordering::Relaxed) > 0, "no execution took a batch before its sender ended");
}

/// A producer that ends while its blocks are on their way: another core trims its heap, and the core's next
/// thread goes on with it. Never two at once, and nothing is lost.
#[test]
fn a_heap_whose_thread_ended_is_had_by_one_at_a_time() {
    loom::model(|| {
        let host = Host::default();
        let mut heaps = team(2, &host);
        let (mut consumer, mut producer) = (heaps.pop().unwrap(), heaps.pop().unwrap());
        let blocks = take(&mut producer, 2);
        let shared = loom::sync::Arc::new((Tenure::default(), UnsafeCell::new(producer)));
        let (tenure, _) = &*shared;
        assert_eq!(tenure.find(|| ()), Found::None);
        tenure.begin();
        // It returns; its blocks live on.
        tenure.leave();
        let next = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (tenure, heap) = &*shared;
                assert_eq!(tenure.find(thread::yield_now), Found::Whole);
                heap.with_mut(|heap| {
                    // SAFETY: this thread has it; loom objects if another one does, too.
                    let heap = unsafe { &mut *heap };
                    let own = take(heap, 1);
                    give(heap, own);
                });
                tenure.leave();
            })
        };
        give(&mut consumer, blocks);
        consumer.flush();
        let (tenure, heap) = &*shared;
        let trim = || {
            if tenure.borrow() {
                // SAFETY: as above.
                heap.with_mut(|heap| unsafe { &mut *heap }.trim());
                tenure.leave();
            }
        };
        trim();
        next.join().unwrap();
        trim();
        consumer.trim();
        trim();
        assert_eq!(host.0.load(Ordering::Relaxed), 0);
    });
}
