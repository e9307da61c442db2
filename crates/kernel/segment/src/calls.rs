//! The calls on segments.

use crate::copy::{Mode, copy};
use crate::cut::cut;
use crate::segment::{PageSize, Segment, pages_of};
use corey_abi::{Error, Home, Id, Kind, ObjRef, SegmentCalls, UserPtr, segment_flag};
use corey_kernel_hal::{PAGE_SIZE, Platform};
use corey_kernel_mem::Source;
use corey_kernel_object::Handle;
use corey_kernel_percore::CoreSet;
use corey_kernel_share::{Call, Share};

/// `segment_…`.
#[derive(Debug)]
pub struct SegmentApi<'a, P: Platform>(pub Call<'a, P>);

impl<'a, P: Platform> SegmentApi<'a, P> {
    /// A segment of `npages` in `share`, paid for (`cost` pages) but not yet named.
    #[inline(always)]
    fn make(
        &mut self,
        share: &Share,
        (npages, cost): (u64, u64),
        size: PageSize,
        core: Home,
        name: UserPtr,
    ) -> Result<Handle<'a, Segment>, Error> {
        let call = &mut self.0;
        let home = call.held.check_home(call.ctx, call.inside, core)?;
        let name = call.ctx.read_name(call.inside, name)?;
        share.charge(call.ctx, cost, 1)?;
        let source = call.ctx.source(core);
        let value = || Segment::new(home, size, npages);
        let made = call.ctx.create_with(call.inside, (home, source), &name, cost, value);
        let grown = match made {
            // The slots of few pages cost nothing.
            Ok(_) if cost == npages => Ok(()),
            Ok(segment) => segment.grow(call.ctx, npages, source),
            Err(error) => Err(error),
        };
        match (made, grown) {
            (Ok(segment), Ok(())) => Ok(segment),
            (made, Err(error)) | (made @ Err(error), Ok(())) => {
                Err(self.not_made(share, made.ok(), cost, error))
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn not_made(
        &mut self,
        share: &Share,
        segment: Option<Handle<'a, Segment>>,
        cost: u64,
        error: Error,
    ) -> Error {
        let ctx = &mut *self.0.ctx;
        if let Some(segment) = segment {
            let own = CoreSet::only(ctx.core());
            ctx.retire(segment.header(), own);
        }
        share.refund(ctx, cost, 1);
        error
    }
}

impl<P: Platform> SegmentCalls for SegmentApi<'_, P> {
    fn segment_alloc(
        &mut self,
        share: Id,
        nbytes: u64,
        core: Home,
        flags: u64,
        name: UserPtr,
    ) -> Result<Id, Error> {
        let share = self.0.share_for(share, Kind::Segment)?;
        let size = match flags {
            0 => PageSize::Small,
            segment_flag::LARGE => PageSize::Large,
            _ => return Err(Error::BadArgument),
        };
        let npages = pages_of(nbytes, size)?;
        let cost = Segment::cost(npages, size);
        let segment = self.make(&share, (npages, cost), size, core, name)?;
        self.0.name_new(&share, segment.header(), cost)
    }

    fn segment_copy(
        &mut self,
        segment: ObjRef,
        share: Id,
        mode: u64,
        core: Home,
        name: UserPtr,
    ) -> Result<Id, Error> {
        let from = self.0.object::<Segment>(segment)?;
        let share = self.0.share_for(share, Kind::Segment)?;
        let mode = Mode::from_word(mode)?;
        from.begin_change(&mut self.0.ctx.local)?;
        let (npages, size) = (from.npages(), from.page_size());
        let cost = Segment::cost(npages, size);
        let made = self.make(&share, (npages, cost), size, core, name).and_then(|to| {
            let call = &mut self.0;
            copy(call.ctx, call.inside, from, to, mode).map(|()| to).inspect_err(|_| {
                let own = CoreSet::only(call.ctx.core());
                call.ctx.retire(to.header(), own);
                share.refund(call.ctx, cost, 1);
            })
        });
        from.end_change(&mut self.0.ctx.local);
        self.0.name_new(&share, made?.header(), cost)
    }

    #[inline(always)]
    fn segment_get_nbytes(&mut self, segment: ObjRef) -> Result<u64, Error> {
        Ok(self.0.object::<Segment>(segment)?.npages() * PAGE_SIZE)
    }

    fn segment_set_nbytes(&mut self, segment: ObjRef, nbytes: u64) -> Result<(), Error> {
        let handle = self.0.object::<Segment>(segment)?;
        let share = self.0.held.share(self.0.inside, segment.share)?;
        let size = handle.page_size();
        let npages = pages_of(nbytes, size)?;
        handle.begin_change(&mut self.0.ctx.local)?;
        let old = handle.npages();
        let result = if npages >= old {
            let ctx = &mut *self.0.ctx;
            let before = handle.header().pages();
            // Slot frames once made stay, and stay paid.
            let frames = (before - old).max(Segment::cost(npages, size) - npages);
            share.reprice(ctx, handle.header(), |_| npages + frames).and_then(|()| {
                handle.grow(ctx, npages, Source::Nearest).inspect_err(|_| {
                    // Lowering a price cannot fail.
                    let _ = share.reprice(ctx, handle.header(), |_| before);
                })
            })
        } else {
            cut(self.0.ctx, self.0.inside, handle, (old, npages)).and_then(|()| {
                // Pages come back; the frames of their slots stay.
                share.reprice(self.0.ctx, handle.header(), |pages| pages - (old - npages))
            })
        };
        handle.end_change(&mut self.0.ctx.local);
        result
    }
}
