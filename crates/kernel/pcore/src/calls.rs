//! The calls on pcores.

use crate::current::{Current, Ending};
use crate::pcore::Pcore;
use crate::request::{self, Request, Run, Shares, StatusPlace};
use corey_abi::{
    CORE_BY_NUMBER, Error, Home, Id, Kind, ObjRef, PAGE_BYTES, PcoreCalls, Plain, RUN_SHARES, RunHead,
    RunStatus, SHORTEST_SLICE, UserPtr, reason, run_mode,
};
use corey_kernel_atree::{Tree, TreeKind, reserve, unreserve};
use corey_kernel_hal::{CoreId, Platform, USER_END, UserContext};
use corey_kernel_object::{Ctx, Handle, Link};
use corey_kernel_percore::{CoreSet, Message, MessageKind};
use corey_kernel_segment::Segment;
use corey_kernel_share::{Call, Share};
use corey_lib_sync::atomic::{AtomicU64, Ordering};

/// `pcore_…`.
#[derive(Debug)]
pub struct PcoreApi<'c, 'a, P: Platform> {
    /// The call.
    pub call: Call<'a, P>,
    /// What runs here.
    pub current: &'c Option<Current>,
    /// Set when the caller ends.
    pub ending: &'c mut Option<Ending>,
    /// Set when the caller's context is replaced.
    pub replaced: &'c mut Option<Request>,
    /// Ticks of the time-stamp counter per second.
    pub tsc_hz: u64,
    /// The share that is the key to the machine.
    pub key: &'static AtomicU64,
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

