//! Copies of segments: now, on write, on reference.

use crate::segment::{PageSize, Segment};
use corey_abi::{Error, PAGE_BYTES, copy_mode};
use corey_kernel_hal::Platform;
use corey_kernel_mem::{NotOwn, PageSlot, PageState, Source};
use corey_kernel_object::{Ctx, Entered, Handle, Take};
use corey_kernel_percore::CoreSet;

/// When the pages of a copy are copied: one of [`copy_mode`], perhaps with the page that is copied now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(u64);

impl Mode {
    /// What `word`, from a call, says.
    ///
    /// # Errors
    ///
    /// [`Error::BadArgument`].
    #[inline(always)]
    pub(crate) fn from_word(word: u64) -> Result<Self, Error> {
        const BUT_WRITE: u64 = copy_mode::ON_WRITE | copy_mode::PAGE_NOW;
        const BUT_REFERENCE: u64 = copy_mode::ON_REFERENCE | copy_mode::PAGE_NOW;
        let plain = word <= copy_mode::ON_REFERENCE;
        let known = plain || matches!(word % PAGE_BYTES, BUT_WRITE | BUT_REFERENCE);
        known.then_some(Self(word)).ok_or(Error::BadArgument)
    }

    fn is_now(self) -> bool {
        self.0 == copy_mode::NOW
    }

    fn on_reference(self) -> bool {
        self.0 & copy_mode::ON_REFERENCE != 0
    }

    /// The 4 KiB page that is copied now.
    fn but(self) -> Option<u64> {
        (self.0 & copy_mode::PAGE_NOW != 0).then_some(self.0 / PAGE_BYTES)
    }
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
/// [`Error::NoMemory`], [`Error::OutOfRange`] for a page beyond the end; `from` is then as before.
pub(crate) fn copy<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    from: Handle<'_, Segment>,
    to: Handle<'_, Segment>,
    mode: Mode,
) -> Result<(), Error> {
    // Pages are read through the direct map.
    from.header().seen().insert(ctx.core());
    if mode.is_now() { copy_now(ctx, from, to) } else { copy_later(ctx, inside, from, to, mode) }
}

fn copy_now<P: Platform>(
    ctx: &mut Ctx<P>,
    from: Handle<'_, Segment>,
    to: Handle<'_, Segment>,
) -> Result<(), Error> {
    for page in (0..to.npages()).step_by(to.page_size().pages() as usize) {
        ctx.serve_every(page);
        copy_at(ctx, from, to, page)?;
    }
    Ok(())
}

/// Copies 4 KiB page `page`, or the 2 MiB page that it is in. An absent page reads zero, and so does its copy.
///
/// # Errors
///
/// [`Error::NoMemory`], [`Error::OutOfRange`].
#[inline(never)]
fn copy_at<P: Platform>(
    ctx: &mut Ctx<P>,
    from: Handle<'_, Segment>,
    to: Handle<'_, Segment>,
    page: u64,
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    match (from.slot(&platform, page), to.slot(&platform, page)) {
        (Some(source), Some(target)) => copy_page(ctx, from.page_size(), source, target),
        _ => Err(Error::OutOfRange),
    }
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
    mode: Mode,
) -> Result<(), Error> {
    let unit = from.page_size().pages();
    let slots = to.npages() / unit;
    // Those of pages to be write-protected.
    let mut begun = Begun { first: u64::MAX, end: 0 };
    let result = match mode.but() {
        None => share_pages(ctx, from, to, (0, slots), &mut begun, mode),
        // Before any other page is begun: if this fails, nothing is to be undone.
        Some(page) => copy_at(ctx, from, to, page)
            .and_then(|()| share_pages(ctx, from, to, (0, page / unit), &mut begun, mode))
            .and_then(|()| share_pages(ctx, from, to, (page / unit + 1, slots), &mut begun, mode)),
    };
    if begun.first < begun.end {
        let ready = result.is_ok();
        if ready {
            let (page, count) = (begun.first * unit, (begun.end - begun.first) * unit);
            (ctx.hooks.revoke)(ctx, inside, from.header(), page, count, Take::Write);
        }
        end_copies(ctx, from, to, begun, (mode.on_reference(), ready));
    }
    result
}

/// Shares the pages of the slots from `at` on and before `end`, or begins to. Apart, so that the loop has what it needs in
/// registers.
#[inline(never)]
fn share_pages<P: Platform>(
    ctx: &mut Ctx<P>,
    from: Handle<'_, Segment>,
    to: Handle<'_, Segment>,
    (mut at, end): (u64, u64),
    begun: &mut Begun,
    mode: Mode,
) -> Result<(), Error> {
    while at < end {
        let (sources, targets) = side_by_side(ctx, from, to, at, end);
        let (done, back) = PageSlot::copy_shared(&ctx.world.memory, sources, targets, mode.on_reference());
        at += done as u64;
        if let Some(part) = back {
            // It was nowhere to be seen.
            ctx.release(part, CoreSet::EMPTY);
        } else if sources.is_empty() {
            break;
        } else if let Some(sources) = sources.get(done..).filter(|rest| !rest.is_empty()) {
            let targets = targets.get(done..).unwrap_or(&[]);
            let both = (sources, targets);
            copy_others(ctx, from.page_size(), both, (&mut at, begun), mode.on_reference())?;
        }
        ctx.local.serve_mailbox();
    }
    Ok(())
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
