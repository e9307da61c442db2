//! Copies of segments: now, on write, on reference.

use crate::segment::{PageSize, Segment};
use corey_abi::Error;
use corey_kernel_hal::Platform;
use corey_kernel_mem::{NotOwn, PageSlot, PageState, Source};
use corey_kernel_object::{Ctx, Entered, Handle, Take};
use corey_kernel_percore::CoreSet;

/// When the pages of a copy are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Now,
    OnWrite,
    OnReference,
}

/// Fills `to`, which no other core can reach yet, from `from`, whose change was begun.
///
/// ```text
/// each page     Present → Revoking (nobody maps it for writing from here on)
/// all of them   write-protect every mapping, acks
/// each page     Revoking → Cow, and Cow in the copy
/// ```
///
/// A page that is `Cow` already is counted once more, and looked at again (`kernel/mem`, `shared`).
///
/// # Errors
///
/// [`Error::NoMemory`]; `from` is then as before.
pub(crate) fn copy<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    from: Handle<'_, Segment>,
    to: Handle<'_, Segment>,
    mode: Mode,
) -> Result<(), Error> {
    // Pages are read through the direct map.
    from.header().seen().insert(ctx.core());
    match mode {
        Mode::Now => copy_now(ctx, from, to),
        Mode::OnWrite => copy_later(ctx, inside, from, to, false),
        Mode::OnReference => copy_later(ctx, inside, from, to, true),
    }
}

/// First 4 KiB pages of the pages of `to`.
fn pages(to: Handle<'_, Segment>) -> impl Iterator<Item = u64> + use<> {
    (0..to.npages()).step_by(to.page_size().pages() as usize)
}

fn copy_now<P: Platform>(
    ctx: &mut Ctx<P>,
    from: Handle<'_, Segment>,
    to: Handle<'_, Segment>,
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    for page in pages(to) {
        ctx.serve_every(page);
        // An absent page reads zero, and so does its copy.
        let (Some(source), Some(target)) = (from.slot(&platform, page), to.slot(&platform, page)) else {
            break;
        };
        copy_page(ctx, from.page_size(), source, target)?;
    }
    Ok(())
}

/// Copies one page, if there is one.
fn copy_page<P: Platform>(
    ctx: &mut Ctx<P>,
    size: PageSize,
    source: &PageSlot,
    target: &PageSlot,
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    if matches!(source.load(), PageState::Absent) {
        return Ok(());
    }
    let frame = match size {
        PageSize::Small => ctx.alloc(Source::Nearest)?,
        PageSize::Large => ctx.alloc_large(Source::Nearest)?,
    };
    let copied = loop {
        // What was there before `alloc` may be gone: it may have waited.
        let (PageState::Present(data) | PageState::Cow(data) | PageState::Reference(data)) = source.load()
        else {
            if source.load() == PageState::Absent {
                ctx.free(frame);
                return Ok(());
            }
            if let Err(lost) = ctx.relax_or_lose() {
                ctx.free(frame);
                return Err(lost);
            }
            continue;
        };
        break match size {
            PageSize::Small => frame.copy_of(&platform, data),
            // The page cannot go meanwhile: cutting it waits for the end of this copy (`begin_change`), and
            // breaking it keeps it until this core, which is in `seen`, has left the kernel.
            PageSize::Large => frame.copy_of_large(&platform, data, || ctx.local.serve_mailbox()),
        };
    };
    if let Err(frame) = target.install(copied) {
        ctx.free(frame.into_owned());
    }
    Ok(())
}

/// Slots at a time between two looks at the mailbox.
const RUN: usize = 64;

/// Slots whose copies were begun: first, and first above the last.
struct Begun {
    first: u64,
    end: u64,
}

