//! Walking a tree's tables.

use crate::tree::Tree;
use corey_abi::Error;
use corey_kernel_hal::{PAGE_SIZE, Platform};
use corey_kernel_mem::{FrameList, TableRef};
use corey_kernel_object::{Ctx, Take};

/// Bytes that one leaf table maps, and a 2 MiB page.
pub(crate) const LEAF_SPAN: u64 = 512 * PAGE_SIZE;

#[inline(always)]
fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize & 511
}

/// Index of `address` in its leaf table.
#[inline(always)]
pub(crate) fn leaf_index(address: u64) -> usize {
    index(address, 0)
}

/// The table with the entry for a 2 MiB page, and the entry's index.
pub(crate) fn large_entry<'t, P: Platform>(
    platform: &P,
    tree: &'t Tree,
    address: u64,
) -> Option<(TableRef<'t>, usize)> {
    Some((table_at(platform, tree, address, 1)?, index(address, 1)))
}

/// The table whose entries map `1 << (12 + 9 * level)` bytes each, on `address`'s path.
#[inline(always)]
fn table_at<'t, P: Platform>(platform: &P, tree: &'t Tree, address: u64, level: u32) -> Option<TableRef<'t>> {
    let mut above = tree.levels.checked_sub(1)?;
    let mut table = tree.table(platform);
    while above > level {
        table = table.child(platform, index(address, above))?;
        above -= 1;
    }
    (above == level).then_some(table)
}

/// The leaf table of `address`.
#[inline(always)]
pub(crate) fn leaf<'t, P: Platform>(platform: &P, tree: &'t Tree, address: u64) -> Option<TableRef<'t>> {
    let table = tree.table(platform);
    let below = |table: TableRef<'t>, level| table.child(platform, index(address, level));
    // Spelled out: every fault comes here.
    match tree.levels {
        2 => below(table, 1),
        4 => below(below(below(table, 3)?, 2)?, 1),
        1 => Some(table),
        _ => below(below(table, 2)?, 1),
    }
}

/// The root's table that links interior trees of `levels` levels, and the index for `address`.
pub(crate) fn grain_entry<'t, P: Platform>(
    platform: &P,
    root: &'t Tree,
    address: u64,
    levels: u32,
) -> Option<(TableRef<'t>, usize)> {
    Some((table_at(platform, root, address, levels)?, index(address, levels)))
}

/// Whether one table holds all entries of `start .. end`, and is there: most mappings are small.
#[inline(always)]
pub(crate) fn has_tables<P: Platform>(platform: &P, tree: &Tree, start: u64, end: u64, level: u32) -> bool {
    let span = 12 + 9 * (level + 1);
    start >> span == (end - 1) >> span && table_at(platform, tree, start, level).is_some()
}

