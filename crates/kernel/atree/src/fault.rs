//! Page faults: from an address to a page-table entry.

use crate::slot::{Map, MapKind, Slot};
use crate::tree::Tree;
use crate::walk;
use corey_kernel_hal::{Cause, PAGE_SIZE, Platform, USER_END};
use corey_kernel_mem::PageState;
use corey_kernel_object::{Ctx, Entered, Link};
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
        let (map, version) = (slot.peek(), slot.version());
        if map.kind == MapKind::Segment {
            break 'found fill::<P, false>(ctx, inside, root.body(), slot, &map, version, address, cause);
        }
        let Some(tree) = map.object.resolve::<Tree>(inside) else { break 'found false };
        let relative = address - map.start;
        loop {
            let Some(slot) = tree.find(&platform, relative, &mut inner) else { break 'found false };
            if let Some((map, version)) = slot.read()
                && map.kind == MapKind::Segment
                && map.start <= relative
                && relative < map.end
            {
                break fill::<P, true>(ctx, inside, tree.body(), slot, &map, version, relative, cause);
            }
            // It changes under us: look again, and let the change go on.
            ctx.local.platform.pause();
            ctx.local.serve_mailbox();
        }
    };
    ctx.local.paging.hints = [outer, inner];
    done
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
    let large = segment.page_size() == PageSize::Large;
    let entry = if large {
        walk::large_entry(&platform, tree, address)
    } else {
        walk::leaf(&platform, tree, address).map(|table| (table, walk::leaf_index(address)))
    };
    let Some((table, index)) = entry else { return false };
    let page = map.page + (address - map.start) / PAGE_SIZE;
    let want = if cause == Cause::Write { Want::Write } else { Want::Read };
    loop {
        let Ok(found) = Segment::page(segment, ctx, inside, page, want) else { return false };
        let guard = LOCKED.then(|| ctx.world.memory.lock_leaf(table.frame(), &mut ctx.local));
        // What was checked may have changed while this core waited for memory or for the lock. From here to
        // the store nothing waits.
        let same_page = match found.slot.load() {
            PageState::Present(now) => now == found.frame,
            PageState::Cow(now) => now == found.frame && !found.writable,
            PageState::Absent | PageState::Reference(_) | PageState::Revoking => false,
        };
        let alive = segment.id() == map.object.id() && page < segment.npages();
        let same_map = slot.version() == version;
        if same_page && alive && same_map {
            let access = if found.writable { map.access() } else { map.access().without_write() };
            if large {
                table.set_large_leaf::<P>(index, found.frame, access);
            } else {
                table.set_leaf::<P>(index, found.frame, access);
            }
            return true;
        }
        drop(guard);
        if !alive || !same_map {
            // Gone: the access faults again, and finds what is there then.
            return alive;
        }
    }
}
