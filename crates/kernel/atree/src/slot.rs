//! A tree's slots: records that faults read without a lock.

use corey_abi::{Id, MapFlags};
use corey_kernel_hal::{Access, Cause, PAGE_SIZE};
use corey_kernel_object::{Handle, Link, LinkCell, Record};
use corey_kernel_percore::ObjectWords;
use corey_kernel_segment::{MapRef, PageSize, Segment};
use corey_lib_sync::Relax;
use corey_lib_sync::atomic::{AtomicU64, Ordering, fence};

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
        // Empty is also what ends at 0 ([`Slot::emptied`]).
        let pages = self.end.saturating_sub(self.start) / PAGE_SIZE;
        let from = first.max(self.page) - self.page;
        let to = first.saturating_add(count).min(self.page + pages).saturating_sub(self.page);
        if from >= to { (0, 0) } else { (self.start + from * PAGE_SIZE, self.start + to * PAGE_SIZE) }
    }
}

/// A mapping that shall be set, and what it maps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New<'k> {
    pub(crate) map: Map,
    /// The segment, if it is one.
    pub(crate) segment: Option<Handle<'k, Segment>>,
    /// Level of the tables whose entries the mapping is: 0 for pages, 1 for 2 MiB pages, that of the linking table
    /// for an interior tree.
    pub(crate) level: u32,
}

impl<'k> New<'k> {
    /// Nothing.
    pub(crate) const EMPTY: Self = Self { map: Map::EMPTY, segment: None, level: 0 };

    /// Nothing, in a slot that maps `object`; in another one [`corey_abi::Error::NotFound`].
    pub(crate) fn without(object: Link) -> Self {
        Self { map: Map { object, ..Map::EMPTY }, ..Self::EMPTY }
    }

    /// This mapping of `segment`.
    #[inline(always)]
    pub(crate) fn segment(map: Map, segment: Handle<'k, Segment>) -> Self {
        let level = u32::from(segment.page_size() == PageSize::Large);
        Self { map, segment: Some(segment), level }
    }

