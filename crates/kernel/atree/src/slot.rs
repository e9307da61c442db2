//! A tree's slots: records that faults read without a lock.

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Id, MapFlags};
use corey_kernel_hal::{Access, Cause, PAGE_SIZE};
use corey_kernel_object::{Entered, Link, LinkCell, Record};
use corey_kernel_segment::{MapRef, PageSize, Segment};

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Nothing.
    Empty,
    /// Pages of a segment.
    Segment,
    /// An interior tree.
    Interior,
    /// Being changed: the range is taken, and nothing is mapped.
    Changing,
}

impl MapKind {
    pub(crate) fn code(self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Segment => 1,
            Self::Interior => 2,
            Self::Changing => 3,
        }
    }

    #[inline(always)]
    pub(crate) fn from_code(code: u64) -> Self {
        match code {
            0 => Self::Empty,
            1 => Self::Segment,
            2 => Self::Interior,
            _ => Self::Changing,
        }
    }
}

/// A mapping by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// What is mapped.
    pub kind: MapKind,
    /// What user code may do.
    pub flags: MapFlags,
    /// The segment or tree.
    pub object: Link,
    /// The share it was named through.
    pub share: Id,
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Segment page at `start`.
    pub page: u64,
}

impl Map {
    /// An empty slot.
    pub const EMPTY: Self = Self {
        kind: MapKind::Empty,
        flags: MapFlags::empty(),
        object: Link::NULL,
        share: Id::NULL,
        start: 0,
        end: 0,
        page: 0,
    };

    /// Levels of tables of the interior tree that is mapped: a whole grain is.
    pub(crate) fn levels(&self) -> u32 {
        ((self.end - self.start).trailing_zeros().saturating_sub(12)) / 9
    }

    /// Whether it maps a segment of 2 MiB pages.
    pub(crate) fn is_large(&self, inside: &Entered<'_>) -> bool {
        let segment = self.object.resolve::<Segment>(inside);
        segment.is_some_and(|segment| segment.page_size() == PageSize::Large)
    }

    /// What page-table entries allow.
    #[inline(always)]
    pub(crate) fn access(&self) -> Access {
        if self.flags.contains(MapFlags::WRITE) {
            Access::Write
        } else if self.flags.contains(MapFlags::EXECUTE) {
            Access::Execute
        } else {
            Access::Read
        }
    }

    /// Whether it allows `cause`.
    #[inline(always)]
    pub(crate) fn allows(&self, cause: Cause) -> bool {
        match cause {
            Cause::Read => true,
            Cause::Write => self.flags.contains(MapFlags::WRITE),
            Cause::Fetch => self.flags.contains(MapFlags::EXECUTE),
        }
    }

    /// The part of segment pages `first .. +count` that it maps, as addresses.
    pub(crate) fn range_of(&self, first: u64, count: u64) -> (u64, u64) {
        let pages = (self.end - self.start) / PAGE_SIZE;
        let from = first.max(self.page) - self.page;
        let to = first.saturating_add(count).min(self.page + pages).saturating_sub(self.page);
        if from >= to { (0, 0) } else { (self.start + from * PAGE_SIZE, self.start + to * PAGE_SIZE) }
    }
}

/// A record seen as a slot.
///
/// Only one core at a time writes it (the tree's `Edit` lock and the `Changing` state); readers take a
/// version before and compare it after. Links: object, next mapping of the segment. Words: as named below.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot<'a>(pub(crate) &'a Record);

const KIND: usize = 0;
const START: usize = 1;
const END: usize = 2;
const PAGE: usize = 3;
const SHARE: usize = 4;
const FLAGS: usize = 5;
const VERSION: usize = 6;
const NEXT_SLOT: usize = 7;

