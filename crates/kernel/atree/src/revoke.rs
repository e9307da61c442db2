//! Taking pages and trees away from every core that could reach them.

use crate::change;
use crate::run;
use crate::slot::{Map, MapKind};
use crate::tree::{NOBODY, TAKEN, Tree, TreeKind};
use crate::walk;
use corey_kernel_hal::{PAGE_SIZE, Platform};
use corey_kernel_object::{Ctx, Entered, Handle, Header, Link, Take};
use corey_kernel_percore::{CoreSet, Local, Message, MessageKind, ObjectWords};
use corey_kernel_segment::{MapRef, Segment};
use corey_lib_sync::Relax;
use corey_lib_sync::atomic::Ordering;

/// Above this many pages, a core forgets everything instead of page by page.
const FLUSH_SINGLY: u64 = 64;

/// Takes pages `first .. +count` of `header`'s segment, or permission to write them, from every mapping on
/// every core, acknowledged. The caller marked the pages (or the segment) first, so that none comes back.
/// Returns the cores that could have reached them by a mapping.
///
/// Permission to write is also taken from cores that write through the direct map: they answer between two
/// writes, so what they began is there when this returns.
///
/// Takes the segment's list lock, and the leaf locks of interior trees; holds neither while it waits.
pub fn revoke<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    header: &Header,
    first: u64,
    count: u64,
    what: Take,
) -> CoreSet {
    let Some(segment) = header.handle::<Segment>() else { return CoreSet::EMPTY };
    // Slots were marked before `seen` is read: a core that writes through the direct map is in it, or finds the mark.
    if (what == Take::Page || header.seen().load().is_subset(&ctx.local.only))
        && let Some(users) = revoke_own(ctx, inside, segment, (first, count), what)
    {
        return users;
    }
    revoke_as(ctx, inside, segment, Pages { segment: header.link().words(), first, count, what })
}

/// As [`revoke`], for a segment that no other core writes through the direct map, and that is mapped nowhere, or once
/// and that by the root this core runs: as most are that are copied or whose pages are copied when they are written.
/// Nothing for others.
#[inline(always)]
fn revoke_own<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    segment: Handle<'_, Segment>,
    (first, count): (u64, u64),
    what: Take,
) -> Option<CoreSet> {
    let list = segment.mappings(&mut ctx.local);
    let MapRef { tree, slot } = list.first;
    if tree.is_null() {
        return Some(CoreSet::EMPTY);
    }
    if tree.words() != ctx.local.paging.root {
        return None;
    }
    let root = tree.resolve::<Tree>(inside)?;
    let slot = root.slot(&ctx.local.platform, usize::from(slot))?;
    if !slot.next().tree.is_null() {
        return None;
    }
    // While another core changes it, it has no entries, nor has the range that was taken for it.
    let (start, end) = slot.range_at_rest(first, count);
    if start == end || !walk::take(ctx, &root, start, end, what, false) {
        return Some(CoreSet::EMPTY);
    }
    flush(&ctx.local.platform, start, end);
    Some(ctx.local.only)
}

/// What is taken: `segment` is what mappings know it by, also when it was killed meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Pages {
    segment: ObjectWords,
    first: u64,
    count: u64,
    what: Take,
}

/// Whether a segment is mapped nowhere. One that is not being mapped any more, or whose pages were marked, has no entry
/// then.
#[inline(always)]
fn is_unmapped<P: Platform>(ctx: &mut Ctx<P>, segment: Handle<'_, Segment>) -> bool {
    segment.mappings(&mut ctx.local).is_empty()
}

/// As [`revoke`], for a segment that may have been killed.
#[inline(never)]
fn revoke_as<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    segment: Handle<'_, Segment>,
    pages: Pages,
) -> CoreSet {
    let own = ctx.core();
    let mut users = CoreSet::EMPTY;
    let mut asked = CoreSet::EMPTY;
    loop {
        let (mut targets, again) = sweep(ctx, inside, segment, pages, asked, &mut users);
        if targets.is_empty() && !again && pages.what == Take::Page {
            return users;
        }
        users.union(targets);
        if targets.contains(own) {
            forget_segment(&mut ctx.local, inside, pages);
        }
        if pages.what == Take::Write {
            targets.union(segment.header().seen().load().without_all(asked));
        }
        let others = targets.without(own);
        if !others.is_empty() {
            ctx.local.counters.shootdowns += 1;
            let kind = match pages.what {
                Take::Page => MessageKind::ForgetSegment,
                Take::Write => MessageKind::ProtectSegment,
            };
            let message = Message { kind, object: pages.segment, words: [pages.first, pages.count] };
            ctx.local.broadcast(others, message);
            asked.union(others);
        }
        if !again {
            return users;
        }
        ctx.relax();
    }
}

