//! [`Here`]: the thread that runs, and what it spawns with.

use crate::failure::Failure;
use crate::fence::CoreFence;
use crate::scope::{Scope, run};
use core::marker::PhantomData;
use corey_abi::{Id, RUN_SHARES};
use corey_libos_rt::Process;

/// Pages and objects of a thread's share, when the first thread spawns it.
const QUOTA: (u64, u64) = (1024, 256);
/// The same, when another thread spawns it and pays from its own.
const QUOTA_BELOW: (u64, u64) = (128, 16);

/// The running thread: its core, its address space, its shares. Every thread has one, and spawns with it.
#[derive(Debug)]
pub struct Here {
    pub(crate) process: Process,
    pub(crate) core: u16,
    /// Where the shares of threads are made.
    pub(crate) parent: Id,
    /// Quota of a thread's share: pages, objects.
    pub(crate) quota: (u64, u64),
    /// The first thread's own share, which every thread of the program holds.
    program: Id,
    /// What threads hold beside their own share.
    pub(crate) held: heapless::Vec<Id, RUN_SHARES>,
    /// It changes the tree of the core it is on.
    local: PhantomData<*const ()>,
}

impl Here {
    /// The first thread of a program. `process` goes in: from now on its address space is changed
    /// through [`Here::process`] only.
    #[must_use]
    pub fn first(process: Process) -> Self {
        let mut held = heapless::Vec::new();
        for share in [process.boot, process.program, process.console] {
            if !held.contains(&share) {
                // Three fit.
                let _ = held.push(share);
            }
        }
        let (parent, program) = (process.boot, process.program);
        Self { process, core: 0, parent, quota: QUOTA, program, held, local: PhantomData }
    }

    /// The thread on `core` whose own share is the program share of `process`.
    pub(crate) fn below(parent: &Self, core: u16, process: Process) -> Self {
        let mut held = parent.held.clone();
        // `spawn` checked that it fits.
        let _ = held.push(process.program);
        let own = process.program;
        Self {
            process,
            core,
            parent: own,
            quota: QUOTA_BELOW,
            program: parent.program,
            held,
            local: PhantomData,
        }
    }

    /// The number of the core; 0 for the first thread.
    #[must_use]
    pub fn core(&self) -> u16 {
        self.core
    }

    /// The process as this thread sees it: the program share and the address space are the thread's own.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A fence on every core where a thread of this program runs: what a writer of a forced
    /// [`corey_lib_sync::RwLock`] needs.
    #[must_use]
    pub fn fence(&self) -> CoreFence {
        CoreFence::of_holders(self.program)
    }

    /// Sets the quota of threads that are spawned from here: pages and objects. Without it they get 1024 and
    /// 256 from the first thread, 128 and 16 from another, which pays from its own. A thread's stack takes 16
    /// pages; stack, tree and pcore take 3 objects.
    pub fn set_quota(&mut self, pages: u64, objects: u64) {
        self.quota = (pages, objects);
    }

    /// Runs `work` with a scope to spawn threads in. Returns when `work` and every thread have ended.
    ///
    /// # Errors
    ///
    /// What `work` returned; the first failure of a thread that was not joined; a call that failed
    /// before `work` began.
    pub fn scope<'env, T>(
        &'env mut self,
        work: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        run(self, work)
    }
}
