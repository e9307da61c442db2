//! Changing one slot of a tree.

use crate::fault::fill_ahead;
use crate::foreign;
use crate::revoke;
use crate::run;
use crate::slot::{Map, MapKind, New, Slot};
use crate::tree::{Tree, take_leaf_tables, take_tables};
use crate::walk;
use corey_abi::{Error, Id, MapFlags};
use corey_kernel_hal::{PAGE_SIZE, Platform};
use corey_kernel_mem::{FrameList, Source};
use corey_kernel_object::{Ctx, Entered, Handle, Link, Take};
use corey_kernel_percore::Local;
use corey_kernel_segment::{MapRef, Segment};
use corey_kernel_share::{Authority, Share};
use corey_lib_sync::Relax;
use corey_lib_sync::atomic::Ordering;

/// Who names a tree that is changed, and pays for tables.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payer<'a> {
    /// This share.
    Share(&'a Share),
    /// The share of this ID, of these; looked up when there is something to pay.
    Named(&'a Authority, Id),
    /// Nobody: nothing is mapped.
    Nobody,
}

impl Payer<'_> {
    /// Changes what the tree costs.
    pub(crate) fn reprice<P: Platform>(
        self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        tree: Handle<'_, Tree>,
        price: impl FnOnce(u64) -> u64,
    ) -> Result<(), Error> {
        match self {
            Self::Share(share) => share.reprice(ctx, tree.header(), price),
            Self::Named(held, id) => held.share(inside, id)?.reprice(ctx, tree.header(), price),
            Self::Nobody => Err(Error::NotPermitted),
        }
    }

    /// Lowers what the tree costs.
    pub(crate) fn unpay<P: Platform>(
        self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        tree: Handle<'_, Tree>,
        pages: u64,
    ) {
        if pages > 0 {
            // This cannot fail, unless the tree has left the share: then nobody pays.
            let _ = self.reprice(ctx, inside, tree, |price| price.saturating_sub(pages));
        }
    }
}

/// Sets slot `index` of `tree` to `new`; what it mapped is unmapped everywhere first. `payer` names `tree`,
/// and pays for tables.
///
/// ```text
/// alone: check, mark Changing, take the range     (an interior tree: under its lock; a root: as its runner or taker)
/// old:   clear entries, flush, acks, off the segment's list          (nothing is locked while waiting)
/// new:   make tables, onto the segment's list, or attach and link
/// alone: publish
/// ```
#[inline(always)]
pub(crate) fn change<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: &New<'_>,
    payer: Payer<'_>,
) -> Result<(), Error> {
    match change_once(ctx, inside, tree, index, new, payer) {
        Err(Error::Busy) => change_again(ctx, inside, tree, index, *new, payer),
        result => result,
    }
}

/// As [`change`], which was refused because something is in the way: as long as that can be taken away.
#[cold]
#[inline(never)]
fn change_again<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: New<'_>,
    payer: Payer<'_>,
) -> Result<(), Error> {
    while make_way(ctx, inside, tree, index, &new.map) {
        let result = change_once(ctx, inside, tree, index, &new, payer);
        if result != Err(Error::Busy) {
            return result;
        }
    }
    Err(Error::Busy)
}

/// Empties a slot that has part of the addresses of `new` for an object that is no more: such a slot counts as empty.
/// False if there is none.
#[inline(never)]
fn make_way<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: &Map,
) -> bool {
    let platform = ctx.local.platform.clone();
    // What it maps is compared again when it is emptied.
    let dead = tree.in_the_way(&platform, index, new.start, new.end).find(|(_, map)| {
        matches!(map.kind, MapKind::Segment | MapKind::Interior) && map.object.header(inside).is_none()
    });
    // What another core's end has to do here is served between two tries.
    ctx.relax();
    dead.is_some_and(|(at, map)| {
        change_once(ctx, inside, tree, at, &New::without(map.object), Payer::Nobody) != Err(Error::Busy)
    })
}

/// As [`change`], once.
#[inline(always)]
fn change_once<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: &New<'_>,
    payer: Payer<'_>,
) -> Result<(), Error> {
    if run::runs(&tree, ctx.core()) {
        change_taken::<P, false>(ctx, inside, tree, index, new, payer)
    } else {
        change_other(ctx, inside, tree, index, *new, payer)
    }
}