/// Tables that a mapping of `start .. end` still lacks, down to those whose entries map
/// `1 << (12 + 9 * level)` bytes.
pub(crate) fn lacking<P: Platform>(platform: &P, tree: &Tree, start: u64, end: u64, level: u32) -> u64 {
    if has_tables(platform, tree, start, end, level) {
        return 0;
    }
    let mut lacking = 0;
    for above in level + 1..tree.levels {
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

/// Makes those tables of `frames`, which are the calling core's memory: what it zeroes, it also fills.
///
/// # Errors
///
/// [`Error::Busy`] when there are too few: another core took tables away since they were counted.
pub(crate) fn make<P: Platform>(
    ctx: &mut Ctx<P>,
    tree: &Tree,
    start: u64,
    end: u64,
    level: u32,
    frames: &mut FrameList,
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    if has_tables(&platform, tree, start, end, level) {
        return Ok(());
    }
    for above in (level + 1..tree.levels).rev() {
        let span = 1_u64 << (12 + 9 * above);
        let mut at = start & !(span - 1);
        while at < end {
            let table = table_at(&platform, tree, at, above).ok_or(Error::Busy)?;
            if table.child(&platform, index(at, above)).is_none() {
                let frame = frames.pop(&ctx.world.memory).ok_or(Error::Busy)?.zero(&platform);
                match table.add_child::<P>(index(at, above), frame) {
                    Ok(table) => tree.keep(ctx, table),
                    Err(frame) => frames.push(&ctx.world.memory, frame.into_owned()),
                }
            }
            at += span;
            ctx.serve_every((at - start) / span);
        }
    }
    Ok(())
}

/// The parts of `start .. end` that lie in one leaf table each, and that table; for 2 MiB pages and where no
/// leaf table is, the table above. `each(table, first index, entries)`.
fn each_table<P: Platform>(
    platform: &P,
    tree: &Tree,
    start: u64,
    end: u64,
    mut each: impl FnMut(TableRef<'_>, usize, usize) -> bool,
) {
    let mut at = start;
    while at < end {
        let next = ((at & !(LEAF_SPAN - 1)) + LEAF_SPAN).min(end);
        let go_on = if let Some(table) = leaf(platform, tree, at) {
            each(table, leaf_index(at), ((next - at) / PAGE_SIZE) as usize)
        } else if let Some((table, index)) = large_entry(platform, tree, at) {
            each(table, index, 1)
        } else {
            true
        };
        if !go_on {
            return;
        }
        at = next;
    }
}

/// Takes pages, or permission to write them, from the entries of `start .. end`: under leaf locks if `locked`.
/// Says whether an entry changed.
#[inline(always)]
pub(crate) fn take<P: Platform>(
    ctx: &mut Ctx<P>,
    tree: &Tree,
    start: u64,
    end: u64,
    what: Take,
    locked: bool,
) -> bool {
    let last = leaf_index(start) as u64 + (end - start) / PAGE_SIZE;
    let platform = ctx.local.platform.clone();
    if last <= 512
        && let Some(table) = leaf(&platform, tree, start)
    {
        // Most mappings lie in one leaf table.
        let _guard = locked.then(|| ctx.world.memory.lock_leaf(table.frame(), &mut ctx.local));
        return take_entries::<P>(table, leaf_index(start), ((end - start) / PAGE_SIZE) as usize, what);
    }
    take_each(ctx, tree, start, end, what, locked)
}

/// As [`take`], for any range.
#[cold]
#[inline(never)]
fn take_each<P: Platform>(
    ctx: &mut Ctx<P>,
    tree: &Tree,
    start: u64,
    end: u64,
    what: Take,
    locked: bool,
) -> bool {
    let platform = ctx.local.platform.clone();
    let mut any = false;
    each_table(&platform, tree, start, end, |table, first, count| {
        let guard = locked.then(|| ctx.world.memory.lock_leaf(table.frame(), &mut ctx.local));
        any |= take_entries::<P>(table, first, count, what);
        drop(guard);
        true
    });
    any
}

/// As [`take`], on the root this core runs, in the service of a message: no lock, no wait.
pub(crate) fn take_own<P: Platform>(platform: &P, tree: &Tree, start: u64, end: u64, what: Take) {
    each_table(platform, tree, start, end, |table, first, count| {
        take_entries::<P>(table, first, count, what);
        true
    });
}

#[inline(always)]
fn take_entries<P: Platform>(table: TableRef<'_>, first: usize, count: usize, what: Take) -> bool {
    let mut any = false;
    for index in first..first + count {
        any |= match what {
            Take::Page => table.clear(index),
            Take::Write => table.protect::<P>(index),
        };
    }
    any
}

/// Whether [`take`] would find something in `start .. end`.
pub(crate) fn has_entries<P: Platform>(platform: &P, tree: &Tree, start: u64, end: u64, what: Take) -> bool {
    let mut any = false;
    each_table(platform, tree, start, end, |table, first, count| {
        any = (first..first + count).any(|index| match what {
            Take::Page => table.entry::<P>(index) != corey_kernel_hal::Entry::Absent,
            Take::Write => table.is_writable::<P>(index),
        });
        !any
    });
    any
}
