//! Memory of heaps: segments in an interior tree of 1 GiB, one tree per heap.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use corey_abi::{AddressTreeCalls, Id, MapFlags, Mapping, ObjRef, PAGE_BYTES, ShareCalls};
use corey_libos_heap::{CHUNK, Pages};
use corey_libos_sys::{address, segment, sys};
use corey_libos_vm::map_in;

/// Bytes a tree spans.
pub(crate) const SPAN: u64 = 1 << 30;
/// Chunks a tree has room for; the last one is not given out ([`crate::heaps`] uses it).
pub(crate) const CHUNKS: usize = (SPAN / CHUNK as u64) as usize - 1;
/// Slots of the tree for chunks; the last one is for the last chunk.
const SLOTS: usize = corey_abi::TREE_SLOTS - 1;

/// Which chunks of a tree are in use. Its heap writes it; the others read it in checking mode.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct InUse([AtomicU64; CHUNKS / 64 + 1]);

impl InUse {
    fn get(&self, chunk: usize) -> bool {
        self.0.get(chunk / 64).is_some_and(|word| word.load(Relaxed) >> (chunk % 64) & 1 != 0)
    }

    fn set(&self, chunks: core::ops::Range<usize>, used: bool) {
        for chunk in chunks {
            let Some(word) = self.0.get(chunk / 64) else { continue };
            let (bit, old) = (1 << (chunk % 64), word.load(Relaxed));
            word.store(if used { old | bit } else { old & !bit }, Relaxed);
        }
    }

    /// The first of `count` free chunks in a row.
    fn room(&self, count: usize) -> Option<usize> {
        let mut free = 0;
        for chunk in 0..CHUNKS {
            free = if self.get(chunk) { 0 } else { free + 1 };
            if free == count {
                return Some(chunk + 1 - count);
            }
        }
        None
    }
}

/// One mapping of the tree; `segment` is null where the slot is free.
#[derive(Clone, Copy, Debug)]
struct Piece {
    segment: Id,
    chunk: u32,
    count: u32,
}

/// Gives a [`corey_libos_heap::Heap`] segments, each mapped in the heap's tree and given back whole. A large
/// block is at most 1 GiB less 2 MiB.
#[derive(Debug)]
pub struct TreePages {
    tree: ObjRef,
    /// The share that names the segments and pays.
    share: Id,
    /// Where the trees of the team begin, one after another.
    team: u64,
    /// Position in the team.
    position: usize,
    used: &'static [InUse],
    pieces: [Piece; SLOTS],
}

impl TreePages {
    pub(crate) fn new(tree: ObjRef, share: Id, team: u64, position: usize, used: &'static [InUse]) -> Self {
        let pieces = [Piece { segment: Id::NULL, chunk: 0, count: 0 }; SLOTS];
        Self { tree, share, team, position, used, pieces }
    }

    fn base(&self) -> u64 {
        self.team + self.position as u64 * SPAN
    }
}

impl Pages for TreePages {
    fn take(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        let count = bytes.div_ceil(CHUNK);
        let used = &self.used[self.position];
        let slot = self.pieces.iter().position(|piece| piece.segment == Id::NULL)?;
        let chunk = used.room(count)?;
        let npages = (bytes as u64).div_ceil(PAGE_BYTES);
        let object = segment(self.share, npages * PAGE_BYTES, "heap").ok()?;
        let offset = (chunk * CHUNK) as u64;
        let flags = MapFlags::WRITE | MapFlags::HEAP;
        if map_in(self.tree, slot as u64, object, offset, npages, flags).is_err() {
            // It was made for this; a failure would mean that it is gone already.
            let _ = sys().share_delobj(object);
            return None;
        }
        used.set(chunk..chunk + count, true);
        self.pieces[slot] = Piece { segment: object.object, chunk: chunk as u32, count: count as u32 };
        NonNull::new((self.base() + offset) as *mut u8)
    }

    unsafe fn give(&mut self, at: NonNull<u8>, _: usize) {
        let chunk = ((at.addr().get() as u64 - self.base()) / CHUNK as u64) as u32;
        let found = self.pieces.iter().position(|p| p.segment != Id::NULL && p.chunk == chunk);
        let Some(slot) = found else { return };
        let Piece { segment, count, .. } = self.pieces[slot];
        // Errors mean that the share went, and its segments with it.
        let _ = sys().at_set_slot(self.tree, slot as u64, address(&Mapping::default()));
        let _ = sys().share_delobj(ObjRef { share: self.share, object: segment });
        self.used[self.position].set(chunk as usize..(chunk + count) as usize, false);
        self.pieces[slot].segment = Id::NULL;
    }

    fn knows(&self, at: usize) -> bool {
        let Some(offset) = (at as u64).checked_sub(self.team) else { return false };
        let used = self.used.get((offset / SPAN) as usize);
        used.is_some_and(|used| used.get((offset % SPAN) as usize / CHUNK))
    }
}
