//! The two ways to the kernel: by trap, and by a ring that a kernel core of the caller's own serves.

use crate::objects::Objects;
use crate::worker::Worker;
use corey_abi::{Client, Error, Id, MachineCalls, PAGE_BYTES, Transport, UserPtr, Word, counter};
use corey_lib_sharing::KERNEL_CORE;
use corey_libos_kernel_core::{Calls, KernelCore};
use corey_libos_rt::sys::Trap;

/// How calls are made.
pub(crate) trait Way {
    /// Makes a call, as [`Transport::call`].
    fn call<const N: usize>(&mut self, number: u64, args: [Word; 6]) -> Result<[Word; 2], Error>;

    /// Returns when what the kernel does after it answered is done.
    fn settle(&mut self);
}

/// [`Client`]'s transport by a way.
pub(crate) struct By<'w, W>(&'w mut W);

impl<W: Way> Transport for By<'_, W> {
    #[inline(always)]
    fn call<const N: usize>(&mut self, number: u64, args: [Word; 6]) -> Result<[Word; 2], Error> {
        self.0.call::<N>(number, args)
    }
}

/// The typed calls by `way`.
#[inline(always)]
pub(crate) fn sys<W: Way>(way: &mut W) -> Client<By<'_, W>> {
    Client(By(way))
}

/// By trap.
#[derive(Debug)]
pub(crate) struct ByTrap;

impl Way for ByTrap {
    #[inline(always)]
    fn call<const N: usize>(&mut self, number: u64, args: [Word; 6]) -> Result<[Word; 2], Error> {
        Trap.call::<N>(number, args)
    }

    /// Nothing: a trap returns at the kernel's exit.
    #[inline(always)]
    fn settle(&mut self) {}
}

/// Slots of a ring.
const SLOTS: u32 = 16;
/// Pages of arguments: one for each ground.
const GROUNDS: u64 = 2;

/// By ring.
#[derive(Debug)]
pub(crate) struct ByRing {
    core: KernelCore,
    calls: Calls,
}

impl ByRing {
    /// Takes the kernel core of `worker`, and opens a ring to it in the name of what the worker holds.
    pub(crate) fn begin(worker: &mut Worker, grounds: &[Objects]) -> Result<Self, Error> {
        let core = KernelCore::take(worker.boot, worker.core() + KERNEL_CORE as u16)?;
        let shares = grounds.iter().flat_map(Objects::shares);
        // Two, and three for each of two grounds, at most: as many as a ring takes.
        let shares: heapless::Vec<Id, 8> = [worker.boot, worker.share].into_iter().chain(shares).collect();
        let calls = Calls::open(&mut worker.space, worker.share, &shares, SLOTS, GROUNDS)?;
        core.poll_device(calls.device())?;
        core.run()?;
        Ok(Self { core, calls })
    }

    /// Where the page of arguments of a ground is, and how calls by this ring name it.
    pub(crate) fn page(&self, ground: u64) -> (u64, UserPtr) {
        (self.calls.mapped(ground * PAGE_BYTES), self.calls.argument(ground * PAGE_BYTES))
    }

    /// Ends the kernel core.
    pub(crate) fn end(self) -> Result<(), Error> {
        self.core.halt()?;
        self.core.release();
        Ok(())
    }
}

impl Way for ByRing {
    #[inline(always)]
    fn call<const N: usize>(&mut self, number: u64, args: [Word; 6]) -> Result<[Word; 2], Error> {
        (&mut self.calls.submitter()).call::<N>(number, args)
    }

    /// A kernel core answers at the end of a turn, and does what a call left for the kernel exit, such as the end of what died,
    /// after it. The next call is made after that.
    #[inline(always)]
    fn settle(&mut self) {
        // It names no object, and cannot fail but with the ring, which then fails the calls that follow.
        let _ = sys(self).counter_read(counter::SYSCALLS);
    }
}
