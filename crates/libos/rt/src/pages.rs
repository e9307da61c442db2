//! Memory of heaps: segments mapped in a tree, some for one large block, some for many chunks.

use crate::process::Process;
use crate::team::Team;
use core::cell::Cell;
use core::ptr::NonNull;
use corey_abi::{AddressTreeCalls, Id, MapFlags, Mapping, ObjRef, PAGE_BYTES, ShareCalls, mapping_kind};
use corey_libos_heap::{CHUNK, Contents, Pages};
use corey_libos_sys::{address, segment, sys};

/// Most chunks of a segment that is given out in parts: a bit each.
const PARTS: u32 = u64::BITS;

/// What of a segment is given out.
#[derive(Clone, Copy, Debug)]
enum Use {
    /// All of it, for one large block.
    Whole,
    /// These chunks, and those that were before: they are not zero any more.
    Parts { used: u64, stale: u64 },
}

/// One segment and where it is mapped.
#[derive(Clone, Copy, Debug)]
struct Piece {
    segment: Id,
    usage: Use,
    start: u32,
    count: u32,
    slot: u16,
}

/// A row of `count` chunks, as bits, from `first` on.
fn row(first: u32, count: u32) -> u64 {
    (u64::MAX >> (PARTS - count)) << first
}

impl Piece {
    /// The first of `count` chunks in a row that are not given out.
    fn room(&self, count: u32) -> Option<u32> {
        let Use::Parts { used, .. } = self.usage else { return None };
        (0..=self.count.checked_sub(count)?).find(|first| used & row(*first, count) == 0)
    }
}

/// Where a heap's segments are mapped, and who pays.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The tree, an interior one or one's own root; the share that names the segments and pays.
    pub(crate) owner: Cell<(ObjRef, Id)>,
    /// Address of chunk 0, for who uses it.
    pub(crate) base: u64,
    /// Its address in the tree.
    pub(crate) inside: u64,
    /// First chunk that may be used, and the end.
    pub(crate) chunks: (u32, u32),
    /// The team, and the heap's position in it; none for a private heap.
    pub(crate) team: Option<(Team, u32)>,
}

/// Gives a [`corey_libos_heap::Heap`] segments of `PIECES` at most.
///
/// A large block has a segment of its own, mapped for it and unmapped with it. Chunks of small blocks share
/// segments, which grow with the heap, so that the tree's slots last for 64 MiB each. When few slots are left,
/// blocks below that size lie in shared segments too.
#[derive(Debug)]
pub struct TreePages<const PIECES: usize> {
    place: Place,
    /// By address.
    pieces: heapless::Vec<Piece, PIECES>,
    /// Slots of the tree that are free.
    slots: heapless::Vec<u16, PIECES>,
    /// Chunks of all pieces.
    total: u32,
}

impl<const PIECES: usize> TreePages<PIECES> {
    /// Maps at `place`, in `slots` of its tree.
    pub(crate) fn new(place: Place, slots: impl Iterator<Item = u64>) -> Self {
        // Slots beyond what there is room for stay unused.
        let slots = slots.take(PIECES).map(|slot| slot as u16).collect();
        Self { place, pieces: heapless::Vec::new(), slots, total: 0 }
    }

    /// Follows `process`, a copy of the program that has this heap, into its own root and share: for a private heap,
    /// of which a forked program has a copy.
    pub fn follow(&self, process: &Process) {
        self.place.owner.set((process.space.tree, process.program));
    }

    /// Chunks of the next segment that is shared: slots must last.
    fn step(&self) -> u32 {
        (self.total * 32 / PIECES as u32).clamp(1, PARTS)
    }

    /// The lowest `count` free chunks in a row, and their position among the pieces.
    fn room(&self, count: u32) -> Option<(u32, usize)> {
        let (mut chunk, end) = self.place.chunks;
        for (at, piece) in self.pieces.iter().enumerate() {
            if piece.start - chunk >= count {
                return Some((chunk, at));
            }
            chunk = piece.start + piece.count;
        }
        (end - chunk >= count).then_some((chunk, self.pieces.len()))
    }

    /// Makes and maps a segment of `bytes`.
    fn add(&mut self, bytes: u64, usage: Use) -> Option<usize> {
        let count = u32::try_from(bytes.div_ceil(CHUNK as u64)).ok()?;
        let (chunk, at) = self.room(count)?;
        let slot = *self.slots.last()?;
        let (tree, share) = self.place.owner.get();
        let object = segment(share, bytes, "heap").ok()?;
        let mapping = Mapping {
            kind: mapping_kind::SEGMENT,
            flags: (MapFlags::WRITE | MapFlags::HEAP).bits(),
            object,
            va: self.place.inside + u64::from(chunk) * CHUNK as u64,
            npages: bytes / PAGE_BYTES,
            ..Mapping::default()
        };
        if sys().at_set_slot(tree, u64::from(slot), address(&mapping)).is_err() {
            // It was made for this; a failure would mean that it is gone already.
            let _ = sys().share_delobj(object);
            return None;
        }
        let piece = Piece { segment: object.object, usage, start: chunk, count, slot };
        // There is room: as many slots as pieces, and one was free.
        let _ = self.pieces.insert(at, piece);
        let _ = self.slots.pop();
        self.total += count;
        Some(at)
    }

