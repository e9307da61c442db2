//! The segment object.

use crate::slots::{self, MAX_PAGES, Slots};
use corey_abi::{Error, Kind};
use corey_kernel_hal::{CoreId, Field, Frame, PAGE_SIZE, Platform, fields};
use corey_kernel_mem::{DataFrame, Memory, PageSlot, PageState, Source};
use corey_kernel_object::{Ctx, Entered, Handle, Link, Object, Take};
use corey_lib_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use corey_lib_sync::{Guard, Quarantine, Relax, Shared};

/// A mapping of a segment: slot `slot` of address tree `tree`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapRef {
    /// The tree; null ends the list.
    pub tree: Link,
    /// Its slot.
    pub slot: u16,
}

/// The mappings of a segment, chained through the trees' slots, and whether it is being resized or copied.
#[derive(Debug, Default)]
pub struct MapList {
    /// The first mapping.
    pub first: MapRef,
    changing: bool,
    /// A core was lost that was changing it: who maps the segment is not known, so it is never cut, copied or freed.
    quarantined: bool,
}

impl MapList {
    /// Whether there is no mapping, for certain.
    #[must_use]
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.first.tree.is_null() && !self.quarantined
    }
}

impl Quarantine for MapList {
    fn quarantine(&mut self) {
        *self = Self { first: MapRef::default(), changing: false, quarantined: true };
    }
}

/// How large the pages of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// 4 KiB.
    Small,
    /// 2 MiB.
    Large,
}

impl PageSize {
    /// 4 KiB pages of one page.
    #[must_use]
    #[inline(always)]
    pub fn pages(self) -> u64 {
        match self {
            Self::Small => 1,
            Self::Large => 512,
        }
    }
}

/// What a page is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Reading.
    Read,
    /// Writing: a page that is shared with a copy is copied first.
    Write,
}

/// A page that was found.
#[derive(Clone, Copy, Debug)]
pub struct Page<'k> {
    /// Its slot.
    pub slot: &'k PageSlot,
    /// The frame; of a 2 MiB page the first.
    pub frame: DataFrame,
    /// Whether it is this segment's alone.
    pub writable: bool,
}

/// In `known`: a core waited on a word of it.
const WAITED: u64 = 1;
/// Devices of which it is known, each on its own, that a core posted a buffer in it; the others are one.
const DEVICES: u32 = 63;

/// In `known`: a core posted a buffer in it to device `device`.
fn posted(device: u32) -> u64 {
    2 << device.min(DEVICES - 1)
}

/// Physical memory, in pages.
#[derive(Debug)]
pub struct Segment {
    /// Its size in 4 KiB pages.
    npages: AtomicU64,
    size: PageSize,
    /// By page, whatever its size.
    slots: Slots,
    /// [`WAITED`], and above it a bit for each of [`DEVICES`] in which a buffer was posted.
    known: AtomicU64,
    /// Whether it was ever cut: then slots above its end may be closed. For whoever began a change.
    was_cut: AtomicBool,
    /// Lock order 3 (`segment.mappings`): the list of mappings. Leaf tables are locked under it.
    maps: Shared<MapList>,
}

impl<P: Platform> Object<P> for Segment {
    const KIND: Kind = Kind::Segment;
    const FIELDS: &'static [Field] = fields!(Self: npages, size, slots, known, was_cut, maps);

    #[inline(always)]
    fn reclaim(&mut self, ctx: &mut Ctx<P>) {
        // Slots above the end are empty: cutting empties them, and closes them.
        self.slots.free(ctx, self.npages() / self.size.pages());
    }
}

/// 4 KiB pages that `nbytes` need, in whole pages of `size`.
///
/// # Errors
///
/// [`Error::OutOfRange`] above 2^39 bytes.
#[inline(always)]
pub(crate) fn pages_of(nbytes: u64, size: PageSize) -> Result<u64, Error> {
    let npages = nbytes.div_ceil(PAGE_SIZE);
    let unit = size.pages();
    if npages > MAX_PAGES { Err(Error::OutOfRange) } else { Ok((npages + (unit - 1)) & !(unit - 1)) }
}

impl Segment {
    /// A segment of `npages`; before anybody else sees it, [`Segment::grow`] makes the slots that need frames.
    #[must_use]
    #[inline(always)]
    pub fn new(home: CoreId, size: PageSize, npages: u64) -> Self {
        Self {
            npages: AtomicU64::new(npages),
            size,
            slots: Slots::default(),
            known: AtomicU64::new(0),
            was_cut: AtomicBool::new(false),
            maps: Shared::new(home.0, "segment.mappings", MapList::default()),
        }
    }

