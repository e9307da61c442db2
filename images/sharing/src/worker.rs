//! The workers, and how the conductor leads them.

use crate::drivers;
use crate::files::{self, Files};
use crate::ground::Ground;
use crate::objects::Objects;
use crate::stage::{Order, Stage};
use crate::way::{ByRing, ByTrap};
use crate::words::Words;
use crate::{Shared, WARM};
use core::mem::offset_of;
use corey_abi::{
    AddressTreeCalls, Error, Home, Id, Kinds, MapFlags, Name, ObjRef, PAGE_BYTES, PcoreCalls, ShareCalls,
    UserPtr, tree_kind,
};
use corey_lib_bench::{Kind, MAX_CORES};
use corey_lib_sharing::{BOTH, KERNEL_CORE, Part};
use corey_libos_rt::sys::{address, marker, pause, rdtsc, segment, sys};
use corey_libos_rt::vm::{Core, Space, Thread, spawn, stack};
use corey_libos_rt::{Process, halt, println, retake_console, shared};

const STACK_PAGES: u64 = 16;
const STAGE_PAGES: u64 = (size_of::<Stage>() as u64).div_ceil(PAGE_BYTES);
/// Pages and objects of a worker's own share: its ground's shares are carved from it.
const QUOTA: (u64, u64) = (8192, 512);

/// Seconds are this many times as long as what a kernel core is left alone for, so that it sleeps: twice its patience.
const REST: u64 = 10_000;

/// A worker, as it is told.
#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
pub(crate) struct Worker {
    /// From 0.
    index: u32,
    workers: u32,
    /// Its own space.
    pub(crate) space: Space,
    /// Its own share.
    pub(crate) share: Id,
    /// Its pcore, in its share.
    pub(crate) pcore: ObjRef,
    /// The key to the machine.
    pub(crate) boot: Id,
    stage: u64,
    both: Option<Objects>,
    /// Whether it has a ring and a kernel core.
    by_ring: bool,
    /// Ticks of the time-stamp counter after which a kernel core without anything to do sleeps.
    rest: u64,
}

impl Worker {
    pub(crate) fn stage(&self) -> Shared {
        // SAFETY: the team mapped the stage here in every address space, for good.
        unsafe { shared(self.stage) }
    }

    /// Its core.
    pub(crate) fn core(&self) -> u16 {
        self.index as u16 + 1
    }
}

/// Where a worker begins.
extern "C" fn begin(worker: &mut Worker) -> ! {
    let stage = worker.stage();
    match work(worker) {
        Ok(()) => halt(0),
        Err(error) => {
            stage.fail(worker.index, None, error);
            halt(1)
        }
    }
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let target = worker.core() + worker.workers as u16;
    // The console is 0.
    let card = u64::from(worker.core());
    let objects = Objects::make("own", worker.share, Home::Any, target, card, &worker.space)?;
    let grounds: heapless::Vec<Objects, 2> = [objects].into_iter().chain(worker.both).collect();
    let mut ring = worker.by_ring.then(|| ByRing::begin(worker, &grounds)).transpose()?;
    let page = |ring: &Option<ByRing>, number| ring.as_ref().map(|ring| ring.page(number));
    let (first, second) = (page(&ring, 0), page(&ring, 1));
    let at = |page: Option<(u64, UserPtr)>| page.map(|(at, _)| at);
    let own = Ground::new(worker, "own case", objects, at(first))?;
    let both =
        worker.both.map(|objects| Ground::new(worker, "both case", objects, at(second))).transpose()?;
    let (stage, index, rest) = (worker.stage(), worker.index, worker.rest);
    let parties = worker.workers + 1;
    let meet = || stage.meeting.barrier.wait(parties, pause);
    // The conductor waits until all have their grounds.
    meet();
    // It made files. Targets do not map them: their address spaces were copied before.
    meet();
    let tree = ObjRef { share: worker.boot, object: stage.files() };
    let mut files = Files::open(&mut worker.space, tree, index)?;
    meet();
    loop {
        stage.meeting.turns.reset(index);
        meet();
        let Some(Order { part, first: one, second: other, iters }) = stage.order() else { break };
        // Pairs are of the first two; the others wait for what comes next.
        let (case, sides) = match part {
            Part::Alone => (one, worker.workers),
            _ => (if index == 0 { one } else { other }, 2),
        };
        let (ground, page, place) = match &both {
            Some(both) if part.is_on_both() => (both, second, &files.both),
            _ => (&own, first, &files.own),
        };
        let mut way = ring.as_mut().zip(page).filter(|_| part.is_by_ring());
        let takes_part = index < sides;
        let system = &mut files.system;
        let mut round = |number: u64| {
            stage.meeting.turns.wait(index, number, pause);
            if !stage.failed() {
                // What needs no other call before finds its kernel core asleep once; else it polls.
                if way.is_some() && number == WARM {
                    let until = rdtsc() + rest;
                    while rdtsc() < until {
                        pause();
                    }
                }
                let done = match &mut way {
                    Some((ring, (_, named))) => {
                        drivers::run(case, *ring, &ground.by_ring(*named), system, place)
                    }
                    None => drivers::run(case, &mut ByTrap, ground, system, place),
                };
                let _ = done.inspect_err(|error| stage.fail(index, Some(case), *error));
            }
            stage.meeting.turns.pass(index, sides, number);
        };
        if takes_part {
            (0..WARM).for_each(&mut round);
        }
        meet();
        meet();
        if takes_part {
            marker::<0, { Kind::TrackOn as u32 }>();
            if part.is_by_ring() {
                marker::<KERNEL_CORE, { Kind::Served as u32 }>();
            }
            (WARM..WARM + iters).for_each(&mut round);
            marker::<0, { Kind::TrackOff as u32 }>();
        }
        meet();
        meet();
    }
    ring.map_or(Ok(()), ByRing::end)
}

