//! Headers and handles.

use crate::ctx::Ctx;
use crate::link::Link;
use core::any::TypeId;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use corey_abi::{Id, Kind, NAME_BYTES, Name};
use corey_kernel_hal::{CoreId, Field, Platform, fields};
use corey_kernel_percore::SharedCoreSet;
use corey_lib_sync::atomic::{AtomicU64, Ordering};

/// Bytes of an object's slot: header and body.
pub const SLOT: usize = 512;

/// What an object crate implements for its type.
pub trait Object<P: Platform>: Sync + Sized + 'static {
    /// Its kind.
    const KIND: Kind;

    /// Its fields, for the line meter's names.
    const FIELDS: &'static [Field] = &[];

    /// Gives back everything the object owns. No core can reach it any more.
    fn reclaim(&mut self, ctx: &mut Ctx<P>);
}

/// The first 128 bytes of every object. What look-ups read is one line; what references and lists write, the other.
#[repr(C, align(128))]
pub struct Header {
    /// 0 while the slot is free or the object is dead. Written last when an object is made.
    id: AtomicU64,
    /// The body's type.
    type_id: AtomicU64,
    /// The function that reclaims the body, as an address.
    pub(crate) reclaim: AtomicU64,
    /// Kind in the low byte, home core above.
    kind_home: AtomicU64,
    name: [AtomicU64; NAME_BYTES / 8],
    /// Shares that name it; for a share also the cores that hold it.
    refs: AtomicU64,
    /// Pages each naming share is charged.
    pages: AtomicU64,
    /// Next slot of the list this one is in, as an address.
    pub(crate) next: AtomicU64,
    reserved: AtomicU64,
    /// Cores that could have looked it up through shares it has left.
    pub(crate) seen: SharedCoreSet,
}

const _: () = assert!(size_of::<Header>() == 128);

/// The type as the compiler tells it apart, cut to one word: a mix-up of the kernel's five types would need
/// two of them to share 64 bits of a hash.
fn type_word<T: 'static>() -> u64 {
    const { assert!(size_of::<TypeId>() == 16) };
    // SAFETY: both are 16 bytes without padding; the words are only compared.
    let [word, _] = unsafe { core::mem::transmute::<TypeId, [u64; 2]>(TypeId::of::<T>()) };
    word
}

/// Bit of the ID of an object whose end has begun: no ID that is given out has it.
const ENDING: u64 = 1 << 63;

impl Header {
    /// Its fields, for the line meter's names.
    pub const FIELDS: &'static [Field] =
        fields!(Self: id, type_id, refs, kind_home, pages, next, reclaim, name, seen);

