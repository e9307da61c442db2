//! The calls on pcores.

use crate::current::{Current, Ending};
use crate::pcore::Pcore;
use crate::request::{Request, Requests, StatusPlace};
use corey_abi::{
    Error, Home, Id, Kind, ObjRef, PAGE_BYTES, PcoreCalls, Plain, RUN_SHARES, RunContext, RunStatus,
    SHORTEST_SLICE, UserPtr, reason, run_mode,
};
use corey_kernel_atree::{Tree, TreeKind, reserve, unreserve};
use corey_kernel_hal::{Platform, USER_END, UserContext};
use corey_kernel_mem::PageState;
use corey_kernel_object::{Handle, Link};
use corey_kernel_percore::{Message, MessageKind};
use corey_kernel_segment::{Segment, Want};
use corey_kernel_share::{Call, Share};
use corey_lib_sync::Relax;

/// `pcore_…`.
#[derive(Debug)]
pub struct PcoreApi<'c, 'a, P: Platform> {
    /// The call.
    pub call: Call<'a, P>,
    /// What runs here.
    pub current: &'c Option<Current>,
    /// Requests to other cores.
    pub requests: &'c Requests,
    /// Set when the caller ends.
    pub ending: &'c mut Option<Ending>,
    /// Set when the caller's context is replaced.
    pub replaced: &'c mut Option<Request>,
    /// Ticks of the time-stamp counter per second.
    pub tsc_hz: u64,
}

