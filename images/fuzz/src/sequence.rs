//! One sequence: from an empty share to nothing left of it.

use crate::caller::{CORES, COUNTS, Caller, MADE, STOP, Spared};
use crate::pool::{Sort, fill, remember};
use crate::records::{PAGES, Scratch, Start};
use crate::rings::Rings;
use core::arch::{asm, naked_asm};
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    AddressTreeCalls, AuditReport, BufferHeader, CORE_BY_NUMBER, Error, Home, Id, Kinds, MachineCalls,
    MapFlags, Name, ObjRef, PAGE_BYTES, PcoreCalls, Plain, SYSCALLS, SegmentCalls, ShareCalls, ShareEntry,
    grain, tree_kind,
};
use corey_libos_rt::Process;
use corey_libos_rt::sys::{address, address_mut, pause, rdtsc, segment, sys};
use corey_libos_rt::vm::{Core, Space, stack};
use corey_libos_test::{Fixture, Random, Remote, touch};
use corey_libos_upcall::Handler;

/// Turns of waiting for a core that makes no call before it is halted: it sleeps.
const GRACE: u64 = 2_000;
/// Pages with buffers for cards.
pub(crate) const FRAME_PAGES: u64 = 12;
/// Starts of a thread that ended before its calls were made, in one sequence.
const STARTS: u32 = 40;

/// What stays from sequence to sequence.
pub(crate) struct Arena {
    fixture: Fixture,
    scratch: u64,
    cores: usize,
    /// Cores that call in this sequence, the first one included.
    threads: usize,
    /// The kernel core of a sequence that has one.
    kernel_core: Cell<ObjRef>,
    spared: Spared,
    console: Id,
    /// Buffers with frames: what a segment for cards is a copy of.
    frames: ObjRef,
    rings: Rings,
    /// Shares held at the start.
    held: usize,
    pub(crate) before: u64,
    pub(crate) report: Option<AuditReport>,
}

/// How a sequence went.
pub(crate) struct Sequence {
    pub(crate) calls: u64,
    pub(crate) wrong: Option<&'static str>,
}

/// What a thread needs to know: seed, calls, where its scratch is, what it may start, the console, its own share.
static ORDERS: [[AtomicU64; 10]; CORES] = [const { [const { AtomicU64::new(0) }; 10] }; CORES];

extern "C" fn thread(core: u64) -> ! {
    let core = core as usize % CORES;
    let [seed, calls, scratch, share, tree, entry, stack, console, device, own] =
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|at: usize| ORDERS[core][at].load(Ordering::Acquire));
    let start = Start { tree: ObjRef { share: Id(share), object: Id(tree) }, entry, stack };
    // It may end itself: it is started again.
    let spared = Spared([console, 0, 0]);
    let mut caller = Caller::new(seed, core, Scratch(scratch, scratch), start, spared, 300_000);
    caller.kept = start.tree.share;
    caller.own = Id(own);
    caller.console = ObjRef { share: Id(console), object: Id(device) };
    while MADE[core].load(Ordering::Relaxed) < calls && STOP.load(Ordering::Relaxed) == 0 {
        caller.step();
    }
    // Not a halt: it may have nothing to name its pcore by any more.
    // SAFETY: it faults, and again in the handler, masked: that ends the run.
    unsafe { asm!("ud2", options(noreturn)) }
}

/// A segment of buffers with frames to send, two in a page; in the first of a page there is room for one to come.
fn frames(process: &mut Process) -> Result<ObjRef, Error> {
    let frames = segment(process.program, FRAME_PAGES * PAGE_BYTES, "frames")?;
    let (start, slot) = process.space.map(frames, FRAME_PAGES, MapFlags::WRITE)?;
    for (n, at) in (start..start + FRAME_PAGES * PAGE_BYTES).step_by(PAGE_BYTES as usize / 2).enumerate() {
        let header = BufferHeader { ready: 1, length: 14 + n as u32 * 65, done: 0, error: 0 };
        // SAFETY: mapped writable and aligned, and nobody has a reference into it.
        unsafe { (at as *mut BufferHeader).write_volatile(header) };
        // To all stations: any card takes it.
        // SAFETY: as above.
        unsafe { ((at + BufferHeader::BYTES as u64) as *mut u64).write_volatile(u64::MAX) };
    }
    process.space.unmap(slot)?;
    Ok(frames)
}

/// What a run does that a call starts: it ends, by a fault, since it may have nothing to name its own pcore by.
#[unsafe(naked)]
extern "C" fn guest(_: u64) -> ! {
    naked_asm!("mov ecx, 200", "2: pause", "dec ecx", "jnz 2b", "ud2")
}

