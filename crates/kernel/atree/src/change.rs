//! Changing one slot of a tree.

use crate::foreign;
use crate::revoke;
use crate::run;
use crate::slot::{Map, MapKind};
use crate::tree::{Edit, Tree, take_leaf_tables, take_tables};
use crate::walk;
use core::sync::atomic::Ordering;
use corey_abi::{Error, Id, MapFlags};
use corey_kernel_hal::{PAGE_SIZE, Platform};
use corey_kernel_mem::{FrameList, Source};
use corey_kernel_object::{Ctx, Entered, Handle, Link, Take};
use corey_kernel_percore::{Local, Message, MessageKind};
use corey_kernel_segment::{MapRef, Segment};
use corey_kernel_share::Share;
use corey_lib_sync::Relax;

/// Sets slot `index` of `tree` to `new`; what it mapped is unmapped everywhere first. `payer` names `tree`,
/// and pays for tables.
///
/// ```text
/// lock: check, mark Changing, take the range ─ unlock
/// old:  clear entries, flush, acks, off the segment's list          (nothing is locked while waiting)
/// new:  make tables, onto the segment's list, or attach and link
/// lock: publish ─ unlock
/// ```
pub(crate) fn change<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: &Map,
    payer: Option<&Share>,
) -> Result<(), Error> {
    if tree.kind().is_interior() {
        return change_taken(ctx, inside, tree, index, new, payer);
    }
    loop {
        match run::take(&tree, ctx.core()) {
            Ok(taken) => {
                let result = change_taken(ctx, inside, tree, index, new, payer);
                if taken {
                    run::give_back(&tree);
                }
                return result;
            }
            Err(Some(_)) => return foreign::change(ctx, inside, tree, index, new, payer),
            Err(None) => ctx.relax(),
        }
    }
}

/// Charges the tables and the slot that a new mapping needs, makes the slot, and takes memory for the tables: all of
/// it or nothing, so that a change that began does not run out. What is left of it goes back by [`repay`].
pub(crate) fn pay<P: Platform>(
    ctx: &mut Ctx<P>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: &Map,
    level: u32,
    payer: Option<&Share>,
) -> Result<FrameList, Error> {
    if new.kind == MapKind::Empty {
        return Ok(FrameList::new());
    }
    let platform = ctx.local.platform.clone();
    let tables = walk::lacking(&platform, &tree, new.start, new.end, level);
    let need = tables + u64::from(tree.lacks_slot(index));
    if need == 0 {
        return Ok(FrameList::new());
    }
    // Looked at again when it counts; a change that is refused here pays nothing.
    may_take(&platform, &tree, &tree.edit.lock(&mut ctx.local), index, new)?;
    payer.ok_or(Error::NotPermitted)?.reprice(ctx, tree.header(), |pages| pages + need)?;
    let taken = ctx.alloc_all(Source::Nearest, need);
    let mut frames = taken.inspect_err(|_| unpay(ctx, tree, need, payer))?;
    tree.make_slot(ctx, index, &mut frames);
    Ok(frames)
}

/// Gives back what is left of what [`pay`] took.
pub(crate) fn repay<P: Platform>(
    ctx: &mut Ctx<P>,
    tree: Handle<'_, Tree>,
    frames: FrameList,
    payer: Option<&Share>,
) {
    if !frames.is_empty() {
        unpay(ctx, tree, frames.len(), payer);
        ctx.free_all(frames);
    }
}

/// Lowers what `tree` costs.
pub(crate) fn unpay<P: Platform>(
    ctx: &mut Ctx<P>,
    tree: Handle<'_, Tree>,
    pages: u64,
    payer: Option<&Share>,
) {
    if let Some(payer) = payer {
        // This cannot fail, unless the tree has left the share: then nobody pays.
        let _ = payer.reprice(ctx, tree.header(), |price| price.saturating_sub(pages));
    }
}

/// Level of the tables whose entries the mapping is: 0 for pages, 1 for 2 MiB pages, that of the linking table
/// for an interior tree.
pub(crate) fn level_of(inside: &Entered<'_>, map: &Map) -> u32 {
    match map.kind {
        MapKind::Interior => map.levels(),
        _ if map.is_large(inside) => 1,
        _ => 0,
    }
}