/// One pass over the list: clears what this core may clear; notes whose mappings went already, says who must be
/// asked, and whether to come back because a root ran elsewhere and could have moved before its core was asked.
fn sweep<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    segment: Handle<'_, Segment>,
    Pages { first, count, what, .. }: Pages,
    asked: CoreSet,
    users: &mut CoreSet,
) -> (CoreSet, bool) {
    let platform = ctx.local.platform.clone();
    let (mut targets, mut again) = (CoreSet::EMPTY, false);
    let list = segment.mappings(&mut ctx.local);
    let mut at = list.first;
    while let Some(tree) = at.tree.resolve::<Tree>(inside) {
        let Some(slot) = tree.slot(&platform, usize::from(at.slot)) else { break };
        let (start, end) = slot.range_of(first, count, &mut ctx.local);
        at = slot.next();
        if start == end {
            continue;
        }
        match tree.kind() {
            TreeKind::Interior(_) => {
                walk::take(ctx, &tree, start, end, what, true);
                targets.union(tree.attached.load().without_all(asked));
            }
            TreeKind::Root => match run::take(&ctx.local, &tree) {
                Ok(taken) => {
                    if walk::take(ctx, &tree, start, end, what, false) && !taken {
                        // This core runs it: no need to look for the mapping again.
                        users.insert(ctx.core());
                        flush(&platform, start, end);
                    }
                    if taken {
                        run::give_back(&tree);
                    }
                }
                Err(None) => again = true,
                Err(Some(runner)) => {
                    if !asked.contains(runner) || walk::has_entries(&platform, &tree, start, end, what) {
                        targets.insert(runner);
                        again = true;
                    }
                }
            },
        }
    }
    drop(list);
    (targets, again)
}

/// Mailbox service of everything about paging. Takes no lock, waits for nothing.
pub fn forget<P: Platform>(local: &mut Local<P>, message: &Message) {
    let own = local.own();
    let inside = own.epoch.inside();
    let [first, count] = message.words;
    let pages = |what| Pages { segment: message.object, first, count, what };
    match message.kind {
        MessageKind::ForgetSegment => forget_segment(local, &inside, pages(Take::Page)),
        MessageKind::ProtectSegment => forget_segment(local, &inside, pages(Take::Write)),
        MessageKind::ForgetTree => forget_tree(local, &inside, message.object, first, count),
        MessageKind::Unlink => unlink(local, &inside, message.object),
        _ => {}
    }
}

/// Takes from this core's root's entries for pages of a segment, and forgets its translations.
fn forget_segment<P: Platform>(
    local: &mut Local<P>,
    inside: &Entered<'_>,
    Pages { segment, first, count, what }: Pages,
) {
    let Some(root) = Link::from(local.paging.root).resolve::<Tree>(inside) else { return };
    let platform = local.platform.clone();
    let is = |map: &Map| map.object.words() == segment;
    let mut flush = Flush::default();
    for (_, slot) in root.each(&platform) {
        let map = slot.peek();
        match map.kind {
            MapKind::Segment if is(&map) => {
                let (start, end) = map.range_of(first, count);
                walk::take_own(&platform, &root, start, end, what);
                flush.range(&platform, start, end);
            }
            MapKind::Interior => {
                let Some(tree) = map.object.resolve::<Tree>(inside) else { continue };
                for (_, slot) in tree.each(&platform) {
                    match slot.read() {
                        Some((inner, _)) if inner.kind == MapKind::Segment && is(&inner) => {
                            let (start, end) = inner.range_of(first, count);
                            flush.range(&platform, map.start + start, map.start + end);
                        }
                        Some(_) => {}
                        // It changes meanwhile: whatever it was, forget it.
                        None => flush.all = true,
                    }
                }
            }
            MapKind::Segment | MapKind::Empty | MapKind::Changing => {}
        }
    }
    flush.finish(&platform);
}

/// Has every core that attached an interior tree forget its translations of `start .. end`, and waits for it.
#[inline(always)]
pub(crate) fn forget_range<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    tree: Handle<'_, Tree>,
    start: u64,
    end: u64,
) {
    let words = tree.link().words();
    let range = [start / PAGE_SIZE, (end - start) / PAGE_SIZE];
    let attached = tree.attached.load();
    if attached.contains(ctx.core()) {
        forget_tree(&mut ctx.local, inside, words, range[0], range[1]);
    }
    let others = attached.without(ctx.core());
    if !others.is_empty() {
        ctx.local.counters.shootdowns += 1;
        let message = Message { kind: MessageKind::ForgetTree, object: words, words: range };
        ctx.local.broadcast(others, message);
    }
}

/// Forgets translations of pages of an attached interior tree, wherever this core's root links it.
pub(crate) fn forget_tree<P: Platform>(
    local: &mut Local<P>,
    inside: &Entered<'_>,
    tree: ObjectWords,
    first: u64,
    count: u64,
) {
    let Some(root) = Link::from(local.paging.root).resolve::<Tree>(inside) else { return };
    let platform = local.platform.clone();
    let mut flush = Flush::default();
    for map in root.each(&platform).filter_map(|(_, slot)| slot.links(tree)) {
        let start = map.start + first * PAGE_SIZE;
        flush.range(&platform, start, start + count * PAGE_SIZE);
    }
    flush.finish(&platform);
}