impl Arena {
    pub(crate) fn new(process: &mut Process, fixture: Fixture) -> Result<Self, Error> {
        let pages = segment(process.program, CORES as u64 * PAGES * PAGE_BYTES, "scratch")?;
        let (scratch, _) = process.space.map(pages, CORES as u64 * PAGES, MapFlags::WRITE)?;
        for at in (scratch..scratch + CORES as u64 * PAGES * PAGE_BYTES).step_by(PAGE_BYTES as usize) {
            // SAFETY: mapped writable, and nobody has a reference into it.
            unsafe { (at as *mut u64).write_volatile(0) };
        }
        touch_stack();
        let spared = Spared([process.boot.0, process.program.0, process.console.0]);
        let cores = (process.info.header.cores as usize).min(CORES);
        Handler::install(&mut process.space, process.program, touch::handler(), 0)?;
        let mut console = ShareEntry::default();
        sys().share_list(process.console, 0, address_mut(&mut console), 1)?;
        Ok(Self {
            fixture,
            scratch,
            cores,
            threads: cores,
            kernel_core: Cell::new(ObjRef::default()),
            spared,
            console: console.id,
            frames: frames(process)?,
            rings: Rings::new(process, pages)?,
            held: held()?,
            before: 0,
            report: None,
        })
    }

    /// Notes what is in use when nothing changes any more, and counts from here.
    pub(crate) fn begin(&mut self, process: &Process) {
        COUNTS.iter().flatten().flatten().for_each(|count| count.store(0, Ordering::Relaxed));
        let mut same = 0;
        while same < 20 {
            let before = self.report.as_ref().map_or(0, in_use);
            if self.audit(process).is_some() {
                return;
            }
            same = if self.report.as_ref().map_or(0, in_use) == before { same + 1 } else { 0 };
            (0..1000).for_each(|_| pause());
        }
        self.before = self.report.as_ref().map_or(0, in_use);
    }

    fn count(&self, number: u64, which: usize) -> u64 {
        let row = SYSCALLS.iter().position(|call| call.number == number).unwrap_or(0);
        COUNTS
            .iter()
            .filter_map(|core| core.get(row)?.get(which))
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// How often a call was made.
    pub(crate) fn tried(&self, number: u64) -> u64 {
        self.count(number, 0)
    }

    /// How often it worked.
    pub(crate) fn allowed(&self, number: u64) -> u64 {
        self.count(number, 1)
    }

    /// One sequence of about `calls` calls.
    pub(crate) fn run(
        &mut self,
        process: &mut Process,
        seed: u64,
        calls: u64,
    ) -> Result<Sequence, &'static str> {
        MADE.iter().for_each(|made| made.store(0, Ordering::Relaxed));
        STOP.store(0, Ordering::Release);
        let name = Name::new("prey");
        let prey = sys().share_alloc(process.boot, Kinds::all(), 30_000, 900, Home::Any, address(&name));
        let prey = prey.map_err(|_| "no share")?;
        self.rings.forget();
        let start = self.populate(process, seed, prey).map_err(|_| "no objects")?;
        let mut threads: [Option<Remote>; CORES] = [None; CORES];
        let mut starts = [0; CORES];
        // In every other sequence the last core is left to whom it may be given by a call.
        self.threads = self.cores - usize::from(self.cores > 2 && seed & 1 == 1);
        let quota = calls / self.threads as u64 + 1;
        for core in 1..self.threads {
            self.begin_thread(process, prey, start, (seed, quota), core, &mut starts, &mut threads);
        }
        let scratch = Scratch(self.scratch, self.scratch);
        let mut caller = Caller::new(seed, 0, scratch, start, self.spared, 50_000);
        caller.kept = prey;
        while MADE[0].load(Ordering::Relaxed) < quota {
            caller.step();
            if caller.random.once_in(256) {
                self.look_after(process, prey, start, (seed, quota), &mut starts, &mut threads);
            }
        }
        self.wait(process, prey, start, (seed, quota), &mut starts, &mut threads);
        STOP.store(1, Ordering::Release);
        let calls = MADE.iter().map(|made| made.load(Ordering::Relaxed)).sum();
        let ended = threads.iter().flatten().all(end_thread);
        // What runs now is a kernel core: it would go on for ever where its own shares name it.
        for core in 1..self.cores as u64 {
            let core = ObjRef { share: process.boot, object: Id(CORE_BY_NUMBER | core) };
            let _ = sys().pcore_halt(core, 0);
        }
        self.drop_all(process, prey);
        let wrong = if ended { self.audit(process) } else { Some("a core does not end") };
        Ok(Sequence { calls, wrong })
    }