    /// Pages a share is charged for a segment of `npages`: its pages and their slots.
    #[must_use]
    #[inline(always)]
    pub fn cost(npages: u64, size: PageSize) -> u64 {
        npages + slots::frames_for(npages / size.pages())
    }

    /// Its size in 4 KiB pages.
    #[inline(always)]
    pub fn npages(&self) -> u64 {
        self.npages.load(Ordering::SeqCst)
    }

    /// How large its pages are.
    #[must_use]
    #[inline(always)]
    pub fn page_size(&self) -> PageSize {
        self.size
    }

    /// Makes it larger: slots first, then the size. One at a time: whoever made it, or began a change.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    #[inline(always)]
    pub fn grow<P: Platform>(&self, ctx: &mut Ctx<P>, npages: u64, source: Source) -> Result<(), Error> {
        self.slots.reserve(ctx, npages / self.size.pages(), source)?;
        if self.was_cut.load(Ordering::Relaxed) {
            self.open(ctx, npages);
        }
        self.npages.store(npages.max(self.npages()), Ordering::Release);
        Ok(())
    }

    /// Lets the slots below `npages` take pages that were closed when they were cut off.
    #[cold]
    #[inline(never)]
    fn open<P: Platform>(&self, ctx: &mut Ctx<P>, npages: u64) {
        let platform = ctx.local.platform.clone();
        for (turn, page) in (self.npages()..npages).step_by(self.size.pages() as usize).enumerate() {
            if let Some(slot) = self.any_slot(&platform, page) {
                slot.open();
            }
            ctx.serve_every(turn as u64);
        }
    }

    /// The slot of 4 KiB page `page`, if that is inside.
    #[inline(always)]
    pub fn slot<P: Platform>(&self, platform: &P, page: u64) -> Option<&PageSlot> {
        if page >= self.npages() {
            return None;
        }
        self.any_slot(platform, page)
    }

