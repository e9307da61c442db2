//! [`Authority`]: the shares in whose name a call runs.

use crate::share::Share;
use core::cell::Cell;
use corey_abi::{Error, Home, Id, ObjRef, RUN_SHARES};
use corey_kernel_hal::{CoreId, Platform};
use corey_kernel_object::{Ctx, Entered, Handle, Header, Link};

/// The share set of a running pcore (or, later, of a ring).
#[derive(Clone, Debug, Default)]
pub struct Authority {
    held: heapless::Vec<Link, RUN_SHARES>,
    /// The shares that were looked for last, of those that are held: tried first. Calls that name two objects go to and
    /// fro between their shares, now and then to another pair.
    last: [Cell<Link>; 4],
}

impl Authority {
    /// The share `id`, if it is held.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    #[inline(always)]
    pub fn share<'k>(&self, inside: &'k Entered<'_>, id: Id) -> Result<Handle<'k, Share>, Error> {
        let [first, second, third, fourth] = &self.last;
        let link = match (first.get(), second.get(), third.get(), fourth.get()) {
            (link, ..) | (_, link, ..) | (.., link, _) | (.., link) if link.id() == id => link,
            _ => self.search(id).ok_or(Error::NotFound)?,
        };
        link.resolve(inside).ok_or(Error::NotFound)
    }

    #[cold]
    #[inline(never)]
    fn search(&self, id: Id) -> Option<Link> {
        let [first, second, third, fourth] = &self.last;
        let found = self.held.iter().copied().find(|link| link.id() == id)?;
        fourth.set(third.replace(second.replace(first.replace(found))));
        Some(found)
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

    /// The core whose memory `home` means, if it may be used: one's own, a free core's, or that of a core whose pcore
    /// one's shares name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a core that does not exist, [`Error::NotPermitted`].
    #[inline(always)]
    pub fn check_home<P: Platform>(
        &self,
        ctx: &Ctx<P>,
        inside: &Entered<'_>,
        home: Home,
    ) -> Result<CoreId, Error> {
        let core = ctx.home(home)?;
        if core == ctx.core() { Ok(core) } else { self.check_other_home(ctx, inside, core) }
    }

    #[cold]
    #[inline(never)]
    fn check_other_home<P: Platform>(
        &self,
        ctx: &Ctx<P>,
        inside: &Entered<'_>,
        core: CoreId,
    ) -> Result<CoreId, Error> {
        let owner = ctx.world.owners.get(core.index()).ok_or(Error::NotFound)?.owner.load();
        if owner.header(inside).is_none() {
            return Ok(core);
        }
        let named = self.held.iter().any(|link| {
            link.resolve::<Share>(inside)
                .is_some_and(|share| share.find(&ctx.local.platform, inside, owner.id()).is_some())
        });
        if named { Ok(core) } else { Err(Error::NotPermitted) }
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

    /// Exchanges two authorities: the shares that they have, not all the room for them, as `core::mem::swap` would.
    pub fn exchange(&mut self, other: &mut Self) {
        core::mem::swap(&mut self.last, &mut other.last);
        let both = self.held.len().min(other.held.len());
        self.held.iter_mut().zip(&mut other.held).for_each(|(one, another)| core::mem::swap(one, another));
        let (longer, shorter) = match self.held.len() > both {
            true => (&mut self.held, &mut other.held),
            false => (&mut other.held, &mut self.held),
        };
        // Both have the same room.
        longer.iter().skip(both).for_each(|link| _ = shorter.push(*link));
        longer.truncate(both);
    }

    /// Adds a share that this core was made a holder of. False when there is no room.
    #[must_use]
    pub fn add(&mut self, share: Link) -> bool {
        self.held.push(share).is_ok()
    }

    /// Takes a share out.
    pub fn remove(&mut self, id: Id) -> Option<Link> {
        let at = self.held.iter().position(|link| link.id() == id)?;
        let link = self.held.swap_remove(at);
        self.forget(link);
        Some(link)
    }

    /// Takes any share out; `None` when none is left.
    pub fn pop(&mut self) -> Option<Link> {
        let link = self.held.pop()?;
        self.forget(link);
        Some(link)
    }

    /// Does not try `gone` first any more.
    fn forget(&self, gone: Link) {
        for last in self.last.iter().filter(|last| last.get() == gone) {
            last.set(Link::NULL);
        }
    }
}