impl<'a> Slot<'a> {
    #[inline(always)]
    fn word(self, index: usize) -> &'a AtomicU64 {
        let [a, b, c, d, e, f, g, h, ..] = &self.0.words;
        match index {
            KIND => a,
            START => b,
            END => c,
            PAGE => d,
            SHARE => e,
            FLAGS => f,
            VERSION => g,
            _ => h,
        }
    }

    fn object(self) -> &'a LinkCell {
        let [object, ..] = &self.0.links;
        object
    }

    /// The version; odd while it changes.
    #[inline(always)]
    pub(crate) fn version(self) -> u64 {
        self.word(VERSION).load(Ordering::Acquire)
    }

    #[inline(always)]
    pub(crate) fn kind(self) -> MapKind {
        MapKind::from_code(self.word(KIND).load(Ordering::Acquire))
    }

    /// Whether it maps `address`.
    #[inline(always)]
    pub(crate) fn covers(self, address: u64) -> bool {
        self.word(START).load(Ordering::Relaxed) <= address
            && address < self.word(END).load(Ordering::Relaxed)
            && matches!(self.kind(), MapKind::Segment | MapKind::Interior)
    }

    /// The mapping and its version; `None` while it changes.
    #[inline(always)]
    pub(crate) fn read(self) -> Option<(Map, u64)> {
        let version = self.version();
        let map = self.peek();
        core::sync::atomic::fence(Ordering::Acquire);
        (version & 1 == 0 && self.word(VERSION).load(Ordering::Relaxed) == version).then_some((map, version))
    }

    /// The mapping, for a reader that keeps writers out.
    #[inline(always)]
    pub(crate) fn peek(self) -> Map {
        Map {
            kind: self.kind(),
            flags: MapFlags::from_bits_truncate(self.word(FLAGS).load(Ordering::Relaxed) as u32),
            object: self.object().load(),
            share: Id(self.word(SHARE).load(Ordering::Relaxed)),
            start: self.word(START).load(Ordering::Relaxed),
            end: self.word(END).load(Ordering::Relaxed),
            page: self.word(PAGE).load(Ordering::Relaxed),
        }
    }

    /// Starts a change: takes the range of `map`, maps nothing. The caller has the tree's `Edit` lock.
    pub(crate) fn begin(self, start: u64, end: u64) {
        let version = self.word(VERSION).load(Ordering::Relaxed);
        self.word(VERSION).store(version | 1, Ordering::SeqCst);
        self.word(KIND).store(3, Ordering::SeqCst);
        self.word(START).store(start, Ordering::Relaxed);
        self.word(END).store(end, Ordering::Relaxed);
    }

    /// Ends a change.
    pub(crate) fn finish(self, map: &Map) {
        self.prepare(map);
        self.publish(map.kind);
    }

    /// Writes a mapping into a slot that is `Changing`; it maps nothing before [`Slot::publish`].
    pub(crate) fn prepare(self, map: &Map) {
        self.object().store(map.object);
        self.word(START).store(map.start, Ordering::Relaxed);
        self.word(END).store(map.end, Ordering::Relaxed);
        self.word(PAGE).store(map.page, Ordering::Relaxed);
        self.word(SHARE).store(map.share.0, Ordering::Relaxed);
        self.word(FLAGS).store(u64::from(map.flags.bits()), Ordering::Relaxed);
    }

    /// Ends a change: the slot maps what was prepared.
    pub(crate) fn publish(self, kind: MapKind) {
        let version = self.word(VERSION).load(Ordering::Relaxed);
        self.word(KIND).store(kind.code(), Ordering::Release);
        self.word(VERSION).store((version | 1) + 1, Ordering::Release);
    }

    /// The next mapping of the same segment. Under the segment's lock.
    pub(crate) fn next(self) -> MapRef {
        let [_, next, _] = &self.0.links;
        MapRef { tree: next.load(), slot: self.word(NEXT_SLOT).load(Ordering::Relaxed) as u16 }
    }

    /// Sets the next mapping. Under the segment's lock.
    pub(crate) fn set_next(self, to: MapRef) {
        let [_, next, _] = &self.0.links;
        next.store(to.tree);
        self.word(NEXT_SLOT).store(u64::from(to.slot), Ordering::Relaxed);
    }
}
