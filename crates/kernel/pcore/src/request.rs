//! What a starter leaves for the core it starts.

use corey_abi::{Id, ObjRef, PAGE_BYTES, RUN_SHARES, RunStatus};
use corey_kernel_hal::{Area, BootAlloc, CoreId, Platform, UserContext};
use corey_kernel_mem::PageState;
use corey_kernel_object::{Ctx, Entered, Link};
use corey_kernel_segment::{PageSize, Segment};
use corey_lib_sync::Shared;

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
        let Some(slot) = segment.slot(&platform, self.offset / PAGE_BYTES) else { return };
        if let PageState::Present(page) = slot.load() {
            let page = if segment.page_size() == PageSize::Large {
                page.part(self.offset / PAGE_BYTES)
            } else {
                page
            };
            let first = u64::from(status.reason) | u64::from(status.value) << 32;
            page.write_status(&platform, self.offset % PAGE_BYTES, [first, status.address]);
        }
    }

    /// Lets the page go.
    pub fn unpin<P: Platform>(&self, ctx: &Ctx<P>, inside: &Entered<'_>) {
        if let Some(segment) = self.segment.resolve::<Segment>(inside)
            && let Some(slot) = segment.slot(&ctx.local.platform, self.offset / PAGE_BYTES)
        {
            slot.unpin();
        }
    }
}

/// A run to begin. The target is a holder of `shares` already, and the root is reserved for it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The pcore.
    pub pcore: Link,
    /// How the program names its pcore.
    pub reference: ObjRef,
    /// The root tree.
    pub tree: Link,
    /// The share the root was named through.
    pub tree_share: Id,
    /// Registers.
    pub context: UserContext,
    /// Where the end is reported.
    pub status: Option<StatusPlace>,
    /// The share set.
    pub shares: heapless::Vec<Link, RUN_SHARES>,
}

/// A request in its place. Only the shares that are passed are written and read: every line of it moves from the
/// starter's cache to the target's.
#[derive(Debug, Default)]
struct Place {
    full: bool,
    nshares: u8,
    pcore: Link,
    reference: ObjRef,
    tree: Link,
    tree_share: Id,
    context: UserContext,
    status: Option<StatusPlace>,
    shares: [Link; RUN_SHARES],
}

impl Place {
    fn put(&mut self, from: &Request) {
        self.full = true;
        // At most RUN_SHARES.
        self.nshares = from.shares.len() as u8;
        self.pcore = from.pcore;
        self.reference = from.reference;
        self.tree = from.tree;
        self.tree_share = from.tree_share;
        self.context = from.context;
        self.status = from.status;
        for (to, from) in self.shares.iter_mut().zip(&from.shares) {
            *to = *from;
        }
    }

    fn take(&mut self) -> Option<Request> {
        if !core::mem::take(&mut self.full) {
            return None;
        }
        let mut shares = heapless::Vec::new();
        for share in self.shares.iter().take(self.nshares.into()) {
            // There is room for RUN_SHARES.
            let _ = shares.push(*share);
        }
        Some(Request {
            pcore: self.pcore,
            reference: self.reference,
            tree: self.tree,
            tree_share: self.tree_share,
            context: self.context,
            status: self.status,
            shares,
        })
    }
}

/// One place for a request per core.
///
/// Lock order 6 (`pcore.request`): what a starter leaves for the core it starts. Nothing is taken under it.
#[derive(Debug)]
pub struct Requests(&'static [Shared<Place>]);

impl Requests {
    /// Places for `cores` cores, from boot memory.
    pub fn new(cores: usize, alloc: &mut impl BootAlloc) -> Self {
        Self(alloc.slice(cores, |i| Shared::new(i as u16, "pcore.request", Place::default())))
    }

    /// Leaves a request for `core`, which is claimed.
    pub fn put<P: Platform>(&self, ctx: &mut Ctx<P>, core: CoreId, request: &Request) {
        if let Some(place) = self.0.get(core.index()) {
            place.lock(&mut ctx.local).put(request);
        }
    }

    /// Takes this core's request.
    pub fn take<P: Platform>(&self, ctx: &mut Ctx<P>) -> Option<Request> {
        let place = self.0.get(ctx.core().index())?;
        place.lock(&mut ctx.local).take()
    }

    /// Areas for the line meter's names.
    pub fn map(&self, each: &mut dyn FnMut(Area)) {
        each(Area::of("pcore.request", self.0, &[]));
    }
}
