//! System-call devices: a call ring from when a program describes it to when its kernel core ends it.
//!
//! ```text
//! program       device_conf: check, pin the ring's pages ─ ready ─ message
//! kernel core                                                       takes it: served ─ turns … ─ ends it, pages let go
//! ```

use core::marker::PhantomData;
use corey_abi::{Error, PAGE_BYTES, RING_SHARES, RING_SLOTS, RingConfig};
use corey_kernel_hal::{CoreId, Platform};
use corey_kernel_mem::DataFrame;
use corey_kernel_object::{Entered, Handle, Link};
use corey_kernel_segment::Segment;
use corey_kernel_share::Call;
use corey_lib_ring::{Shape, Words};
use corey_lib_sync::{Quarantine, Shared};

/// Words of a page.
const PAGE_WORDS: usize = PAGE_BYTES as usize / 8;
/// Pages of a ring at most.
const PAGES: usize = match Shape::new(RING_SLOTS as u32) {
    Some(shape) => shape.words().div_ceil(PAGE_WORDS),
    None => 0,
};
const _: () = assert!(PAGES > 0);

/// A ring, as a program described it; its pages are pinned.
#[derive(Clone, Debug)]
pub struct Ring {
    segment: Link,
    /// Its first page in the segment.
    first: u32,
    pages: heapless::Vec<DataFrame, PAGES>,
    /// How large it is.
    pub shape: Shape,
    /// The segment that calls' pointers lead into; may be null.
    pub arguments: Link,
    /// In whose name calls are made.
    pub shares: heapless::Vec<Link, RING_SHARES>,
}

/// The words of a ring, until this core leaves the kernel.
#[derive(Debug)]
pub struct RingWords<'k, P>(P, heapless::Vec<DataFrame, PAGES>, PhantomData<&'k ()>);

impl<P: Platform> Words for RingWords<'_, P> {
    #[inline(always)]
    fn load(&self, index: usize) -> u64 {
        let page = self.1.get(index / PAGE_WORDS);
        page.map_or(0, |page| page.load_word(&self.0, index % PAGE_WORDS))
    }

    #[inline(always)]
    fn store(&self, index: usize, word: u64) {
        if let Some(page) = self.1.get(index / PAGE_WORDS) {
            page.store_word(&self.0, index % PAGE_WORDS, word);
        }
    }
}

impl Ring {
    /// Checks what a program describes, and pins its pages.
    pub(crate) fn new<P: Platform>(call: &mut Call<'_, P>, config: &RingConfig) -> Result<Self, Error> {
        let slots = u32::try_from(config.slots).ok().filter(|slots| u64::from(*slots) <= RING_SLOTS);
        let shape = slots.and_then(Shape::new).ok_or(Error::BadArgument)?;
        let count = usize::try_from(config.nshares).unwrap_or(usize::MAX);
        let mut shares = heapless::Vec::new();
        for id in config.shares.get(..count).ok_or(Error::BadArgument)? {
            let link = call.held.share(call.inside, *id)?.link();
            if shares.contains(&link) || shares.push(link).is_err() {
                return Err(Error::BadArgument);
            }
        }
        let arguments = match config.arguments {
            none if none == Default::default() => Link::NULL,
            named => call.object::<Segment>(named)?.link(),
        };
        let segment = call.object::<Segment>(config.ring)?;
        if !config.offset.is_multiple_of(PAGE_BYTES) {
            return Err(Error::Misaligned);
        }
        let count = shape.words().div_ceil(PAGE_WORDS) as u64;
        let first = u32::try_from(config.offset / PAGE_BYTES).map_err(|_| Error::OutOfRange)?;
        if u64::from(first) + count > segment.npages() {
            return Err(Error::OutOfRange);
        }
        let mut ring =
            Self { segment: segment.link(), first, pages: heapless::Vec::new(), shape, arguments, shares };
        ring.pin(call, segment, count).inspect_err(|_| ring.unpin(call))?;
        Ok(ring)
    }

    fn pin<P: Platform>(
        &mut self,
        call: &mut Call<'_, P>,
        segment: Handle<'_, Segment>,
        count: u64,
    ) -> Result<(), Error> {
        for page in (u64::from(self.first)..).take(count as usize) {
            let frame = Segment::pin(segment, call.ctx, call.inside, page)?;
            // As many as a ring has at most.
            let _ = self.pages.push(frame);
        }
        Ok(())
    }

