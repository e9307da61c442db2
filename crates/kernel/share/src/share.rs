//! The share object.

use crate::table::{self, Place};
use corey_abi::{Error, Id, Kind, Kinds};
use corey_kernel_hal::{CoreId, Field, Frame, Platform, fields};
use corey_kernel_mem::{FrameCell, Source};
use corey_kernel_object::{Ctx, Entered, Handle, Header, Link, LinkCell, Node, Object};
use corey_kernel_percore::{CoreSet, Line, SharedCoreSet};
use corey_lib_sync::atomic::Ordering;
use corey_lib_sync::{Quarantine, Shared};

/// What a share may still use. Its lock is the share's lock.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Pages.
    pub pages: u64,
    /// Objects.
    pub objects: u64,
    /// What was carved from the parent, and goes back.
    pub carved: (u64, u64),
    /// Shares whose quota was carved from here.
    pub children: u64,
    /// No core holds it and no share names it; it waits for its children.
    pub dead: bool,
    /// A core was lost that was changing it: nobody knows what is left of it, and nothing is named in it any more.
    pub quarantined: bool,
}

impl Quarantine for Quota {
    fn quarantine(&mut self) {
        self.quarantined = true;
        (self.pages, self.objects) = (0, 0);
    }
}

impl Quota {
    /// What is left after `pages` and `objects`.
    #[inline(always)]
    fn less(&self, pages: u64, objects: u64) -> Result<(u64, u64), Error> {
        match (self.pages.checked_sub(pages), self.objects.checked_sub(objects)) {
            (Some(pages), Some(objects)) => Ok((pages, objects)),
            _ if self.quarantined => Err(Error::CoreLost),
            _ => Err(Error::QuotaExceeded),
        }
    }
}

/// Names objects for the cores that hold it. The first line is what look-ups read.
#[derive(Debug)]
#[repr(C)]
pub struct Share {
    table: FrameCell<Node>,
    kinds: Kinds,
    parent: LinkCell,
    /// Written when a core comes or goes.
    holders: Line<SharedCoreSet>,
    /// Lock order 1 (`share`): the quota, and every change of the table.
    quota: Shared<Quota>,
}

impl<P: Platform> Object<P> for Share {
    const KIND: Kind = Kind::Share;
    const FIELDS: &'static [Field] = fields!(Self: kinds, holders, parent, table, quota);

    fn reclaim(&mut self, ctx: &mut Ctx<P>) {
        table::free(ctx, &mut self.table);
    }
}

impl Share {
    /// A share that may hold `kinds`, with a quota of (pages, objects).
    #[must_use]
    pub fn new(home: CoreId, kinds: Kinds, parent: Link, quota: (u64, u64)) -> Self {
        let cell = LinkCell::default();
        cell.store(parent);
        Self {
            kinds,
            holders: Line::default(),
            parent: cell,
            table: FrameCell::default(),
            quota: Shared::new(
                home.0,
                "share",
                Quota {
                    pages: quota.0,
                    objects: quota.1,
                    carved: quota,
                    children: 0,
                    dead: false,
                    quarantined: false,
                },
            ),
        }
    }

    /// The kinds it may name.
    #[must_use]
    pub fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// The cores that hold it.
    #[must_use]
    pub fn holders(&self) -> CoreSet {
        self.holders.load()
    }

    /// The object named `id`. No lock; writes nothing.
    #[inline(always)]
    pub fn find<'k, P: Platform>(&self, platform: &P, inside: &'k Entered<'_>, id: Id) -> Option<&'k Header> {
        table::find(platform, &self.table, id)?.link.load().header(inside)
    }

    /// Calls `each` with everything it names; stops when that says false.
    pub fn for_each<P: Platform>(&self, platform: &P, each: &mut dyn FnMut(Link) -> bool) {
        table::for_each(platform, &self.table, &mut |_, link| each(link));
    }

    /// Calls `each` with the frames of its table, for the line meter's names.
    pub fn each_frame<P: Platform>(&self, platform: &P, each: &mut dyn FnMut(Frame)) {
        table::each_frame(platform, &self.table, each);
    }

    /// Frames of its table, for audits.
    #[must_use]
    pub fn frames<P: Platform>(&self, platform: &P) -> u64 {
        table::nodes(platform, &self.table)
    }

    /// For audits: what of its quota is neither left, nor charged for what it names, nor carved for `children`:
    /// (pages, objects), both 0 when its books are right.
    pub fn missing<P: Platform>(&self, ctx: &mut Ctx<P>, children: (u64, u64)) -> (i128, i128) {
        let (mut pages, mut objects) = children;
        table::for_each(&ctx.local.platform, &self.table, &mut |entry, _| {
            pages += entry.pages.load(Ordering::Relaxed);
            objects += 1;
            true
        });
        let quota = self.quota.lock(&mut ctx.local);
        let missing = |all: u64, left: u64, used: u64| i128::from(all) - i128::from(left) - i128::from(used);
        (missing(quota.carved.0, quota.pages, pages), missing(quota.carved.1, quota.objects, objects))
    }