    /// Makes the slot an object; the ID is visible last.
    #[inline(always)]
    pub(crate) fn init<P: Platform, T: Object<P>>(
        &self,
        id: Id,
        home: CoreId,
        name: &Name,
        pages: u64,
    ) -> Handle<'_, T> {
        self.type_id.store(type_word::<T>(), Ordering::Relaxed);
        self.refs.store(1, Ordering::Relaxed);
        self.kind_home.store(T::KIND as u64 | u64::from(home.0) << 8, Ordering::Relaxed);
        self.pages.store(pages, Ordering::Relaxed);
        self.reclaim.store(reclaim_body::<P, T> as *const () as u64, Ordering::Relaxed);
        for (to, from) in self.name.iter().zip(name.0.chunks_exact(8)) {
            to.store(u64::from_le_bytes(from.try_into().unwrap_or_default()), Ordering::Relaxed);
        }
        self.seen.clear();
        self.id.store(id.0, Ordering::Release);
        Handle { header: self, body: PhantomData }
    }

    /// The object's ID, 0 when it is dead, and none that was ever given out while it ends.
    #[inline(always)]
    pub fn id(&self) -> Id {
        Id(self.id.load(Ordering::Acquire))
    }

    /// Whether there is an object, and its end has not begun.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let id = self.id.load(Ordering::Acquire);
        id != 0 && id & ENDING == 0
    }

    /// Whether it has this ID, or had it and ends.
    pub(crate) fn is_or_was(&self, id: u64) -> bool {
        id != 0 && self.id.load(Ordering::Acquire) & !ENDING == id
    }

    /// Whether the body of the dead object in this slot is reclaimed as a `T`: then it is one.
    #[inline(always)]
    pub(crate) fn reclaims_as<P: Platform, T: Object<P>>(&self) -> bool {
        // The type says what the body is; the function says that it was not reclaimed yet.
        self.is::<T>() && self.reclaim.load(Ordering::Relaxed) != 0
    }

    /// Begins its end: every link to the object is stale but for [`Link::resolve_ending`], until [`Ctx::retire`].
    /// A segment's end begins before its mappings are revoked, so that none is made meanwhile; who takes one of them
    /// away meanwhile still takes it off the segment's list, else the revoker would lose the rest of that.
    ///
    /// Nobody else ends it: its references are gone.
    #[inline(always)]
    pub fn begin_end(&self) {
        self.id.store(self.id.load(Ordering::Relaxed) | ENDING, Ordering::Release);
    }

    /// Makes every link to the object stale.
    ///
    /// Whoever must not miss it, does not: who fills an entry looks under a lock that the revoker takes, or answers its
    /// message; who frees the slot fences before it looks at epochs.
    #[inline(always)]
    pub fn kill(&self) {
        self.id.store(0, Ordering::Release);
    }

    /// Its kind.
    #[inline(always)]
    pub fn kind(&self) -> Kind {
        match self.kind_home.load(Ordering::Relaxed) as u8 {
            0 => Kind::Share,
            1 => Kind::Segment,
            2 => Kind::AddressTree,
            3 => Kind::Pcore,
            _ => Kind::Device,
        }
    }

    /// The core whose memory holds it.
    pub fn home(&self) -> CoreId {
        CoreId((self.kind_home.load(Ordering::Relaxed) >> 8) as u16)
    }

    /// Its name.
    pub fn name(&self) -> Name {
        let mut name = [0; NAME_BYTES];
        for (to, from) in name.chunks_exact_mut(8).zip(&self.name) {
            to.copy_from_slice(&from.load(Ordering::Relaxed).to_le_bytes());
        }
        Name(name)
    }

    /// References it has.
    pub fn refs(&self) -> u64 {
        self.refs.load(Ordering::SeqCst)
    }

    /// Adds a reference, unless it has none left: then it is dying.
    #[must_use]
    pub fn acquire(&self) -> bool {
        // Most have one. A guess, because a load first would move the line twice.
        let mut refs = 1;
        while refs != 0 {
            match self.refs.compare_exchange(refs, refs + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => refs = now,
            }
        }
        false
    }

    /// Takes a reference away. True when it was the last: the caller retires the object.
    #[must_use]
    pub fn release(&self) -> bool {
        self.refs.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Pages each naming share is charged.
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::SeqCst)
    }

    /// Changes what naming shares are charged. The caller holds the one naming share's lock.
    pub fn swap_pages(&self, pages: u64) -> u64 {
        self.pages.swap(pages, Ordering::SeqCst)
    }

    /// A handle to the object, if it is a `T`.
    #[inline(always)]
    pub fn handle<T: 'static>(&self) -> Option<Handle<'_, T>> {
        Handle::new(self)
    }

    /// A link to the object.
    pub fn link(&self) -> Link {
        Link::to(self)
    }

    /// Cores that could have looked it up through shares it has left.
    pub fn seen(&self) -> &SharedCoreSet {
        &self.seen
    }

    #[inline(always)]
    fn is<T: 'static>(&self) -> bool {
        self.type_id.load(Ordering::Relaxed) == type_word::<T>()
    }

    /// Where the body is.
    #[inline(always)]
    pub(crate) fn body<T>(&self) -> *mut T {
        const { assert!(size_of::<T>() <= SLOT - 128 && align_of::<T>() <= 128) };
        core::ptr::from_ref(self).cast::<u8>().wrapping_add(128).cast_mut().cast::<T>()
    }
}

/// Reclaims the body of a dead, quiescent object.
fn reclaim_body<P: Platform, T: Object<P>>(ctx: &mut Ctx<P>, header: &Header) {
    // SAFETY: 1. `init` stored this function only for a slot whose body is a `T`. 2. The object is dead
    // and quiescent (crate invariant 2), so no other reference to the body exists.
    let body = unsafe { &mut *header.body::<T>() };
    body.reclaim(ctx);
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:#x} \"{}\"", self.kind(), self.id().0, self.name().as_str())
    }
}

/// An object that was looked up in this kernel entry.
pub struct Handle<'k, T> {
    header: &'k Header,
    body: PhantomData<&'k T>,
}

impl<T> Clone for Handle<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Handle<'_, T> {}

impl<T> fmt::Debug for Handle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header.fmt(f)
    }
}

impl<'k, T: 'static> Handle<'k, T> {
    /// A handle to `header`'s object if its body is a `T`.
    #[inline(always)]
    pub(crate) fn new(header: &'k Header) -> Option<Self> {
        header.is::<T>().then_some(Self { header, body: PhantomData })
    }

    /// The header.
    #[inline(always)]
    pub fn header(self) -> &'k Header {
        self.header
    }

    /// The object's ID.
    #[inline(always)]
    pub fn id(self) -> Id {
        self.header.id()
    }

    /// The body, for as long as the kernel entry.
    #[inline(always)]
    pub fn body(self) -> &'k T {
        // SAFETY: 1. The slot's body is a `T` (checked in `new`). 2. It stays one while this core is in
        // the kernel (crate invariant 2).
        unsafe { &*self.header.body::<T>() }
    }

    /// A link to it.
    pub fn link(self) -> Link {
        Link::to(self.header)
    }
}

impl<T: 'static> Deref for Handle<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        self.body()
    }
}
