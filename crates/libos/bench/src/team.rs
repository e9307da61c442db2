//! The workers of one run, from taking their cores to giving them back.

use crate::arena::Arena;
use crate::worker::Worker;
use core::fmt::Write;
use core::mem::{offset_of, size_of};
use corey_abi::{Error, Home, Id, Kinds, MapFlags, Name, ObjRef, PAGE_BYTES, ShareCalls, mapping_kind};
use corey_lib_bench::MAX_CORES;
use corey_libos_rt::sys::{address, segment, sys};
use corey_libos_rt::vm::{Core, Ended, Space, Thread, spawn, stack};
use corey_libos_rt::{Process, halt};

const STACK_PAGES: u64 = 16;
/// Pages each worker's share gets beside those its operations need.
const SPARE_PAGES: u64 = 512;
/// Pages of a target's share; the team's share pays for them.
pub(crate) const TARGET_PAGES: u64 = STACK_PAGES + SPARE_PAGES;
/// The arena, rounded up.
const ARENA_PAGES: u64 = (size_of::<Arena>() as u64).div_ceil(PAGE_BYTES);

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Team {
    /// The share all workers hold.
    pub(crate) share: Id,
    parent: Id,
    arena: ObjRef,
    /// Where the arena is mapped.
    pub(crate) address: u64,
    slot: u64,
    cores: heapless::Vec<(Core, u64), MAX_CORES>,
    targets: heapless::Vec<Core, MAX_CORES>,
}

/// Why a run did not come to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// A system call failed.
    Call(Error),
    /// This worker ended so.
    Worker(u32, Ended),
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Call(error) => write!(f, "a system call failed: {error:?}"),
            Self::Worker(index, ended) => write!(f, "worker {index} ended early: {ended:?}"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

/// Touches everything that is mapped now, image, stack and arena, so that a region counts its own faults only.
fn warm(space: &Space) -> Result<(), Error> {
    let mut sink = 0_u8;
    space.each(&mut |mapping| {
        if mapping.kind == mapping_kind::SEGMENT {
            for page in 0..mapping.npages {
                let at = (mapping.va + page * PAGE_BYTES) as *const u8;
                // SAFETY: mapped, and mappings are always readable; what is read does not matter.
                sink ^= unsafe { at.read_volatile() };
            }
        }
    })?;
    core::hint::black_box(sink);
    Ok(())
}

/// Where a worker on another core begins.
extern "C" fn begin(worker: &mut Worker) -> ! {
    match warm(&worker.space).and_then(|()| (worker.work)(worker)) {
        Ok(()) => halt(0),
        Err(error) => {
            corey_libos_rt::println!("worker {}: a system call failed: {error:?}", worker.index);
            halt(1)
        }
    }
}

impl Team {
    /// A share of `pages` pages and an arena in it, mapped in `process`. It is named after the benchmark, so that
    /// whoever looks at cores sees what runs there.
    pub(crate) fn new(process: &mut Process, bench: &str, pages: u64) -> Result<Self, Error> {
        let mut text = heapless::String::<32>::new();
        // A name is cut, too.
        let _ = write!(text, "{bench} team");
        let name = Name::new(&text);
        let parent = process.boot;
        let share = sys().share_alloc(parent, Kinds::all(), pages, 2048, Home::Any, address(&name))?;
        let arena = segment(share, ARENA_PAGES * PAGE_BYTES, "arena")?;
        let (address, slot) = process.space.map(arena, ARENA_PAGES, MapFlags::WRITE)?;
        Ok(Self {
            share,
            parent,
            arena,
            address,
            slot,
            cores: heapless::Vec::new(),
            targets: heapless::Vec::new(),
        })
    }

    /// Takes core `number` for a worker that will run something there: this program is mapped, and a stack.
    fn target(&mut self, process: &Process, number: u32) -> Result<(Core, u64), Error> {
        let mut core = Core::take(self.share, number as u16, TARGET_PAGES, 0)?;
        core.space.mirror(&process.space, &mut |_| true)?;
        let stack = segment(core.share, STACK_PAGES * PAGE_BYTES, "stack")?;
        let (va, _) = core.space.map(stack, STACK_PAGES, MapFlags::WRITE)?;
        // One per worker, and there are at most MAX_CORES.
        let _ = self.targets.push(core);
        Ok((core, va + STACK_PAGES * PAGE_BYTES - 8))
    }

    /// Takes the cores of `workers` but the first, runs all workers, the first one here. Waits for all.
    /// With `targets` the cores after the workers' are taken too, one for each. Workers hold `more`, too.
    pub(crate) fn run(
        &mut self,
        process: &mut Process,
        workers: &mut [Worker],
        pages: u64,
        targets: u32,
        more: Option<Id>,
    ) -> Result<(), Failure> {
        let count = workers.len() as u32;
        for worker in workers.iter_mut().take(targets as usize) {
            worker.target = Some(self.target(process, count + worker.index)?);
        }
        let arena = ObjRef { ..self.arena };
        let (first, others) = workers.split_first_mut().ok_or(Error::BadArgument)?;
        let mut threads = heapless::Vec::<Thread<'static>, MAX_CORES>::new();
        for worker in others {
            let mut core = Core::take(self.parent, worker.index as u16, pages + SPARE_PAGES, 0)?;
            core.space.mirror(&process.space, &mut |_| true)?;
            // As after a call: the return address would lie below a 16-byte boundary.
            let top = stack(&mut core.space, core.share, STACK_PAGES)? - 8;
            worker.space = core.space;
            worker.share = core.share;
            let index = worker.index as usize;
            let entry = begin as extern "C" fn(&mut Worker) -> ! as usize as u64;
            let args = [core::ptr::from_mut(worker) as u64, 0, 0, 0, 0, 0];
            let status = &worker.arena().status[index];
            let offset = (offset_of!(Arena, status) + index * size_of::<[u64; 2]>()) as u64;
            let target = worker.target.map(|(target, _)| target.share);
            // At most four.
            let shares: heapless::Vec<Id, 4> =
                [self.share, process.console].into_iter().chain(target).chain(more).collect();
            let thread = spawn(&core, (entry, top), args, &shares, (status, arena, offset))?;
            // What is the worker's own is nobody else's: this core holds it no longer.
            sys().self_drop(core.share)?;
            if let Some((target, _)) = &worker.target {
                sys().self_drop(target.share)?;
            }
            // One per core, and there are at most MAX_CORES.
            let _ = self.cores.push((core, u64::from(worker.index)));
            let _ = threads.push(thread);
        }
        warm(&process.space)?;
        (first.work)(first)?;
        for (thread, (_, index)) in threads.iter().zip(&self.cores) {
            match thread.join() {
                Ended::Halted(0) => {}
                ended => return Err(Failure::Worker(*index as u32, ended)),
            }
        }
        Ok(())
    }

    /// Gives cores, arena and share back.
    pub(crate) fn end(self, process: &mut Process) -> Result<(), Error> {
        for core in self.targets.into_iter().chain(self.cores.into_iter().map(|(core, _)| core)) {
            core.release();
        }
        process.space.unmap(self.slot)?;
        sys().share_delobj(ObjRef { share: self.parent, object: self.share })?;
        sys().self_drop(self.share)
    }
}
