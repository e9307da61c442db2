//! `heap`: allocating and freeing, alone and across cores (benches/heap).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; blocks are given back")]

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::AcqRel};
use corey_abi::Error;
use corey_lib_bench::blocks::{LIVE, SLOTS, WARM, layout, slot};
use corey_lib_bench::table::{HEAP_LARSON, HEAP_LOCAL, HEAP_PRODCONS};
use corey_libos_bench::{Worker, program};
use corey_libos_rt::heaps::{ProgramHeap, Team};
use corey_libos_rt::{Process, Status, entry};

entry!(main);

fn main(process: Process) -> Status {
    program(process, "heap", |_, cores, iters| (iters / 4 + 8192, u64::from(cores) * 32), work)
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let team = Team::new(Team::BASE, worker.cores);
    let tree = team.tree(worker.team)?;
    if worker.index == 0 {
        team.open(tree, worker.team)?;
    }
    worker.offer(tree);
    worker.meet();
    for other in 0..worker.cores {
        worker.space.link(worker.offered(other), team.address(other))?;
    }
    // SAFETY: the tree is linked here and, after the meeting, by every worker; each makes its own heap.
    let mut heap = unsafe { team.heap::<false>(tree, worker.share, worker.index) }?;
    worker.meet();
    // SAFETY: nobody else uses this worker's heap.
    let heap = unsafe { heap.as_mut() };
    match worker.variant {
        0 => local(worker, heap),
        1 => prodcons(worker, heap),
        _ => larson(worker, heap),
    }
}

#[inline(always)]
fn take(heap: &mut ProgramHeap, number: u64) -> Result<NonNull<u8>, Error> {
    heap.take(layout(number)).ok_or(Error::NoMemory)
}

/// An array of addresses in the heap, zeroed.
fn array<'a>(heap: &mut ProgramHeap, count: usize) -> Result<&'a mut [u64], Error> {
    let layout = Layout::array::<u64>(count).map_err(|_| Error::OutOfRange)?;
    let at = heap.take_zeroed(layout).ok_or(Error::NoMemory)?;
    // SAFETY: a block of that size that is never given back; zeroes are addresses.
    Ok(unsafe { core::slice::from_raw_parts_mut(at.cast().as_ptr(), count) })
}

/// Frees the block at `address`, taken as number `number`; 0 is none.
#[inline(always)]
fn give(heap: &mut ProgramHeap, address: u64, number: u64) {
    if let Some(block) = NonNull::new(address as *mut u8) {
        // SAFETY: the benchmark keeps each address in one place, and takes it from there to free it.
        unsafe { heap.give(block, layout(number)) };
    }
}

/// The address `heap` gives for block `number`; 0 without memory, which the callers look for afterwards.
#[inline(always)]
fn taken(heap: &mut ProgramHeap, number: u64) -> u64 {
    heap.take(layout(number)).map_or(0, |block| block.as_ptr() as u64)
}

fn all_taken(blocks: &[u64]) -> Result<(), Error> {
    if blocks.contains(&0) { Err(Error::NoMemory) } else { Ok(()) }
}

/// Frees the block at `place` and takes another: inlined into the region, of which the call would be a part.
#[inline(always)]
fn renew(heap: &mut ProgramHeap, place: &mut u64, number: u64) {
    give(heap, *place, number);
    *place = taken(heap, number);
}

fn local(worker: &Worker, heap: &mut ProgramHeap) -> Result<(), Error> {
    let mut live = [0_u64; LIVE];
    (0..WARM).for_each(|number| renew(heap, &mut live[(number % LIVE as u64) as usize], number));
    worker.region::<HEAP_LOCAL>(|number| renew(heap, &mut live[(number % LIVE as u64) as usize], number))?;
    all_taken(&live)
}

/// Takes `count` blocks for the next worker. Returns those of the worker before.
fn hand_over<'a>(worker: &Worker, heap: &mut ProgramHeap, count: u64) -> Result<&'a mut [u64], Error> {
    let mine = array(heap, count as usize)?;
    for (number, place) in (0..).zip(mine.iter_mut()) {
        *place = take(heap, number)?.as_ptr() as u64;
    }
    worker.tell(mine.as_ptr() as u64);
    worker.meet();
    let before = worker.told((worker.index + worker.cores - 1) % worker.cores);
    let theirs = array(heap, count as usize)?;
    // SAFETY: the worker before made an array of `count` addresses, and does not change it any more.
    theirs.copy_from_slice(unsafe { core::slice::from_raw_parts(before as *const u64, count as usize) });
    worker.meet();
    Ok(theirs)
}

fn prodcons(worker: &Worker, heap: &mut ProgramHeap) -> Result<(), Error> {
    for (number, address) in (0..).zip(hand_over(worker, heap, WARM)?.iter()) {
        give(heap, *address, number);
    }
    worker.meet();
    heap.collect();
    let blocks = hand_over(worker, heap, worker.iters)?;
    worker.region::<HEAP_PRODCONS>(|number| renew(heap, &mut blocks[number as usize], number))?;
    all_taken(blocks)
}

fn larson(worker: &Worker, heap: &mut ProgramHeap) -> Result<(), Error> {
    let count = SLOTS * worker.cores as usize;
    if worker.index == 0 {
        worker.tell(array(heap, count)?.as_ptr() as u64);
    }
    worker.meet();
    // SAFETY: the first worker made the array, and everybody uses it as atomics from here on.
    let slots = unsafe { core::slice::from_raw_parts(worker.told(0) as *const AtomicU64, count) };
    let mut failed = false;
    let index = worker.index;
    (0..WARM).for_each(|number| failed |= !exchange(heap, slots, index, number));
    worker.meet();
    worker.region::<HEAP_LARSON>(|number| failed |= !exchange(heap, slots, index, number))?;
    if failed { Err(Error::NoMemory) } else { Ok(()) }
}

/// Takes a block, leaves it in a slot, and frees what was there. Says whether there was memory.
#[inline(always)]
fn exchange(heap: &mut ProgramHeap, slots: &[AtomicU64], index: u32, number: u64) -> bool {
    let address = taken(heap, number);
    // Blocks are aligned to 16: the low bits say which size it is.
    let old = slots[slot(index, number, slots.len())].swap(address | (number % 8), AcqRel);
    give(heap, old & !15, old % 8);
    address != 0
}
