//! Setting many slots of a root that has none.
//!
//! Nobody runs such a root, and nobody looks at its slots before they are counted as in use: neither locks nor
//! versions are needed, only that no other core changes it meanwhile. So a slot costs what its segment's list and
//! its tables cost.

use crate::change::{self, Payer, enlist, pay, repay};
use crate::run;
use crate::slot::{Map, MapKind, New};
use crate::tree::Tree;
use crate::walk::{self, LEAF_SPAN};
use corey_abi::Error;
use corey_kernel_hal::Platform;
use corey_kernel_object::{Ctx, Entered, Handle};
use corey_kernel_percore::Local;
use corey_kernel_segment::{PageSize, Segment};
use corey_lib_sync::atomic::Ordering;

/// No address of a leaf table.
const NO_LEAF: u64 = u64::MAX;

/// A root without slots, taken for a change: nobody runs it, and nobody else changes it.
#[derive(Debug)]
pub(crate) struct NewRoot<'t> {
    tree: Handle<'t, Tree>,
    /// End of the highest range that a slot has.
    top: u64,
    /// First address of the leaf table that the latest slot needed: it is there. Or [`NO_LEAF`].
    leaf: u64,
}

impl<'t> NewRoot<'t> {
    /// Takes `tree`, if it is a root without slots that does not run.
    pub(crate) fn take<P: Platform>(local: &Local<P>, tree: Handle<'t, Tree>) -> Option<Self> {
        if tree.kind().is_interior() || run::take(local, &tree) != Ok(true) {
            return None;
        }
        let new = Self { tree, top: 0, leaf: NO_LEAF };
        // Looked at when it is taken: it stays so. If not, dropping `new` gives it back.
        let empty = tree.used.load(Ordering::SeqCst) == 0 && !tree.is_dead();
        empty.then_some(new)
    }

    /// As [`change::change`] for slot `index`, above all that were set.
    #[inline(never)]
    pub(crate) fn set<P: Platform>(
        &mut self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        index: usize,
        new: &New<'_>,
        payer: Payer<'_>,
    ) -> Result<(), Error> {
        if new.map.kind == MapKind::Empty {
            return Ok(());
        }
        // It finds the root taken by this core.
        self.top = self.top.max(new.map.end);
        change::change(ctx, inside, self.tree, index, new, payer)
    }

    /// As [`NewRoot::set`], for pages of `segment`: as `map` says.
    #[inline(always)]
    pub(crate) fn set_pages<P: Platform>(
        &mut self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        index: usize,
        map: Map,
        segment: Handle<'_, Segment>,
        payer: Payer<'_>,
    ) -> Result<(), Error> {
        let tree = self.tree;
        if map.start < self.top || segment.page_size() == PageSize::Large {
            return self.set(ctx, inside, index, &New::segment(map, segment), payer);
        }
        let first = map.start & !(LEAF_SPAN - 1);
        if self.leaf != first || map.end > first + LEAF_SPAN || tree.lacks_slot(index) {
            self.make(ctx, inside, index, New::segment(map, segment), payer)?;
        }
        self.leaf = (map.end - 1) & !(LEAF_SPAN - 1);
        self.top = map.end;
        let Some(slot) = tree.slot(&ctx.local.platform, index) else { return Ok(()) };
        enlist(ctx, tree, (index, slot), segment);
        slot.finish(&map);
        tree.used.store(index as u64 + 1, Ordering::SeqCst);
        Ok(())
    }

    /// Makes slot `index` and the tables that `new` needs. Above all others it clashes with none.
    #[cold]
    #[inline(never)]
    fn make<P: Platform>(
        &self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        index: usize,
        new: New<'_>,
        payer: Payer<'_>,
    ) -> Result<(), Error> {
        let (tree, map) = (self.tree, &new.map);
        let mut frames = pay(ctx, inside, tree, index, &new, payer, |_| Ok(()))?;
        let made = walk::make(ctx, &tree, map.start, map.end, 0, &mut frames);
        repay(ctx, inside, tree, frames, payer);
        made
    }
}

impl Drop for NewRoot<'_> {
    fn drop(&mut self) {
        // Nothing was noted for slots that were set here.
        self.tree.forget_last();
        run::give_back(&self.tree);
    }
}
