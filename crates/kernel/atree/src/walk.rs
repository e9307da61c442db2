//! Walking a tree's tables.

use crate::tree::Tree;
use corey_abi::Error;
use corey_kernel_hal::{PAGE_SIZE, Platform};
use corey_kernel_mem::{Source, TableRef};
use corey_kernel_object::Ctx;

/// Bytes that one leaf table maps.
pub(crate) const LEAF_SPAN: u64 = 512 * PAGE_SIZE;
/// Bytes that one table of leaf tables maps: the grain of interior trees.
pub(crate) const GRAIN: u64 = 512 * LEAF_SPAN;

#[inline(always)]
fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize & 511
}

/// Index of `address` in its leaf table.
#[inline(always)]
pub(crate) fn leaf_index(address: u64) -> usize {
    index(address, 0)
}

/// The table whose entries map `1 << (12 + 9 * level)` bytes each, on `address`'s path.
#[inline(always)]
fn table_at<'t, P: Platform>(platform: &P, tree: &'t Tree, address: u64, level: u32) -> Option<TableRef<'t>> {
    let mut table = tree.table(platform);
    for above in (level + 1..tree.kind().levels()).rev() {
        table = table.child(platform, index(address, above))?;
    }
    Some(table)
}

/// The leaf table of `address`.
#[inline(always)]
pub(crate) fn leaf<'t, P: Platform>(platform: &P, tree: &'t Tree, address: u64) -> Option<TableRef<'t>> {
    table_at(platform, tree, address, 0)
}

/// The root's table that links interior trees, and the index for `address`.
pub(crate) fn grain_entry<'t, P: Platform>(
    platform: &P,
    root: &'t Tree,
    address: u64,
) -> Option<(TableRef<'t>, usize)> {
    Some((table_at(platform, root, address, 2)?, index(address, 2)))
}

/// Tables that a mapping of `start .. end` still lacks, down to those whose entries map
/// `1 << (12 + 9 * level)` bytes.
pub(crate) fn lacking<P: Platform>(platform: &P, tree: &Tree, start: u64, end: u64, level: u32) -> u64 {
    let mut lacking = 0;
    for above in level + 1..tree.kind().levels() {
        let span = 1_u64 << (12 + 9 * above);
        let mut at = start & !(span - 1);
        while at < end {
            let there = table_at(platform, tree, at, above)
                .is_some_and(|t| t.child(platform, index(at, above)).is_some());
            lacking += u64::from(!there);
            at += span;
        }
    }
    lacking
}

/// Makes those tables, from the calling core's memory: what it zeroes, it also fills.
pub(crate) fn make<P: Platform>(
    ctx: &mut Ctx<P>,
    tree: &Tree,
    start: u64,
    end: u64,
    level: u32,
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    for above in (level + 1..tree.kind().levels()).rev() {
        let span = 1_u64 << (12 + 9 * above);
        let mut at = start & !(span - 1);
        while at < end {
            let table = table_at(&platform, tree, at, above).ok_or(Error::NoMemory)?;
            if table.child(&platform, index(at, above)).is_none() {
                let frame = ctx.alloc_zeroed(Source::Nearest)?;
                if let Err(frame) = table.add_child::<P>(index(at, above), frame) {
                    ctx.free(frame.into_owned());
                }
            }
            at += span;
            ctx.serve_every((at - start) / span);
        }
    }
    Ok(())
}

/// Clears the entries of `start .. end`: under leaf locks if `locked`. Says whether there were any.
pub(crate) fn clear<P: Platform>(ctx: &mut Ctx<P>, tree: &Tree, start: u64, end: u64, locked: bool) -> bool {
    let platform = ctx.local.platform.clone();
    let mut any = false;
    let mut at = start;
    while at < end {
        let next = ((at & !(LEAF_SPAN - 1)) + LEAF_SPAN).min(end);
        if let Some(table) = leaf(&platform, tree, at) {
            let guard = locked.then(|| ctx.world.memory.lock_leaf(table.frame(), &mut ctx.local));
            while at < next {
                any |= table.clear(leaf_index(at));
                at += PAGE_SIZE;
            }
            drop(guard);
        }
        at = next;
    }
    any
}

/// Whether any entry of `start .. end` is there.
pub(crate) fn has_entries<P: Platform>(platform: &P, tree: &Tree, start: u64, end: u64) -> bool {
    let mut at = start;
    while at < end {
        let next = ((at & !(LEAF_SPAN - 1)) + LEAF_SPAN).min(end);
        if let Some(table) = leaf(platform, tree, at) {
            while at < next {
                if table.entry::<P>(leaf_index(at)) != corey_kernel_hal::Entry::Absent {
                    return true;
                }
                at += PAGE_SIZE;
            }
        }
        at = next;
    }
    false
}
