//! Our heap beside the C library's: the work of `images/heap` on this machine's processors.

use std::alloc::{GlobalAlloc, System};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};

use corey_lib_bench::blocks::{LIVE, SLOTS, layout, slot};
use corey_libos_heap::{Heap, Inbox};

use crate::chunks::{Area, Chunks};
use crate::host::Host;
use crate::pairs::{Case, Pair, Side, alternate};

/// Operations of a round and processor: a multiple of [`LIVE`], and enough for batches to come and go.
const OPERATIONS: u64 = 96 * LIVE as u64;

/// The rows of a variant.
pub(crate) fn cases(variant: &str) -> Vec<Case> {
    let case =
        |variant, measure| vec![Case { variant, peer: "glibc malloc", operations: OPERATIONS, measure }];
    match variant {
        "local" => case("local", local),
        "prodcons" => case("prodcons", prodcons),
        _ => case("larson", larson),
    }
}

/// Takes and gives blocks of the sizes of [`layout`], by address.
trait Malloc {
    fn take(&mut self, number: u64) -> u64;
    /// Gives a block back that was taken with this number, or one of its size; 0 is none.
    fn give(&mut self, address: u64, number: u64);

    /// Frees the block at `place` and takes another.
    #[inline(always)]
    fn renew(&mut self, place: &mut u64, number: u64) {
        self.give(*place, number);
        *place = self.take(number);
    }
}

struct Ours<'t>(Heap<'t, Chunks<'t>>);

impl Malloc for Ours<'_> {
    #[inline(always)]
    fn take(&mut self, number: u64) -> u64 {
        self.0.take(layout(number)).expect("an area has memory enough").as_ptr() as u64
    }
    #[inline(always)]
    fn give(&mut self, address: u64, number: u64) {
        if let Some(block) = NonNull::new(address as *mut u8) {
            // SAFETY: the benchmark keeps each address in one place, and takes it from there to free it.
            unsafe { self.0.give(block, layout(number)) };
        }
    }
}

struct Glibc;

impl Malloc for Glibc {
    #[inline(always)]
    fn take(&mut self, number: u64) -> u64 {
        // SAFETY: no layout of the benchmark is empty.
        unsafe { System.alloc(layout(number)) as u64 }
    }
    #[inline(always)]
    fn give(&mut self, address: u64, number: u64) {
        if address != 0 {
            // SAFETY: as above.
            unsafe { System.dealloc(address as *mut u8, layout(number)) };
        }
    }
}

/// What the heaps of a measurement stand on. Blocks that are out at its end go with it; the C library's stay out.
struct Team {
    areas: Vec<Area>,
    inboxes: Vec<Inbox>,
}

impl Team {
    fn new(cores: u32) -> Result<Self, String> {
        let areas = (0..cores).map(|_| Area::new()).collect::<Result<_, _>>()?;
        Ok(Self { areas, inboxes: (0..cores).map(|_| Inbox::default()).collect() })
    }

    /// The heap of one thread.
    fn heap(&self, core: u32) -> Ours<'_> {
        let source = self.areas[core as usize].chunks();
        // SAFETY: each thread makes its own position's once, and all memory is the process's.
        Ours(unsafe { Heap::shared(source, &self.inboxes, core) })
    }
}

/// Blocks of one's own, the oldest of 64 in turn.
struct Local<M> {
    malloc: M,
    live: [u64; LIVE],
}

impl<M: Malloc> Side for Local<M> {
    #[inline(always)]
    fn once(&mut self, number: u64) {
        self.malloc.renew(&mut self.live[(number % LIVE as u64) as usize], number);
    }
}

fn local(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let team = Team::new(cores)?;
    alternate(host, (cores, rounds, OPERATIONS), |core| {
        (Local { malloc: team.heap(core), live: [0; LIVE] }, Local { malloc: Glibc, live: [0; LIVE] })
    })
}

/// Addresses of the threads' arrays.
struct Told(Vec<AtomicUsize>);

impl Told {
    fn new(cores: u32) -> Self {
        Self((0..cores).map(|_| AtomicUsize::new(0)).collect())
    }
}

/// Blocks of the thread before, all handed over before each round.
struct Prodcons<'t, M> {
    malloc: M,
    told: &'t Told,
    core: usize,
    /// What this thread took in the last round.
    mine: Vec<u64>,
    theirs: Vec<u64>,
}

impl<'t, M: Malloc> Prodcons<'t, M> {
    fn new(mut malloc: M, told: &'t Told, core: u32) -> Self {
        let mine = (0..OPERATIONS).map(|number| malloc.take(number)).collect();
        Self { malloc, told, core: core as usize, mine, theirs: vec![0; OPERATIONS as usize] }
    }
}

impl<M: Malloc> Side for Prodcons<'_, M> {
    fn prepare(&mut self, meet: &dyn Fn()) {
        let told = &self.told.0;
        told[self.core].store(self.mine.as_ptr() as usize, Release);
        meet();
        let before = told[(self.core + told.len() - 1) % told.len()].load(Acquire) as *const u64;
        // SAFETY: the thread before has so many addresses there, and leaves them alone until the next meeting.
        self.theirs.copy_from_slice(unsafe { std::slice::from_raw_parts(before, OPERATIONS as usize) });
        meet();
        std::mem::swap(&mut self.mine, &mut self.theirs);
    }

    #[inline(always)]
    fn once(&mut self, number: u64) {
        self.malloc.renew(&mut self.mine[number as usize], number);
    }
}

fn prodcons(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let (team, ours, linux) = (Team::new(cores)?, Told::new(cores), Told::new(cores));
    alternate(host, (cores, rounds, OPERATIONS), |core| {
        (Prodcons::new(team.heap(core), &ours, core), Prodcons::new(Glibc, &linux, core))
    })
}

/// Blocks that wander: each goes into a slot of all threads, and what was there is freed.
struct Larson<'t, M> {
    malloc: M,
    slots: &'t [AtomicU64],
    core: u32,
    /// Operations before this round.
    before: u64,
}

impl<M: Malloc> Side for Larson<'_, M> {
    fn prepare(&mut self, _: &dyn Fn()) {
        self.before += OPERATIONS;
    }

    #[inline(always)]
    fn once(&mut self, number: u64) {
        let number = self.before + number;
        let address = self.malloc.take(number);
        // Blocks are aligned to 16: the low bits say which size it is.
        let at = slot(self.core, number, self.slots.len());
        let old = self.slots[at].swap(address | (number % 8), AcqRel);
        self.malloc.give(old & !15, old % 8);
    }
}

fn larson(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let slots = || -> Vec<AtomicU64> { (0..SLOTS * cores as usize).map(|_| AtomicU64::new(0)).collect() };
    let (team, ours, linux) = (Team::new(cores)?, slots(), slots());
    alternate(host, (cores, rounds, OPERATIONS), |core| {
        (
            Larson { malloc: team.heap(core), slots: &ours, core, before: 0 },
            Larson { malloc: Glibc, slots: &linux, core, before: 0 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_runs() {
        let host = Host::find().unwrap();
        for case in ["local", "prodcons", "larson"].into_iter().flat_map(cases) {
            (case.measure)(&host, 1, 2).unwrap();
        }
    }
}
