//! What conductor and workers share: whose turn it is, what comes next, what went wrong.

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Error, Id};
use corey_lib_bench::{MAX_CORES, Meeting};
use corey_lib_sharing::{Case, Part};
use corey_libos_rt::{Shared, Status, println};

/// One value alone on its lines.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Alone(AtomicU64);

/// The next measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) part: Part,
    /// What worker 0 does.
    pub(crate) first: Case,
    /// What worker 1 does.
    pub(crate) second: Case,
    /// Measured rounds.
    pub(crate) iters: u64,
}

/// All zeroes at the start.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Stage {
    pub(crate) meeting: Meeting,
    /// 0 before the first, then part, first and second case and rounds + 1; all ones for the end.
    order: Alone,
    /// The tree of the files, once it is made.
    files: Alone,
    /// By worker: 0, or the first failure: case number, error code, and 1 above.
    failures: [Alone; MAX_CORES],
    /// By core: that something runs there.
    running: [Alone; MAX_CORES],
    /// Where the kernel reports how workers ended.
    pub(crate) status: [[AtomicU64; 2]; MAX_CORES],
}

// SAFETY: atomics only; all zeroes is valid.
unsafe impl Shared for Stage {}

const END: u64 = u64::MAX;

impl Stage {
    /// Says where the files are.
    pub(crate) fn give_files(&self, tree: Id) {
        self.files.0.store(tree.0, Ordering::Release);
    }

    /// Where the files are.
    pub(crate) fn files(&self) -> Id {
        Id(self.files.0.load(Ordering::Acquire))
    }

    pub(crate) fn give(&self, order: Option<Order>) {
        let word = order.map_or(END, |Order { part, first, second, iters }| {
            let (first, second) = (u64::from(first.number()), u64::from(second.number()));
            part as u64 | first << 8 | second << 16 | iters << 24
        });
        self.order.0.store(word, Ordering::Release);
    }

    /// `None` at the end.
    pub(crate) fn order(&self) -> Option<Order> {
        let word = self.order.0.load(Ordering::Acquire);
        let case = |shift: u32| Case::ALL.get((word >> shift & 0xff) as usize).copied();
        if word == END {
            return None;
        }
        let part = Part::ALL.get((word & 0xff) as usize).copied()?;
        Some(Order { part, first: case(8)?, second: case(16)?, iters: word >> 24 })
    }

    /// Notes what worker `worker` could not do.
    pub(crate) fn fail(&self, worker: u32, case: Option<Case>, error: Error) {
        let number = case.map_or(0xff, Case::number);
        let word = 1 << 32 | u64::from(number) << 16 | error as u64;
        let _ =
            self.failures[worker as usize].0.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) -> bool {
        self.failures.iter().any(|failure| failure.0.load(Ordering::Acquire) != 0)
    }

    /// Prints what went wrong.
    pub(crate) fn tell(&self) -> Status {
        for (worker, failure) in self.failures.iter().enumerate() {
            let word = failure.0.load(Ordering::Acquire);
            if word != 0 {
                let case = Case::ALL.get((word >> 16 & 0xff) as usize).map_or("its ground", |c| c.name());
                let error = Error::from_code(word & 0xffff);
                println!("sharing: worker {worker}: {case}: {error:?}");
            }
        }
        if self.failed() { Status::Failed } else { Status::Success }
    }

    /// The word in which what runs on core `core` says so.
    pub(crate) fn running(&self, core: u16) -> &AtomicU64 {
        &self.running[usize::from(core) % MAX_CORES].0
    }
}