/// Whether slot `index` may take `start .. end` now. Under the `Edit` lock.
pub(crate) fn may_take<P: Platform>(
    platform: &P,
    tree: &Tree,
    edit: &Edit,
    index: usize,
    new: &Map,
) -> Result<(), Error> {
    if tree.is_dead() && new.kind != MapKind::Empty {
        return Err(Error::NotFound);
    }
    let changing = tree.slot(platform, index).is_some_and(|slot| slot.kind() == MapKind::Changing);
    let pending = edit.pending.is_some_and(|(at, start, end)| {
        at == index || new.kind != MapKind::Empty && start < new.end && new.start < end
    });
    let clash = new.kind != MapKind::Empty && tree.clashes(platform, index, new.start, new.end);
    if changing || pending || clash { Err(Error::Busy) } else { Ok(()) }
}

fn change_taken<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: &Map,
    payer: Option<&Share>,
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    let level = level_of(inside, new);
    let mut frames = pay(ctx, tree, index, new, level, payer)?;
    let Some(slot) = tree.slot(&platform, index) else { return Ok(()) };
    if new.kind == MapKind::Interior {
        tree.links.store(true, Ordering::SeqCst);
    }
    let begun = {
        let edit = tree.edit.lock(&mut ctx.local);
        may_take(&platform, &tree, &edit, index, new).map(|()| {
            let old = slot.peek();
            // As `at_set` finds most slots.
            let same = old == *new;
            if !same {
                slot.begin(new.start, new.end);
                tree.used.fetch_max(index as u64 + 1, Ordering::SeqCst);
            }
            (old, same)
        })
    };
    let old = match begun {
        Ok((old, false)) => old,
        other => {
            repay(ctx, tree, frames, payer);
            return other.map(drop);
        }
    };
    remove(ctx, inside, tree, index, &old);
    let added = add(ctx, inside, tree, index, new, level, payer, &mut frames);
    repay(ctx, tree, frames, payer);
    let edit = tree.edit.lock(&mut ctx.local);
    slot.finish(if added.is_ok() { new } else { &Map::EMPTY });
    drop(edit);
    added
}

/// Whether this core runs `tree`.
fn runs_here<P: Platform>(ctx: &Ctx<P>, tree: Handle<'_, Tree>) -> bool {
    ctx.local.paging.root == tree.link().words()
}

/// Unmaps what slot `index` mapped. The slot is `Changing`: no entry is made for it any more.
fn remove<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    old: &Map,
) {
    let platform = ctx.local.platform.clone();
    match old.kind {
        MapKind::Segment => {
            let locked = tree.kind().is_interior();
            // No processor will ever load a root again that is dying and not running: its entries go with its tables.
            if locked || !tree.is_dead() || runs_here(ctx, tree) {
                walk::take(ctx, &tree, old.start, old.end, Take::Page, locked);
            }
            if locked {
                let words = tree.link().words();
                let range = [old.start / PAGE_SIZE, (old.end - old.start) / PAGE_SIZE];
                let attached = tree.attached.load();
                if attached.contains(ctx.core()) {
                    revoke::forget_tree(&mut ctx.local, inside, words, range[0], range[1]);
                }
                let others = attached.without(ctx.core());
                if !others.is_empty() {
                    ctx.local.counters.shootdowns += 1;
                    let message = Message { kind: MessageKind::ForgetTree, object: words, words: range };
                    ctx.local.broadcast(others, message);
                }
            } else if runs_here(ctx, tree) {
                revoke::flush(&platform, old.start, old.end);
            }
            if let Some(segment) = old.object.resolve::<Segment>(inside) {
                unlist(ctx, inside, &segment, MapRef { tree: tree.link(), slot: index as u16 });
            }
        }
        MapKind::Interior if runs_here(ctx, tree) => unlink(&ctx.local, inside, &tree, index, old),
        MapKind::Interior | MapKind::Empty | MapKind::Changing => {}
    }
}

/// Unlinks the interior tree that slot `index` of the running root mapped, and detaches it if that was its only
/// place.
pub(crate) fn unlink<P: Platform>(
    local: &Local<P>,
    inside: &Entered<'_>,
    root: &Tree,
    index: usize,
    old: &Map,
) {
    let platform = local.platform.clone();
    if let Some((table, at)) = walk::grain_entry(&platform, root, old.start, old.levels()) {
        table.clear(at);
    }
    platform.flush_all();
    let still = root.each(&platform).any(|(at, slot)| {
        let map = slot.peek();
        at != index && map.kind == MapKind::Interior && map.object == old.object
    });
    if !still && let Some(interior) = old.object.resolve::<Tree>(inside) {
        interior.attached.remove(local.id);
    }
}

