//! Changing a slot of a root that runs on another core.
//!
//! While it runs, only its core writes slots and entries of a root (PROTOCOLS: so a fault takes no lock). What may
//! wait or lock is done here, on the core that asks; the runner does two short steps in its mailbox service:
//!
//! ```text
//! runner      step 1: slot and range free? slot Changing, old entries cleared and flushed
//! this core   old mapping off its segment's list ─ tables made ─ new mapping onto its segment's list ─ fields written
//! runner      step 2: slot published; an interior tree attached and linked
//! ```
//!
//! A slot that is `Changing` is its changer's, with the range it took: nobody else writes it, whoever else wants it or
//! part of the range is refused. So the runner needs no lock for its own changes.
//!
//! If the root stops running in between, this core takes it, and does the step itself.

use crate::change::{Payer, enlist, make_room, may_take, pay, repay, unlink, unlist};
use crate::revoke::{flush, forget_all};
use crate::run;
use crate::slot::{Map, MapKind, New, Slot};
use crate::tree::{Tree, take_tables};
use crate::walk;
use corey_abi::{Error, Id};
use corey_kernel_hal::{PAGE_SIZE, Platform};
use corey_kernel_mem::FrameList;
use corey_kernel_object::{Ctx, Entered, Handle, Link, Take};
use corey_kernel_percore::{CoreSet, Local, Message, MessageKind};
use corey_kernel_segment::{MapRef, Segment};
use corey_lib_sync::Relax;
use corey_lib_sync::atomic::Ordering;

/// A runner's answers.
const DONE: u64 = 0;
const NOT_MINE: u64 = 1;
const BUSY: u64 = 2;
const DYING: u64 = 3;

/// As [`crate::change::change`], for a root that runs on another core.
#[cold]
pub(crate) fn change<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    new: &New<'_>,
    payer: Payer<'_>,
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    let mut frames = pay(ctx, inside, tree, index, new, payer, |ctx| {
        tree.seems_free(&ctx.local.platform, index, new.map.start, new.map.end)
    })?;
    let slot = tree.slot(&platform, index);
    let result =
        slot.map_or(Ok(()), |slot| change_slot(ctx, inside, tree, (index, slot), new, payer, &mut frames));
    repay(ctx, inside, tree, frames, payer);
    result
}

fn change_slot<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    (index, slot): (usize, Slot<'_>),
    new: &New<'_>,
    payer: Payer<'_>,
    frames: &mut FrameList,
) -> Result<(), Error> {
    let New { map, segment, level } = *new;
    if slot.read().is_some_and(|(now, _)| now == map) {
        return Ok(());
    }
    if map.kind == MapKind::Interior {
        // Before the slot maps it: whoever runs the root next, or leaves it, looks for it.
        tree.links.store(true, Ordering::SeqCst);
    }
    let first = if map.kind == MapKind::Empty && !map.object.is_null() {
        Step::Without(map.object.id())
    } else {
        Step::Remove { start: map.start, end: map.end }
    };
    step(ctx, inside, tree, index, first)?;
    if let Some(segment) = slot.peek().object.resolve_ending::<Segment>(inside) {
        unlist(ctx, inside, &segment, MapRef { tree: tree.link(), slot: index as u16 }, slot);
    }
    slot.emptied();
    let ready = match map.kind {
        MapKind::Segment | MapKind::Interior => walk::make(ctx, &tree, map.start, map.end, level, frames),
        MapKind::Empty | MapKind::Changing => Ok(()),
    };
    if ready.is_ok() {
        if let Some(segment) = segment {
            make_room(ctx, inside, tree, new, payer);
            enlist(ctx, tree, (index, slot), segment);
        } else if map.kind == MapKind::Interior {
            let freed = prune(ctx, tree, &map);
            payer.unpay(ctx, inside, tree, freed);
        }
    }
    let map = if ready.is_ok() { map } else { Map::EMPTY };
    slot.prepare(&map);
    // Always done, once step 1 was.
    step(ctx, inside, tree, index, Step::Publish(map.kind)).and(ready)
}

/// What the runner does.
#[derive(Clone, Copy)]
enum Step {
    /// If slot and range are free, unmap what the slot maps; it takes the range.
    Remove { start: u64, end: u64 },
    /// If the slot maps the object of this ID, unmap it.
    Without(Id),
    /// Publish what was prepared.
    Publish(MapKind),
}

/// Bits of a count of pages, up to and including 512 GiB.
const COUNT_BITS: u32 = 28;

