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

fn copy_later<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    from: Handle<'_, Segment>,
    to: Handle<'_, Segment>,
    on_reference: bool,
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    let size = from.page_size();
    let unit = size.pages();
    // Slots of both from the `at`-th on and before `end` that lie side by side. `from` is not cut meanwhile: its change
    // was begun.
    let side_by_side = |at: u64, end: u64| {
        let source = from.body().slots_from(&platform, at);
        let count = ((end - at) as usize).min(source.len()).min(RUN);
        (source.get(..count).unwrap_or(&[]), to.body().slots_from(&platform, at))
    };
    // Slots of pages to be write-protected: first, and first above the last.
    let (mut first, mut end) = (u64::MAX, 0);
    let mut result = Ok(());
    let mut at = 0;
    let slots = to.npages() / unit;
    while at < slots && result.is_ok() {
        let (mut sources, mut targets) = side_by_side(at, slots);
        if sources.is_empty() || targets.is_empty() {
            break;
        }
        loop {
            let (done, back) = PageSlot::copy_shared(&ctx.world.memory, sources, targets, on_reference);
            if let Some(part) = back {
                // It was nowhere to be seen.
                ctx.release(part, CoreSet::EMPTY);
            }
            at += done as u64;
            let rest = sources.get(done..).and_then(<[_]>::split_first);
            let Some(((source, later), (target, behind))) =
                rest.zip(targets.get(done..).and_then(<[_]>::split_first))
            else {
                break;
            };
            match source.begin_copy() {
                Ok(()) => {
                    first = first.min(at);
                    end = at + 1;
                }
                Err(NotOwn::Pinned) => result = copy_page(ctx, size, source, target),
                Err(other) => {
                    if other == NotOwn::Revoking
                        && let Err(lost) = ctx.relax_or_lose()
                    {
                        result = Err(lost);
                        break;
                    }
                    (sources, targets) =
                        (sources.get(done..).unwrap_or(&[]), targets.get(done..).unwrap_or(&[]));
                    continue;
                }
            }
            if result.is_err() {
                break;
            }
            at += 1;
            (sources, targets) = (later, behind);
        }
        ctx.local.serve_mailbox();
    }
    if first < end && result.is_ok() {
        let (page, count) = (first * unit, (end - first) * unit);
        (ctx.hooks.revoke)(ctx, inside, from.header(), page, count, Take::Write);
    }
    while first < end {
        let (sources, targets) = side_by_side(first, end);
        for (source, target) in sources.iter().zip(targets) {
            // Only what was begun above; a page that another core is breaking is not.
            if result.is_ok() {
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
    result
}