    fn unpin<P: Platform>(&self, call: &Call<'_, P>) {
        self.let_go(&call.ctx.local.platform, call.inside);
    }

    /// Lets its pages go.
    pub fn let_go<P: Platform>(&self, platform: &P, inside: &Entered<'_>) {
        let Some(segment) = self.segment.resolve::<Segment>(inside) else { return };
        for (page, _) in (u64::from(self.first)..).zip(&self.pages) {
            segment.unpin(platform, page);
        }
    }

    /// Notes that `core` uses its pages from now on: whoever ends the segment waits for it. False when it has ended.
    #[must_use]
    pub fn begin(&self, core: CoreId, inside: &Entered<'_>) -> bool {
        let Some(segment) = self.segment.resolve::<Segment>(inside) else { return false };
        // Noted, with a fence, before it is looked whether the segment lives: who ends it looks for users after that.
        segment.header().seen().add(core);
        segment.header().refs() != 0
    }

    /// Its words, until this core leaves the kernel; `None` when the segment has ended.
    #[inline(always)]
    pub fn words<'k, P: Platform>(&self, platform: &P, inside: &'k Entered<'_>) -> Option<RingWords<'k, P>> {
        let segment = self.segment.resolve::<Segment>(inside)?;
        (segment.header().refs() != 0).then(|| RingWords(platform.clone(), self.pages.clone(), PhantomData))
    }
}

/// What a system-call device has.
#[derive(Debug, Default)]
struct Place {
    /// The ring that was described, until a kernel core takes it.
    ready: Option<Ring>,
    /// Whether a kernel core has it.
    served: bool,
    /// The kernel core that polls the device.
    poller: Option<CoreId>,
}

impl Quarantine for Place {
    fn quarantine(&mut self) {
        // A ring that a lost core was describing or taking: its pages stay pinned.
        *self = Self { ready: None, served: true, poller: None };
    }
}

/// Where a system-call device's ring is.
#[derive(Debug)]
pub(crate) struct RingPlace {
    /// Lock order 6 (`ring`): the ring of a system-call device. Nothing is taken under it.
    place: Shared<Place>,
}

impl RingPlace {
    pub(crate) fn new(home: CoreId) -> Self {
        Self { place: Shared::new(home.0, "ring", Place::default()) }
    }

    /// Has the ring that `config` describes served.
    pub(crate) fn configure<P: Platform>(
        &self,
        call: &mut Call<'_, P>,
        config: &RingConfig,
    ) -> Result<Option<CoreId>, Error> {
        let ring = Ring::new(call, config)?;
        let mut place = self.place.lock(&mut call.ctx.local);
        if place.served || place.ready.is_some() {
            drop(place);
            ring.unpin(call);
            return Err(Error::Busy);
        }
        place.ready = Some(ring);
        Ok(place.poller)
    }

    /// A kernel core that polls the device takes its ring, if there is one that nobody has.
    pub(crate) fn take<P: Platform>(&self, call: &mut corey_kernel_object::Ctx<P>) -> Option<Ring> {
        let core = call.core();
        let mut place = self.place.lock(&mut call.local);
        place.poller = Some(core);
        let ring = place.ready.take()?;
        place.served = true;
        Some(ring)
    }

    /// The kernel core has ended the ring that it took.
    pub(crate) fn end<P: Platform>(&self, ctx: &mut corey_kernel_object::Ctx<P>) {
        self.place.lock(&mut ctx.local).served = false;
    }

    /// The device ends: a ring that nobody serves lets its pages go.
    pub(crate) fn close<P: Platform>(&self, ctx: &mut corey_kernel_object::Ctx<P>, inside: &Entered<'_>) {
        let ready = self.place.lock(&mut ctx.local).ready.take();
        if let Some(ring) = ready {
            ring.let_go(&ctx.local.platform, inside);
        }
    }

    /// The kernel core to wake.
    pub(crate) fn poller<P: Platform>(&self, ctx: &mut corey_kernel_object::Ctx<P>) -> Option<CoreId> {
        self.place.lock(&mut ctx.local).poller
    }
}