    /// This mapping of an interior tree.
    pub(crate) fn interior(map: Map) -> Self {
        Self { map, segment: None, level: map.levels() }
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
const OLD_START: usize = 8;
const OLD_END: usize = 9;

impl<'a> Slot<'a> {
    #[inline(always)]
    fn word(self, index: usize) -> &'a AtomicU64 {
        // Kind and range, which changes of other slots look at, lie in one line.
        let [a, b, c, d, e, f, g, h, i, j] = &self.0.words;
        match index {
            SHARE => a,
            NEXT_SLOT => b,
            KIND => c,
            START => d,
            END => e,
            PAGE => f,
            FLAGS => g,
            VERSION => h,
            OLD_START => i,
            _ => j,
        }
    }

    #[inline(always)]
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

    /// Whether it has part of `start .. end`, for a reader that keeps writers out. An empty slot has `0 .. 0`; one that
    /// changes has its new range, and the old one until that is emptied: nobody else may take tables away there.
    #[inline(always)]
    pub(crate) fn overlaps(self, start: u64, end: u64) -> bool {
        let has = |from, to| {
            // Most lie below: what is mapped next often is above the rest.
            start < self.word(to).load(Ordering::Relaxed) && self.word(from).load(Ordering::Relaxed) < end
        };
        has(START, END) || has(OLD_START, OLD_END)
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
        fence(Ordering::Acquire);
        (version & 1 == 0 && self.word(VERSION).load(Ordering::Relaxed) == version).then_some((map, version))
    }

    /// Whether it is `map` already, for a reader that keeps writers out.
    #[inline(always)]
    pub(crate) fn is(self, map: &Map) -> bool {
        self.kind() == map.kind && (map.kind == MapKind::Empty || self.peek() == *map)
    }

    /// The mapping, for a reader that keeps writers out. Of an empty slot only the kind and the range count.
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

    /// Whether what it maps was named through share `share`, for a reader that keeps writers out.
    #[inline(always)]
    pub(crate) fn is_through(self, share: Id) -> bool {
        self.word(SHARE).load(Ordering::Relaxed) == share.0 && self.kind() != MapKind::Empty
    }

    /// The interior tree it maps, and where: what a fault needs, and no more.
    #[inline(always)]
    pub(crate) fn interior(self) -> (Link, u64) {
        (self.object().load(), self.word(START).load(Ordering::Relaxed))
    }

    /// Whether it links the interior tree `tree`, for the core that runs the root; then where.
    #[inline(always)]
    pub(crate) fn links(self, tree: ObjectWords) -> Option<Map> {
        (self.object().id() == tree.id() && self.kind() == MapKind::Interior)
            .then(|| self.peek())
            .filter(|map| map.object.words() == tree)
    }

    /// The addresses that can have entries for segment pages `first .. +count`, for whoever takes these pages away
    /// and has the segment's list locked: while the slot changes, those of its old mapping.
    ///
    /// A mapping is on the list until its last entry is flushed: what is read is as it was before the change, or
    /// empty ([`Slot::emptied`]).
    pub(crate) fn range_of<R: Relax>(self, first: u64, count: u64, waiter: &mut R) -> (u64, u64) {
        loop {
            if let Some((map, _)) = self.read() {
                return map.range_of(first, count);
            }
            let version = self.version();
            let old = Map {
                start: self.word(OLD_START).load(Ordering::Relaxed),
                end: self.word(OLD_END).load(Ordering::Relaxed),
                ..self.peek()
            };
            fence(Ordering::Acquire);
            if version & 1 == 1 && self.word(VERSION).load(Ordering::Relaxed) == version {
                return old.range_of(first, count);
            }
            waiter.relax();
        }
    }

    /// As [`Slot::range_of`], for a reader that keeps writers out.
    #[inline(always)]
    pub(crate) fn range_at_rest(self, first: u64, count: u64) -> (u64, u64) {
        let start = self.word(START).load(Ordering::Relaxed);
        let end = self.word(END).load(Ordering::Relaxed);
        let page = self.word(PAGE).load(Ordering::Relaxed);
        Map { start, end, page, ..Map::EMPTY }.range_of(first, count)
    }

    /// Starts a change: takes the range of the new mapping, maps nothing. What it mapped stays readable by
    /// [`Slot::range_of`] until [`Slot::emptied`]. The caller is the only one who changes slots of the tree now.
    #[inline(always)]
    pub(crate) fn begin(self, start: u64, end: u64) {
        let version = self.word(VERSION).load(Ordering::Relaxed);
        self.word(OLD_START).store(self.word(START).load(Ordering::Relaxed), Ordering::Relaxed);
        self.word(OLD_END).store(self.word(END).load(Ordering::Relaxed), Ordering::Relaxed);
        self.word(VERSION).store(version | 1, Ordering::Release);
        // Readers that see any of the following see the version, too.
        fence(Ordering::Release);
        self.word(KIND).store(MapKind::Changing.code(), Ordering::Relaxed);
        self.word(START).store(start, Ordering::Relaxed);
        self.word(END).store(end, Ordering::Relaxed);
    }

    /// Says that no entry of the old mapping is left, nor a translation of one. Before the slot goes on another list.
    #[inline(always)]
    pub(crate) fn emptied(self) {
        // One store, as changes of other slots look on ([`Slot::overlaps`]): a range that ends at 0 is empty, whatever it
        // begins with. Of two words they could see a range from 0 to the old end.
        self.word(OLD_END).store(0, Ordering::Relaxed);
    }

    /// Ends a change.
    #[inline(always)]
    pub(crate) fn finish(self, map: &Map) {
        self.prepare(map);
        self.publish(map.kind);
    }

    /// Writes a mapping into a slot that is `Changing`; it maps nothing before [`Slot::publish`].
    #[inline(always)]
    pub(crate) fn prepare(self, map: &Map) {
        self.object().store(map.object);
        self.word(START).store(map.start, Ordering::Relaxed);
        self.word(END).store(map.end, Ordering::Relaxed);
        if map.kind == MapKind::Empty {
            // Nobody asks an empty slot for more.
            return;
        }
        self.word(PAGE).store(map.page, Ordering::Relaxed);
        self.word(SHARE).store(map.share.0, Ordering::Relaxed);
        self.word(FLAGS).store(u64::from(map.flags.bits()), Ordering::Relaxed);
    }

    /// Ends a change: the slot maps what was prepared. The kind comes last: who sees it may begin the next change,
    /// without a lock that this core had.
    #[inline(always)]
    pub(crate) fn publish(self, kind: MapKind) {
        let version = self.word(VERSION).load(Ordering::Relaxed);
        self.word(VERSION).store((version | 1) + 1, Ordering::Release);
        self.word(KIND).store(kind.code(), Ordering::Release);
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
