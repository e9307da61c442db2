//! Limbo: what is unlinked, until no core can hold a pointer to it.
//!
//! ```text
//! retire ─→ open bucket ─(waiting is empty: snapshot the epochs of its cores)─→ waiting bucket
//!                                     every core was outside since ─→ reclaim
//! ```

use crate::header::Header;
use crate::slab::SlotList;
use corey_kernel_hal::CoreId;
use corey_kernel_mem::{FrameList, Memory};
use corey_kernel_percore::{CoreSet, PerCore, Snapshot};
use corey_lib_sync::Quarantine;

/// Things that wait for the same cores.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) objects: SlotList,
    /// What naming shares were charged for the objects.
    pages: u64,
    pub(crate) frames: FrameList,
    cores: CoreSet,
}

impl Bucket {
    /// Adds a dead object.
    pub(crate) fn bury(&mut self, header: &'static Header) {
        self.pages += header.pages();
        self.objects.push(header);
    }

    fn is_empty(&self) -> bool {
        self.objects.len() == 0 && self.frames.is_empty()
    }
}

/// One home core's limbo.
#[derive(Debug)]
pub(crate) struct Limbo {
    open: Bucket,
    waiting: Bucket,
    /// Epochs of the waiting bucket's cores, by core number.
    snapshots: &'static mut [Snapshot],
}

impl Quarantine for Limbo {
    fn quarantine(&mut self) {
        self.open = Bucket::default();
        self.waiting = Bucket::default();
    }
}

impl Limbo {
    pub(crate) fn new(snapshots: &'static mut [Snapshot]) -> Self {
        Self { open: Bucket::default(), waiting: Bucket::default(), snapshots }
    }

    /// The bucket that takes what `cores` may still use.
    pub(crate) fn open(&mut self, cores: CoreSet) -> &mut Bucket {
        self.open.cores.union(cores);
        &mut self.open
    }

    /// Objects and frames inside.
    pub(crate) fn len(&self) -> (u64, u64) {
        (
            self.open.objects.len() + self.waiting.objects.len(),
            self.open.frames.len() + self.waiting.frames.len(),
        )
    }

    /// About how many pages come back.
    pub(crate) fn pages(&self) -> u64 {
        [&self.open, &self.waiting].into_iter().map(|bucket| bucket.pages + bucket.frames.len()).sum()
    }

    /// Whether another core than `own`, which is in the kernel, has yet to leave it, and that alone is waited for.
    pub(crate) fn waits_for_others(&self, cores: &[PerCore], own: CoreId) -> bool {
        let inside = |core: CoreId| match (cores.get(core.index()), self.snapshots.get(core.index())) {
            (Some(per_core), Some(snapshot)) => !per_core.has_passed(*snapshot),
            _ => false,
        };
        if self.waiting.is_empty() || self.waiting.cores.contains(own) && inside(own) {
            return false;
        }
        self.waiting.cores.without(own).iter().any(inside)
    }

    /// What no core can use any more. Closes the open bucket when nothing waits.
    pub(crate) fn harvest(&mut self, cores: &[PerCore], memory: &Memory) -> Bucket {
        let mut ripe = Bucket::default();
        for _ in 0..2 {
            if !self.waiting.is_empty() {
                let passed = self.waiting.cores.iter().all(|core| {
                    match (cores.get(core.index()), self.snapshots.get(core.index())) {
                        (Some(per_core), Some(snapshot)) => per_core.has_passed(*snapshot),
                        _ => true,
                    }
                });
                if !passed {
                    break;
                }
                ripe.objects.append(&mut self.waiting.objects);
                self.waiting.pages = 0;
                ripe.frames.append(memory, &mut self.waiting.frames);
                self.waiting.cores = CoreSet::EMPTY;
            }
            core::mem::swap(&mut self.open, &mut self.waiting);
            for core in self.waiting.cores.iter() {
                if let (Some(per_core), Some(snapshot)) =
                    (cores.get(core.index()), self.snapshots.get_mut(core.index()))
                {
                    *snapshot = per_core.epoch.snapshot();
                }
            }
        }
        ripe
    }
}
