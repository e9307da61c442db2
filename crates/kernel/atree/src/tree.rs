//! The address-tree object.

use crate::slot::Slot;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use corey_abi::{Kind, TREE_SLOTS};
use corey_kernel_hal::{CoreId, Field, Frame, Platform, fields};
use corey_kernel_mem::{FrameCell, FrameList, Gone, TablePage, TableRef, Zeroed};
use corey_kernel_object::{Ctx, Object, RECORDS, Records};
use corey_kernel_percore::SharedCoreSet;
use corey_lib_sync::{Relax, Shared};

const FRAMES: usize = TREE_SLOTS / RECORDS;

/// The two kinds of tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// Owns the user half of one core's page table.
    Root,
    /// Owns one grain of tables that several roots link.
    Interior(Grain),
}

/// What an interior tree spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// 2 MiB: one leaf table.
    Mib2,
    /// 1 GiB.
    Gib1,
    /// 512 GiB.
    Gib512,
}

impl Grain {
    fn levels(self) -> u32 {
        match self {
            Self::Mib2 => 1,
            Self::Gib1 => 2,
            Self::Gib512 => 3,
        }
    }
}

impl TreeKind {
    /// Bytes its addresses span.
    #[must_use]
    pub fn span(self) -> u64 {
        match self {
            Self::Root => corey_kernel_hal::USER_END,
            Self::Interior(grain) => 1 << (12 + 9 * grain.levels()),
        }
    }

    /// Whether it is an interior tree.
    #[must_use]
    #[inline(always)]
    pub fn is_interior(self) -> bool {
        matches!(self, Self::Interior(_))
    }

    /// Levels of tables, the tree's own first one included.
    pub(crate) fn levels(self) -> u32 {
        match self {
            Self::Root => 4,
            Self::Interior(grain) => grain.levels(),
        }
    }
}

/// What changes of slots exclude each other by.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    /// The slot that another core than the runner is about to change, and the range it takes.
    pub(crate) pending: Option<(usize, u64, u64)>,
}

/// Where faults and ticks go that nobody else resolves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handler {
    /// First instruction; 0 for none.
    pub entry: u64,
    /// First address above its stack.
    pub stack: u64,
    /// Address of the masked word; 0 for none.
    pub masked: u64,
}

/// `runner`: nobody.
pub(crate) const NOBODY: u64 = 0xffff;
/// `runner`: taken for one change by the core in the low bits.
pub(crate) const TAKEN: u64 = 1 << 16;

/// An address tree.
#[derive(Debug)]
pub struct Tree {
    kind: TreeKind,
    /// Of tables: what walks ask for.
    pub(crate) levels: u32,
    /// A root's core: [`NOBODY`], a core number, or `TAKEN | core number`.
    pub(crate) runner: AtomicU64,
    /// Slots in use, highest + 1.
    pub(crate) used: AtomicU64,
    /// Cores that link this interior tree.
    pub(crate) attached: SharedCoreSet,
    table: FrameCell<TablePage>,
    slots: [FrameCell<Records>; FRAMES],
    /// The tree's end has begun: no new mappings. Set before `attached` is read for the last time.
    pub(crate) dead: AtomicBool,
    /// Handler, stack, masked word; and a version, odd while they change.
    handler: [AtomicU64; 4],
    /// Lock order 2 (`tree`): changes of slots exclude each other.
    pub(crate) edit: Shared<Edit>,
}

impl<P: Platform> Object<P> for Tree {
    const KIND: Kind = Kind::AddressTree;
    const FIELDS: &'static [Field] =
        fields!(Self: kind, levels, runner, used, attached, table, slots, dead, handler, edit);

    fn reclaim(&mut self, ctx: &mut Ctx<P>) {
        let platform = ctx.local.platform.clone();
        if let Some(table) = TableRef::of(&self.table, &platform) {
            // The upper half of a root is the kernel's.
            let own = if self.kind == TreeKind::Root { 256 } else { 512 };
            free_tables(ctx, &platform, table, self.kind.levels(), own);
        }
        for cell in &mut self.slots {
            if let Some(frame) = cell.take() {
                ctx.free(frame);
            }
        }
        if let Some(frame) = self.table.take() {
            ctx.free(frame);
        }
    }
}

/// Frees the tables below `table`, which has `levels` levels with itself.
fn free_tables<P: Platform>(
    ctx: &mut Ctx<P>,
    platform: &P,
    table: TableRef<'_>,
    levels: u32,
    entries: usize,
) {
    if levels < 2 {
        return;
    }
    let mut from = 0;
    while let Some(index) = table.next_used(from, entries) {
        from = index + 1;
        if let Some(child) = table.child(platform, index) {
            free_tables(ctx, platform, child, levels - 1, 512);
            ctx.serve_every(index as u64);
            if let Some(frame) = table.take_child::<P>(index) {
                ctx.free(frame);
            }
        }
    }
}