    /// The page that holds 4 KiB page `page`, made on first touch from the nearest memory, copied if it is
    /// shared and wanted for writing. Waits, serving, while it is being revoked.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`], [`Error::NoMemory`].
    pub fn page<'k, P: Platform>(
        handle: Handle<'k, Self>,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        page: u64,
        want: Want,
    ) -> Result<Page<'k>, Error> {
        match handle.size {
            PageSize::Small => Self::page_of::<P, true>(handle, ctx, inside, page, want),
            PageSize::Large => Self::page_of::<P, false>(handle, ctx, inside, page, want),
        }
    }

    /// As [`Segment::page`], for a segment whose page size is known: `SMALL` or not.
    ///
    /// # Errors
    ///
    /// As [`Segment::page`].
    #[inline(always)]
    pub fn page_of<'k, P: Platform, const SMALL: bool>(
        handle: Handle<'k, Self>,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        page: u64,
        want: Want,
    ) -> Result<Page<'k>, Error> {
        let platform = ctx.local.platform.clone();
        if page >= handle.npages() {
            return Err(Error::OutOfRange);
        }
        let number = if SMALL { page } else { page / 512 };
        let slot = handle.body().slots.get(&platform, number).ok_or(Error::OutOfRange)?;
        loop {
            match slot.load() {
                PageState::Present(frame) => return Ok(Page { slot, frame, writable: true }),
                PageState::Cow(frame) if want == Want::Read => {
                    return Ok(Page { slot, frame, writable: false });
                }
                PageState::Cow(_) | PageState::Reference(_) => {
                    Self::break_sharing(handle, ctx, inside, page, slot)?;
                }
                PageState::Absent if SMALL => {
                    let frame = ctx.alloc_zeroed(Source::Nearest)?;
                    match slot.install(frame) {
                        Ok(frame) => return Ok(Page { slot, frame, writable: true }),
                        Err(frame) => ctx.free(frame.into_owned()),
                    }
                }
                PageState::Absent => Self::install_large(ctx, slot)?,
                PageState::Revoking => ctx.relax_or_lose()?,
            }
            if page >= handle.npages() {
                return Err(Error::OutOfRange);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn install_large<P: Platform>(ctx: &mut Ctx<P>, slot: &PageSlot) -> Result<(), Error> {
        let page = ctx.alloc_large_zeroed(Source::Nearest)?;
        if let Err(page) = slot.install(page) {
            ctx.free(page.into_owned());
        }
        Ok(())
    }

    /// Gives a shared page's slot a page of its own (or the page itself, when no other slot has it any more).
    ///
    /// ```text
    /// breaker   Cow → Revoking ─ copy ─ clear, flush every mapping of this segment's page, acks ─ Present(copy)
    /// faulter   …… Revoking: waits, serves ……………………………………………………………………… finds the copy
    /// last      the part that brings the count to zero frees the old page
    /// ```
    #[cold]
    #[inline(never)]
    fn break_sharing<P: Platform>(
        handle: Handle<'_, Self>,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        page: u64,
        slot: &PageSlot,
    ) -> Result<(), Error> {
        // Somebody else was first: look again.
        let Some(old) = slot.begin_break() else { return Ok(()) };
        if slot.keep(&ctx.world.memory) {
            return Ok(());
        }
        let platform = ctx.local.platform.clone();
        let copy = match handle.size {
            PageSize::Small => ctx.alloc(Source::Nearest).map(|frame| frame.copy_of(&platform, old)),
            PageSize::Large => ctx
                .alloc_large(Source::Nearest)
                .map(|page| page.copy_of_large(&platform, old, || ctx.local.serve_mailbox())),
        };
        let copy = copy.inspect_err(|_| slot.abort_revoke())?;
        let pages = handle.size.pages();
        let first = page - page % pages;
        let mut users = (ctx.hooks.revoke)(ctx, inside, handle.header(), first, pages, Take::Page);
        users.union(handle.header().seen().load());
        if handle.is_quarantined(ctx) {
            slot.abort_revoke();
            ctx.free(copy.into_owned());
            return Err(Error::CoreLost);
        }
        match slot.finish_break(copy) {
            Ok(part) => ctx.release(part, users),
            Err(copy) => ctx.free(copy.into_owned()),
        }
        Ok(())
    }

    /// 4 KiB page `page` for access through the direct map: notes that this core does that (invariant 4). The
    /// result is good until this core next waits or leaves the kernel.
    ///
    /// # Errors
    ///
    /// As [`Segment::page`].
    pub fn direct<P: Platform>(
        handle: Handle<'_, Self>,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        page: u64,
        want: Want,
    ) -> Result<DataFrame, Error> {
        handle.header().seen().insert(ctx.core());
        Ok(handle.part(Self::page(handle, ctx, inside, page, want)?.frame, page))
    }

    /// Of `frame`, which has 4 KiB page `page`, that page.
    #[inline(always)]
    fn part(&self, frame: DataFrame, page: u64) -> DataFrame {
        if self.size == PageSize::Large { frame.part(page) } else { frame }
    }

    /// Keeps 4 KiB page `page` where it is, as a page of the segment's own, until its slot is unpinned.
    ///
    /// # Errors
    ///
    /// As [`Segment::page`]; [`Error::Busy`] when it is pinned too often; [`Error::CoreLost`].
    pub fn pin<P: Platform>(
        handle: Handle<'_, Self>,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        page: u64,
    ) -> Result<DataFrame, Error> {
        // Noted before the page is looked up: whoever takes it away waits for this core.
        handle.header().seen().insert(ctx.core());
        let platform = ctx.local.platform.clone();
        let frame = loop {
            if let Some(frame) = handle.slot(&platform, page).and_then(|slot| slot.pin()) {
                break frame;
            }
            // Not there yet, shared, or being copied or cut meanwhile: look again.
            let found = Self::page(handle, ctx, inside, page, Want::Write)?;
            if let Some(frame) = found.slot.pin() {
                break frame;
            }
            if matches!(found.slot.load(), PageState::Present(_)) {
                return Err(Error::Busy);
            }
            ctx.relax_or_lose()?;
        };
        Ok(handle.part(frame, page))
    }

    /// 4 KiB page `page`, which somebody has pinned: there also while a cut is tried, which the pin refuses.
    pub fn pinned<P: Platform>(&self, platform: &P, page: u64) -> Option<DataFrame> {
        match self.any_slot(platform, page)?.load() {
            PageState::Present(frame) => Some(self.part(frame, page)),
            _ => None,
        }
    }

    /// Ends one [`Segment::pin`]; also while a cut is tried.
    pub fn unpin<P: Platform>(&self, platform: &P, page: u64) {
        if let Some(slot) = self.any_slot(platform, page) {
            slot.unpin();
        }
    }

    /// Reads bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`], [`Error::NoMemory`].
    pub fn read<P: Platform>(
        handle: Handle<'_, Self>,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        offset: u64,
        to: &mut [u8],
    ) -> Result<(), Error> {
        let mut done = 0;
        while let Some(rest) = to.get_mut(done..).filter(|r| !r.is_empty()) {
            let at = offset.checked_add(done as u64).ok_or(Error::OutOfRange)?;
            let page = Self::direct(handle, ctx, inside, at / PAGE_SIZE, Want::Read)?;
            done += page.read(&ctx.local.platform, (at % PAGE_SIZE) as usize, rest);
        }
        Ok(())
    }

    /// Writes bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`Segment::read`].
    pub fn write<P: Platform>(
        handle: Handle<'_, Self>,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        offset: u64,
        from: &[u8],
    ) -> Result<(), Error> {
        let mut done = 0;
        while let Some(rest) = from.get(done..).filter(|r| !r.is_empty()) {
            let at = offset.checked_add(done as u64).ok_or(Error::OutOfRange)?;
            let page = Self::direct(handle, ctx, inside, at / PAGE_SIZE, Want::Write)?;
            done += page.write(&ctx.local.platform, (at % PAGE_SIZE) as usize, rest);
            ctx.serve_every(done as u64 / PAGE_SIZE);
        }
        Ok(())
    }

    /// Notes that a core is about to wait on a word of it.
    pub fn set_waited(&self) {
        self.known.fetch_or(WAITED, Ordering::SeqCst);
    }

    /// Notes that a core is about to post a buffer in it to device `device`.
    pub fn set_posted(&self, device: u32) {
        if !self.was_posted(device) {
            self.known.fetch_or(posted(device), Ordering::SeqCst);
        }
    }

    /// Whether a core ever waited on a word of it.
    #[must_use]
    pub fn was_waited(&self) -> bool {
        self.known.load(Ordering::SeqCst) & WAITED != 0
    }

    /// Whether a core ever posted a buffer in it to device `device`.
    #[must_use]
    pub fn was_posted(&self, device: u32) -> bool {
        self.known.load(Ordering::SeqCst) & posted(device) != 0
    }

    /// Whether a core ever waited on a word of it, or posted a buffer in it: then its end is more than its pages.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::SeqCst) != 0
    }

    /// The list of mappings, locked.
    #[inline(always)]
    pub fn mappings<R: Relax>(&self, waiter: &mut R) -> Guard<'_, MapList> {
        self.maps.lock(waiter)
    }

    /// Starts a change of size, or a copy.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while another core does either.
    pub(crate) fn begin_change<R: Relax>(&self, waiter: &mut R) -> Result<(), Error> {
        let mut maps = self.maps.lock(waiter);
        match core::mem::replace(&mut maps.changing, true) {
            _ if maps.quarantined => Err(Error::CoreLost),
            true => Err(Error::Busy),
            false => Ok(()),
        }
    }

    /// Whether a core was lost that was changing the list of mappings: then frames stay where they are.
    #[inline(always)]
    pub fn is_quarantined<P: Platform>(&self, ctx: &mut Ctx<P>) -> bool {
        ctx.local.losses().any() && self.maps.lock(&mut ctx.local).quarantined
    }

    /// Ends it.
    pub(crate) fn end_change<R: Relax>(&self, waiter: &mut R) {
        self.maps.lock(waiter).changing = false;
    }

    /// Sets a smaller size; the pages above are being revoked.
    pub(crate) fn cut(&self, npages: u64) {
        self.was_cut.store(true, Ordering::Relaxed);
        self.npages.store(npages, Ordering::SeqCst);
    }

    /// The slot of 4 KiB page `page`, inside or cut off.
    #[inline(always)]
    pub(crate) fn any_slot<P: Platform>(&self, platform: &P, page: u64) -> Option<&PageSlot> {
        let number = if self.size == PageSize::Large { page / 512 } else { page };
        self.slots.get(platform, number)
    }

    /// Slots of this segment and of `other` from the `at`-th on, of pages inside or cut off, as many of both, `most` at
    /// most: those that lie side by side.
    #[inline(always)]
    pub(crate) fn slots_beside<'s, P: Platform>(
        &'s self,
        other: &'s Self,
        platform: &P,
        at: u64,
        most: usize,
    ) -> (&'s [PageSlot], &'s [PageSlot]) {
        self.slots.beside(&other.slots, platform, at, most)
    }

    /// For audits, while all other cores stand still: frames of slots, and frames of pages. A page that several
    /// segments have is counted once, by the last of them; [`Segment::recount`] ends that.
    #[must_use]
    pub fn census<P: Platform>(&self, platform: &P, memory: &Memory) -> (u64, u64) {
        let (slots, pages) = self.slots.census(platform, memory);
        (slots, pages * self.size.pages())
    }

    /// Calls `each` with every frame it has, and whether that is a page; for the line meter's names.
    pub fn each_frame<P: Platform>(&self, platform: &P, each: &mut dyn FnMut(Frame, bool)) {
        self.slots.each_frame(platform, each);
    }

    /// Ends [`Segment::census`].
    pub fn recount<P: Platform>(&self, platform: &P, memory: &Memory) {
        self.slots.recount(platform, memory);
    }
}