    /// For audits: the share its quota was carved from, and how much.
    pub fn carved<P: Platform>(&self, ctx: &mut Ctx<P>) -> (Link, (u64, u64)) {
        (self.parent.load(), self.quota.lock(&mut ctx.local).carved)
    }

    /// Takes `pages` and `objects` from the quota.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`].
    #[inline(always)]
    pub fn charge<P: Platform>(&self, ctx: &mut Ctx<P>, pages: u64, objects: u64) -> Result<(), Error> {
        let mut quota = self.quota.lock(&mut ctx.local);
        (quota.pages, quota.objects) = quota.less(pages, objects)?;
        Ok(())
    }

    /// Gives back what [`Share::charge`] took.
    pub fn refund<P: Platform>(&self, ctx: &mut Ctx<P>, pages: u64, objects: u64) {
        let mut quota = self.quota.lock(&mut ctx.local);
        quota.pages += pages;
        quota.objects += objects;
    }

    /// What is left: (pages, objects).
    pub fn left<P: Platform>(&self, ctx: &mut Ctx<P>) -> (u64, u64) {
        let quota = self.quota.lock(&mut ctx.local);
        (quota.pages, quota.objects)
    }

    /// Names the object of `link`, whose pages and one object were charged.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], [`Error::NoMemory`]; [`Error::NotFound`] when the share just died.
    pub fn insert<P: Platform>(&self, ctx: &mut Ctx<P>, link: Link, pages: u64) -> Result<(), Error> {
        self.insert_where::<P, false>(ctx, link, pages)
    }

    /// As [`Share::insert`], for an object that no share can name yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; [`Error::NotFound`] when the share just died.
    #[inline(always)]
    pub fn insert_new<P: Platform>(&self, ctx: &mut Ctx<P>, link: Link, pages: u64) -> Result<(), Error> {
        self.insert_where::<P, true>(ctx, link, pages)
    }

    #[inline(always)]
    fn insert_where<P: Platform, const NEW: bool>(
        &self,
        ctx: &mut Ctx<P>,
        link: Link,
        pages: u64,
    ) -> Result<(), Error> {
        let platform = ctx.local.platform.clone();
        loop {
            let missing = {
                let quota = self.quota.lock(&mut ctx.local);
                if quota.dead {
                    return Err(Error::NotFound);
                }
                match table::place::<P, NEW>(&platform, &self.table, link.id()) {
                    Place::Taken => return Err(Error::Exists),
                    Place::Entry(entry) => {
                        entry.pages.store(pages, Ordering::Relaxed);
                        entry.link.store(link);
                        return Ok(());
                    }
                    Place::Node(cell) => cell,
                }
            };
            self.grow(ctx, missing)?;
        }
    }

    /// Adds a node to the table. No lock is held while taking memory: that may wait.
    #[cold]
    #[inline(never)]
    fn grow<P: Platform>(&self, ctx: &mut Ctx<P>, missing: &FrameCell<Node>) -> Result<(), Error> {
        let frame = ctx.alloc_zeroed(Source::Core(CoreId(self.quota.home())))?;
        table::grow(ctx, missing, frame);
        Ok(())
    }