    /// Unmaps a piece, and ends its segment.
    fn remove(&mut self, at: usize) {
        let Piece { segment, count, slot, .. } = self.pieces.remove(at);
        let (tree, share) = self.place.owner.get();
        // Errors mean that the share went, and its segments with it; or that the segment is a copy for a forked
        // program, and named by the program's share for as long as that lives.
        let _ = sys().at_set_slot(tree, u64::from(slot), address(&Mapping::default()));
        let _ = sys().share_delobj(ObjRef { share, object: segment });
        let _ = self.slots.push(slot);
        self.total -= count;
    }

    /// `count` chunks of a segment that others share.
    fn take_parts(&mut self, count: u32) -> Option<(u32, Contents)> {
        let found = self.pieces.iter().enumerate().find_map(|(at, piece)| Some((at, piece.room(count)?)));
        let (at, first) = match found {
            Some(found) => found,
            None => {
                let mut size = self.step().max(count);
                // Less, when the share cannot pay for as much.
                let at = loop {
                    let bytes = u64::from(size) * CHUNK as u64;
                    match self.add(bytes, Use::Parts { used: 0, stale: 0 }) {
                        Some(at) => break at,
                        None if size == count => return None,
                        None => size = (size / 2).max(count),
                    }
                };
                (at, 0)
            }
        };
        let piece = self.pieces.get_mut(at)?;
        let Use::Parts { used, stale } = &mut piece.usage else { return None };
        let row = row(first, count);
        let contents = if *stale & row == 0 { Contents::Zero } else { Contents::Any };
        *used |= row;
        *stale |= row;
        Some((piece.start + first, contents))
    }

    fn mark(&self, chunk: u32, count: u32, used: bool) {
        if let Some(all) = self.place.team.and_then(|(team, position)| team.in_use(position)) {
            all.set(chunk..chunk + count, used);
        }
    }

    /// The piece that `chunk` lies in.
    fn piece_of(&self, chunk: u32) -> Option<usize> {
        let at = self.pieces.partition_point(|piece| piece.start <= chunk).checked_sub(1)?;
        let piece = self.pieces.get(at)?;
        (chunk - piece.start < piece.count).then_some(at)
    }
}

impl<const PIECES: usize> Pages for TreePages<PIECES> {
    fn take(&mut self, bytes: usize) -> Option<(NonNull<u8>, Contents)> {
        let count = u32::try_from(bytes.div_ceil(CHUNK)).ok()?;
        let (chunk, contents) = if bytes == CHUNK || self.is_scarce() && count <= PARTS {
            self.take_parts(count)?
        } else {
            let at = self.add((bytes as u64).next_multiple_of(PAGE_BYTES), Use::Whole)?;
            (self.pieces.get(at)?.start, Contents::Zero)
        };
        self.mark(chunk, count, true);
        let at = self.place.base + u64::from(chunk) * CHUNK as u64;
        Some((NonNull::new(at as *mut u8)?, contents))
    }

    unsafe fn give(&mut self, at: NonNull<u8>, bytes: usize) {
        let chunk = ((at.addr().get() as u64 - self.place.base) / CHUNK as u64) as u32;
        let count = bytes.div_ceil(CHUNK) as u32;
        let Some(found) = self.piece_of(chunk) else { return };
        let Some(piece) = self.pieces.get_mut(found) else { return };
        let empty = match &mut piece.usage {
            Use::Whole => true,
            Use::Parts { used, .. } => {
                *used &= !row(chunk - piece.start, count);
                *used == 0
            }
        };
        self.mark(chunk, count, false);
        if empty {
            self.remove(found);
        }
    }

    /// Slots are few.
    fn is_scarce(&self) -> bool {
        self.slots.len() <= PIECES / 2
    }

    fn knows(&self, at: usize) -> bool {
        if let Some((team, _)) = self.place.team {
            return team.knows(at as u64);
        }
        let Some(offset) = (at as u64).checked_sub(self.place.base) else { return false };
        let Ok(chunk) = u32::try_from(offset / CHUNK as u64) else { return false };
        self.piece_of(chunk).and_then(|at| self.pieces.get(at)).is_some_and(|piece| match piece.usage {
            Use::Whole => true,
            Use::Parts { used, .. } => used & row(chunk - piece.start, 1) != 0,
        })
    }
}
