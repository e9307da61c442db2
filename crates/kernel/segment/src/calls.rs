//! The calls on segments.

use crate::segment::{Segment, pages_of};
use corey_abi::{Error, Home, Id, Kind, ObjRef, SegmentCalls, UserPtr};
use corey_kernel_hal::{PAGE_SIZE, Platform};
use corey_kernel_mem::{PageState, Source};
use corey_kernel_object::Handle;
use corey_kernel_percore::CoreSet;
use corey_kernel_share::{Call, Share};

/// `segment_…`.
#[derive(Debug)]
pub struct SegmentApi<'a, P: Platform>(pub Call<'a, P>);

impl<'a, P: Platform> SegmentApi<'a, P> {
    /// A segment of `npages` in `share`, paid for but not yet named.
    fn make(
        &mut self,
        share: &Share,
        npages: u64,
        core: Home,
        name: UserPtr,
    ) -> Result<Handle<'a, Segment>, Error> {
        let call = &mut self.0;
        call.held.check_home(call.ctx, call.inside, core)?;
        let name = call.ctx.read_name(call.inside, name)?;
        let cost = Segment::cost(npages);
        share.charge(call.ctx, cost, 1)?;
        let source = call.ctx.source(core);
        let home = call.ctx.home(core)?;
        let made = call.ctx.create(call.inside, core, &name, cost, Segment::new(home)).and_then(|segment| {
            segment.grow(call.ctx, npages, source).map(|()| segment).inspect_err(|_| {
                let own = CoreSet::only(call.ctx.core());
                call.ctx.retire(segment.header(), own);
            })
        });
        made.inspect_err(|_| share.refund(call.ctx, cost, 1))
    }

    fn shrink(&mut self, segment: Handle<'a, Segment>, old: u64, new: u64) -> Result<(), Error> {
        let call = &mut self.0;
        let platform = call.ctx.local.platform.clone();
        segment.cut(new);
        for page in new..old {
            let slot = segment.any_slot(&platform, page);
            if slot.is_some_and(|s| s.begin_revoke().is_err()) {
                for page in new..page {
                    if let Some(slot) = segment.any_slot(&platform, page) {
                        slot.abort_revoke();
                    }
                }
                segment.cut(old);
                return Err(Error::Busy);
            }
            call.ctx.serve_every(page - new);
        }
        let mut users = (call.ctx.hooks.revoke)(call.ctx, call.inside, segment.header(), new, old - new);
        users.union(segment.header().seen().load());
        let mut frames = (new..old).filter_map(|page| segment.any_slot(&platform, page)?.finish_revoke());
        if users.is_within(call.ctx.core()) {
            for frame in frames {
                call.ctx.free(frame);
            }
        } else {
            call.ctx.retire_frames(segment.header().home(), users, &mut frames);
        }
        Ok(())
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
        if flags != 0 {
            return Err(if flags == 1 { Error::Unsupported } else { Error::BadArgument });
        }
        let npages = pages_of(nbytes)?;
        let segment = self.make(&share, npages, core, name)?;
        self.0.name_new(&share, segment.header(), Segment::cost(npages))
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
        match mode {
            0 => {}
            1 | 2 => return Err(Error::Unsupported),
            _ => return Err(Error::BadArgument),
        }
        let npages = from.npages();
        let to = self.make(&share, npages, core, name)?;
        let call = &mut self.0;
        let platform = call.ctx.local.platform.clone();
        from.header().seen().insert(call.ctx.core());
        let mut copied = Ok(());
        for page in 0..npages {
            call.ctx.serve_every(page);
            // An absent page reads zero, and so does its copy.
            let (Some(source), Some(target)) = (from.slot(&platform, page), to.slot(&platform, page)) else {
                break;
            };
            if matches!(source.load(), PageState::Absent) {
                continue;
            }
            let frame = match call.ctx.alloc(Source::Nearest) {
                Ok(frame) => frame,
                Err(error) => {
                    copied = Err(error);
                    break;
                }
            };
            // `alloc` may have waited: look again, and copy before anything waits again.
            let frame = match source.load() {
                PageState::Present(data) | PageState::Cow(data) => frame.copy_of(&platform, data),
                PageState::Absent | PageState::Revoking => frame.zero(&platform),
            };
            if let Err(frame) = target.install(frame) {
                call.ctx.free(frame.into_owned());
            }
        }
        let cost = Segment::cost(npages);
        if let Err(error) = copied {
            let own = CoreSet::only(call.ctx.core());
            call.ctx.retire(to.header(), own);
            share.refund(call.ctx, cost, 1);
            return Err(error);
        }
        call.name_new(&share, to.header(), cost)
    }

    #[inline(always)]
    fn segment_get_nbytes(&mut self, segment: ObjRef) -> Result<u64, Error> {
        Ok(self.0.object::<Segment>(segment)?.npages() * PAGE_SIZE)
    }

    fn segment_set_nbytes(&mut self, segment: ObjRef, nbytes: u64) -> Result<(), Error> {
        let handle = self.0.object::<Segment>(segment)?;
        let share = self.0.held.share(self.0.inside, segment.share)?;
        let npages = pages_of(nbytes)?;
        handle.begin_resize(&mut self.0.ctx.local)?;
        let old = handle.npages();
        let result = if npages >= old {
            let ctx = &mut *self.0.ctx;
            let before = handle.header().pages();
            // Slot frames once made stay, and stay paid.
            let frames = (before - old).max(Segment::cost(npages) - npages);
            share.recharge(ctx, handle.header(), npages + frames).and_then(|()| {
                handle.grow(ctx, npages, Source::Nearest).inspect_err(|_| {
                    // Lowering a price cannot fail.
                    let _ = share.recharge(ctx, handle.header(), before);
                })
            })
        } else {
            self.shrink(handle, old, npages).and_then(|()| {
                // Pages come back; the frames of their slots stay.
                let price = handle.header().pages() - (old - npages);
                share.recharge(self.0.ctx, handle.header(), price)
            })
        };
        handle.end_resize(&mut self.0.ctx.local);
        result
    }
}