    /// Removes the entry that names `id`, refunds it, and notes who could have looked the object up. The
    /// object keeps the reference, which the caller releases.
    #[inline(always)]
    pub fn remove<'k, P: Platform>(
        &self,
        ctx: &mut Ctx<P>,
        inside: &'k Entered<'_>,
        id: Id,
    ) -> Option<&'k Header> {
        let platform = ctx.local.platform.clone();
        let mut quota = self.quota.lock(&mut ctx.local);
        let entry = table::find(&platform, &self.table, id)?;
        let header = entry.link.load().header(inside)?;
        entry.link.store(Link::NULL);
        // The swap is the fence between unlinking and reading who holds the share: a core that this misses becomes a
        // holder (a fence, too) later, and finds the entry empty.
        quota.pages += entry.pages.swap(0, Ordering::SeqCst);
        quota.objects += 1;
        header.seen().union(self.holders.load());
        Some(header)
    }

    /// Changes what `header`'s object costs the shares naming it: this one, and no other. `price` says the new
    /// price from the old.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`]; [`Error::Busy`] when other shares name it too and it would cost more.
    pub fn reprice<P: Platform>(
        &self,
        ctx: &mut Ctx<P>,
        header: &Header,
        price: impl FnOnce(u64) -> u64,
    ) -> Result<(), Error> {
        let platform = ctx.local.platform.clone();
        let mut quota = self.quota.lock(&mut ctx.local);
        let entry = table::find(&platform, &self.table, header.id()).ok_or(Error::NotFound)?;
        let charged = entry.pages.load(Ordering::Relaxed);
        let pages = price(header.pages());
        let left = (quota.pages + charged).checked_sub(pages).ok_or(Error::QuotaExceeded)?;
        // First the price, then the count: whoever adds a reference counts first and then reads the price.
        let before = header.swap_pages(pages);
        if pages > before && header.refs() > 1 {
            header.swap_pages(before);
            return Err(Error::Busy);
        }
        quota.pages = left;
        entry.pages.store(pages, Ordering::Relaxed);
        Ok(())
    }

    /// Charges the price of `header`'s object, to which the caller just added a reference; returns it.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`].
    pub fn charge_for<P: Platform>(&self, ctx: &mut Ctx<P>, header: &Header) -> Result<u64, Error> {
        loop {
            let pages = header.pages();
            self.charge(ctx, pages, 1)?;
            if header.pages() == pages {
                return Ok(pages);
            }
            self.refund(ctx, pages, 1);
        }
    }

    /// Makes `core` a holder: one more reference. False when the share is dying.
    #[must_use]
    pub fn hold(handle: Handle<'_, Self>, core: CoreId) -> bool {
        let alive = handle.header().acquire();
        if alive {
            handle.holders.add(core);
        }
        alive
    }

    /// Notes `core` as a holder once more: of a run's reference, whose mark went with that of the run before.
    pub fn mark(&self, core: CoreId) {
        self.holders.add(core);
    }

    /// Ends `core`'s hold, between two kernel entries; with the last one the share.
    pub fn unhold<P: Platform>(
        handle: Handle<'_, Self>,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        core: CoreId,
    ) {
        handle.header().seen().insert(core);
        handle.holders.remove(core);
        Self::end_hold(handle, ctx, inside);
    }

    /// As [`Share::unhold`], for `core` that is gone: several may find a hold of it, and one of them ends it.
    pub fn unhold_lost<P: Platform>(
        handle: Handle<'_, Self>,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        core: CoreId,
    ) {
        handle.header().seen().insert(core);
        if handle.holders.take(core) {
            Self::end_hold(handle, ctx, inside);
        }
    }

    fn end_hold<P: Platform>(handle: Handle<'_, Self>, ctx: &mut Ctx<P>, inside: &Entered<'_>) {
        if handle.header().release() {
            (ctx.hooks.last)(ctx, inside, handle.header());
        }
    }

    /// Empties a share without references: calls `each` with every object it named, each less one
    /// reference. `last` says whether that was the object's last.
    pub fn bury<P: Platform>(
        handle: Handle<'_, Self>,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        last: &mut dyn FnMut(&mut Ctx<P>, &Header),
    ) {
        handle.quota.lock(&mut ctx.local).dead = true;
        // Nothing is added to a dead share, and its nodes stay until it is reclaimed: it is walked while it empties.
        let platform = ctx.local.platform.clone();
        let mut turn = 0;
        // Trees first: a segment that nothing maps any more is not looked for in page tables.
        for trees in [true, false] {
            handle.for_each(&platform, &mut |link| {
                turn += 1;
                ctx.serve_every(turn);
                let tree = link.header(inside).is_some_and(|header| header.kind() == Kind::AddressTree);
                if trees && !tree {
                    return true;
                }
                let Some(header) = handle.remove(ctx, inside, link.id()) else { return true };
                header.seen().union(handle.header().seen().load());
                if header.release() {
                    last(ctx, header);
                }
                true
            });
        }
        Self::settle(handle, ctx, inside);
    }

    /// Gives a dead share's quota back and retires it, once it has no children; then its parent, if that
    /// waited for this.
    fn settle<P: Platform>(handle: Handle<'_, Self>, ctx: &mut Ctx<P>, inside: &Entered<'_>) {
        let mut current = handle;
        loop {
            let quota = *current.quota.lock(&mut ctx.local);
            if !quota.dead || quota.children > 0 {
                return;
            }
            let parent = current.parent.load();
            let holders = current.holders();
            let parent = parent.resolve::<Self>(inside);
            if let Some(parent) = parent {
                let mut theirs = parent.quota.lock(&mut ctx.local);
                // It is dead and its quota the parent's again in one step: an audit may come while this core waits for a lock.
                current.header().kill();
                theirs.pages += quota.carved.0;
                theirs.objects += quota.carved.1;
                theirs.children = theirs.children.saturating_sub(1);
            }
            ctx.retire(current.header(), holders);
            let Some(parent) = parent else { return };
            current = parent;
        }
    }

    /// Carves a child's quota.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`].
    pub fn carve<P: Platform>(&self, ctx: &mut Ctx<P>, pages: u64, objects: u64) -> Result<(), Error> {
        let mut quota = self.quota.lock(&mut ctx.local);
        (quota.pages, quota.objects) = quota.less(pages, objects)?;
        quota.children += 1;
        Ok(())
    }

    /// Undoes [`Share::carve`].
    pub fn uncarve<P: Platform>(&self, ctx: &mut Ctx<P>, pages: u64, objects: u64) {
        let mut quota = self.quota.lock(&mut ctx.local);
        quota.pages += pages;
        quota.objects += objects;
        quota.children = quota.children.saturating_sub(1);
    }
}