/// Frees the empty tables that mappings of the past left where an interior tree of `levels` levels is about to
/// be linked at `start`; says how many. `forget` runs when they are unlinked and before they are freed: the
/// processor that runs the root may have cached the entry.
pub(crate) fn take_tables<P: Platform>(
    ctx: &mut Ctx<P>,
    root: &Tree,
    start: u64,
    levels: u32,
    forget: &mut dyn FnMut(&mut Ctx<P>),
) -> u64 {
    let platform = ctx.local.platform.clone();
    let Some((table, index)) = crate::walk::grain_entry(&platform, root, start, levels) else { return 0 };
    let Some(child) = table.child(&platform, index) else { return 0 };
    let mut count = 0;
    each_table(&platform, child, levels, 512, 0, &[], &mut |_| count += 1);
    let Some(frame) = table.take_child::<P>(index) else { return 0 };
    forget(ctx);
    free_tables(ctx, &platform, child, levels, 512);
    ctx.free(frame);
    count
}

/// Takes away the empty leaf tables that mappings of the past left where 2 MiB pages are about to be mapped: an entry
/// is a table or a page. Says how many. The slot that takes the range is `Changing`: nobody fills them.
pub(crate) fn take_leaf_tables<P: Platform>(ctx: &mut Ctx<P>, tree: &Tree, start: u64, end: u64) -> u64 {
    let platform = ctx.local.platform.clone();
    let mut taken = FrameList::new();
    for at in (start..end).step_by(crate::walk::LEAF_SPAN as usize) {
        if let Some((table, index)) = crate::walk::large_entry(&platform, tree, at)
            && table.child(&platform, index).is_some()
            && let Some(frame) = table.take_child::<P>(index)
        {
            taken.push(&ctx.world.memory, frame);
        }
        ctx.serve_every(at / crate::walk::LEAF_SPAN);
    }
    let count = taken.len();
    if count > 0 {
        let mut users = tree.attached.load();
        if let Some(runner) = tree.runner() {
            users.insert(runner);
        }
        crate::revoke::forget_all(ctx, users);
        // Who found a table before may still lock it, to see that nothing is mapped there any more.
        while let Some(frame) = taken.pop(&ctx.world.memory) {
            ctx.give_up(Gone::Own(frame), ctx.core(), users);
        }
    }
    count
}

impl Tree {
    /// A tree without mappings over the zeroed frame `table`.
    ///
    /// # Panics
    ///
    /// Never: the cell is new.
    pub fn new<P: Platform>(platform: &P, home: CoreId, kind: TreeKind, table: Zeroed) -> Self {
        let tree = Self {
            kind,
            levels: kind.levels(),
            runner: AtomicU64::new(NOBODY),
            used: AtomicU64::new(0),
            attached: SharedCoreSet::default(),
            table: FrameCell::default(),
            slots: [const { FrameCell::new() }; FRAMES],
            dead: AtomicBool::new(false),
            handler: Default::default(),
            edit: Shared::new(home.0, "tree", Edit::default()),
        };
        tree.table.publish(table).expect("a new cell is empty");
        if kind == TreeKind::Root {
            tree.table(platform).init_root(platform);
        }
        tree
    }

    /// Its kind.
    #[must_use]
    #[inline(always)]
    pub fn kind(&self) -> TreeKind {
        self.kind
    }