/// As [`change`], for an interior tree or a root that this core does not run. Like all that is apart, it takes the mapping
/// by value: where it is not called, the mapping need not lie in memory.
#[inline(never)]
fn change_other<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: New<'_>,
    payer: Payer<'_>,
) -> Result<(), Error> {
    let new = &new;
    if tree.kind().is_interior() {
        return change_taken::<P, true>(ctx, inside, tree, index, new, payer);
    }
    loop {
        match run::take(&ctx.local, &tree) {
            Ok(taken) => {
                let result = change_taken::<P, false>(ctx, inside, tree, index, new, payer);
                if taken {
                    run::give_back(&tree);
                }
                return result;
            }
            Err(Some(_)) => return foreign::change(ctx, inside, tree, index, new, payer),
            Err(None) => ctx.relax_or_lose()?,
        }
    }
}

/// Charges the tables and the slot that a new mapping needs, makes the slot, and takes memory for the tables: all of
/// it or nothing, so that a change that began does not run out. What is left of it goes back by [`repay`]. `refused`
/// says beforehand what it can: a change that is refused pays nothing.
pub(crate) fn pay<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    New { map, level, .. }: &New<'_>,
    payer: Payer<'_>,
    refused: impl FnOnce(&mut Ctx<P>) -> Result<(), Error>,
) -> Result<FrameList, Error> {
    if map.kind == MapKind::Empty {
        return Ok(FrameList::new());
    }
    let platform = ctx.local.platform.clone();
    let tables = walk::lacking(&platform, &tree, map.start, map.end, *level);
    let need = tables + u64::from(tree.lacks_slot(index));
    if need == 0 {
        return Ok(FrameList::new());
    }
    refused(ctx)?;
    payer.reprice(ctx, inside, tree, |pages| pages + need)?;
    let taken = ctx.alloc_all(Source::Nearest, need);
    let mut frames = taken.inspect_err(|_| payer.unpay(ctx, inside, tree, need))?;
    tree.make_slot(ctx, index, &mut frames);
    Ok(frames)
}

/// Gives back what is left of what [`pay`] took.
pub(crate) fn repay<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    frames: FrameList,
    payer: Payer<'_>,
) {
    if !frames.is_empty() {
        payer.unpay(ctx, inside, tree, frames.len());
        ctx.free_all(frames);
    }
}

/// Whether `slot`, which is slot `index`, may take `start .. end` now; an empty range takes nothing. By whoever may
/// write slots now.
pub(crate) fn may_take<P: Platform>(
    platform: &P,
    tree: &Tree,
    slot: Option<Slot<'_>>,
    index: usize,
    (start, end): (u64, u64),
) -> Result<(), Error> {
    if slot.is_some_and(|slot| slot.kind() == MapKind::Changing) {
        return Err(Error::Busy);
    }
    if start == end {
        return Ok(());
    }
    if tree.is_dead() {
        return Err(Error::NotFound);
    }
    if tree.clashes(platform, index, start, end) { Err(Error::Busy) } else { Ok(()) }
}

/// `LOCKED` says that the tree is an interior one; else this core may write the root.
#[inline(always)]
fn change_taken<P: Platform, const LOCKED: bool>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: &New<'_>,
    payer: Payer<'_>,
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    let map = &new.map;
    // Of many changes of a slot most map the same again.
    let again = !LOCKED
        && map.kind == MapKind::Segment
        && tree.had(index, new.level, map.start, map.end)
        && !tree.is_dead();
    let there = map.kind == MapKind::Empty
        || again
        || walk::has_tables(&platform, &tree, map.start, map.end, new.level);
    match tree.slot(&platform, index) {
        Some(slot) if there => {
            let mut none = FrameList::new();
            change_slot::<P, LOCKED>(ctx, inside, tree, (index, slot), new, payer, (there, again), &mut none)
        }
        _ => change_paying::<P, LOCKED>(ctx, inside, tree, index, *new, payer),
    }
}

/// As [`change_taken`], for a mapping that lacks tables or its slot.
#[cold]
#[inline(never)]
fn change_paying<P: Platform, const LOCKED: bool>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: New<'_>,
    payer: Payer<'_>,
) -> Result<(), Error> {
    let new = &new;
    let mut frames = pay(ctx, inside, tree, index, new, payer, |ctx| {
        let platform = ctx.local.platform.clone();
        let _edit = LOCKED.then(|| tree.edit.lock(&mut ctx.local));
        may_take(&platform, &tree, tree.slot(&platform, index), index, (new.map.start, new.map.end))
    })?;
    let slot = tree.slot(&ctx.local.platform.clone(), index);
    let result = slot.map_or(Ok(()), |slot| {
        let place = (index, slot);
        change_slot::<P, LOCKED>(ctx, inside, tree, place, new, payer, (false, false), &mut frames)
    });
    repay(ctx, inside, tree, frames, payer);
    result
}