    /// Objects to begin with.
    fn populate(&self, process: &mut Process, seed: u64, prey: Id) -> Result<Start, Error> {
        let mut random = Random::new(!seed);
        fill(Sort::Share, ObjRef { share: prey, object: prey });
        fill(Sort::Pcore, ObjRef { share: prey, object: Id::NULL });
        fill(Sort::Device, ObjRef { share: prey, object: Id::NULL });
        for n in 0..8 {
            let object = segment(prey, n * n * 3 * PAGE_BYTES, "prey")?;
            if n == 0 {
                fill(Sort::Segment, object);
            }
            (0..4).for_each(|_| remember(&mut random, Sort::Segment, object));
        }
        self.post(&mut random, prey, 2)?;
        let name = Name::new("prey");
        for (n, grain) in [grain::MIB2, grain::GIB1, grain::GIB512, grain::GIB1].into_iter().enumerate() {
            let object = sys().at_alloc(prey, tree_kind::INTERIOR, grain, Home::Any, address(&name))?;
            let tree = ObjRef { share: prey, object };
            if n == 0 {
                fill(Sort::Interior, tree);
            }
            (0..12).for_each(|_| remember(&mut random, Sort::Interior, tree));
        }
        let mut space = Space::root(prey, 0, "prey")?;
        space.mirror(&process.space, &mut |_| true)?;
        let top = stack(&mut space, prey, 4)? - 8;
        fill(Sort::Root, space.tree);
        let entry = guest as extern "C" fn(u64) -> ! as usize as u64;
        Ok(Start { tree: space.tree, entry, stack: top })
    }

    /// Buffers for the cards, among the segments.
    fn post(&self, random: &mut Random, prey: Id, copies: u64) -> Result<(), Error> {
        for _ in 0..copies {
            let (mode, name) = (random.below(3), Name::new("frames"));
            let object = sys().segment_copy(self.frames, prey, mode, Home::Any, address(&name))?;
            (0..8).for_each(|_| remember(random, Sort::Segment, ObjRef { share: prey, object }));
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "one step of `run`")]
    fn begin_thread(
        &self,
        process: &Process,
        prey: Id,
        start: Start,
        (seed, quota): (u64, u64),
        core: usize,
        starts: &mut [u32; CORES],
        threads: &mut [Option<Remote>; CORES],
    ) {
        if starts[core] >= STARTS {
            return;
        }
        starts[core] += 1;
        let orders = [
            seed ^ (core as u64) << 56 ^ u64::from(starts[core]) << 48,
            quota,
            self.scratch + core as u64 * PAGES * PAGE_BYTES,
            start.tree.share.0,
            start.tree.object.0,
            start.entry,
            start.stack,
            process.console.0,
            self.console.0,
            0,
        ];
        ORDERS[core].iter().zip(orders).for_each(|(to, from)| to.store(from, Ordering::Release));
        let entry = thread as extern "C" fn(u64) -> ! as usize as u64;
        let mut own = process.space;
        let mut random = Random::new(orders[0]);
        let mut prepare = |at: &mut Core| {
            ORDERS[core][9].store(at.share.0, Ordering::Release);
            let core = at;
            (0..3).for_each(|_| remember(&mut random, Sort::Pcore, core.pcore));
            (0..4).for_each(|_| remember(&mut random, Sort::Root, core.space.tree));
            // The root stays its own share's: a tree that two shares name cannot become dearer.
            sys().share_addobj(prey, core.pcore)?;
            let named = ObjRef { share: prey, object: core.pcore.object };
            (0..8).for_each(|_| remember(&mut random, Sort::Pcore, named));
            Handler::prepare(&mut own, &mut core.space, core.share, touch::handler(), 0).map(|_| ())
        };
        // A core that something else was begun on is busy for a while: it is tried again.
        let shares = [prey, process.console];
        threads[core] =
            self.fixture.start_with(process, core as u16, entry, core as u64, &shares, &mut prepare).ok();
    }

    /// Starts again what ended too early.
    fn look_after(
        &self,
        process: &Process,
        prey: Id,
        start: Start,
        order: (u64, u64),
        starts: &mut [u32; CORES],
        threads: &mut [Option<Remote>; CORES],
    ) {
        // Trees do not live long where their slots and names are fair game.
        let mut random = Random::new(order.0 ^ MADE[0].load(Ordering::Relaxed));
        let name = Name::new("more");
        for (kind, grain, sort) in
            [(tree_kind::ROOT, 0, Sort::Root), (tree_kind::INTERIOR, grain::GIB1, Sort::Interior)]
        {
            if let Ok(object) = sys().at_alloc(prey, kind, grain, Home::Any, address(&name)) {
                (0..6).for_each(|_| remember(&mut random, sort, ObjRef { share: prey, object }));
            }
        }
        // Nor do frames: what was sent or received is not posted again.
        let _ = self.post(&mut random, prey, 1);
        // The core that is left over, for `pcore_run`.
        if self.threads < self.cores {
            if let Ok(object) = sys().pcore_alloc(prey, self.threads as u64, address(&name)) {
                (0..12).for_each(|_| remember(&mut random, Sort::Pcore, ObjRef { share: prey, object }));
                self.kernel_core.set(ObjRef { share: prey, object });
            }
            // In every other one of these it is the kernel's; others halt it, run it, and take its name away.
            if order.0 & 2 == 2 {
                self.rings.look_after(prey, self.kernel_core.get(), self.threads);
            }
        }
        for core in 1..self.threads {
            let over = threads[core].is_none_or(|remote| remote.thread.poll().is_some());
            if over && MADE[core].load(Ordering::Relaxed) < order.1 && starts[core] < STARTS {
                if let Some(remote) = threads[core].take() {
                    remote.core.release();
                }
                self.begin_thread(process, prey, start, order, core, starts, threads);
            }
        }
    }