    /// The pcore that `reference` names; through the key to the machine also that of a core, by its number.
    fn pcore_or_core(&self, reference: ObjRef) -> Result<Handle<'a, Pcore>, Error> {
        let named = self.call.object::<Pcore>(reference);
        let by_number = reference.object.0 & CORE_BY_NUMBER != 0;
        if named.is_ok() || !by_number || reference.share.0 != self.key.load(Ordering::Acquire) {
            return named;
        }
        let number = usize::try_from(reference.object.0 & !CORE_BY_NUMBER).unwrap_or(usize::MAX);
        let owner = self.call.ctx.world.owners.get(number).map(|slot| slot.owner.load());
        // The key itself must be held, whatever it names.
        self.call.held.share(self.call.inside, reference.share)?;
        owner.and_then(|owner| owner.resolve(self.call.inside)).ok_or(Error::NotFound)
    }

    /// Reads a run's context: its head, and the shares it names.
    fn read_context(&mut self, context: UserPtr) -> Result<(RunHead, Shares), Error> {
        let (ctx, inside) = (&mut *self.call.ctx, self.call.inside);
        let mut bytes = [0; RunHead::BYTES];
        ctx.copy_in(inside, context, &mut bytes)?;
        let head = RunHead::from_bytes(&bytes).ok_or(Error::BadArgument)?;
        let mut ids = [[0; 8]; RUN_SHARES];
        let count = usize::try_from(head.nshares).unwrap_or(usize::MAX);
        let ids = ids.get_mut(..count).ok_or(Error::BadArgument)?;
        let at = context.0.checked_add(RunHead::BYTES as u64).ok_or(Error::BadAddress)?;
        ctx.copy_in(inside, UserPtr(at), ids.as_flattened_mut())?;
        let mut shares = Shares::new();
        for id in ids {
            let link = self.reachable(Id(u64::from_le_bytes(*id)))?.link();
            if shares.contains(&link) || shares.push(link).is_err() {
                return Err(Error::BadArgument);
            }
        }
        Ok((head, shares))
    }

    /// Checks a run against the caller's authority.
    fn check(
        &self,
        pcore: ObjRef,
        target: Handle<'a, Pcore>,
        from: &RunHead,
        shares: &Shares,
    ) -> Result<(Run, Option<Handle<'a, Tree>>), Error> {
        let named = |id: Id| shares.iter().find(|share| share.id() == id);
        let tree = match from.mode {
            run_mode::USER => Some(self.root(from, named(from.tree.share))?),
            run_mode::KERNEL_CORE if from.tree == ObjRef::default() => None,
            _ => return Err(Error::BadArgument),
        };
        // The target names its pcore through a share it holds, or not at all.
        let share = if named(pcore.share).is_some() { pcore.share } else { Id::NULL };
        let run = Run {
            pcore: target.link(),
            reference: ObjRef { share, object: pcore.object },
            tree: tree.map_or(Link::NULL, |tree| tree.link()),
            tree_share: from.tree.share,
            context: UserContext { entry: from.entry, stack: from.stack, args: from.args },
            status: None,
        };
        Ok((run, tree))
    }

    /// The root that a program is to run in, named through `share` of the run's.
    #[inline(always)]
    fn root(&self, from: &RunHead, share: Option<&Link>) -> Result<Handle<'a, Tree>, Error> {
        if from.entry >= USER_END || from.stack > USER_END {
            return Err(Error::OutOfRange);
        }
        let tree = share
            .ok_or(Error::NotPermitted)?
            .resolve::<Share>(self.call.inside)
            .and_then(|share| share.find(&self.call.ctx.local.platform, self.call.inside, from.tree.object))
            .ok_or(Error::NotFound)?
            .handle::<Tree>()
            .ok_or(Error::WrongKind)?;
        if tree.kind() == TreeKind::Root { Ok(tree) } else { Err(Error::WrongKind) }
    }

    /// Pins the page of a status place and writes "running" there.
    fn pin(&mut self, from: &RunHead) -> Result<Option<StatusPlace>, Error> {
        if from.status == ObjRef::default() {
            return Ok(None);
        }
        if !from.status_offset.is_multiple_of(16) {
            return Err(Error::Misaligned);
        }
        let segment = self.call.object::<Segment>(from.status)?;
        let place = StatusPlace { segment: segment.link(), offset: from.status_offset };
        let (ctx, inside) = (&mut *self.call.ctx, self.call.inside);
        let frame = Segment::pin(segment, ctx, inside, from.status_offset / PAGE_BYTES)?;
        place.write(&ctx.local.platform, frame, RunStatus::default());
        Ok(Some(place))
    }

    /// Makes `core` a holder of all `shares`; on failure of none.
    fn hold(&mut self, shares: &[Link], core: CoreId) -> Result<(), Error> {
        let inside = self.call.inside;
        for (done, link) in shares.iter().enumerate() {
            if !link.resolve::<Share>(inside).is_some_and(|share| Share::hold(share, core)) {
                for link in shares.iter().take(done) {
                    self.unhold(*link, core);
                }
                return Err(Error::NotFound);
            }
        }
        Ok(())
    }

    fn unhold(&mut self, link: Link, core: CoreId) {
        if let Some(share) = link.resolve::<Share>(self.call.inside) {
            Share::unhold(share, self.call.ctx, self.call.inside, core);
        }
    }

    /// Makes ready what a run of `tree` on `core` stands on: the root (if it `moves` there), the status page, and
    /// the `shares`. On failure nothing stays.
    fn prepare(
        &mut self,
        run: &mut Run,
        from: &RunHead,
        tree: Option<Handle<'a, Tree>>,
        shares: &[Link],
        core: CoreId,
    ) -> Result<(), Error> {
        if let Some(tree) = tree {
            reserve(self.call.ctx, &tree, core)?;
        }
        let ready = self.pin(from).and_then(|status| {
            run.status = status;
            self.hold(shares, core)
        });
        if ready.is_err() {
            if let Some(status) = run.status.take() {
                status.unpin(self.call.ctx, self.call.inside);
            }
            if let Some(tree) = tree {
                unreserve(&tree);
            }
        }
        ready
    }

    /// `error`, or that `core` is gone.
    #[cold]
    fn lost_or(&self, core: CoreId, error: Error) -> Error {
        if self.call.ctx.local.has_lost(core) { Error::CoreLost } else { error }
    }

    /// After a run on `core`, which is gone: takes back what the run stands on, unless whoever found that out does it.
    #[cold]
    #[inline(never)]
    fn run_lost(
        &mut self,
        run: &Run,
        tree: Option<Handle<'a, Tree>>,
        shares: &Shares,
        core: CoreId,
    ) -> Result<(), Error> {
        let mailbox = self.call.ctx.local.cores.get(core.index()).map(|per_core| &per_core.mailbox);
        if !mailbox.is_some_and(|mailbox| mailbox.unring()) {
            return Ok(());
        }
        if let Some(status) = run.status {
            status.unpin(self.call.ctx, self.call.inside);
        }
        if let Some(tree) = tree {
            unreserve(&tree);
        }
        for link in shares {
            if let Some(share) = link.resolve::<Share>(self.call.inside) {
                Share::unhold_lost(share, self.call.ctx, self.call.inside, core);
            }
        }
        Err(Error::CoreLost)
    }

    /// Runs on oneself, in this or another address space: the shares the caller holds stay held until the
    /// new set is.
    #[cold]
    #[inline(never)]
    fn run_self(
        &mut self,
        mut run: Run,
        tree: Option<Handle<'a, Tree>>,
        from: &RunHead,
        shares: Shares,
    ) -> Result<(), Error> {
        let current = self.current.filter(|current| !current.is_kernel_core()).ok_or(Error::NotPermitted)?;
        let moved = tree.filter(|_| run.tree != current.tree);
        let held = &self.call.held;
        let new: Shares = shares.iter().filter(|link| !held.holds(link.id())).copied().collect();
        self.prepare(&mut run, from, moved, &new, self.call.ctx.core())?;
        *self.replaced = Some(Request { run, shares });
        self.call.ctx.local.attention = true;
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
        if call.ctx.local.has_lost(CoreId(number)) {
            return Err(Error::CoreLost);
        }
        share.charge(call.ctx, 0, 1)?;
        if !slot.take() {
            share.refund(call.ctx, 0, 1);
            return Err(Error::Busy);
        }
        Pcore::renew(CoreId(number), &call.ctx.local);
        let place = (call.ctx.core(), call.ctx.source(Home::Any));
        // Made where it lies: most of its list stays as it is, and lines of it where they are.
        let pcore = match call.ctx.create_with(call.inside, place, &name, 0, || Pcore::new(CoreId(number))) {
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
        let (from, shares) = self.read_context(context)?;
        let (mut run, tree) = self.check(pcore, target, &from, &shares)?;
        if self.current.is_some_and(|c| c.pcore == target.link()) {
            return self.run_self(run, tree, &from, shares);
        }
        let core = target.core();
        let per_core = self.call.ctx.local.cores.get(core.index()).ok_or(Error::NotFound)?;
        let place = per_core.mailbox.run_place();
        if !place.claim() {
            return Err(self.lost_or(core, Error::Busy));
        }
        // From here on the pcore cannot end; if it did before, the place is its successor's.
        let owner = self.call.ctx.world.owners.get(core.index()).map(|slot| slot.owner.load());
        let ready = if owner == Some(run.pcore) {
            self.prepare(&mut run, &from, tree, &shares, core)
        } else {
            Err(Error::NotFound)
        };
        if let Err(error) = ready {
            place.unclaim();
            return Err(error);
        }
        request::put(place, &run, &shares);
        self.call.ctx.local.ring(core, per_core);
        if per_core.fate.is_gone() {
            return self.run_lost(&run, tree, &shares, core);
        }
        Ok(())
    }

    fn pcore_add_device(&mut self, pcore: ObjRef, device: ObjRef) -> Result<(), Error> {
        let (target, call) = (self.call.object::<Pcore>(pcore)?, &mut self.call);
        let device = call.held.header(&call.ctx.local.platform, call.inside, device)?;
        if device.kind() != Kind::Device {
            return Err(Error::WrongKind);
        }
        target.add_device(&mut call.ctx.local, call.inside, device.link())?;
        if target.is_active(&call.ctx.local) {
            let message =
                Message { kind: MessageKind::Recheck, object: target.link().words(), words: [0; 2] };
            call.ctx.local.broadcast(CoreSet::only(target.core()), message);
        }
        Ok(())
    }

    fn pcore_set_interval(&mut self, pcore: ObjRef, nanoseconds: u64) -> Result<(), Error> {
        let target = self.call.object::<Pcore>(pcore)?;
        if nanoseconds != 0 && nanoseconds < SHORTEST_SLICE {
            return Err(Error::OutOfRange);
        }
        let ticks = u128::from(nanoseconds) * u128::from(self.tsc_hz) / 1_000_000_000;
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        let local = &mut self.call.ctx.local;
        if let Some(current) = self.current.filter(|c| c.pcore == target.link()) {
            if current.is_kernel_core() {
                return Err(Error::NotPermitted);
            }
            local.set_slice(ticks);
            return Ok(());
        }
        if !target.is_active(local) {
            return Err(self.lost_or(target.core(), Error::NotPermitted));
        }
        // Answered in the target's mailbox service: this wait ends whatever the target does.
        let message =
            Message { kind: MessageKind::Interval, object: target.link().words(), words: [ticks, 0] };
        match local.post(target.core(), message).and_then(|ticket| local.answer(ticket)) {
            Some(0) => Ok(()),
            Some(_) => Err(Error::NotPermitted),
            None => Err(Error::CoreLost),
        }
    }

    fn pcore_halt(&mut self, pcore: ObjRef, value: u64) -> Result<(), Error> {
        let target = self.pcore_or_core(pcore)?;
        let value = u32::try_from(value).map_err(|_| Error::BadArgument)?;
        if self.current.is_some_and(|c| c.pcore == target.link()) {
            if self.current.is_some_and(|current| current.is_kernel_core()) {
                // By a ring: those who have that are not the kernel core's masters.
                return Err(Error::NotPermitted);
            }
            *self.ending = Some(Ending { reason: reason::HALTED, value, address: 0 });
            self.call.ctx.local.attention = true;
            return Ok(());
        }
        if !target.is_active(&self.call.ctx.local) {
            return Err(self.lost_or(target.core(), Error::NotPermitted));
        }
        let words = target.link().words();
        let message = Message { kind: MessageKind::Halt, object: words, words: [u64::from(value), 0] };
        halt(self.call.ctx, target.core(), message)
    }
}

/// Has another core's kernel exit halt what runs there; returns when it has, or when this core is halted itself.
///
/// # Errors
///
/// [`Error::NotPermitted`] when that does not run there any more; [`Error::CoreLost`].
pub fn halt<P: Platform>(ctx: &mut Ctx<P>, core: CoreId, message: Message) -> Result<(), Error> {
    let Some(ticket) = ctx.local.post(core, message) else { return Err(Error::CoreLost) };
    loop {
        match ctx.local.poll(ticket) {
            Some(0) => return Ok(()),
            Some(_) => return Err(Error::NotPermitted),
            // Halted oneself: the wait is over, whatever comes of it.
            None if ctx.local.halt_pending => return Ok(()),
            None if ctx.local.has_lost(core) => return Err(Error::CoreLost),
            None => ctx.relax_long(),
        }
    }
}