impl<'a, P: Platform> PcoreApi<'_, 'a, P> {
    /// The share `id`: held by the caller, or named in a share the caller holds.
    fn reachable(&self, id: Id) -> Result<Handle<'a, Share>, Error> {
        let (held, inside) = (&self.call.held, self.call.inside);
        if let Ok(share) = held.share(inside, id) {
            return Ok(share);
        }
        let named = held.iter().find_map(|link| {
            link.resolve::<Share>(inside)?.find(&self.call.ctx.local.platform, inside, id)?.handle::<Share>()
        });
        named.ok_or(Error::NotPermitted)
    }

    /// Checks a run's context against the caller's authority.
    fn request(
        &mut self,
        pcore: ObjRef,
        target: Handle<'a, Pcore>,
        from: &RunContext,
    ) -> Result<Request, Error> {
        match from.mode {
            run_mode::USER => {}
            run_mode::KERNEL_CORE => return Err(Error::Unsupported),
            _ => return Err(Error::BadArgument),
        }
        if from.entry >= USER_END || from.stack > USER_END {
            return Err(Error::OutOfRange);
        }
        let count =
            usize::try_from(from.nshares).ok().filter(|n| *n <= RUN_SHARES).ok_or(Error::BadArgument)?;
        let mut shares = heapless::Vec::new();
        for id in from.shares.iter().take(count) {
            let link = self.reachable(*id)?.link();
            if shares.contains(&link) || shares.push(link).is_err() {
                return Err(Error::BadArgument);
            }
        }
        if !shares.iter().any(|s| s.id() == from.tree.share) {
            return Err(Error::NotPermitted);
        }
        let share = self.reachable(from.tree.share)?;
        let tree = share
            .find(&self.call.ctx.local.platform, self.call.inside, from.tree.object)
            .ok_or(Error::NotFound)?
            .handle::<Tree>()
            .ok_or(Error::WrongKind)?;
        if tree.kind() != TreeKind::Root {
            return Err(Error::WrongKind);
        }
        // The target names its pcore through a share it holds, or not at all.
        let named = shares.iter().any(|s| s.id() == pcore.share);
        Ok(Request {
            pcore: target.link(),
            reference: ObjRef { share: if named { pcore.share } else { Id::NULL }, object: pcore.object },
            tree: tree.link(),
            tree_share: from.tree.share,
            context: UserContext { entry: from.entry, stack: from.stack, args: from.args },
            status: None,
            shares,
        })
    }

    /// Pins the page of a status place and writes "running" there.
    fn pin(&mut self, from: &RunContext) -> Result<Option<StatusPlace>, Error> {
        if from.status == ObjRef::default() {
            return Ok(None);
        }
        if !from.status_offset.is_multiple_of(16) {
            return Err(Error::Misaligned);
        }
        let segment = self.call.object::<Segment>(from.status)?;
        let place = StatusPlace { segment: segment.link(), offset: from.status_offset };
        let page = from.status_offset / PAGE_BYTES;
        // A page that is being copied or cut meanwhile is not pinned: look again.
        loop {
            let found = Segment::page(segment, self.call.ctx, self.call.inside, page, Want::Write)?;
            if found.slot.pin().is_some() {
                break;
            }
            if matches!(found.slot.load(), PageState::Present(_)) {
                return Err(Error::Busy);
            }
            self.call.ctx.relax();
        }
        place.report(self.call.ctx, self.call.inside, RunStatus::default());
        Ok(Some(place))
    }

    /// Makes `core` a holder of all shares of `request`; on failure of none.
    fn hold(&mut self, request: &Request, core: corey_kernel_hal::CoreId) -> Result<(), Error> {
        let inside = self.call.inside;
        for (done, link) in request.shares.iter().enumerate() {
            let held = link.resolve::<Share>(inside).is_some_and(|share| Share::hold(share, core));
            if !held {
                for link in request.shares.iter().take(done) {
                    self.unhold(*link, core);
                }
                return Err(Error::NotFound);
            }
        }
        Ok(())
    }

    fn unhold(&mut self, link: Link, core: corey_kernel_hal::CoreId) {
        if let Some(share) = link.resolve::<Share>(self.call.inside) {
            share.unhold(share.header(), core);
            if share.header().release() {
                (self.call.ctx.hooks.last)(self.call.ctx, self.call.inside, share.header());
            }
        }
    }

    /// Runs on oneself, in this or another address space: the shares the caller holds stay held until the
    /// new set is.
    fn run_self(&mut self, mut request: Request, from: &RunContext) -> Result<(), Error> {
        let current = self.current.ok_or(Error::NotPermitted)?;
        let (inside, core) = (self.call.inside, self.call.ctx.core());
        let moves = request.tree != current.tree;
        let tree = request.tree.resolve::<Tree>(inside).ok_or(Error::NotFound)?;
        request.status = self.pin(from)?;
        let reserved = if moves { reserve(self.call.ctx, &tree, core) } else { Ok(()) };
        let held = reserved.and_then(|()| {
            self.hold_new(&request, core).inspect_err(|_| {
                if moves {
                    unreserve(&tree);
                }
            })
        });
        if let Err(error) = held {
            if let Some(status) = request.status {
                status.unpin(self.call.ctx, inside);
            }
            return Err(error);
        }
        *self.replaced = Some(request);
        self.call.ctx.local.attention = true;
        Ok(())
    }

    /// Makes this core a holder of the shares of `request` that it does not hold yet; on failure of none.
    fn hold_new(&mut self, request: &Request, core: corey_kernel_hal::CoreId) -> Result<(), Error> {
        let inside = self.call.inside;
        let new: heapless::Vec<Link, RUN_SHARES> =
            request.shares.iter().filter(|link| !self.call.held.holds(link.id())).copied().collect();
        for (done, link) in new.iter().enumerate() {
            if !link.resolve::<Share>(inside).is_some_and(|share| Share::hold(share, core)) {
                for link in new.iter().take(done) {
                    self.unhold(*link, core);
                }
                return Err(Error::NotFound);
            }
        }
        Ok(())
    }
}

impl<P: Platform> PcoreCalls for PcoreApi<'_, '_, P> {
    fn pcore_alloc(&mut self, share: Id, core: u64, name: UserPtr) -> Result<Id, Error> {
        let share = self.call.share_for(share, Kind::Pcore)?;
        let call = &mut self.call;
        let name = call.ctx.read_name(call.inside, name)?;
        let number = u16::try_from(core).map_err(|_| Error::NotFound)?;
        let slot = call.ctx.world.owners.get(usize::from(number)).ok_or(Error::NotFound)?;
        share.charge(call.ctx, 0, 1)?;
        if !slot.take() {
            share.refund(call.ctx, 0, 1);
            return Err(Error::Busy);
        }
        let core = corey_kernel_hal::CoreId(number);
        let pcore = match call.ctx.create(call.inside, Home::Any, &name, 0, Pcore::new(core)) {
            Ok(pcore) => pcore,
            Err(error) => {
                slot.clear();
                share.refund(call.ctx, 0, 1);
                return Err(error);
            }
        };
        slot.set(pcore.link());
        call.name_new(&share, pcore.header(), 0).inspect_err(|_| slot.clear())
    }

