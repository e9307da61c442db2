//! One worker of a run.

use crate::arena::Arena;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use corey_abi::{Error, Id, MachineCalls, ObjRef, PcoreCalls, counter};
use corey_lib_bench::region::Machine;
use corey_lib_bench::{Lock, Order, Place, run_region_between};
use corey_libos_rt::sys::{marker, pause, rdtsc, sys};
use corey_libos_rt::vm::{Core, Space};
use corey_libos_rt::{Process, heaps};

/// A worker: where it is, and what it may use.
#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
pub struct Worker {
    /// Position in the run, from 0.
    pub index: u32,
    /// Workers in the run.
    pub cores: u32,
    /// Operations of each.
    pub iters: u64,
    /// Variant number.
    pub variant: u32,
    /// Its own address space.
    pub space: Space,
    /// Its own share: nobody else holds it.
    pub share: Id,
    /// The share all workers hold.
    pub team: Id,
    /// A core of its own that is free, and a stack there, in benchmarks that run something on one.
    pub target: Option<(Core, u64)>,
    /// Where the program's process is, as its first thread has it.
    pub(crate) first: u64,
    pub(crate) turn: bool,
    pub(crate) tsc_hz: u64,
    pub(crate) arena: u64,
    pub(crate) work: fn(&mut Self) -> Result<(), Error>,
}

impl Worker {
    pub(crate) fn arena(&self) -> &'static Arena {
        // SAFETY: the team mapped the arena here in every worker's address space before any of them ran; it is
        // unmapped after they ended.
        unsafe { corey_libos_rt::shared(self.arena) }
    }

    /// The process as this worker has it: its own share, space and pcore.
    ///
    /// # Errors
    ///
    /// As `pcore_current`.
    pub fn process(&self) -> Result<Process, Error> {
        let pcore = sys().pcore_current()?;
        // SAFETY: it lies on the first worker's stack, which all workers map, and outlives the run.
        let first = unsafe { &*(self.first as *const Process) };
        Ok(Process { program: self.share, space: self.space, pcore, ..*first })
    }

    /// Runs `work` with a heap of this core's own behind the global allocator: in benchmarks whose cores have cards.
    pub fn with_heap<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        if self.index == 0 {
            // The program's first thread has one.
            return work(self);
        }
        // SAFETY: a core has one worker, and workers of such benchmarks hold the program's share (`run::one`).
        unsafe { heaps::join(self.index) };
        let result = work(self);
        heaps::leave();
        result
    }

    /// Waits for all workers.
    pub fn meet(&self) {
        self.arena().meeting.barrier.wait(self.cores, pause);
    }

    /// Offers an object of the team's share to the other workers; they see it after [`Worker::meet`].
    pub fn offer(&self, object: ObjRef) {
        self.arena().figures[self.index as usize].offer.store(object.object.0, Release);
    }

    /// What worker `index` offered.
    #[must_use]
    pub fn offered(&self, index: u32) -> ObjRef {
        let object = Id(self.arena().figures[index as usize].offer.load(Acquire));
        ObjRef { share: self.team, object }
    }

    /// A lock that all workers share.
    #[must_use]
    pub fn lock(&self) -> &'static Lock {
        &self.arena().lock
    }

    /// Tells the other workers an address; they know it after [`Worker::meet`]. It replaces what was offered.
    pub fn tell(&self, address: u64) {
        self.arena().figures[self.index as usize].offer.store(address, Release);
    }

    /// What worker `index` told.
    #[must_use]
    pub fn told(&self, index: u32) -> u64 {
        self.arena().figures[index as usize].offer.load(Acquire)
    }

    /// Runs the timed region of benchmark variant `ID`.
    ///
    /// # Errors
    ///
    /// As `counter_read`.
    #[inline(always)]
    pub fn region<const ID: u32>(&self, operation: impl FnMut(u64)) -> Result<(), Error> {
        self.region_between::<ID>(operation, |_| {})
    }

    /// As [`Worker::region`]; `between` follows each operation and is not counted.
    ///
    /// # Errors
    ///
    /// As `counter_read`.
    #[inline(always)]
    pub fn region_between<const ID: u32>(
        &self,
        operation: impl FnMut(u64),
        between: impl FnMut(u64),
    ) -> Result<(), Error> {
        let order = match (ID / 16, self.turn) {
            (3, _) => Order::Hops,
            // Frames come whoever's turn it is.
            (5, _) => Order::Free,
            (_, true) => Order::Turns,
            (_, false) => Order::Free,
        };
        let arena = self.arena();
        let place =
            Place { meeting: &arena.meeting, core: self.index, cores: self.cores, iters: self.iters, order };
        // Once before, so that what the region's own frame touches is there.
        let mine = &arena.figures[self.index as usize];
        let before = counters()?;
        let span = run_region_between::<ID, _>(self, place, operation, between);
        let after = counters()?;
        mine.start_ns.store(span.start_ns, Relaxed);
        mine.end_ns.store(span.end_ns, Relaxed);
        let [faults, ipis, shootdowns, syscalls] = [0, 1, 2, 3].map(|i: usize| after[i] - before[i]);
        mine.faults.store(faults, Relaxed);
        mine.ipis.store(ipis, Relaxed);
        mine.shootdowns.store(shootdowns, Relaxed);
        // Reading the counters is four calls on the way out, of which the last counts itself.
        mine.syscalls.store(syscalls - 4, Relaxed);
        Ok(())
    }
}

fn counters() -> Result<[u64; 4], Error> {
    let mut all = [0; 4];
    for (to, which) in
        all.iter_mut().zip([counter::FAULTS, counter::IPIS, counter::SHOOTDOWNS, counter::SYSCALLS])
    {
        *to = sys().counter_read(which)?;
    }
    Ok(all)
}

impl Machine for Worker {
    #[inline(always)]
    fn marker<const ID: u32, const KIND: u32>(&self) {
        marker::<ID, KIND>();
    }
    fn pause(&self) {
        pause();
    }
    fn now_ns(&self) -> u64 {
        (u128::from(rdtsc()) * 1_000_000_000 / u128::from(self.tsc_hz.max(1))) as u64
    }
}

/// Writes one byte of the page at `address`.
#[inline(always)]
pub fn touch(address: u64) {
    // SAFETY: the benchmarks pass addresses of pages they mapped writable, and use them for nothing else.
    unsafe { (address as *mut u8).write_volatile(1) };
}