    /// Waits until the threads have made their calls; halts those that make none: they sleep.
    fn wait(
        &self,
        process: &Process,
        prey: Id,
        start: Start,
        order: (u64, u64),
        starts: &mut [u32; CORES],
        threads: &mut [Option<Remote>; CORES],
    ) {
        let mut seen = [(0, 0); CORES];
        loop {
            self.look_after(process, prey, start, order, starts, threads);
            let mut all = true;
            for core in 1..self.threads {
                let made = MADE[core].load(Ordering::Relaxed);
                let Some(remote) = threads[core] else { continue };
                if made >= order.1 || remote.thread.poll().is_some() {
                    all &= starts[core] >= STARTS || made >= order.1;
                    continue;
                }
                all = false;
                let (before, turns) = seen[core];
                seen[core] = if made == before { (before, turns + 1) } else { (made, 0) };
                if turns > GRACE {
                    seen[core] = (made, 0);
                    if is_idle(&remote) {
                        remote.core.release();
                        threads[core] = None;
                    }
                }
            }
            if all {
                return;
            }
            let until = rdtsc() + 100_000;
            while rdtsc() < until {
                pause();
            }
        }
    }

    /// Drops every share that was not held at the start, and ends the prey.
    fn drop_all(&self, process: &Process, prey: Id) {
        let _ = sys().share_delobj(ObjRef { share: process.boot, object: prey });
        loop {
            let mut entries = [ShareEntry::default(); 24];
            let room = entries.len() as u64;
            let count = sys().share_list(Id::NULL, 0, address_mut(&mut entries), room).unwrap_or(0);
            let gone = entries.iter().take(count as usize).find(|entry| !self.spared.0.contains(&entry.id.0));
            let Some(gone) = gone else { return };
            let _ = sys().self_drop(gone.id);
        }
    }

    /// What is wrong with the books, when everything is gone.
    fn audit(&mut self, process: &Process) -> Option<&'static str> {
        // Cores that lost their ground drop what they held at their next kernel exit.
        for _ in 0..200 {
            let mut report = AuditReport::default();
            sys().audit(process.boot, address_mut(&mut report)).ok()?;
            self.report = Some(report);
            if report.errors != 0 {
                return Some("broken invariants");
            }
            if !report.is_whole() {
                return Some("frames are missing");
            }
            if self.before == 0 || in_use(&report) == self.before {
                return (held() != Ok(self.held)).then_some("shares are still held");
            }
            (0..1000).for_each(|_| pause());
        }
        Some("frames did not come back")
    }
}

/// Has the pages of this program's stack made that it will ever use.
#[inline(never)]
fn touch_stack() {
    let mut room = [0_u8; 160 << 10];
    room.iter_mut().step_by(4096).for_each(|byte| *byte = core::hint::black_box(1));
    core::hint::black_box(&room);
}

/// Halts a thread; whether there was nothing to halt. One that ran itself anew says its end elsewhere.
fn is_idle(remote: &Remote) -> bool {
    sys().pcore_halt(remote.core.pcore, 1).is_err()
}

/// Whether a thread ended; it is made to.
fn end_thread(remote: &Remote) -> bool {
    let mut over = false;
    for _ in 0..100_000 {
        over = remote.thread.poll().is_some() || is_idle(remote);
        if over {
            break;
        }
        (0..100).for_each(|_| pause());
    }
    remote.core.release();
    over
}

/// Shares held.
fn held() -> Result<usize, Error> {
    let mut entries = [ShareEntry::default(); 24];
    let room = entries.len() as u64;
    Ok(sys().share_list(Id::NULL, 0, address_mut(&mut entries), room)? as usize)
}

/// Frames in use, those left out that stay with shares that live on.
fn in_use(report: &AuditReport) -> u64 {
    report.owned - report.slots - report.tables + report.limbo
}