/// The change itself. `there` says that the tables were there, `again` that the slot mapped the same range last.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "one step of `change_taken`, cut out for its two ways")]
fn change_slot<P: Platform, const LOCKED: bool>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    (index, slot): (usize, Slot<'_>),
    new: &New<'_>,
    payer: Payer<'_>,
    (there, again): (bool, bool),
    frames: &mut FrameList,
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    let map = &new.map;
    let old = {
        let _edit = LOCKED.then(|| tree.edit.lock(&mut ctx.local));
        if again || map.kind == MapKind::Empty {
            // It clashes with nothing.
            if slot.kind() == MapKind::Changing {
                return Err(Error::Busy);
            }
            if !again && !map.object.is_null() && slot.peek().object != map.object {
                return Err(Error::NotFound);
            }
        } else {
            may_take(&platform, &tree, Some(slot), index, (map.start, map.end))?;
        }
        if slot.is(map) {
            // As `at_set` finds most slots.
            return Ok(());
        }
        let old = if slot.kind() == MapKind::Empty { Map::EMPTY } else { slot.peek() };
        if !LOCKED && !again && map.kind != MapKind::Empty {
            tree.forget_last();
        }
        if map.kind == MapKind::Interior {
            tree.links.store(true, Ordering::SeqCst);
        }
        slot.begin(map.start, map.end);
        tree.use_slot(index);
        old
    };
    if old.kind != MapKind::Empty {
        remove::<P, LOCKED>(ctx, inside, tree, (index, slot), &old);
        slot.emptied();
    }
    // Whoever takes tables away has their range: of a root, whose changes wait for nothing between the look above and
    // the claim, they are still there; of an interior tree it is looked again.
    let there = || there && (!LOCKED || walk::has_tables(&platform, &tree, map.start, map.end, new.level));
    let added = match new.segment {
        // Where pages are small, or were large before, no table lies in the way.
        Some(segment) if (new.level == 0 || again) && there() => {
            enlist(ctx, tree, (index, slot), segment);
            Ok(())
        }
        _ if map.kind == MapKind::Empty => Ok(()),
        _ => add(ctx, inside, tree, (index, slot), *new, payer, frames),
    };
    if added.is_err() {
        slot.finish(&Map::EMPTY);
        return added;
    }
    slot.finish(map);
    if !LOCKED && !again && map.kind == MapKind::Segment {
        tree.note_last(index, new.level, map.start, map.end);
    }
    if let Some(segment) = new.segment
        && (LOCKED || runs_here(ctx, tree))
    {
        fill_ahead::<P, LOCKED>(ctx, inside, tree.body(), slot, map, segment);
    }
    Ok(())
}

/// Whether this core runs `tree`.
fn runs_here<P: Platform>(ctx: &Ctx<P>, tree: Handle<'_, Tree>) -> bool {
    ctx.local.paging.root == tree.link().words()
}

