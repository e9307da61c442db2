//! `heap`: the work of `images/heap` with an allocator of Linux programs.

use std::alloc::{GlobalAlloc, System};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};

use corey_arch_x86_64_user::marker::pause;
use corey_lib_bench::blocks::{LIVE, SLOTS, WARM, layout, slot};
use corey_lib_bench::{Machine, Place, Span, run_region, table};
use mimalloc::MiMalloc;

use crate::guest::Failure;
use crate::work::Job;

/// Whose malloc, from the word `malloc=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malloc {
    /// The C library's.
    Glibc,
    /// The crate `mimalloc`'s.
    Mimalloc,
}

impl Malloc {
    pub(crate) fn parse(word: &str) -> Result<Self, Failure> {
        match word {
            "glibc" => Ok(Self::Glibc),
            "mimalloc" => Ok(Self::Mimalloc),
            _ => Err(Failure::command_line(format!("malloc={word}: valid are glibc and mimalloc"))),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Mimalloc => "mimalloc",
        }
    }
}

/// What the workers tell each other: addresses of arrays.
#[derive(Debug, Default)]
pub(crate) struct Told(Vec<AtomicUsize>);

impl Told {
    pub(crate) fn new(cores: u32) -> Self {
        Self((0..cores).map(|_| AtomicUsize::new(0)).collect())
    }
}

/// One worker's region.
pub(crate) fn run(machine: &impl Machine, job: Job, place: Place<'_>, told: &Told) -> Result<Span, Failure> {
    match job.malloc {
        Malloc::Glibc => with(&System, machine, job, place, told),
        Malloc::Mimalloc => with(&MiMalloc, machine, job, place, told),
    }
}

#[inline(always)]
fn take(heap: &impl GlobalAlloc, number: u64) -> u64 {
    // SAFETY: no layout of the benchmark is empty.
    unsafe { heap.alloc(layout(number)) as u64 }
}

#[inline(always)]
fn give(heap: &impl GlobalAlloc, address: u64, number: u64) {
    if address != 0 {
        // SAFETY: the benchmark keeps each address in one place, and takes it from there to free it.
        unsafe { heap.dealloc(address as *mut u8, layout(number)) };
    }
}

/// Frees the block at `place` and takes another.
#[inline(always)]
fn renew(heap: &impl GlobalAlloc, place: &mut u64, number: u64) {
    give(heap, *place, number);
    *place = take(heap, number);
}

/// Takes a block, leaves it in a slot, and frees what was there.
#[inline(always)]
fn exchange(heap: &impl GlobalAlloc, slots: &[AtomicU64], core: u32, number: u64) {
    let address = take(heap, number);
    // Blocks are aligned to 16: the low bits say which size it is.
    let old = slots[slot(core, number, slots.len())].swap(address | (number % 8), AcqRel);
    give(heap, old & !15, old % 8);
}

fn with(
    heap: &impl GlobalAlloc,
    machine: &impl Machine,
    job: Job,
    place: Place<'_>,
    told: &Told,
) -> Result<Span, Failure> {
    let (core, cores) = (place.core, place.cores);
    let meet = || place.meeting.barrier.wait(cores, pause);
    let hand_over = |count: u64| {
        let mine: Vec<u64> = (0..count).map(|number| take(heap, number)).collect();
        told.0[core as usize].store(mine.as_ptr() as usize, Release);
        meet();
        let before = told.0[((core + cores - 1) % cores) as usize].load(Acquire);
        // SAFETY: the worker before made an array of `count` addresses, and keeps it until the next meeting.
        let theirs = unsafe { std::slice::from_raw_parts(before as *const u64, count as usize) }.to_vec();
        meet();
        theirs
    };
    match job.id {
        table::HEAP_LOCAL => {
            let mut live = [0_u64; LIVE];
            (0..WARM).for_each(|number| renew(heap, &mut live[(number % LIVE as u64) as usize], number));
            Ok(run_region::<{ table::HEAP_LOCAL }, _>(machine, place, |number| {
                renew(heap, &mut live[(number % LIVE as u64) as usize], number);
            }))
        }
        table::HEAP_PRODCONS => {
            for (number, address) in (0..).zip(hand_over(WARM)) {
                give(heap, address, number);
            }
            meet();
            let mut blocks = hand_over(place.iters);
            Ok(run_region::<{ table::HEAP_PRODCONS }, _>(machine, place, |number| {
                renew(heap, &mut blocks[number as usize], number);
            }))
        }
        table::HEAP_LARSON => {
            let count = SLOTS * cores as usize;
            let own: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(0)).collect();
            told.0[core as usize].store(own.as_ptr() as usize, Release);
            meet();
            let first = told.0[0].load(Acquire) as *const AtomicU64;
            // SAFETY: the first worker keeps its array until the region's last barrier.
            let slots = unsafe { std::slice::from_raw_parts(first, count) };
            (0..WARM).for_each(|number| exchange(heap, slots, core, number));
            meet();
            Ok(run_region::<{ table::HEAP_LARSON }, _>(machine, place, |number| {
                exchange(heap, slots, core, number);
            }))
        }
        other => Err(Failure::panic(format!("{other:#x} is not heap's"))),
    }
}