    /// Its first table.
    ///
    /// # Panics
    ///
    /// Never: a tree has its table from the start.
    #[inline(always)]
    pub(crate) fn table<P: Platform>(&self, platform: &P) -> TableRef<'_> {
        TableRef::of(&self.table, platform).expect("a tree has its table from the start")
    }

    /// Slot `index`, if its frame is there.
    #[inline(always)]
    pub(crate) fn slot<P: Platform>(&self, platform: &P, index: usize) -> Option<Slot<'_>> {
        let records = self.slots.get(index / RECORDS)?.get(platform)?;
        Some(Slot(records.0.get(index % RECORDS)?))
    }

    /// Slot `index`, made if need be of one of `frames`, which are the calling core's memory.
    pub(crate) fn make_slot<P: Platform>(&self, ctx: &Ctx<P>, index: usize, frames: &mut FrameList) {
        if let Some(cell) = self.slots.get(index / RECORDS)
            && cell.frame().is_none()
            && let Some(frame) = frames.pop(&ctx.world.memory)
            && let Err(frame) = cell.publish(frame.zero(&ctx.local.platform))
        {
            frames.push(&ctx.world.memory, frame.into_owned());
        }
    }

    /// Whether slot `index` needs a new frame.
    pub(crate) fn lacks_slot(&self, index: usize) -> bool {
        self.slots.get(index / RECORDS).is_some_and(|c| c.frame().is_none())
    }

    /// The slots that may be in use, in order.
    pub(crate) fn each<'t, P: Platform>(
        &'t self,
        platform: &'t P,
    ) -> impl Iterator<Item = (usize, Slot<'t>)> {
        let used = self.used.load(Ordering::Acquire) as usize;
        (0..used).filter_map(move |i| Some((i, self.slot(platform, i)?)))
    }

    /// Whether a slot other than `index` has part of `start .. end`. Under the `Edit` lock.
    pub(crate) fn clashes<P: Platform>(&self, platform: &P, index: usize, start: u64, end: u64) -> bool {
        let used = self.used.load(Ordering::Acquire) as usize;
        self.slots.iter().take(used.div_ceil(RECORDS)).enumerate().any(|(frame, cell)| {
            let Some(records) = cell.get(platform) else { return false };
            let first = frame * RECORDS;
            records
                .0
                .iter()
                .take(used - first)
                .enumerate()
                .any(|(at, record)| Slot(record).overlaps(start, end) && first + at != index)
        })
    }

    /// The slot that maps `address`; the one in `hint` is tried first, and replaced.
    #[inline(always)]
    pub(crate) fn find<'t, P: Platform>(
        &'t self,
        platform: &P,
        address: u64,
        hint: &mut u16,
    ) -> Option<Slot<'t>> {
        if let Some(slot) = self.slot(platform, usize::from(*hint))
            && slot.covers(address)
        {
            return Some(slot);
        }
        let used = self.used.load(Ordering::Acquire) as usize;
        for index in 0..used {
            if let Some(slot) = self.slot(platform, index)
                && slot.covers(address)
            {
                *hint = index as u16;
                return Some(slot);
            }
        }
        None
    }

    /// The core that runs this root.
    #[must_use]
    pub fn runner(&self) -> Option<CoreId> {
        let word = self.runner.load(Ordering::SeqCst);
        (word < NOBODY).then_some(CoreId(word as u16))
    }

    /// Whether its end has begun.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Where upcalls go.
    #[must_use]
    pub fn handler<R: Relax>(&self, waiter: &mut R) -> Handler {
        let [entry, stack, masked, version] = &self.handler;
        loop {
            let before = version.load(Ordering::Acquire);
            let found = Handler {
                entry: entry.load(Ordering::Relaxed),
                stack: stack.load(Ordering::Relaxed),
                masked: masked.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if before & 1 == 0 && version.load(Ordering::Relaxed) == before {
                return found;
            }
            waiter.relax();
        }
    }

    /// Sets where upcalls go.
    pub(crate) fn set_handler<R: Relax>(&self, waiter: &mut R, to: Handler) {
        let _excludes_other_writers = self.edit.lock(waiter);
        let [entry, stack, masked, version] = &self.handler;
        let before = version.load(Ordering::Relaxed);
        version.store(before | 1, Ordering::Relaxed);
        fence(Ordering::Release);
        entry.store(to.entry, Ordering::Relaxed);
        stack.store(to.stack, Ordering::Relaxed);
        masked.store(to.masked, Ordering::Relaxed);
        version.store((before | 1) + 1, Ordering::Release);
    }

    /// For audits: frames it owns.
    #[must_use]
    pub fn census<P: Platform>(&self, platform: &P) -> u64 {
        let mut frames = 0;
        self.each_frame(platform, &mut |_, _| frames += 1);
        frames
    }

    /// Calls `each` with every frame it owns, and whether that is a page table.
    pub fn each_frame<P: Platform>(&self, platform: &P, each: &mut dyn FnMut(Frame, bool)) {
        let own = if self.kind == TreeKind::Root { 256 } else { 512 };
        self.slots.iter().filter_map(FrameCell::frame).for_each(|frame| each(frame, false));
        let links: heapless::Vec<(u64, u32), TREE_SLOTS> = self
            .each(platform)
            .filter(|(_, s)| s.kind() == crate::MapKind::Interior)
            .map(|(_, s)| (s.peek().start, s.peek().levels()))
            .collect();
        let (table, levels) = (self.table(platform), self.kind.levels());
        each_table(platform, table, levels, own, 0, &links, &mut |frame| each(frame, true));
    }
}

/// Calls `each` with the tables from `table` down, itself included; what lies at `links` belongs to interior trees.
fn each_table<P: Platform>(
    platform: &P,
    table: TableRef<'_>,
    levels: u32,
    entries: usize,
    base: u64,
    links: &[(u64, u32)],
    each: &mut dyn FnMut(Frame),
) {
    each(table.frame());
    if levels >= 2 {
        let size = 1_u64 << (12 + 9 * (levels - 1));
        for index in 0..entries {
            let at = base + index as u64 * size;
            let linked = links.contains(&(at, levels - 1));
            if !linked && let Some(child) = table.child(platform, index) {
                each_table(platform, child, levels - 1, 512, at, links, each);
            }
        }
    }
}
