//! What runs on this core.

use crate::pcore::Pcore;
use crate::request::{Run, StatusPlace};
use corey_abi::{Id, ObjRef, RunStatus};
use corey_kernel_atree::{Tree, load, unload};
use corey_kernel_hal::Platform;
use corey_kernel_object::{Ctx, Entered, Link};
use corey_kernel_percore::ObjectWords;
use corey_kernel_share::Authority;

/// A run, as its core keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Current {
    /// The pcore.
    pub pcore: Link,
    /// How the program names it.
    pub reference: ObjRef,
    /// The root tree; null for a kernel core.
    pub tree: Link,
    /// The share the root was named through.
    pub tree_share: Id,
    /// Where the end is reported.
    pub status: Option<StatusPlace>,
    /// Whether the machine ends with it.
    pub first: bool,
}

/// Why and how a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// One of [`corey_abi::reason`].
    pub reason: u32,
    /// Halt value, or fault vector.
    pub value: u32,
    /// The fault's address.
    pub address: u64,
}

impl Current {
    /// Whether it polls devices, and runs no program.
    #[inline(always)]
    #[must_use]
    pub fn is_kernel_core(&self) -> bool {
        self.tree.is_null()
    }

    /// Begins `run` on this core, whose place is claimed; its shares are held. `None` when the root died meanwhile:
    /// then nothing runs, and the shares are to be dropped.
    pub fn begin<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, run: &Run) -> Option<Self> {
        let place = ctx.local.own().mailbox.run_place();
        match run.tree.resolve::<Tree>(inside) {
            Some(tree) => load(ctx, inside, tree),
            None if run.tree.is_null() => {}
            None => {
                place.unclaim();
                return None;
            }
        }
        ctx.local.running.pcore = run.pcore.words();
        place.begin();
        Some(Self {
            pcore: run.pcore,
            reference: run.reference,
            tree: run.tree,
            tree_share: run.tree_share,
            status: run.status,
            first: false,
        })
    }

    /// Whether it must end because pcore, root or the share that holds the root is gone.
    pub fn is_lost<P: Platform>(
        &self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        authority: &Authority,
    ) -> bool {
        let pcore = self.pcore.resolve::<Pcore>(inside).is_some_and(|p| p.header().refs() > 0);
        let tree =
            self.is_kernel_core() || self.tree.resolve::<Tree>(inside).is_some_and(|t| t.header().refs() > 0);
        let named = self.is_kernel_core() || authority.holds(self.tree_share);
        let pcore_named = self.reference.share == Id::NULL || authority.holds(self.reference.share);
        let _ = ctx;
        !(pcore && tree && named && pcore_named)
    }

    /// Ends it: leaves the address space, frees the pcore. Shares are dropped by the caller, who then reports
    /// the result.
    #[must_use]
    pub fn stop<P: Platform>(
        &self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        ending: Ending,
    ) -> Option<Report> {
        unload(ctx, inside);
        ctx.local.running.pcore = ObjectWords::NULL;
        ctx.local.set_slice(0);
        let place = ctx.local.own().mailbox.run_place();
        match self.status {
            Some(_) => place.end_untold(),
            None => place.end(),
        }
        let Ending { reason, value, address } = ending;
        self.status.map(|place| Report { place, status: RunStatus { reason, value, address } })
    }
}

/// The end of a run, to be written when the core holds nothing of it any more: whoever reads it may take
/// everything away.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    place: StatusPlace,
    status: RunStatus,
}

impl Report {
    /// Writes it.
    pub fn write<P: Platform>(self, ctx: &mut Ctx<P>, inside: &Entered<'_>) {
        self.place.unpin(ctx, inside);
        self.place.report(ctx, inside, self.status);
        ctx.local.own().mailbox.run_place().told();
    }
}
