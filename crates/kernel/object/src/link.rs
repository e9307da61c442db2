//! Links: how kernel data names objects without keeping them alive.

use crate::header::{Handle, Header};
use corey_abi::Id;
use corey_kernel_mem::{Content, FrameCell};
use corey_kernel_percore::{Entered, ObjectWords};
use corey_lib_sync::atomic::{AtomicU64, Ordering};

/// A pointer to an object and its ID. Copyable, may be stale: [`Link::resolve`] finds out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// 0, or the address of a slot's header.
    address: u64,
    id: u64,
}

impl Link {
    /// Links nothing.
    pub const NULL: Self = Self { address: 0, id: 0 };

    /// A link to the object at `header`.
    pub(crate) fn to(header: &Header) -> Self {
        Self { address: core::ptr::from_ref(header) as u64, id: header.id().0 }
    }

    /// The link as mailboxes carry it.
    #[must_use]
    pub fn words(self) -> ObjectWords {
        // SAFETY: the address is 0 or a slot's.
        unsafe { ObjectWords::new(self.address, self.id) }
    }

    /// The linked object's ID; 0 for none.
    #[must_use]
    #[inline(always)]
    pub fn id(self) -> Id {
        Id(self.id)
    }

    /// Whether it links nothing.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.address == 0
    }

    /// The slot it leads to, whatever object that holds now.
    #[inline(always)]
    fn slot<'k>(self, _: &'k Entered<'_>) -> Option<&'k Header> {
        if self.address == 0 {
            return None;
        }
        // SAFETY: a non-null address is that of a slot in type-stable memory (invariant 1), whose header is made of atomics.
        Some(unsafe { &*(self.address as *const Header) })
    }

    /// The header of the linked object, if that lives.
    #[must_use]
    #[inline(always)]
    pub fn header<'k>(self, inside: &'k Entered<'_>) -> Option<&'k Header> {
        let header = self.slot(inside)?;
        (header.id().0 == self.id && self.id != 0).then_some(header)
    }

    /// The linked object, if it lives and is a `T`.
    #[must_use]
    #[inline(always)]
    pub fn resolve<'k, T: 'static>(self, inside: &'k Entered<'_>) -> Option<Handle<'k, T>> {
        Handle::new(self.header(inside)?)
    }

    /// As [`Link::resolve`], also while the object ends ([`Header::begin_end`]): for whoever takes itself off a list of
    /// the object.
    #[must_use]
    pub fn resolve_ending<'k, T: 'static>(self, inside: &'k Entered<'_>) -> Option<Handle<'k, T>> {
        self.slot(inside).filter(|header| header.is_or_was(self.id)).and_then(Handle::new)
    }
}

impl From<ObjectWords> for Link {
    #[inline(always)]
    fn from(words: ObjectWords) -> Self {
        Self { address: words.address(), id: words.id() }
    }
}

/// A link that several cores read and one at a time writes. A torn reading resolves to nothing.
#[derive(Debug, Default)]
#[repr(C)]
pub struct LinkCell {
    address: AtomicU64,
    id: AtomicU64,
}

impl LinkCell {
    /// What it links.
    #[inline(always)]
    pub fn load(&self) -> Link {
        let id = self.id.load(Ordering::Acquire);
        Link { address: self.address.load(Ordering::Relaxed), id }
    }

    /// Changes what it links.
    #[inline(always)]
    pub fn store(&self, link: Link) {
        self.id.store(0, Ordering::Relaxed);
        self.address.store(link.address, Ordering::Release);
        self.id.store(link.id, Ordering::Release);
    }

    /// The ID it carries, without the pointer.
    #[inline(always)]
    pub fn id(&self) -> u64 {
        self.id.load(Ordering::Acquire)
    }
}

/// Entries of a share's table node.
pub const NODE_ENTRIES: usize = 128;

/// A frame of a share's table.
#[derive(Debug)]
#[repr(transparent)]
pub struct Node(pub [NodeEntry; NODE_ENTRIES]);

/// One entry of a share's table, 32 bytes: an object, and the node below for IDs that fall here too.
#[derive(Debug, Default)]
#[repr(C)]
pub struct NodeEntry {
    /// The object named here; ID 0 for none.
    pub link: LinkCell,
    /// Pages charged for it.
    pub pages: AtomicU64,
    /// The node below.
    pub child: FrameCell<Node>,
}

// SAFETY: 128 × 32 bytes of atomics; zeroes are the empty entry.
unsafe impl Content for Node {}

/// Records in a frame.
pub const RECORDS: usize = 32;
/// Words of a record beside its links.
pub const RECORD_WORDS: usize = 10;

/// A frame of records.
#[derive(Debug)]
#[repr(transparent)]
pub struct Records(pub [Record; RECORDS]);

/// Three links and ten words for an object crate's own use, 128 bytes.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Record {
    /// Links.
    pub links: [LinkCell; 3],
    /// Words.
    pub words: [AtomicU64; RECORD_WORDS],
}

// SAFETY: 32 × 128 bytes of atomics; zeroes are null links and words.
unsafe impl Content for Records {}
