//! [`Authority`]: the shares in whose name a call runs.

use crate::share::Share;
use core::cell::Cell;
use corey_abi::{Error, Home, Id, ObjRef, RUN_SHARES};
use corey_kernel_hal::Platform;
use corey_kernel_object::{Ctx, Entered, Handle, Header, Link};

/// The share set of a running pcore (or, later, of a ring).
#[derive(Clone, Debug, Default)]
pub struct Authority {
    held: heapless::Vec<Link, RUN_SHARES>,
    /// Position of the share that was named last: tried first.
    last: Cell<u8>,
}

impl Authority {
    /// The share `id`, if it is held.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    #[inline(always)]
    pub fn share<'k>(&self, inside: &'k Entered<'_>, id: Id) -> Result<Handle<'k, Share>, Error> {
        if let Some(link) = self.held.get(usize::from(self.last.get()))
            && link.id() == id
        {
            return link.resolve(inside).ok_or(Error::NotFound);
        }
        let at = self.held.iter().position(|link| link.id() == id).ok_or(Error::NotFound)?;
        // There are at most RUN_SHARES.
        self.last.set(at as u8);
        self.held.get(at).and_then(|link| link.resolve(inside)).ok_or(Error::NotFound)
    }

    /// The header of what `reference` names.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    #[inline(always)]
    pub fn header<'k, P: Platform>(
        &self,
        platform: &P,
        inside: &'k Entered<'_>,
        reference: ObjRef,
    ) -> Result<&'k Header, Error> {
        let share = self.share(inside, reference.share)?;
        if reference.object == reference.share {
            return Ok(share.header());
        }
        share.find(platform, inside, reference.object).ok_or(Error::NotFound)
    }

    /// The object that `reference` names.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::WrongKind`] when it is no `T`.
    #[inline(always)]
    pub fn object<'k, P: Platform, T: 'static>(
        &self,
        platform: &P,
        inside: &'k Entered<'_>,
        reference: ObjRef,
    ) -> Result<Handle<'k, T>, Error> {
        let header = self.header(platform, inside, reference)?;
        header.handle().ok_or(Error::WrongKind)
    }

    /// Whether memory of `home` may be used: one's own, a free core's, or that of a core whose pcore one's
    /// shares name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a core that does not exist, [`Error::NotPermitted`].
    pub fn check_home<P: Platform>(
        &self,
        ctx: &Ctx<P>,
        inside: &Entered<'_>,
        home: Home,
    ) -> Result<(), Error> {
        let core = ctx.home(home)?;
        if core == ctx.core() {
            return Ok(());
        }
        let owner = ctx.world.owners.get(core.index()).ok_or(Error::NotFound)?.owner.load();
        if owner.header(inside).is_none() {
            return Ok(());
        }
        let named = self.held.iter().any(|link| {
            link.resolve::<Share>(inside)
                .is_some_and(|share| share.find(&ctx.local.platform, inside, owner.id()).is_some())
        });
        if named { Ok(()) } else { Err(Error::NotPermitted) }
    }

    /// The shares held.
    pub fn iter(&self) -> impl Iterator<Item = Link> + '_ {
        self.held.iter().copied()
    }

    /// Whether there is room for one more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.held.is_full()
    }

    /// Whether no share is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether `id` is held.
    #[must_use]
    pub fn holds(&self, id: Id) -> bool {
        self.held.iter().any(|link| link.id() == id)
    }

    /// Adds a share that this core was made a holder of. False when there is no room.
    #[must_use]
    pub fn add(&mut self, share: Link) -> bool {
        self.held.push(share).is_ok()
    }

    /// Takes a share out.
    pub fn remove(&mut self, id: Id) -> Option<Link> {
        let at = self.held.iter().position(|link| link.id() == id)?;
        Some(self.held.swap_remove(at))
    }

    /// Takes any share out; `None` when none is left.
    pub fn pop(&mut self) -> Option<Link> {
        self.held.pop()
    }
}
