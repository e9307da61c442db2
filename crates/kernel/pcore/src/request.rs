//! What a starter leaves for the core it starts.

use crate::pcore::Pcore;
use corey_abi::{Id, ObjRef, PAGE_BYTES, RUN_SHARES, RunStatus};
use corey_kernel_hal::{CoreId, Platform, UserContext};
use corey_kernel_mem::DataFrame;
use corey_kernel_object::{Ctx, Entered, Link};
use corey_kernel_percore::{RUN_WORDS, RunPlace};
use corey_kernel_segment::Segment;

/// Where a run reports its end: a pinned page of a segment.
#[derive(Clone, Copy, Debug)]
pub struct StatusPlace {
    /// The segment.
    pub segment: Link,
    /// Byte offset, 16-byte aligned.
    pub offset: u64,
}

impl StatusPlace {
    /// Writes `status`, if the segment still lives.
    pub fn report<P: Platform>(&self, ctx: &mut Ctx<P>, inside: &Entered<'_>, status: RunStatus) {
        let Some(segment) = self.segment.resolve::<Segment>(inside) else { return };
        // Noted before the page is looked up: whoever takes it away waits for this core.
        segment.header().seen().insert(ctx.core());
        let platform = ctx.local.platform.clone();
        if let Some(page) = segment.pinned(&platform, self.offset / PAGE_BYTES) {
            self.write(&platform, page, status);
        }
    }

    /// Writes `status` into the page that was found.
    pub(crate) fn write<P: Platform>(&self, platform: &P, page: DataFrame, status: RunStatus) {
        let first = u64::from(status.reason) | u64::from(status.value) << 32;
        page.write_status(platform, self.offset % PAGE_BYTES, [first, status.address]);
    }

    /// Lets the page go.
    pub fn unpin<P: Platform>(&self, ctx: &Ctx<P>, inside: &Entered<'_>) {
        if let Some(segment) = self.segment.resolve::<Segment>(inside) {
            segment.unpin(&ctx.local.platform, self.offset / PAGE_BYTES);
        }
    }
}

/// A run, without its shares.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The pcore.
    pub pcore: Link,
    /// How the program names its pcore.
    pub reference: ObjRef,
    /// The root tree; null for a kernel core.
    pub tree: Link,
    /// The share the root was named through.
    pub tree_share: Id,
    /// Registers.
    pub context: UserContext,
    /// Where the end is reported.
    pub status: Option<StatusPlace>,
}

/// A share set.
pub type Shares = heapless::Vec<Link, RUN_SHARES>;

/// A run that replaces what runs on this core.
#[derive(Clone, Debug)]
pub struct Request {
    /// The run.
    pub run: Run,
    /// Its shares.
    pub shares: Shares,
}

/// Note of a run in its place: the status segment comes before the shares.
const STATUS: u32 = 1 << 16;
/// Position of a share that is none.
const NONE: u32 = 0xff;

/// Notes on this core what it runs now, where [`abandon`] finds it: it was not started by another core.
#[cold]
#[inline(never)]
pub fn keep<P: Platform>(ctx: &Ctx<P>, run: &Run, shares: &Shares) {
    put(ctx.local.own().mailbox.run_place(), run, shares);
}

/// Where the end of what ran on `core`, which is gone, or was to run there, is to be told; also says that nothing runs
/// there any more.
pub fn abandon<P: Platform>(ctx: &Ctx<P>, core: CoreId) -> Option<StatusPlace> {
    let mailbox = &ctx.local.cores.get(core.index())?.mailbox;
    let place = mailbox.run_place();
    if !place.abandon(|| mailbox.unring()) || !place.is_whole() || place.note() & STATUS == 0 {
        return None;
    }
    let segment = place.links().nth(1)?;
    Some(StatusPlace { segment: segment.into(), offset: place.word(2) })
}

/// Leaves `run` for its core, whose place is claimed. The core is a holder of `shares`, among them those that
/// `run` names things through, and the root is reserved for it.
#[inline(always)]
pub(crate) fn put(place: &RunPlace, run: &Run, shares: &Shares) {
    let position = |id: Id| shares.iter().position(|share| share.id() == id).map_or(NONE, |at| at as u32);
    let status = run.status.map(|status| status.segment.words());
    let note = position(run.tree_share)
        | position(run.reference.share) << 8
        | if status.is_some() { STATUS } else { 0 };
    let links = [run.tree.words()].into_iter().chain(status).chain(shares.iter().map(|share| share.words()));
    let UserContext { entry, stack, args: [a, b, c, d, e, f] } = run.context;
    let offset = run.status.map_or(0, |status| status.offset);
    let all: [u64; RUN_WORDS] = [entry, stack, offset, a, b, c, d, e, f];
    // Words that are not there read zero.
    let count = all.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
    place.put(note, links, all.get(..count).unwrap_or(&all));
}

/// Takes this core's run out of its place: gives its shares to `each` (at most [`RUN_SHARES`]), and returns the rest.
/// `None` when there is no pcore, which cannot be while the place is claimed.
pub fn take<P: Platform>(ctx: &Ctx<P>, inside: &Entered<'_>, mut each: impl FnMut(Link)) -> Option<Run> {
    let place = ctx.local.own().mailbox.run_place();
    let pcore = ctx.world.owners.get(ctx.core().index())?.owner.load();
    pcore.resolve::<Pcore>(inside)?;
    let note = place.note();
    let mut links = place.links();
    let tree = Link::from(links.next()?);
    let status = if note & STATUS == 0 {
        None
    } else {
        Some(StatusPlace { segment: links.next()?.into(), offset: place.word(2) })
    };
    let (tree_at, named_at) = (note & 0xff, note >> 8 & 0xff);
    let (mut tree_share, mut named) = (Id::NULL, Id::NULL);
    for (at, words) in (0..).zip(links) {
        let share = Link::from(words);
        if at == tree_at {
            tree_share = share.id();
        }
        if at == named_at {
            named = share.id();
        }
        each(share);
    }
    Some(Run {
        pcore,
        reference: ObjRef { share: named, object: pcore.id() },
        tree,
        tree_share,
        context: UserContext {
            entry: place.word(0),
            stack: place.word(1),
            args: core::array::from_fn(|at| place.word(3 + at)),
        },
        status,
    })
}