/// Unmaps what slot `index` mapped. The slot is `Changing`: no entry is made for it any more.
#[inline(always)]
fn remove<P: Platform, const LOCKED: bool>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    (index, slot): (usize, Slot<'_>),
    old: &Map,
) {
    match old.kind {
        MapKind::Segment => {
            // No processor will ever load a root again that is dying and not running: its entries go with its tables.
            let seen = LOCKED || !tree.is_dead() || runs_here(ctx, tree);
            let any = seen && walk::take(ctx, &tree, old.start, old.end, Take::Page, LOCKED);
            if LOCKED {
                revoke::forget_range(ctx, inside, tree, old.start, old.end);
            } else if any && runs_here(ctx, tree) {
                // What it maps nowhere it has no translation of.
                revoke::flush(&ctx.local.platform, old.start, old.end);
            }
            if let Some(segment) = old.object.resolve_ending::<Segment>(inside) {
                unlist(ctx, inside, &segment, MapRef { tree: tree.link(), slot: index as u16 }, slot);
            }
        }
        MapKind::Interior if runs_here(ctx, tree) => unlink(&ctx.local, inside, &tree, index, *old),
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
    old: Map,
) {
    let platform = local.platform.clone();
    if let Some((table, at)) = walk::grain_entry(&platform, root, old.start, old.levels()) {
        table.clear(at);
    }
    platform.flush_all();
    let still =
        root.each(&platform).any(|(at, slot)| at != index && slot.links(old.object.words()).is_some());
    if !still && let Some(interior) = old.object.resolve::<Tree>(inside) {
        interior.attached.remove(local.id);
    }
}

/// Prepares the new mapping of slot `index`.
#[cold]
#[inline(never)]
fn add<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    (index, slot): (usize, Slot<'_>),
    new: New<'_>,
    payer: Payer<'_>,
    frames: &mut FrameList,
) -> Result<(), Error> {
    let New { map, segment, level } = new;
    walk::make(ctx, &tree, map.start, map.end, level, frames)?;
    if let Some(segment) = segment {
        make_room(ctx, inside, tree, &new, payer);
        enlist(ctx, tree, (index, slot), segment);
        return Ok(());
    }
    let running = runs_here(ctx, tree);
    let pruned = take_tables(ctx, tree.body(), map.start, level, &mut |ctx| {
        if running {
            ctx.local.platform.flush_all();
        }
    });
    if pruned > 0 {
        payer.unpay(ctx, inside, tree, pruned);
    }
    if runs_here(ctx, tree) {
        run::attach(&ctx.local, inside, &tree, map.object, map.start);
    }
    Ok(())
}

/// Takes away the leaf tables that lie where 2 MiB pages will be mapped.
pub(crate) fn make_room<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    New { map, level, .. }: &New<'_>,
    payer: Payer<'_>,
) {
    if *level == 1 {
        let taken = take_leaf_tables(ctx, tree.body(), map.start, map.end);
        payer.unpay(ctx, inside, tree, taken);
    }
}

/// Puts slot `index` on the list of the segment it is about to map. If that died meanwhile, nothing will come of it.
#[inline(always)]
pub(crate) fn enlist<P: Platform>(
    ctx: &mut Ctx<P>,
    tree: Handle<'_, Tree>,
    (index, slot): (usize, Slot<'_>),
    segment: Handle<'_, Segment>,
) {
    let mut list = segment.mappings(&mut ctx.local);
    slot.set_next(list.first);
    list.first = MapRef { tree: tree.link(), slot: index as u16 };
}

/// Takes mapping `gone`, whose slot is `slot`, off its segment's list.
#[inline(always)]
pub(crate) fn unlist<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    segment: &Segment,
    gone: MapRef,
    slot: Slot<'_>,
) {
    let mut list = segment.mappings(&mut ctx.local);
    if list.first == gone {
        list.first = slot.next();
    } else {
        unlist_behind(&ctx.local.platform, inside, list.first, gone, slot);
    }
}

/// As [`unlist`], for one that is not the first; the list is locked.
#[cold]
#[inline(never)]
fn unlist_behind<P: Platform>(
    platform: &P,
    inside: &Entered<'_>,
    first: MapRef,
    gone: MapRef,
    slot: Slot<'_>,
) {
    let mut at = first;
    while let Some(tree) = at.tree.resolve::<Tree>(inside)
        && let Some(before) = tree.slot(platform, usize::from(at.slot))
    {
        at = before.next();
        if at == gone {
            before.set_next(slot.next());
            return;
        }
    }
}

/// Clears every slot of a dying tree. Waits for changes under way: they see that it dies. False when one of them does
/// not end: its core stopped in the middle of it.
#[must_use]
pub(crate) fn clear_all<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, tree: Handle<'_, Tree>) -> bool {
    let used = tree.used.load(Ordering::SeqCst) as usize;
    let mut all = true;
    for index in 0..used {
        while matches!(
            change(ctx, inside, tree, index, &New::EMPTY, Payer::Nobody),
            Err(Error::Busy | Error::CoreLost)
        ) {
            if ctx.relax_or_lose().is_err() {
                all = false;
                break;
            }
        }
    }
    all
}

/// Clears what this core's root mapped through share `share`.
pub fn unmap_share<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, share: Id) {
    let Some(root) = Link::from(ctx.local.paging.root).resolve::<Tree>(inside) else { return };
    let platform = ctx.local.platform.clone();
    if !root.any(&platform, |_, slot| slot.is_through(share)) {
        return;
    }
    for (index, _) in root.each(&platform).filter(|(_, slot)| slot.is_through(share)) {
        // One's own running root: nobody else changes it, so this cannot be Busy.
        let _ = change(ctx, inside, root, index, &New::EMPTY, Payer::Nobody);
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
    change(ctx, inside, tree, index, &New::segment(map, segment), Payer::Share(&payer))
}