/// All workers, and the stage.
pub(crate) struct Team {
    stage: Shared,
    workers: u32,
    threads: heapless::Vec<Thread<'static>, MAX_CORES>,
    scratch: [u64; 256],
}

impl Team {
    /// Starts the workers; returns when all have their grounds.
    pub(crate) fn start(process: &mut Process, words: &Words) -> Result<Self, Error> {
        let place = segment(process.program, STAGE_PAGES * PAGE_BYTES, "stage")?;
        let (at, _) = process.space.map(place, STAGE_PAGES, MapFlags::WRITE)?;
        // SAFETY: just mapped, for good, and all zeroes.
        let stage: Shared = unsafe { shared(at) };
        let pairs = Part::ALL.into_iter().any(|part| part.is_on_both() && words.has(part));
        let both = pairs
            .then(|| {
                let last = (2 * words.workers + 1) as u16;
                let card = u64::from(words.workers) + 1;
                Objects::make(BOTH, process.boot, Home::Core(1), last, card, &process.space)
            })
            .transpose()?;
        let mut team =
            Self { stage, workers: words.workers, threads: heapless::Vec::new(), scratch: [0; 256] };
        for index in 0..words.workers {
            let core = take(process.boot, index as u16 + 1)?;
            let worker = Worker {
                index,
                workers: words.workers,
                space: core.space,
                share: core.share,
                pcore: core.pcore,
                boot: process.boot,
                stage: at,
                both,
                by_ring: words.is_by_ring(),
                rest: process.info.header.tsc_hz / REST,
            };
            team.launch(process, core, worker, place)?;
        }
        if let Some(both) = both {
            for share in both.shares() {
                sys().self_drop(share)?;
            }
        }
        team.meet();
        stage.give_files(files::make(process, words.workers)?);
        team.meet();
        team.meet();
        Ok(team)
    }

    fn launch(
        &mut self,
        process: &Process,
        mut core: Core,
        mut worker: Worker,
        stage: ObjRef,
    ) -> Result<(), Error> {
        core.space.mirror(&process.space, &mut |_| true)?;
        // As after a call: the return address would lie below a 16-byte boundary.
        let top = stack(&mut core.space, core.share, STACK_PAGES)? - 8;
        // What the worker is told is in memory of its own.
        let told = segment(core.share, PAGE_BYTES, "told")?;
        let (va, _) = core.space.map(told, 1, MapFlags::WRITE)?;
        worker.space = core.space;
        let mut space = process.space;
        let (here, slot) = space.map(told, 1, MapFlags::WRITE)?;
        // SAFETY: just mapped, and large enough for it.
        unsafe { (here as *mut Worker).write_volatile(worker) };
        space.unmap(slot)?;
        let entry = begin as extern "C" fn(&mut Worker) -> ! as usize as u64;
        let index = worker.index as usize;
        let offset = (offset_of!(Stage, status) + index * size_of::<[u64; 2]>()) as u64;
        let status = &self.stage.status[index];
        // The first program's objects are named in the boot share, which is given once.
        let program = (process.program != process.boot).then_some(process.program);
        let both = worker.both.iter().flat_map(Objects::shares);
        // At most five.
        let shares: heapless::Vec<Id, 5> = [process.boot].into_iter().chain(program).chain(both).collect();
        let thread = spawn(&core, (entry, top), [va, 0, 0, 0, 0, 0], &shares, (status, stage, offset))?;
        // What is the worker's own is nobody else's: this core holds it no longer.
        sys().self_drop(core.share)?;
        // One per core, and there are at most MAX_CORES.
        let _ = self.threads.push(thread);
        Ok(())
    }

    pub(crate) fn stage(&self) -> Shared {
        self.stage
    }

    /// Room for what a call writes.
    pub(crate) fn scratch(&mut self) -> UserPtr {
        UserPtr(self.scratch.as_mut_ptr() as u64)
    }

    /// Says what comes next.
    pub(crate) fn give(&self, order: Order) {
        self.stage.give(Some(order));
    }

    /// Waits for all workers. One that ended early ends the run.
    pub(crate) fn meet(&self) {
        self.stage.meeting.barrier.wait(self.workers + 1, || {
            if let Some((worker, ended)) =
                self.threads.iter().enumerate().find_map(|(n, thread)| Some((n, thread.poll()?)))
            {
                // Perhaps it was let go.
                let _ = retake_console();
                let _ = self.stage.tell();
                println!("sharing: worker {worker} ended early: {ended:?}");
                corey_libos_rt::exit(corey_libos_rt::Status::Failed);
            }
            pause();
        });
    }

    /// Lets the workers end.
    pub(crate) fn end(&self) {
        self.stage.give(None);
        self.stage.meeting.barrier.wait(self.workers + 1, pause);
        for thread in &self.threads {
            let _ = thread.join();
        }
    }
}

/// Takes core `number` for a worker; all but the pcore object is in that core's own memory.
fn take(parent: Id, number: u16) -> Result<Core, Error> {
    let name = Name::new("worker");
    let home = Home::Core(number);
    let share = sys().share_alloc(parent, Kinds::all(), QUOTA.0, QUOTA.1, home, address(&name))?;
    let tree = sys().at_alloc(share, tree_kind::ROOT, 0, home, address(&name))?;
    let pcore = sys().pcore_alloc(share, u64::from(number), address(&name))?;
    Ok(Core {
        share,
        parent,
        pcore: ObjRef { share, object: pcore },
        space: Space::new(ObjRef { share, object: tree }, 0, 0),
    })
}