fn copy_later<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    from: Handle<'_, Segment>,
    to: Handle<'_, Segment>,
    on_reference: bool,
) -> Result<(), Error> {
    let unit = from.page_size().pages();
    let slots = to.npages() / unit;
    // Those of pages to be write-protected.
    let mut begun = Begun { first: u64::MAX, end: 0 };
    let mut at = 0;
    let mut result = Ok(());
    while at < slots && result.is_ok() {
        let (sources, targets) = side_by_side(ctx, from, to, at, slots);
        let (done, back) = PageSlot::copy_shared(&ctx.world.memory, sources, targets, on_reference);
        at += done as u64;
        if let Some(part) = back {
            // It was nowhere to be seen.
            ctx.release(part, CoreSet::EMPTY);
        } else if sources.is_empty() {
            break;
        } else if let Some(sources) = sources.get(done..).filter(|rest| !rest.is_empty()) {
            let targets = targets.get(done..).unwrap_or(&[]);
            let count = (&mut at, &mut begun);
            result = copy_others(ctx, from.page_size(), (sources, targets), count, on_reference);
        }
        ctx.local.serve_mailbox();
    }
    if begun.first < begun.end {
        let ready = result.is_ok();
        if ready {
            let (page, count) = (begun.first * unit, (begun.end - begun.first) * unit);
            (ctx.hooks.revoke)(ctx, inside, from.header(), page, count, Take::Write);
        }
        end_copies(ctx, from, to, begun, (on_reference, ready));
    }
    result
}

/// Slots of `from` and `to` from the `at`-th on and before `end`, as many of both: those that lie side by side. `from` is
/// not cut meanwhile: its change was begun.
#[inline(always)]
fn side_by_side<'k, P: Platform>(
    ctx: &Ctx<P>,
    from: Handle<'k, Segment>,
    to: Handle<'k, Segment>,
    at: u64,
    end: u64,
) -> (&'k [PageSlot], &'k [PageSlot]) {
    from.body().slots_beside(to.body(), &ctx.local.platform, at, RUN.min((end - at) as usize))
}

/// Ends the copies that were begun; without making them if not `ready`.
fn end_copies<P: Platform>(
    ctx: &mut Ctx<P>,
    from: Handle<'_, Segment>,
    to: Handle<'_, Segment>,
    Begun { mut first, end }: Begun,
    (on_reference, ready): (bool, bool),
) {
    while first < end {
        let (sources, targets) = side_by_side(ctx, from, to, first, end);
        for (source, target) in sources.iter().zip(targets) {
            // Only what was begun above; a page that another core is breaking is not.
            if ready {
                source.share(&ctx.world.memory, target, on_reference);
            } else {
                source.abort_copy();
            }
        }
        if sources.is_empty() {
            break;
        }
        first += sources.len() as u64;
        ctx.local.serve_mailbox();
    }
}

/// Copies what is not shared, from the `at`-th slot on, up to what is: begins the copies of pages that are the segment's
/// own; what is pinned is copied now.
#[inline(never)]
fn copy_others<P: Platform>(
    ctx: &mut Ctx<P>,
    size: PageSize,
    (sources, targets): (&[PageSlot], &[PageSlot]),
    (at, begun): (&mut u64, &mut Begun),
    on_reference: bool,
) -> Result<(), Error> {
    for (source, target) in sources.iter().zip(targets) {
        match source.begin_copy() {
            Ok(()) => {
                begun.first = begun.first.min(*at);
                begun.end = *at + 1;
            }
            Err(NotOwn::Absent) => {}
            Err(NotOwn::Pinned) => copy_page(ctx, size, source, target)?,
            Err(NotOwn::Snapshot) => {
                let (done, back) = source.copy_snapshot(&ctx.world.memory, target, on_reference);
                if let Some(part) = back {
                    // It was nowhere to be seen.
                    ctx.release(part, CoreSet::EMPTY);
                }
                if !done {
                    break;
                }
            }
            Err(NotOwn::Shared) => break,
            Err(NotOwn::Revoking) => {
                ctx.relax_or_lose()?;
                break;
            }
        }
        *at += 1;
    }
    Ok(())
}
