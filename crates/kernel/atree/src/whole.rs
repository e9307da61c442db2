//! Setting many slots of a root that has none.
//!
//! Nobody runs such a root, and nobody looks at its slots before they are counted as in use: neither locks nor
//! versions are needed, only that no other core changes it meanwhile. So a slot costs what its segment's list and
//! its tables cost.

use crate::change::{self, Payer, enlist, pay, repay};
use crate::run;
use crate::slot::{MapKind, New};
use crate::tree::Tree;
use crate::walk::{self, LEAF_SPAN};
use corey_abi::Error;
use corey_kernel_hal::{CoreId, Platform};
use corey_kernel_object::{Ctx, Entered, Handle};
use corey_lib_sync::atomic::Ordering;

/// A root without slots, taken for a change: nobody runs it, and nobody else changes it.
#[derive(Debug)]
pub(crate) struct NewRoot<'t> {
    tree: Handle<'t, Tree>,
    /// End of the highest range that a slot has.
    top: u64,
    /// First address of the leaf table that the latest slot needed: it is there.
    leaf: Option<u64>,
}

impl<'t> NewRoot<'t> {
    /// Takes `tree`, if it is a root without slots that does not run.
    pub(crate) fn take(tree: Handle<'t, Tree>, own: CoreId) -> Option<Self> {
        if tree.kind().is_interior() || run::take(&tree, own) != Ok(true) {
            return None;
        }
        let new = Self { tree, top: 0, leaf: None };
        // Looked at when it is taken: it stays so. If not, dropping `new` gives it back.
        let empty = tree.used.load(Ordering::SeqCst) == 0 && !tree.is_dead();
        empty.then_some(new)
    }

    /// As [`change::change`] for slot `index`, above all that were set.
    pub(crate) fn set<P: Platform>(
        &mut self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        index: usize,
        new: &New<'_>,
        payer: Payer<'_>,
    ) -> Result<(), Error> {
        let (tree, map) = (self.tree, &new.map);
        let platform = ctx.local.platform.clone();
        if map.kind == MapKind::Empty {
            return Ok(());
        }
        let Some(segment) = new.segment.filter(|_| new.level == 0 && map.start >= self.top) else {
            // It finds the root taken by this core.
            self.top = self.top.max(map.end);
            return change::change(ctx, inside, tree, index, new, payer);
        };
        let first = map.start & !(LEAF_SPAN - 1);
        if self.leaf != Some(first) || map.end > first + LEAF_SPAN || tree.lacks_slot(index) {
            // Above all others it clashes with none.
            let mut frames = pay(ctx, inside, tree, index, new, payer, |_| Ok(()))?;
            let made = walk::make(ctx, &tree, map.start, map.end, 0, &mut frames);
            repay(ctx, inside, tree, frames, payer);
            made?;
        }
        self.leaf = Some((map.end - 1) & !(LEAF_SPAN - 1));
        self.top = map.end;
        let Some(slot) = tree.slot(&platform, index) else { return Ok(()) };
        enlist(ctx, tree, (index, slot), segment);
        slot.finish(map);
        tree.used.store(index as u64 + 1, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for NewRoot<'_> {
    fn drop(&mut self) {
        // Nothing was noted for slots that were set here.
        self.tree.forget_last();
        run::give_back(&self.tree);
    }
}
