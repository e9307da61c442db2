//! The calls on shares and on any object.

use crate::authority::Authority;
use crate::share::Share;
use corey_abi::{Error, Home, Id, Kind, Kinds, ObjRef, ObjectCalls, ShareCalls, UserPtr};
use corey_kernel_hal::Platform;
use corey_kernel_object::{Ctx, Entered, Header};

/// One call's surroundings: the core, whose name it runs in, and the kernel entry it belongs to.
#[derive(Debug)]
pub struct Call<'a, P: Platform> {
    /// This core.
    pub ctx: &'a mut Ctx<P>,
    /// The caller's shares.
    pub held: &'a mut Authority,
    /// The kernel entry.
    pub inside: &'a Entered<'static>,
    /// Shares dropped by this call, to be released between two entries.
    pub dropped: &'a mut Authority,
}

impl<'a, P: Platform> Call<'a, P> {
    /// The object that `reference` names, as [`Authority::object`].
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::WrongKind`].
    #[inline(always)]
    pub fn object<T: 'static>(&self, reference: ObjRef) -> Result<corey_kernel_object::Handle<'a, T>, Error> {
        self.held.object(&self.ctx.local.platform, self.inside, reference)
    }

    /// The share `id` and whether it may name `kind`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotPermitted`].
    #[inline(always)]
    pub fn share_for(&self, id: Id, kind: Kind) -> Result<corey_kernel_object::Handle<'a, Share>, Error> {
        let share = self.held.share(self.inside, id)?;
        if share.kinds().contains(kind.into()) { Ok(share) } else { Err(Error::NotPermitted) }
    }

    /// Names a new object in `share`, which was charged for it; when that fails, refunds and retires it.
    ///
    /// # Errors
    ///
    /// As [`Share::insert_new`].
    #[inline(always)]
    pub fn name_new(&mut self, share: &Share, header: &Header, pages: u64) -> Result<Id, Error> {
        let link = header.link();
        match share.insert_new(self.ctx, link, pages) {
            Ok(()) => Ok(link.id()),
            Err(error) => Err(self.not_named(share, header, pages, error)),
        }
    }

    #[cold]
    #[inline(never)]
    fn not_named(&mut self, share: &Share, header: &Header, pages: u64, error: Error) -> Error {
        share.refund(self.ctx, pages, 1);
        let core = corey_kernel_percore::CoreSet::only(self.ctx.core());
        self.ctx.retire(header, core);
        error
    }
}

/// `obj_…`, `share_…` and `self_drop`.
#[derive(Debug)]
pub struct ShareApi<'a, P: Platform>(pub Call<'a, P>);

impl<P: Platform> ObjectCalls for ShareApi<'_, P> {
    fn obj_get_name(&mut self, object: ObjRef, name: UserPtr) -> Result<(), Error> {
        let call = &mut self.0;
        let header = call.held.header(&call.ctx.local.platform, call.inside, object)?;
        let text = header.name();
        call.ctx.copy_out(call.inside, &text.0, name)
    }
}

impl<P: Platform> ShareCalls for ShareApi<'_, P> {
    fn share_alloc(
        &mut self,
        parent: Id,
        kinds: Kinds,
        pages: u64,
        objects: u64,
        core: Home,
        name: UserPtr,
    ) -> Result<Id, Error> {
        let call = &mut self.0;
        let parent = call.share_for(parent, Kind::Share)?;
        if !parent.kinds().contains(kinds) {
            return Err(Error::NotPermitted);
        }
        if call.held.is_full() {
            return Err(Error::Full);
        }
        call.held.check_home(call.ctx, call.inside, core)?;
        let name = call.ctx.read_name(call.inside, name)?;
        parent.carve(call.ctx, pages, objects)?;
        if let Err(error) = parent.charge(call.ctx, 0, 1) {
            parent.uncarve(call.ctx, pages, objects);
            return Err(error);
        }
        let home = call.ctx.home(core)?;
        let value = Share::new(home, kinds, parent.link(), (pages, objects));
        let share = match call.ctx.create(call.inside, core, &name, 0, value) {
            Ok(share) => share,
            Err(error) => {
                parent.refund(call.ctx, 0, 1);
                parent.uncarve(call.ctx, pages, objects);
                return Err(error);
            }
        };
        let id = call.name_new(&parent, share.header(), 0).inspect_err(|_| {
            parent.uncarve(call.ctx, pages, objects);
        })?;
        // The caller holds it; room was checked, and nobody else can have dropped it from the parent and
        // ended it unless they share the parent: then it is gone again.
        if !Share::hold(share, call.ctx.core()) || !call.held.add(share.link()) {
            return Err(Error::NotFound);
        }
        // What this core holds is published at the exit.
        call.ctx.local.attention = true;
        Ok(id)
    }

    fn share_addobj(&mut self, share: Id, object: ObjRef) -> Result<(), Error> {
        let call = &mut self.0;
        let header = call.held.header(&call.ctx.local.platform, call.inside, object)?;
        if header.kind() == Kind::Share {
            return Err(Error::NotPermitted);
        }
        let share = call.share_for(share, header.kind())?;
        if !header.acquire() {
            return Err(Error::NotFound);
        }
        let named = share.charge_for(call.ctx, header).and_then(|pages| {
            share.insert(call.ctx, header.link(), pages).inspect_err(|_| share.refund(call.ctx, pages, 1))
        });
        if named.is_err() {
            header.seen().insert(call.ctx.core());
            if header.release() {
                (call.ctx.hooks.last)(call.ctx, call.inside, header);
            }
        }
        named
    }

    fn share_delobj(&mut self, object: ObjRef) -> Result<(), Error> {
        let call = &mut self.0;
        let share = call.held.share(call.inside, object.share)?;
        if object.share == object.object {
            return Err(Error::NotFound);
        }
        let header = share.remove(call.ctx, call.inside, object.object).ok_or(Error::NotFound)?;
        if header.release() {
            (call.ctx.hooks.last)(call.ctx, call.inside, header);
        }
        Ok(())
    }

    fn self_drop(&mut self, share: Id) -> Result<(), Error> {
        let call = &mut self.0;
        let link = call.held.remove(share).ok_or(Error::NotFound)?;
        // Dropped at the exit of this very call: the list is empty when it begins.
        call.ctx.local.attention = true;
        if call.dropped.add(link) { Ok(()) } else { Err(Error::Full) }
    }
}
