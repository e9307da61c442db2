//! For audits: what tables map, against what the mappings say.
//!
//! All other cores stand still, at their kernel exits: no slot is `Changing`, no page `Revoking`, no message under way.

use crate::slot::{MapKind, Slot};
use crate::tree::{Tree, TreeKind};
use corey_kernel_hal::{CoreId, Entry, PAGE_SIZE, Platform};
use corey_kernel_mem::{PageState, TableRef};
use corey_kernel_object::{Entered, Handle};
use corey_kernel_percore::Local;
use corey_kernel_segment::Segment;

/// Broken promises of one tree: entries that map what no slot says, slots on no list, links to nowhere.
pub fn verify<P: Platform>(local: &mut Local<P>, inside: &Entered<'_>, tree: Handle<'_, Tree>) -> u64 {
    let platform = local.platform.clone();
    let mut errors = slots(local, inside, tree);
    let own = if tree.kind() == TreeKind::Root { 256 } else { 512 };
    let check = Check { platform: &platform, inside, tree: tree.body() };
    errors += check.table(tree.table(&platform), tree.kind().levels() - 1, own, 0);
    errors
}

/// Mappings of a segment that are on its list and should not be: of a dead tree, an empty slot, another segment; and
/// lists that do not end.
pub fn verify_list<P: Platform>(
    local: &mut Local<P>,
    inside: &Entered<'_>,
    segment: Handle<'_, Segment>,
    most: u64,
) -> u64 {
    let platform = local.platform.clone();
    let mut at = segment.mappings(local).first;
    let mut length = 0;
    while at.tree != corey_kernel_object::Link::NULL {
        let slot = at.tree.resolve::<Tree>(inside).map(Handle::body).and_then(|tree| {
            let slot = tree.slot(&platform, usize::from(at.slot))?;
            Some((slot, slot.peek()))
        });
        let Some((slot, map)) = slot else { return 1 };
        length += 1;
        if map.kind != MapKind::Segment || map.object != segment.link() || length > most {
            return 1;
        }
        at = slot.next();
    }
    0
}

/// Slots of `tree` that map a living segment and are not on its list, once.
fn slots<P: Platform>(local: &mut Local<P>, inside: &Entered<'_>, tree: Handle<'_, Tree>) -> u64 {
    let platform = local.platform.clone();
    let mut errors = 0;
    for (index, slot) in tree.each(&platform) {
        let map = slot.peek();
        errors += u64::from(map.kind == MapKind::Changing);
        if map.kind == MapKind::Segment
            && let Some(segment) = map.object.resolve::<Segment>(inside)
        {
            let mut times = 0;
            let mut at = segment.mappings(local).first;
            // A list that does not end is found by `verify_list`.
            for _ in 0..1 << 16 {
                let next = at.tree.resolve::<Tree>(inside).map(Handle::body).and_then(|other| {
                    let slot = other.slot(&platform, usize::from(at.slot))?;
                    Some(slot.next())
                });
                let Some(next) = next else { break };
                times += u64::from(at.tree == tree.link() && usize::from(at.slot) == index);
                at = next;
            }
            errors += u64::from(times != 1);
        }
    }
    errors
}

/// A walk over a tree's tables.
struct Check<'a, P> {
    platform: &'a P,
    inside: &'a Entered<'a>,
    tree: &'a Tree,
}

impl<P: Platform> Check<'_, P> {
    /// Entries of `table`, which map `1 << (12 + 9 * level)` bytes each from `base` on.
    fn table(&self, table: TableRef<'_>, level: u32, entries: usize, base: u64) -> u64 {
        let size = PAGE_SIZE << (9 * level);
        let (mut errors, mut from) = (0, 0);
        while let Some(index) = table.next_used(from, entries) {
            from = index + 1;
            let at = base + index as u64 * size;
            errors += match table.entry::<P>(index) {
                Entry::Absent => 1,
                Entry::Leaf(_) => u64::from(!self.is_mapped(table, index, level, at)),
                Entry::Table(_) if level == 0 => 1,
                Entry::Table(frame) => match self.interior_at(at, level) {
                    // It has its own audit; here only that it is the one, and that this root is known there.
                    Some(interior) => u64::from(
                        interior.table(self.platform).frame() != frame || !self.is_attached(interior),
                    ),
                    None => {
                        table.child(self.platform, index).map_or(1, |t| self.table(t, level - 1, 512, at))
                    }
                },
            };
        }
        errors
    }

    /// Whether a leaf is the page that the slot covering `at` says, with no more rights.
    fn is_mapped(&self, table: TableRef<'_>, index: usize, level: u32, at: u64) -> bool {
        let Some(slot) = self.slot_at(at) else { return false };
        let map = slot.peek();
        let Some(segment) = map.object.resolve::<Segment>(self.inside) else { return false };
        let page = map.page + (at - map.start) / PAGE_SIZE;
        let large = segment.page_size().pages() > 1;
        if map.kind != MapKind::Segment || large != (level == 1) || level > 1 {
            return false;
        }
        let (frame, own) = match segment.slot(self.platform, page).map(|slot| slot.load()) {
            Some(PageState::Present(frame)) => (frame, true),
            Some(PageState::Cow(frame)) => (frame, false),
            _ => return false,
        };
        let rights = if own { map.access() } else { map.access().without_write() };
        table.maps::<P>(index, frame, rights, large)
    }

    fn slot_at(&self, at: u64) -> Option<Slot<'_>> {
        self.tree.each(self.platform).map(|(_, slot)| slot).find(|slot| slot.covers(at))
    }

    /// The interior tree that a root links at `at`, by a table whose entries have level `level`.
    fn interior_at(&self, at: u64, level: u32) -> Option<&Tree> {
        let map = self.slot_at(at)?.peek();
        if map.kind != MapKind::Interior || map.start != at || map.levels() != level {
            return None;
        }
        Some(map.object.resolve::<Tree>(self.inside)?.body())
    }

    /// Whether the core that runs this root is among those that attach `interior`.
    fn is_attached(&self, interior: &Tree) -> bool {
        self.tree.runner().is_some_and(|CoreId(core)| interior.attached.load().contains(CoreId(core)))
    }
}