/// Prepares the new mapping of slot `index`.
#[allow(clippy::too_many_arguments, reason = "one step of `change_taken`, cut out")]
fn add<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: &Map,
    level: u32,
    payer: Option<&Share>,
    frames: &mut FrameList,
) -> Result<(), Error> {
    match new.kind {
        MapKind::Segment => {
            walk::make(ctx, &tree, new.start, new.end, level, frames)?;
            make_room(ctx, tree, new, level, payer);
            enlist(ctx, inside, tree, index, new)?;
        }
        MapKind::Interior => {
            walk::make(ctx, &tree, new.start, new.end, level, frames)?;
            let running = runs_here(ctx, tree);
            let pruned = take_tables(ctx, tree.body(), new.start, new.levels(), &mut |ctx| {
                if running {
                    ctx.local.platform.flush_all();
                }
            });
            if pruned > 0 {
                unpay(ctx, tree, pruned, payer);
            }
            if runs_here(ctx, tree) {
                run::attach(&ctx.local, inside, &tree, new.object, new.start);
            }
        }
        MapKind::Empty | MapKind::Changing => {}
    }
    Ok(())
}

/// Takes away the leaf tables that lie where 2 MiB pages will be mapped.
pub(crate) fn make_room<P: Platform>(
    ctx: &mut Ctx<P>,
    tree: Handle<'_, Tree>,
    new: &Map,
    level: u32,
    payer: Option<&Share>,
) {
    if level == 1 {
        let taken = take_leaf_tables(ctx, tree.body(), new.start, new.end);
        unpay(ctx, tree, taken, payer);
    }
}

/// Puts slot `index` on the list of the segment it is about to map.
pub(crate) fn enlist<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: &Map,
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    let segment = new.object.resolve::<Segment>(inside).ok_or(Error::NotFound)?;
    let mut list = segment.mappings(&mut ctx.local);
    if let Some(slot) = tree.slot(&platform, index) {
        slot.set_next(list.first);
        list.first = MapRef { tree: tree.link(), slot: index as u16 };
    }
    Ok(())
}

/// Takes a mapping off its segment's list.
pub(crate) fn unlist<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, segment: &Segment, gone: MapRef) {
    let platform = ctx.local.platform.clone();
    let next_of = |at: MapRef| -> Option<MapRef> {
        Some(at.tree.resolve::<Tree>(inside)?.slot(&platform, usize::from(at.slot))?.next())
    };
    let mut list = segment.mappings(&mut ctx.local);
    if list.first == gone {
        list.first = next_of(gone).unwrap_or_default();
        return;
    }
    let mut at = list.first;
    while let Some(next) = next_of(at) {
        if next == gone {
            let after = next_of(gone).unwrap_or_default();
            if let Some(tree) = at.tree.resolve::<Tree>(inside)
                && let Some(slot) = tree.slot(&platform, usize::from(at.slot))
            {
                slot.set_next(after);
            }
            return;
        }
        at = next;
    }
}

/// Clears every slot of a dying tree. Waits for changes under way: they see that it dies.
pub(crate) fn clear_all<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, tree: Handle<'_, Tree>) {
    let used = tree.used.load(Ordering::SeqCst) as usize;
    for index in 0..used {
        while change(ctx, inside, tree, index, &Map::EMPTY, None) == Err(Error::Busy) {
            ctx.relax();
        }
    }
}

/// Clears what this core's root mapped through share `share`.
pub fn unmap_share<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, share: Id) {
    let Some(root) = Link::from(ctx.local.paging.root).resolve::<Tree>(inside) else { return };
    let used = root.used.load(Ordering::SeqCst) as usize;
    for index in 0..used {
        let platform = ctx.local.platform.clone();
        let through = root.slot(&platform, index).map(|slot| slot.peek());
        if through.is_some_and(|map| map.kind != MapKind::Empty && map.share == share) {
            // One's own running root: nobody else changes it, so this cannot be Busy.
            let _ = change(ctx, inside, root, index, &Map::EMPTY, None);
        }
    }
}

/// Maps pages of `segment` at `address`: how the kernel maps the first program.
///
/// # Errors
///
/// As `at_set_slot`.
#[allow(clippy::too_many_arguments, reason = "the fields of a mapping")]
pub fn map_segment<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    payer: Handle<'_, Share>,
    index: usize,
    segment: Handle<'_, Segment>,
    (address, page, npages): (u64, u64, u64),
    flags: MapFlags,
) -> Result<(), Error> {
    let map = Map {
        kind: MapKind::Segment,
        flags,
        object: segment.link(),
        share: payer.id(),
        start: address,
        end: address + npages * PAGE_SIZE,
        page,
    };
    change(ctx, inside, tree, index, &map, Some(&payer))
}
