//! The segment object.

use crate::slots::{self, MAX_PAGES, Slots};
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Error, Kind};
use corey_kernel_hal::{CoreId, PAGE_SIZE, Platform};
use corey_kernel_mem::{DataFrame, PageSlot, Source};
use corey_kernel_object::{Ctx, Handle, Link, Object};
use corey_lib_sync::{Guard, Relax, Shared};

/// A mapping of a segment: slot `slot` of address tree `tree`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapRef {
    /// The tree; null ends the list.
    pub tree: Link,
    /// Its slot.
    pub slot: u16,
}

/// The mappings of a segment, chained through the trees' slots, and whether its size is being changed.
#[derive(Debug, Default)]
pub struct MapList {
    /// The first mapping.
    pub first: MapRef,
    resizing: bool,
}

/// Physical memory, in pages.
#[derive(Debug)]
pub struct Segment {
    npages: AtomicU64,
    slots: Slots,
    maps: Shared<MapList>,
}

impl<P: Platform> Object<P> for Segment {
    const KIND: Kind = Kind::Segment;

    fn reclaim(&mut self, ctx: &mut Ctx<P>) {
        self.slots.free(ctx);
    }
}

/// Pages that `nbytes` need.
///
/// # Errors
///
/// [`Error::OutOfRange`] above 2^39 bytes.
pub(crate) fn pages_of(nbytes: u64) -> Result<u64, Error> {
    let npages = nbytes.div_ceil(PAGE_SIZE);
    if npages > MAX_PAGES { Err(Error::OutOfRange) } else { Ok(npages) }
}

impl Segment {
    /// An empty segment.
    #[must_use]
    pub fn new(home: CoreId) -> Self {
        Self {
            npages: AtomicU64::new(0),
            slots: Slots::default(),
            maps: Shared::new(home.0, "segment.mappings", MapList::default()),
        }
    }

    /// Pages a share is charged for a segment of `npages`: its pages and their slots.
    #[must_use]
    pub fn cost(npages: u64) -> u64 {
        npages + slots::frames_for(npages)
    }

    /// Its size in pages.
    #[inline(always)]
    pub fn npages(&self) -> u64 {
        self.npages.load(Ordering::SeqCst)
    }

    /// Makes it larger: slots first, then the size.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn grow<P: Platform>(&self, ctx: &mut Ctx<P>, npages: u64, source: Source) -> Result<(), Error> {
        self.slots.reserve(ctx, npages, source)?;
        self.npages.fetch_max(npages, Ordering::SeqCst);
        Ok(())
    }

    /// The slot of page `page`, if that is inside.
    #[inline(always)]
    pub fn slot<P: Platform>(&self, platform: &P, page: u64) -> Option<&PageSlot> {
        if page >= self.npages() {
            return None;
        }
        self.slots.get(platform, page)
    }

    /// Page `page`, made on first touch.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`], [`Error::NoMemory`].
    #[inline(always)]
    pub fn page<P: Platform>(&self, ctx: &mut Ctx<P>, page: u64) -> Result<(&PageSlot, DataFrame), Error> {
        let platform = ctx.local.platform.clone();
        let slot = self.slot(&platform, page).ok_or(Error::OutOfRange)?;
        let frame = slots::touch(ctx, slot, || page < self.npages())?;
        Ok((slot, frame))
    }

    /// Page `page` for access through the direct map: notes that this core does that (invariant 3). The
    /// result is good until this core next waits or leaves the kernel.
    ///
    /// # Errors
    ///
    /// As [`Segment::page`].
    pub fn direct<P: Platform>(
        handle: Handle<'_, Self>,
        ctx: &mut Ctx<P>,
        page: u64,
    ) -> Result<DataFrame, Error> {
        handle.header().seen().insert(ctx.core());
        Ok(handle.page(ctx, page)?.1)
    }

    /// Reads bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`], [`Error::NoMemory`].
    pub fn read<P: Platform>(
        handle: Handle<'_, Self>,
        ctx: &mut Ctx<P>,
        offset: u64,
        to: &mut [u8],
    ) -> Result<(), Error> {
        let mut done = 0;
        while let Some(rest) = to.get_mut(done..).filter(|r| !r.is_empty()) {
            let at = offset.checked_add(done as u64).ok_or(Error::OutOfRange)?;
            let page = Self::direct(handle, ctx, at / PAGE_SIZE)?;
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
        offset: u64,
        from: &[u8],
    ) -> Result<(), Error> {
        let mut done = 0;
        while let Some(rest) = from.get(done..).filter(|r| !r.is_empty()) {
            let at = offset.checked_add(done as u64).ok_or(Error::OutOfRange)?;
            let page = Self::direct(handle, ctx, at / PAGE_SIZE)?;
            done += page.write(&ctx.local.platform, (at % PAGE_SIZE) as usize, rest);
            ctx.serve_every(done as u64 / PAGE_SIZE);
        }
        Ok(())
    }

    /// The list of mappings, locked.
    pub fn mappings<R: Relax>(&self, waiter: &mut R) -> Guard<'_, MapList> {
        self.maps.lock(waiter)
    }

    /// Starts a change of size.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when another core is changing it.
    pub(crate) fn begin_resize<R: Relax>(&self, waiter: &mut R) -> Result<(), Error> {
        let mut maps = self.maps.lock(waiter);
        if core::mem::replace(&mut maps.resizing, true) { Err(Error::Busy) } else { Ok(()) }
    }

    /// Ends it.
    pub(crate) fn end_resize<R: Relax>(&self, waiter: &mut R) {
        self.maps.lock(waiter).resizing = false;
    }

    /// Sets a smaller size; the pages above are being revoked.
    pub(crate) fn cut(&self, npages: u64) {
        self.npages.store(npages, Ordering::SeqCst);
    }

    /// The slot of page `page`, inside or cut off.
    pub(crate) fn any_slot<P: Platform>(&self, platform: &P, page: u64) -> Option<&PageSlot> {
        self.slots.get(platform, page)
    }

    /// For audits: frames of slots, and pages present.
    #[must_use]
    pub fn census<P: Platform>(&self, platform: &P) -> (u64, u64) {
        self.slots.census(platform)
    }
}
