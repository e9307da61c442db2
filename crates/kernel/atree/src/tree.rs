//! The address-tree object.

use crate::slot::Slot;
use corey_abi::{Error, Kind, TREE_SLOTS};
use corey_kernel_hal::{CoreId, Field, Frame, Platform, fields};
use corey_kernel_mem::{FrameCell, FrameList, Gone, Owned, TablePage, TableRef, Zeroed};
use corey_kernel_object::{Ctx, Object, RECORDS, Records};
use corey_kernel_percore::{Line, SharedCoreSet};
use corey_lib_sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use corey_lib_sync::{Quarantine, Relax, Shared};

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

/// What changes of an interior tree's slots exclude each other by, and of any tree's handler. Who may write a
/// root's slots, its `runner` says.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    /// The tables below the first: chained, so that the end of the tree reads none of them.
    tables: FrameList,
}

impl Quarantine for Edit {
    fn quarantine(&mut self) {
        *self = Self::default();
    }
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

/// An address tree. In lines: what walks read; the slots; what a run writes; the lock.
#[derive(Debug)]
#[repr(C)]
pub struct Tree {
    /// Of tables: what walks ask for.
    pub(crate) levels: u32,
    kind: TreeKind,
    /// The tree's end has begun: no new mappings. Set before `attached` is read for the last time.
    pub(crate) dead: AtomicBool,
    /// Whether a slot of this root ever mapped an interior tree. Set before it does.
    pub(crate) links: AtomicBool,
    table: FrameCell<TablePage>,
    /// Slots in use, highest + 1.
    pub(crate) used: AtomicU64,
    /// Cores that link this interior tree.
    pub(crate) attached: SharedCoreSet,
    slots: [FrameCell<Records>; FRAMES],
    /// Of a root.
    pub(crate) root: Line<Root>,
    /// Lock order 2 (`tree`): changes of slots exclude each other; the list of tables.
    pub(crate) edit: Shared<Edit>,
}

/// What changes with runs.
#[derive(Debug)]
pub(crate) struct Root {
    /// Its core: [`NOBODY`], a core number, or `TAKEN | core number`.
    pub(crate) runner: AtomicU64,
    /// Its slot that was mapped last, with the level of its tables above bit 16, and its range.
    last: [AtomicU64; 3],
    /// Handler, stack, masked word; and a version, odd while they change.
    handler: [AtomicU64; 4],
}

impl<P: Platform> Object<P> for Tree {
    const KIND: Kind = Kind::AddressTree;
    const FIELDS: &'static [Field] =
        fields!(Self: levels, kind, dead, links, table, used, attached, slots, root, edit);

