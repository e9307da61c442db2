//! Page tables: frames the processor reads.

use crate::cell::Content;
use crate::frames::{Owned, Zeroed};
use crate::page::DataFrame;
use corey_kernel_hal::{Access, Entry, Frame, Platform};
use corey_lib_sync::atomic::{AtomicU64, Ordering};

/// A table of 512 entries.
///
/// An entry of the user half is 0, a leaf made from a [`DataFrame`], or a link to a table. A table that
/// was linked by [`TableRef::add_child`] belongs to its tree, which keeps it until it is unlinked or the tree is
/// reclaimed; one linked
/// by [`TableRef::link`] belongs to an interior tree, which outlives the link: it is attached meanwhile.
#[derive(Debug)]
#[repr(transparent)]
pub struct TablePage([AtomicU64; 512]);

// SAFETY: 512 × 8 bytes of atomics; 0 is "not present".
unsafe impl Content for TablePage {}

/// A table and its frame.
#[derive(Clone, Copy, Debug)]
pub struct TableRef<'a> {
    frame: Frame,
    page: &'a TablePage,
}

impl<'a> TableRef<'a> {
    /// The table that `cell` owns.
    #[must_use]
    #[inline(always)]
    pub fn of<P: Platform>(cell: &'a crate::FrameCell<TablePage>, platform: &P) -> Option<Self> {
        let (frame, page) = cell.get_with_frame(platform)?;
        Some(Self { frame, page })
    }

    /// Its frame.
    #[must_use]
    #[inline(always)]
    pub fn frame(self) -> Frame {
        self.frame
    }

    #[inline(always)]
    fn slot(self, index: usize) -> &'a AtomicU64 {
        &self.page.0[index & 511]
    }

    /// The first entry from `from` on, and below `end`, that is not empty.
    #[must_use]
    pub fn next_used(self, from: usize, end: usize) -> Option<usize> {
        let entries = self.page.0.get(from..end.min(512))?;
        Some(from + entries.iter().position(|entry| entry.load(Ordering::Relaxed) != 0)?)
    }

    /// What entry `index` says.
    #[must_use]
    #[inline(always)]
    pub fn entry<P: Platform>(self, index: usize) -> Entry {
        P::decode(self.slot(index).load(Ordering::Relaxed))
    }

    /// The table that entry `index` links.
    #[must_use]
    #[inline(always)]
    pub fn child<P: Platform>(self, platform: &P, index: usize) -> Option<Self> {
        let Entry::Table(frame) = P::decode(self.slot(index).load(Ordering::Acquire)) else {
            return None;
        };
        // SAFETY: a linked table lives while it is linked (type invariant), is RAM, and made of atomics.
        let page = unsafe { platform.direct(frame).cast::<TablePage>().as_ref() };
        Some(Self { frame, page })
    }

    /// Links a new, empty table. What is returned owns it, and is kept while the link is there.
    ///
    /// # Errors
    ///
    /// The frame comes back when the entry is taken.
    pub fn add_child<P: Platform>(self, index: usize, table: Zeroed) -> Result<Owned, Zeroed> {
        let entry = P::table(table.0.0);
        match self.slot(index).compare_exchange(0, entry, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Ok(table.into_owned()),
            Err(_) => Err(table),
        }
    }

    /// Links an interior tree's table. The entry is empty, and the tree attached.
    #[inline(always)]
    pub fn link<P: Platform>(self, index: usize, table: TableRef<'_>) {
        self.slot(index).store(P::table(table.frame), Ordering::Release);
    }

    /// Maps a page.
    #[inline(always)]
    pub fn set_leaf<P: Platform>(self, index: usize, page: DataFrame, access: Access) {
        self.slot(index).store(P::leaf(page.frame(), access), Ordering::Release);
    }

    /// Maps a 2 MiB page.
    #[inline(always)]
    pub fn set_large_leaf<P: Platform>(self, index: usize, page: DataFrame, access: Access) {
        self.slot(index).store(P::large_leaf(page.frame(), access), Ordering::Release);
    }

    /// Takes write permission from an entry that maps a page. True when it had it.
    #[inline(always)]
    pub fn protect<P: Platform>(self, index: usize) -> bool {
        let slot = self.slot(index);
        let before = slot.load(Ordering::Relaxed);
        let after = P::protect(before);
        if before != after {
            // Before the flush or the message that follows: both order stores.
            slot.store(after, Ordering::Release);
        }
        before != after
    }

    /// Whether an entry maps a page for writing.
    #[must_use]
    pub fn is_writable<P: Platform>(self, index: usize) -> bool {
        let entry = self.slot(index).load(Ordering::Relaxed);
        P::protect(entry) != entry
    }

    /// For audits: whether an entry maps exactly this page, with exactly these rights or without writing.
    #[must_use]
    pub fn maps<P: Platform>(self, index: usize, page: DataFrame, access: Access, large: bool) -> bool {
        let leaf = |access| {
            if large { P::large_leaf(page.frame(), access) } else { P::leaf(page.frame(), access) }
        };
        let entry = self.slot(index).load(Ordering::Relaxed);
        entry == leaf(access) || entry == leaf(access.without_write())
    }

    /// Empties an entry. True when something was there.
    #[inline(always)]
    pub fn clear(self, index: usize) -> bool {
        let slot = self.slot(index);
        let before = slot.load(Ordering::Relaxed);
        if before != 0 {
            // As in `protect`.
            slot.store(0, Ordering::Release);
        }
        before != 0
    }

    /// Prepares a new top-level table.
    pub fn init_root<P: Platform>(self, platform: &P) {
        // SAFETY: the table is new and loaded nowhere; its tree owns the frame.
        unsafe { platform.init_root(self.frame) };
    }

    /// Switches this core to the address space of this top-level table.
    pub fn load<P: Platform>(self, platform: &P) {
        // SAFETY: only an address tree's first table reaches this (`kernel/atree`), prepared by `init_root`;
        // the tree is not freed while a core runs it.
        unsafe { platform.load_root(Some(self.frame)) };
    }
}

/// Switches this core to the kernel-only address space.
pub fn leave_root<P: Platform>(platform: &P) {
    // SAFETY: `None` needs no table of ours.
    unsafe { platform.load_root(None) };
}
