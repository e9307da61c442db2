//! Changing a slot of a root that runs on another core.
//!
//! While it runs, only its core writes slots and entries of a root (PROTOCOLS: so a fault takes no lock). What may
//! wait or lock is done here, on the core that asks; the runner does two short steps in its mailbox service:
//!
//! ```text
//! this core   claim slot and range (Edit.pending)
//! runner      step 1: slot Changing, old entries cleared and flushed
//! this core   old mapping off its segment's list ─ tables made ─ new mapping onto its segment's list ─ fields written
//! runner      step 2: slot published; an interior tree attached and linked
//! this core   claim given back
//! ```
//!
//! If the root stops running in between, this core takes it, and does the step itself.

use crate::change::{enlist, level_of, make_room, may_take, pay, repay, unlink, unlist, unpay};
use crate::revoke::{flush, forget_all};
use crate::run;
use crate::slot::{Map, MapKind};
use crate::tree::{Tree, take_tables};
use crate::walk;
use core::sync::atomic::Ordering;
use corey_abi::Error;
use corey_kernel_hal::{PAGE_SIZE, Platform};
use corey_kernel_object::{Ctx, Entered, Handle, Link, Take};
use corey_kernel_percore::{CoreSet, Local, Message, MessageKind};
use corey_kernel_segment::{MapRef, Segment};
use corey_kernel_share::Share;
use corey_lib_sync::Relax;

/// A runner's answers.
const DONE: u64 = 0;
const NOT_MINE: u64 = 1;

/// As [`crate::change::change`], for a root that runs on another core.
#[cold]
pub(crate) fn change<P: Platform>(
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
        // Before the slot maps it: whoever runs the root next, or leaves it, looks for it.
        tree.links.store(true, Ordering::SeqCst);
    }
    let begun = loop {
        let mut edit = tree.edit.lock(&mut ctx.local);
        if edit.pending.is_none() {
            break may_take(&platform, &tree, &edit, index, new).map(|()| {
                let (old, same) = (slot.peek(), slot.peek() == *new);
                if !same {
                    edit.pending = Some((index, new.start, new.end));
                }
                (old, same)
            });
        }
        drop(edit);
        ctx.relax();
    };
    let old = match begun {
        Ok((old, false)) => old,
        other => {
            repay(ctx, tree, frames, payer);
            return other.map(drop);
        }
    };
    step(ctx, inside, tree, index, Step::Remove { start: new.start, end: new.end });
    if let Some(segment) = old.object.resolve::<Segment>(inside) {
        unlist(ctx, inside, &segment, MapRef { tree: tree.link(), slot: index as u16 });
    }
    let ready = match new.kind {
        MapKind::Segment => walk::make(ctx, &tree, new.start, new.end, level, &mut frames).and_then(|()| {
            make_room(ctx, tree, new, level, payer);
            enlist(ctx, inside, tree, index, new)
        }),
        MapKind::Interior => walk::make(ctx, &tree, new.start, new.end, level, &mut frames).map(|()| {
            let freed = prune(ctx, tree, new);
            if freed > 0 {
                unpay(ctx, tree, freed, payer);
            }
        }),
        MapKind::Empty | MapKind::Changing => Ok(()),
    };
    repay(ctx, tree, frames, payer);
    let new = if ready.is_ok() { new } else { &Map::EMPTY };
    // The slot is `Changing`, and pending here: nobody else writes it.
    slot.prepare(new);
    step(ctx, inside, tree, index, Step::Publish(new.kind));
    tree.edit.lock(&mut ctx.local).pending = None;
    ready
}

/// What the runner does.
#[derive(Clone, Copy)]
enum Step {
    /// Unmap what the slot maps; it takes this range.
    Remove { start: u64, end: u64 },
    /// Publish what was prepared.
    Publish(MapKind),
}

/// Bits of a count of pages, up to and including 512 GiB.
const COUNT_BITS: u32 = 28;

impl Step {
    /// As a message's words, with the slot's index.
    fn words(self, index: usize) -> [u64; 2] {
        let index = (index as u64) << 1;
        match self {
            Self::Remove { start, end } => {
                let (first, count) = (start / PAGE_SIZE, (end - start) / PAGE_SIZE);
                [index, first << COUNT_BITS | count]
            }
            Self::Publish(kind) => [index | 1, kind.code()],
        }
    }

    fn from_words([first, second]: [u64; 2]) -> (usize, Self) {
        let step = if first & 1 == 0 {
            let start = (second >> COUNT_BITS) * PAGE_SIZE;
            Self::Remove { start, end: start + (second & ((1 << COUNT_BITS) - 1)) * PAGE_SIZE }
        } else {
            Self::Publish(MapKind::from_code(second))
        };
        ((first >> 1) as usize, step)
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
fn step<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    index: usize,
    what: Step,
) {
    let words = tree.link().words();
    loop {
        match run::take(&tree, ctx.core()) {
            Ok(taken) => {
                act(&ctx.local, inside, &tree, index, what, !taken);
                if taken {
                    run::give_back(&tree);
                }
                return;
            }
            Err(None) => ctx.relax(),
            Err(Some(runner)) => {
                let kind = MessageKind::ChangeRoot;
                let message = Message { kind, object: words, words: what.words(index) };
                let Some(ticket) = ctx.local.post(runner, message) else { return };
                let reply = loop {
                    if let Some(reply) = ctx.local.poll(ticket) {
                        break reply;
                    }
                    ctx.relax();
                };
                if reply == DONE {
                    return;
                }
                ctx.relax();
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
    act(local, &inside, &tree, index, what, true);
    DONE
}

/// One step. `running` says that this core runs the root; else it has taken it. No lock, no wait.
fn act<P: Platform>(
    local: &Local<P>,
    inside: &Entered<'_>,
    tree: &Tree,
    index: usize,
    what: Step,
    running: bool,
) {
    let platform = local.platform.clone();
    let Some(slot) = tree.slot(&platform, index) else { return };
    match what {
        Step::Remove { start, end } => {
            let old = slot.peek();
            slot.begin(start, end);
            tree.used.fetch_max(index as u64 + 1, Ordering::SeqCst);
            match old.kind {
                MapKind::Segment => {
                    walk::take_own(&platform, tree, old.start, old.end, Take::Page);
                    if running {
                        flush(&platform, old.start, old.end);
                    }
                }
                MapKind::Interior if running => unlink(local, inside, tree, index, &old),
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
}
