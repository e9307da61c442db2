//! The table from IDs to objects: a trie of 128-way nodes, keyed by a hash of the ID.
//!
//! Each entry has room for one object *and* a node below, so nothing ever moves, and a reader needs no
//! lock: it walks down until an entry has its ID or there is no node below.

use corey_abi::Id;
use corey_kernel_hal::{Frame, Platform};
use corey_kernel_mem::{FrameCell, Zeroed};
use corey_kernel_object::{Ctx, Link, NODE_ENTRIES, Node, NodeEntry};

/// Odd, so multiplication is a bijection: different IDs part ways after at most 64 bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const BITS: u32 = NODE_ENTRIES.trailing_zeros();

/// The positions of an ID, level by level.
#[derive(Clone, Copy)]
struct Path(u64);

impl Path {
    #[inline(always)]
    fn new(id: Id) -> Self {
        Self(id.0.wrapping_mul(MULTIPLIER))
    }

    #[inline(always)]
    fn next(&mut self) -> usize {
        self.0 = self.0.rotate_left(BITS);
        self.0 as usize % NODE_ENTRIES
    }
}

/// The entry that names `id`.
#[inline(always)]
pub(crate) fn find<'a, P: Platform>(
    platform: &P,
    root: &'a FrameCell<Node>,
    id: Id,
) -> Option<&'a NodeEntry> {
    let mut path = Path::new(id);
    let mut node = root;
    loop {
        let entry = node.get(platform)?.0.get(path.next())?;
        if entry.link.id() == id.0 {
            return Some(entry);
        }
        node = &entry.child;
    }
}

/// Where an ID can be put.
pub(crate) enum Place<'a> {
    /// It is there already.
    Taken,
    /// This entry is empty.
    Entry(&'a NodeEntry),
    /// A node is missing here.
    Node(&'a FrameCell<Node>),
}

/// The first place on `id`'s path where it can be put; `NEW` says that it was never put anywhere. The caller holds the
/// share's lock.
#[inline(always)]
pub(crate) fn place<'a, P: Platform, const NEW: bool>(
    platform: &P,
    root: &'a FrameCell<Node>,
    id: Id,
) -> Place<'a> {
    let mut path = Path::new(id);
    let mut node = root;
    let mut empty = None;
    loop {
        // To the end of the path: it may lie behind an entry that was emptied since.
        let Some(entry) = node.get(platform).and_then(|n| n.0.get(path.next())) else {
            return empty.map_or(Place::Node(node), Place::Entry);
        };
        match entry.link.id() {
            0 if NEW => return Place::Entry(entry),
            0 => empty = empty.or(Some(entry)),
            there if there == id.0 => return Place::Taken,
            _ => {}
        }
        node = &entry.child;
    }
}

/// Puts a node where it is missing; a node somebody else put there makes this one free again.
pub(crate) fn grow<P: Platform>(ctx: &mut Ctx<P>, at: &FrameCell<Node>, frame: Zeroed) {
    if let Err(frame) = at.publish(frame) {
        ctx.free(frame.into_owned());
    }
}

/// Calls `each` with every entry that names something; stops when it says false.
pub(crate) fn for_each<P: Platform>(
    platform: &P,
    root: &FrameCell<Node>,
    each: &mut dyn FnMut(&NodeEntry, Link) -> bool,
) -> bool {
    let Some(node) = root.get(platform) else { return true };
    node.0.iter().all(|entry| {
        let link = entry.link.load();
        (link.is_null() || link.id().0 == 0 || each(entry, link)) && for_each(platform, &entry.child, each)
    })
}

/// Frees all nodes, and says how many there were.
pub(crate) fn free<P: Platform>(ctx: &mut Ctx<P>, root: &mut FrameCell<Node>) -> u64 {
    let platform = ctx.local.platform.clone();
    let mut freed = 0;
    if let Some(node) = root.get_mut(&platform) {
        for entry in &mut node.0 {
            freed += free(ctx, &mut entry.child);
        }
    }
    if let Some(frame) = root.take() {
        ctx.free(frame);
        freed += 1;
    }
    freed
}

/// Nodes of a table, for audits.
pub(crate) fn nodes<P: Platform>(platform: &P, root: &FrameCell<Node>) -> u64 {
    let mut nodes = 0;
    each_frame(platform, root, &mut |_| nodes += 1);
    nodes
}

/// Calls `each` with the frame of every node.
pub(crate) fn each_frame<P: Platform>(platform: &P, root: &FrameCell<Node>, each: &mut dyn FnMut(Frame)) {
    if let Some((frame, node)) = root.get_with_frame(platform) {
        each(frame);
        node.0.iter().for_each(|entry| each_frame(platform, &entry.child, each));
    }
}
