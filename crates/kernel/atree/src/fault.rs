//! Page faults: from an address to a page-table entry.

use crate::slot::{Map, MapKind, Slot};
use crate::tree::Tree;
use crate::walk;
use corey_kernel_hal::{Cause, PAGE_SIZE, Platform, USER_END};
use corey_kernel_mem::{PageState, TableRef};
use corey_kernel_object::{Ctx, Entered, Handle, Link};
use corey_kernel_segment::{PageSize, Segment, Want};

/// Resolves a fault of the running root tree at `address`; false when nothing there allows `cause`.
///
/// Through the root's own mapping: no lock, no line of another core's. Through an interior tree: the leaf
/// table's lock, and the lines of the tree's slot.
#[inline(always)]
pub fn fault<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, address: u64, cause: Cause) -> bool {
    if address >= USER_END {
        return false;
    }
    let Some(root) = Link::from(ctx.local.paging.root).resolve::<Tree>(inside) else { return false };
    let platform = ctx.local.platform.clone();
    let [mut outer, mut inner] = ctx.local.paging.hints;
    let done = 'found: {
        let Some(slot) = root.find(&platform, address, &mut outer) else { break 'found false };
        // The root's slots are changed by this core only, here or in its mailbox service.
        if slot.kind() == MapKind::Segment {
            let (map, version) = (slot.peek(), slot.version());
            break 'found fill::<P, false>(ctx, inside, root.body(), slot, &map, version, address, cause);
        }
        let (object, start) = slot.interior();
        let Some(tree) = object.resolve::<Tree>(inside) else { break 'found false };
        let relative = address - start;
        let mut again = false;
        loop {
            // The slot that answered last is read at once, without looking first whether it can be the one.
            let hinted = tree.slot(&platform, usize::from(inner));
            if let Some(slot) = hinted
                && let Some((map, version)) = slot.read()
                && map.kind == MapKind::Segment
                && map.start <= relative
                && relative < map.end
            {
                break fill::<P, true>(ctx, inside, tree.body(), slot, &map, version, relative, cause);
            }
            if !find_inner(ctx, &tree, relative, (&mut inner, &mut again)) {
                break 'found false;
            }
        }
    };
    ctx.local.paging.hints = [outer, inner];
    done
}

/// Looks for the slot of an interior tree that maps `relative`; false when none does, or when one is being changed by a
/// core that was lost. `again`: the one that was found cannot be read, as it is being changed.
#[cold]
#[inline(never)]
fn find_inner<P: Platform>(
    ctx: &mut Ctx<P>,
    tree: &Tree,
    relative: u64,
    (inner, again): (&mut u16, &mut bool),
) -> bool {
    if core::mem::replace(again, true) && ctx.relax_or_lose().is_err() {
        return false;
    }
    tree.find(&ctx.local.platform.clone(), relative, inner).is_some()
}

/// Makes the entry of `address` in `tree`. `version` is the slot's. In an interior tree (`LOCKED`) the leaf table
/// is locked while mapping, segment and page are checked and the entry is stored.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "one inlined step of `fault`, cut out for its two callers")]
fn fill<P: Platform, const LOCKED: bool>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: &Tree,
    slot: Slot<'_>,
    map: &Map,
    version: u64,
    address: u64,
    cause: Cause,
) -> bool {
    if !map.allows(cause) {
        return false;
    }
    let platform = ctx.local.platform.clone();
    let Some(segment) = map.object.resolve::<Segment>(inside) else { return false };
    if segment.page_size() == PageSize::Large {
        return fill_large::<P, LOCKED>(ctx, inside, tree, slot, version, address, cause);
    }
    let Some(table) = walk::leaf(&platform, tree, address) else { return false };
    let index = walk::leaf_index(address);
    fill_entry::<P, LOCKED, true>(ctx, inside, (table, index), segment, slot, map, version, address, cause)
}

/// Pages of the largest mapping that is filled when it is made, with the pages that are there: as a fault costs more
/// than to look. What is not there is made when it is touched.
const AHEAD: u64 = 16;

/// Makes the entries of a new mapping of few pages, of which the slot was just published.
#[inline(always)]
pub(crate) fn fill_ahead<P: Platform, const LOCKED: bool>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: &Tree,
    slot: Slot<'_>,
    map: &Map,
    segment: Handle<'_, Segment>,
) {
    if map.end - map.start > AHEAD * PAGE_SIZE || segment.page_size() == PageSize::Large {
        return;
    }
    let platform = ctx.local.platform.clone();
    let version = slot.version();
    let mut address = map.start;
    while address < map.end {
        let page = map.page + (address - map.start) / PAGE_SIZE;
        let there = segment.body().slot(&platform, page).is_some_and(|slot| slot.is_readable());
        if there && let Some(table) = walk::leaf(&platform, tree, address) {
            let entry = (table, walk::leaf_index(address));
            // If that changes meanwhile, the access will fault.
            let _ = fill_entry::<P, LOCKED, true>(
                ctx,
                inside,
                entry,
                segment,
                slot,
                map,
                version,
                address,
                Cause::Read,
            );
        }
        address += PAGE_SIZE;
    }
}

/// As [`fill`], for 2 MiB pages: apart, so that the others do not pay for it.
#[cold]
#[inline(never)]
fn fill_large<P: Platform, const LOCKED: bool>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: &Tree,
    slot: Slot<'_>,
    version: u64,
    address: u64,
    cause: Cause,
) -> bool {
    // Read again; if it is another one now, its version is, too.
    let map = slot.peek();
    let Some(segment) = map.object.resolve::<Segment>(inside) else { return false };
    if segment.page_size() == PageSize::Small || address < map.start {
        return slot.version() != version;
    }
    let platform = ctx.local.platform.clone();
    let Some(entry) = walk::large_entry(&platform, tree, address) else { return false };
    fill_entry::<P, LOCKED, false>(ctx, inside, entry, segment, slot, &map, version, address, cause)
}

/// Makes entry `index` of `table`.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "as `fill`")]
fn fill_entry<P: Platform, const LOCKED: bool, const SMALL: bool>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    (table, index): (TableRef<'_>, usize),
    segment: Handle<'_, Segment>,
    slot: Slot<'_>,
    map: &Map,
    version: u64,
    address: u64,
    cause: Cause,
) -> bool {
    let page = map.page + (address - map.start) / PAGE_SIZE;
    let want = if cause == Cause::Write { Want::Write } else { Want::Read };
    let Ok(found) = Segment::page_of::<P, SMALL>(segment, ctx, inside, page, want) else { return false };
    let _guard = LOCKED.then(|| ctx.world.memory.lock_leaf(table.frame(), &mut ctx.local));
    // What was checked may have changed while this core waited for memory or for the lock (without a lock,
    // the page was looked at last). From here to the store nothing waits.
    let same_page = !LOCKED
        || match found.slot.load() {
            PageState::Present(now) => now == found.frame,
            PageState::Cow(now) => now == found.frame && !found.writable,
            PageState::Absent | PageState::Reference(_) | PageState::Revoking => false,
        };
    let alive = segment.id() == map.object.id() && page < segment.npages();
    if same_page && alive && slot.version() == version {
        let access = if found.writable { map.access() } else { map.access().without_write() };
        if SMALL {
            table.set_leaf::<P>(index, found.frame, access);
        } else {
            table.set_large_leaf::<P>(index, found.frame, access);
        }
        return true;
    }
    // Another page or another mapping by now: the access faults again, and finds what is there then.
    alive
}