impl Step {
    /// As a message's words, with the slot's index.
    fn words(self, index: usize) -> [u64; 2] {
        let index = (index as u64) << 2;
        match self {
            Self::Remove { start, end } => {
                let (first, count) = (start / PAGE_SIZE, (end - start) / PAGE_SIZE);
                [index, first << COUNT_BITS | count]
            }
            Self::Without(id) => [index | 1, id.0],
            Self::Publish(kind) => [index | 2, kind.code()],
        }
    }

    fn from_words([first, second]: [u64; 2]) -> (usize, Self) {
        let step = match first & 3 {
            0 => {
                let start = (second >> COUNT_BITS) * PAGE_SIZE;
                Self::Remove { start, end: start + (second & ((1 << COUNT_BITS) - 1)) * PAGE_SIZE }
            }
            1 => Self::Without(Id(second)),
            _ => Self::Publish(MapKind::from_code(second)),
        };
        ((first >> 2) as usize, step)
    }
}

/// Frees the empty tables below the entry that shall link an interior tree; the runner forgets them first.
fn prune<P: Platform>(ctx: &mut Ctx<P>, tree: Handle<'_, Tree>, new: &Map) -> u64 {
    take_tables(ctx, tree.body(), new.start, new.levels(), &mut |ctx| {
        if let Some(runner) = tree.runner() {
            forget_all(ctx, CoreSet::only(runner));
        }
    })
}

/// Has a step done by whoever may write the root now.
///
/// # Errors
///
/// Of step 1: as [`may_take`]; [`Error::NotFound`] where the slot shall map an object and does not.
fn step<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    what: Step,
) -> Result<(), Error> {
    let words = tree.link().words();
    loop {
        match run::take(&ctx.local, &tree) {
            Ok(taken) => {
                let result = act(&ctx.local, inside, &tree, index, what, !taken);
                if taken {
                    run::give_back(&tree);
                }
                return result;
            }
            Err(None) => ctx.relax_or_lose()?,
            Err(Some(runner)) => {
                let kind = MessageKind::ChangeRoot;
                let message = Message { kind, object: words, words: what.words(index) };
                // A runner that is gone runs it no more: this core does the step.
                let reply = ctx.local.post(runner, message).and_then(|ticket| ctx.local.answer(ticket));
                match reply {
                    Some(DONE) => return Ok(()),
                    Some(BUSY) => return Err(Error::Busy),
                    Some(DYING) => return Err(Error::NotFound),
                    _ => ctx.relax(),
                }
            }
        }
    }
}

/// Mailbox service: does a step on the root this core runs.
pub fn serve<P: Platform>(local: &Local<P>, message: &Message) -> u64 {
    let inside = local.own().epoch.inside();
    if local.paging.root != message.object {
        return NOT_MINE;
    }
    let Some(tree) = Link::from(message.object).resolve::<Tree>(&inside) else { return NOT_MINE };
    let (index, what) = Step::from_words(message.words);
    match act(local, &inside, &tree, index, what, true) {
        Ok(()) => DONE,
        Err(Error::NotFound) => DYING,
        Err(_) => BUSY,
    }
}

/// One step. `running` says that this core runs the root; else it has taken it. No lock, no wait.
fn act<P: Platform>(
    local: &Local<P>,
    inside: &Entered<'_>,
    tree: &Tree,
    index: usize,
    what: Step,
    running: bool,
) -> Result<(), Error> {
    let platform = local.platform.clone();
    let Some(slot) = tree.slot(&platform, index) else { return Ok(()) };
    match what {
        Step::Remove { .. } | Step::Without(_) => {
            let old = slot.peek();
            let (start, end) = match what {
                Step::Remove { start, end } => (start, end),
                Step::Without(id) if old.object.id() != id => return Err(Error::NotFound),
                Step::Without(_) | Step::Publish(_) => (0, 0),
            };
            may_take(&platform, tree, Some(slot), index, (start, end))?;
            if start != end {
                tree.forget_last();
            }
            slot.begin(start, end);
            tree.use_slot(index);
            match old.kind {
                MapKind::Segment => {
                    walk::take_own(&platform, tree, old.start, old.end, Take::Page);
                    if running {
                        flush(&platform, old.start, old.end);
                    }
                }
                MapKind::Interior if running => unlink(local, inside, tree, index, old),
                MapKind::Interior | MapKind::Empty | MapKind::Changing => {}
            }
        }
        Step::Publish(kind) => {
            let new = slot.peek();
            if kind == MapKind::Interior && running {
                run::attach(local, inside, tree, new.object, new.start);
            }
            slot.publish(kind);
        }
    }
    Ok(())
}