    fn reclaim(&mut self, ctx: &mut Ctx<P>) {
        let mut tables = core::mem::take(&mut self.edit.get_mut().tables);
        while let Some(frame) = tables.pop(&ctx.world.memory) {
            ctx.free(frame);
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

/// Tables that are taken out of a tree, some at a time.
struct Pruned<'t> {
    tree: &'t Tree,
    batch: heapless::Vec<Frame, 64>,
    /// Out of the tree's list.
    tables: FrameList,
}

impl<'t> Pruned<'t> {
    fn new(tree: &'t Tree) -> Self {
        Self { tree, batch: heapless::Vec::new(), tables: FrameList::new() }
    }

    fn add<P: Platform>(&mut self, ctx: &mut Ctx<P>, table: TableRef<'_>) {
        if self.batch.is_full() {
            self.flush(ctx);
        }
        // There is room now.
        let _ = self.batch.push(table.frame());
    }

    /// Adds `table`, which has `levels` levels with itself, and the tables below.
    fn add_all<P: Platform>(&mut self, ctx: &mut Ctx<P>, table: TableRef<'_>, levels: u32) {
        let platform = ctx.local.platform.clone();
        for index in 0..if levels < 2 { 0 } else { 512 } {
            if let Some(child) = table.child(&platform, index) {
                self.add_all(ctx, child, levels - 1);
            }
        }
        self.add(ctx, table);
    }

    fn flush<P: Platform>(&mut self, ctx: &mut Ctx<P>) {
        let mut edit = self.tree.edit.lock(&mut ctx.local);
        let mut some = edit.tables.take_those(&ctx.world.memory, &self.batch);
        self.tables.append(&ctx.world.memory, &mut some);
        self.batch.clear();
    }

    /// All of them.
    fn finish<P: Platform>(mut self, ctx: &mut Ctx<P>) -> FrameList {
        self.flush(ctx);
        self.tables
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
    table.clear(index);
    forget(ctx);
    let mut pruned = Pruned::new(root);
    pruned.add_all(ctx, child, levels);
    let tables = pruned.finish(ctx);
    let count = tables.len();
    ctx.free_all(tables);
    count
}

/// Takes away the empty leaf tables that mappings of the past left where 2 MiB pages are about to be mapped: an entry
/// is a table or a page. Says how many. The slot that takes the range is `Changing`: nobody fills them.
pub(crate) fn take_leaf_tables<P: Platform>(ctx: &mut Ctx<P>, tree: &Tree, start: u64, end: u64) -> u64 {
    let platform = ctx.local.platform.clone();
    let mut pruned = Pruned::new(tree);
    for at in (start..end).step_by(crate::walk::LEAF_SPAN as usize) {
        if let Some((table, index)) = crate::walk::large_entry(&platform, tree, at)
            && let Some(child) = table.child(&platform, index)
        {
            table.clear(index);
            pruned.add(ctx, child);
        }
        ctx.serve_every(at / crate::walk::LEAF_SPAN);
    }
    let mut taken = pruned.finish(ctx);
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
            used: AtomicU64::new(0),
            attached: SharedCoreSet::default(),
            table: FrameCell::default(),
            slots: [const { FrameCell::new() }; FRAMES],
            dead: AtomicBool::new(false),
            links: AtomicBool::new(false),
            root: Line::new(Root {
                runner: AtomicU64::new(NOBODY),
                last: [const { AtomicU64::new(0) }; 3],
                handler: Default::default(),
            }),
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

    /// Counts slot `index` among those that may be in use. By whoever may write slots now.
    #[inline(always)]
    pub(crate) fn use_slot(&self, index: usize) {
        if self.used.load(Ordering::Relaxed) <= index as u64 {
            self.used.fetch_max(index as u64 + 1, Ordering::SeqCst);
        }
    }

    /// Whether slot `index` of this root had all of `start .. end` last, with tables down to `level`, and no slot has
    /// taken a range since. Then no other slot has part of it, and the tables are there. By whoever may write slots now.
    #[inline(always)]
    pub(crate) fn had(&self, index: usize, level: u32, start: u64, end: u64) -> bool {
        let [slot, first, last] = self.root.last.each_ref().map(|word| word.load(Ordering::Relaxed));
        slot == Self::last_of(index, level) && first <= start && end <= last
    }

    #[inline(always)]
    fn last_of(index: usize, level: u32) -> u64 {
        index as u64 | u64::from(level) << 16
    }

    /// Notes for [`Tree::had`] that slot `index` of this root has `start .. end`. Of an interior tree nothing is noted: it
    /// would be a line that every core writes.
    #[inline(always)]
    pub(crate) fn note_last(&self, index: usize, level: u32, start: u64, end: u64) {
        for (word, value) in self.root.last.iter().zip([Self::last_of(index, level), start, end]) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Another slot of this root takes a range.
    #[inline(always)]
    pub(crate) fn forget_last(&self) {
        self.note_last(0, 0, 0, 0);
    }

    /// Whether slot `index` can take `start .. end` as far as one sees who may not write slots: what changes now is passed
    /// over.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub(crate) fn seems_free<P: Platform>(
        &self,
        platform: &P,
        index: usize,
        start: u64,
        end: u64,
    ) -> Result<(), Error> {
        match self.in_the_way(platform, index, start, end).next() {
            Some(_) => Err(Error::Busy),
            None => Ok(()),
        }
    }

    /// Mappings of slots other than `index` that have part of `start .. end`, as [`Tree::seems_free`] sees them.
    pub(crate) fn in_the_way<'t, P: Platform>(
        &'t self,
        platform: &'t P,
        index: usize,
        start: u64,
        end: u64,
    ) -> impl Iterator<Item = (usize, crate::Map)> + use<'t, P> {
        let others = self.each(platform).filter(move |(at, _)| *at != index);
        others
            .filter_map(|(at, slot)| Some((at, slot.read()?.0)))
            .filter(move |(_, map)| start < map.end && map.start < end)
    }

    /// Whether a slot other than `index` has part of `start .. end`. By whoever may write slots now.
    #[inline(never)]
    pub(crate) fn clashes<P: Platform>(&self, platform: &P, index: usize, start: u64, end: u64) -> bool {
        self.any(platform, |at, slot| slot.overlaps(start, end) && at != index)
    }

    /// Whether `is` holds for one of the slots that may be in use.
    #[inline(always)]
    pub(crate) fn any<P: Platform>(&self, platform: &P, mut is: impl FnMut(usize, Slot<'_>) -> bool) -> bool {
        let used = self.used.load(Ordering::Acquire) as usize;
        self.slots.iter().take(used.div_ceil(RECORDS)).enumerate().any(|(frame, cell)| {
            let first = frame * RECORDS;
            let records = cell.get(platform).map_or(&[] as &[_], |records| &records.0);
            let mut records = records.iter().take(used - first).enumerate();
            records.any(|(at, record)| is(first + at, Slot(record)))
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
        let word = self.root.runner.load(Ordering::SeqCst);
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
        let [entry, stack, masked, version] = &self.root.handler;
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
            self.finish_handler(waiter);
        }
    }

    /// Waits for a change of the handler; one that nobody ends any more leaves none.
    #[cold]
    #[inline(never)]
    fn finish_handler<R: Relax>(&self, waiter: &mut R) {
        // Changes are made under the lock, so under it there is none; or its core is gone.
        let _excludes_other_writers = self.edit.lock(waiter);
        let [entry, _, _, version] = &self.root.handler;
        let now = version.load(Ordering::Relaxed);
        if now & 1 == 1 {
            entry.store(0, Ordering::Relaxed);
            version.store(now + 1, Ordering::Release);
        }
    }

    /// Sets where upcalls go.
    pub(crate) fn set_handler<R: Relax>(&self, waiter: &mut R, to: Handler) {
        let _excludes_other_writers = self.edit.lock(waiter);
        let [entry, stack, masked, version] = &self.root.handler;
        let before = version.load(Ordering::Relaxed);
        version.store(before | 1, Ordering::Relaxed);
        fence(Ordering::Release);
        entry.store(to.entry, Ordering::Relaxed);
        stack.store(to.stack, Ordering::Relaxed);
        masked.store(to.masked, Ordering::Relaxed);
        version.store((before | 1) + 1, Ordering::Release);
    }

    /// Keeps a table that was linked.
    pub(crate) fn keep<P: Platform>(&self, ctx: &mut Ctx<P>, table: Owned) {
        self.edit.lock(&mut ctx.local).tables.push(&ctx.world.memory, table);
    }

    /// For audits: frames it owns.
    #[must_use]
    pub fn census<P: Platform>(&self, ctx: &mut Ctx<P>) -> u64 {
        let slots = self.slots.iter().filter(|c| c.frame().is_some()).count() as u64;
        slots + 1 + self.edit.lock(&mut ctx.local).tables.len()
    }

    /// The frames it owns, and whether each is a page table; for the line meter's names.
    pub fn frames<P: Platform>(&self, ctx: &mut Ctx<P>) -> impl Iterator<Item = (Frame, bool)> + use<'_, P> {
        let slots = self.slots.iter().filter_map(|cell| Some((cell.frame()?, false)));
        let tables = self.edit.lock(&mut ctx.local).tables.iter(&ctx.world.memory);
        slots.chain(self.table.frame().into_iter().chain(tables).map(|frame| (frame, true)))
    }
}
