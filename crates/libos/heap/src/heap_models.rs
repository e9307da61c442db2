//! Models of whole heaps: frees on their way while heaps take, trim and end.

use super::*;
use crate::tenure::{Found, Tenure};
use corey_lib_sync::explore::{self, Bounds, Guarded};
use std::alloc::{alloc_zeroed, dealloc};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts chunks; not a checker's atomics, so that counting adds no interleavings.
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

/// Blocks of which a chunk has few.
const LAYOUT: Layout = Layout::new::<[u64; 64]>();

struct Blocks(Vec<NonNull<u8>>);
// SAFETY: blocks are plain memory.
unsafe impl Send for Blocks {}

fn team(heaps: usize, host: &Host) -> Vec<Heap<'static, Host>> {
    let inboxes: &'static [Inbox] = explore::keep((0..heaps).map(|_| Inbox::default()).collect());
    inboxes.iter().for_each(|inbox| _ = inbox.is_empty());
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

/// A heap that goes from thread to thread.
struct Moved(Heap<'static, Host>);
// SAFETY: one thread at a time has it: the models' `Guarded` says so.
unsafe impl Send for Moved {}

/// Consumers free a producer's blocks, some in a batch and some alone, and end; the producer goes on meanwhile and ends
/// last. Nothing is lost.
#[test]
fn what_consumers_free_comes_home_whoever_ends_first() {
    // Every order takes minutes; those with at most three switches away from a thread that could go on, seconds.
    let bounds = Bounds { loom: &[(2, None, Some(20_000)), (3, Some(3), Some(20_000))], shuttle: 8 };
    explore::check_within(bounds, |threads| {
        let host = Host::default();
        let mut heaps = team(threads, &host).into_iter();
        let mut first = heaps.next().unwrap();
        let consumers: Vec<_> = (1..)
            .zip(heaps)
            .map(|(number, heap)| {
                let (mut heap, blocks) = (Moved(heap), take(&mut first, 1 + number % 2));
                explore::spawn(move || {
                    let all = &mut heap;
                    give(&mut all.0, blocks);
                    all.0.flush();
                    heap
                })
            })
            .collect();
        // Or loom looks only where nothing has come yet (see `inbox`).
        explore::yield_now();
        first.collect();
        let own = take(&mut first, 1);
        give(&mut first, own);
        let mut heaps: Vec<_> = consumers.into_iter().map(|consumer| consumer.join().unwrap().0).collect();
        // The batch is a block of its sender, and goes back to it.
        for _ in 0..2 {
            first.trim();
            heaps.iter_mut().for_each(Heap::trim);
        }
        assert_eq!(host.0.load(Ordering::Relaxed), 0);
    });
}

/// A producer that ends while its blocks are on their way: other cores trim its heap, and the core's next thread goes on
/// with it. Never two at once, and nothing is lost.
#[test]
fn a_heap_whose_thread_ended_is_had_by_one_at_a_time() {
    explore::check_within(Bounds::SPINS, |threads| {
        let host = Host::default();
        let mut heaps = team(2, &host);
        let (mut consumer, mut producer) = (heaps.pop().unwrap(), heaps.pop().unwrap());
        let blocks = take(&mut producer, 2);
        let shared = Arc::new((Tenure::default(), Guarded::new(Moved(producer))));
        let (tenure, _) = &*shared;
        assert_eq!(tenure.find(|| ()), Found::None);
        tenure.begin();
        // It returns; its blocks live on.
        tenure.leave();
        give(&mut consumer, blocks);
        consumer.flush();
        let trim = |(tenure, heap): &(Tenure, Guarded<Moved>)| {
            if tenure.borrow() {
                heap.with(|heap| heap.0.trim());
                tenure.leave();
            }
        };
        let all = shared.clone();
        explore::all(threads, move |number| {
            let (tenure, heap) = &*all;
            if number > 0 {
                trim(&all);
                return;
            }
            assert_eq!(tenure.find(explore::yield_now), Found::Whole);
            heap.with(|heap| {
                let own = take(&mut heap.0, 1);
                give(&mut heap.0, own);
            });
            tenure.leave();
        });
        trim(&shared);
        consumer.trim();
        trim(&shared);
        assert_eq!(host.0.load(Ordering::Relaxed), 0);
    });
}