/// Unlinks an interior tree from this core's root, forgets all of it, and leaves its attached set.
fn unlink<P: Platform>(local: &mut Local<P>, inside: &Entered<'_>, tree: ObjectWords) {
    let platform = local.platform.clone();
    if let Some(root) = Link::from(local.paging.root).resolve::<Tree>(inside) {
        for map in root.each(&platform).filter_map(|(_, slot)| slot.links(tree)) {
            if let Some((table, index)) = walk::grain_entry(&platform, &root, map.start, map.levels()) {
                table.clear(index);
            }
        }
    }
    // Upper-level entries may be cached by themselves: a page-wise flush is not enough.
    platform.flush_all();
    if let Some(tree) = Link::from(tree).resolve::<Tree>(inside) {
        tree.attached.remove(local.id);
    }
}

/// Has `cores` forget all translations, upper levels included; acknowledged.
pub(crate) fn forget_all<P: Platform>(ctx: &mut Ctx<P>, cores: CoreSet) {
    let own = ctx.core();
    if cores.contains(own) {
        ctx.local.platform.flush_all();
    }
    let others = cores.without(own);
    if !others.is_empty() {
        ctx.local.counters.shootdowns += 1;
        // Unlinks nothing, and flushes everything.
        let message = Message { kind: MessageKind::Unlink, object: ObjectWords::NULL, words: [0; 2] };
        ctx.local.broadcast(others, message);
    }
}

/// Flushes that add up: single pages first, then all.
#[derive(Default)]
struct Flush {
    pages: u64,
    all: bool,
}

impl Flush {
    fn range<P: Platform>(&mut self, platform: &P, start: u64, end: u64) {
        self.pages += (end - start) / PAGE_SIZE;
        self.all |= self.pages > FLUSH_SINGLY;
        let mut at = start;
        while at < end && !self.all {
            platform.flush(at);
            at += PAGE_SIZE;
        }
    }

    fn finish<P: Platform>(self, platform: &P) {
        if self.all {
            platform.flush_all();
        }
    }
}

/// Forgets this core's translations of `start .. end`.
pub(crate) fn flush<P: Platform>(platform: &P, start: u64, end: u64) {
    let mut flush = Flush::default();
    flush.range(platform, start, end);
    flush.finish(platform);
}

/// Ends a segment without references: no core can reach it through a mapping when this returns, and it is retired.
#[inline(always)]
pub fn end_segment<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, segment: Handle<'_, Segment>) {
    let header = segment.header();
    let words = header.link().words();
    // Not found from here on, so no mapping of it is filled any more.
    header.begin_end();
    if is_unmapped(ctx, segment) {
        ctx.retire(header, CoreSet::EMPTY);
    } else {
        let pages = Pages { segment: words, first: 0, count: u64::MAX, what: Take::Page };
        end_mapped(ctx, inside, segment, pages);
    }
}

#[cold]
#[inline(never)]
fn end_mapped<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    segment: Handle<'_, Segment>,
    pages: Pages,
) {
    let users = revoke_as(ctx, inside, segment, pages);
    // Where it is not known who maps its pages, they stay.
    if !segment.is_quarantined(ctx) {
        ctx.retire(segment.header(), users);
    }
}

/// Ends a tree without references: as [`end_segment`], when this returns true. False: it is a root that runs, here or
/// elsewhere; end it again at the kernel exit, until it does not (as a pcore's end, and for the same reason).
pub fn end<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, header: &Header) -> bool {
    let words = header.link().words();
    let Some(tree) = header.handle::<Tree>() else { return true };
    // Under the lock that excludes changes of an interior tree: one that began before is seen by `clear_all`. So is
    // one of a root: whoever writes it after this core saw it idle sees that it dies.
    {
        let _edit = tree.edit.lock(&mut ctx.local);
        tree.dead.store(true, Ordering::SeqCst);
    }
    let mut users = tree.attached.load();
    match tree.kind() {
        TreeKind::Root => loop {
            let runner = tree.root.runner.load(Ordering::SeqCst);
            if runner == NOBODY {
                break;
            }
            if run::forsaken(&ctx.local, &tree, runner) {
                continue;
            }
            if runner & TAKEN == 0 {
                let message = Message { kind: MessageKind::Recheck, object: words, words: [0; 2] };
                ctx.local.broadcast(CoreSet::only(corey_kernel_hal::CoreId(runner as u16)), message);
                return false;
            }
            ctx.relax();
        },
        TreeKind::Interior(_) => {
            let own = ctx.core();
            loop {
                let attached = tree.attached.load();
                if attached.is_empty() {
                    break;
                }
                users.union(attached);
                if attached.contains(own) {
                    unlink(&mut ctx.local, inside, words);
                }
                let others = attached.without(own);
                if !others.is_empty() {
                    ctx.local.counters.shootdowns += 1;
                    let message = Message { kind: MessageKind::Unlink, object: words, words: [0; 2] };
                    ctx.local.broadcast(others, message);
                    for gone in others.iter().filter(|core| ctx.local.has_lost(*core)) {
                        tree.attached.remove(gone);
                    }
                }
            }
        }
    }
    // What a lost core left in the middle of a change stays as it is, for good: so do the segments it maps.
    if change::clear_all(ctx, inside, tree) {
        ctx.retire(header, users);
    }
    true
}