    #[inline(always)]
    fn pcore_current(&mut self) -> Result<ObjRef, Error> {
        self.current.map(|c| c.reference).ok_or(Error::NotFound)
    }

    fn pcore_run(&mut self, pcore: ObjRef, context: UserPtr) -> Result<(), Error> {
        let target = self.call.object::<Pcore>(pcore)?;
        let mut bytes = [0; RunContext::BYTES];
        self.call.ctx.copy_in(self.call.inside, context, &mut bytes)?;
        let from = RunContext::from_bytes(&bytes).ok_or(Error::BadArgument)?;
        let mut request = self.request(pcore, target, &from)?;
        if self.current.is_some_and(|c| c.pcore == target.link()) {
            return self.run_self(request, &from);
        }
        if !target.claim() {
            return Err(Error::Busy);
        }
        let core = target.core();
        let inside = self.call.inside;
        let tree = request.tree.resolve::<Tree>(inside).ok_or(Error::NotFound);
        let ready = tree.and_then(|tree| {
            reserve(self.call.ctx, &tree, core)?;
            let held = self.pin(&from).and_then(|status| {
                request.status = status;
                self.hold(&request, core)
            });
            held.inspect_err(|_| {
                if let Some(status) = request.status {
                    status.unpin(self.call.ctx, inside);
                }
                unreserve(&tree);
            })
        });
        if let Err(error) = ready {
            target.unclaim();
            return Err(error);
        }
        let words = request.pcore.words();
        self.requests.put(self.call.ctx, core, &request);
        let message = Message { kind: MessageKind::Run, object: words, words: [0; 2] };
        let ctx = &mut *self.call.ctx;
        if let Some(ticket) = ctx.local.post(core, message) {
            while ctx.local.poll(ticket).is_none() && !ctx.local.halt_pending {
                ctx.relax_long();
            }
        }
        Ok(())
    }

    fn pcore_add_device(&mut self, _: ObjRef, _: ObjRef) -> Result<(), Error> {
        Err(Error::Unsupported)
    }

    fn pcore_set_interval(&mut self, pcore: ObjRef, nanoseconds: u64) -> Result<(), Error> {
        let target = self.call.object::<Pcore>(pcore)?;
        if nanoseconds != 0 && nanoseconds < SHORTEST_SLICE {
            return Err(Error::OutOfRange);
        }
        let ticks = u128::from(nanoseconds) * u128::from(self.tsc_hz) / 1_000_000_000;
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        let local = &mut self.call.ctx.local;
        if self.current.is_some_and(|c| c.pcore == target.link()) {
            local.set_slice(ticks);
            return Ok(());
        }
        if !target.is_active() {
            return Err(Error::NotPermitted);
        }
        // Answered in the target's mailbox service: this wait ends whatever the target does.
        let message =
            Message { kind: MessageKind::Interval, object: target.link().words(), words: [ticks, 0] };
        let Some(ticket) = local.post(target.core(), message) else { return Err(Error::NotFound) };
        loop {
            match local.poll(ticket) {
                Some(0) => return Ok(()),
                Some(_) => return Err(Error::NotPermitted),
                None => local.relax(),
            }
        }
    }

    fn pcore_halt(&mut self, pcore: ObjRef, value: u64) -> Result<(), Error> {
        let target = self.call.object::<Pcore>(pcore)?;
        let value = u32::try_from(value).map_err(|_| Error::BadArgument)?;
        if self.current.is_some_and(|c| c.pcore == target.link()) {
            *self.ending = Some(Ending { reason: reason::HALTED, value, address: 0 });
            self.call.ctx.local.attention = true;
            return Ok(());
        }
        if !target.is_active() {
            return Err(Error::NotPermitted);
        }
        let words = target.link().words();
        let message = Message { kind: MessageKind::Halt, object: words, words: [u64::from(value), 0] };
        let ctx = &mut *self.call.ctx;
        let Some(ticket) = ctx.local.post(target.core(), message) else { return Err(Error::NotFound) };
        loop {
            match ctx.local.poll(ticket) {
                Some(0) => return Ok(()),
                Some(_) => return Err(Error::NotPermitted),
                // Halted oneself: the wait is over, whatever comes of it.
                None if ctx.local.halt_pending => return Ok(()),
                None => ctx.relax_long(),
            }
        }
    }
}
