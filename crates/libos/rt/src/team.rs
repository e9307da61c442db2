//! Heaps that free each other's blocks: where they lie, and what they share.
//!
//! Heap `n` of a team has an interior tree of its own, linked at the same address wherever the heap's blocks are
//! used. The tree is there from the team's start and spans more than a heap ever needs, so that whatever the heap
//! maps later is mapped everywhere at once: nobody has to be told of a heap that is made, or of one that grows.
//!
//! | in the tree | what |
//! |---|---|
//! | slot 0, chunk 0 | the heap itself, and which of its chunks are in use |
//! | slot 1, chunk 0, first tree only | inboxes, and which heaps were made |
//! | other slots, from chunk 1 on | segments of blocks |

use crate::pages::{Place, TreePages};
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use corey_abi::{Error, Id, MapFlags, ObjRef, PAGE_BYTES, TREE_SLOTS, grain};
use corey_libos_heap::{CHUNK, Heap, Inbox};
use corey_libos_sys::segment;
use corey_libos_vm::{interior_of, map_in};

/// Slots of a tree for segments of blocks.
const PIECES: usize = TREE_SLOTS - 2;
/// Most heaps of a team.
pub(crate) const HEAPS: usize = 256;
/// Up to so many heaps have 512 GiB of addresses each; more have 1 GiB.
const WIDE: u32 = 64;
/// Chunks a heap uses at most: 64 GiB.
const CHUNKS: u32 = 1 << 16;
/// Where the first tree's second segment begins.
const SHARED: u64 = CHUNK as u64 / 2;

/// A heap of a program.
pub type ProgramHeap = Heap<'static, TreePages<PIECES>>;
/// A heap of a program, in checking mode.
pub type CheckedHeap = Heap<'static, TreePages<PIECES>, true>;

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}
/// Bytes of a heap at the start of its tree.
const HEAP_BYTES: u64 =
    larger(size_of::<ProgramHeap>(), size_of::<CheckedHeap>()).next_multiple_of(128) as u64;
const CONTROL_BYTES: u64 = HEAP_BYTES + size_of::<InUse>() as u64;
const _: () = assert!(CONTROL_BYTES <= SHARED);

/// Which chunks of a tree are in use. Its heap writes it; the others read it in checking mode.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct InUse([AtomicU64; CHUNKS as usize / 64]);

impl InUse {
    fn get(&self, chunk: u64) -> bool {
        let word = self.0.get(chunk as usize / 64);
        word.is_some_and(|word| word.load(Relaxed) >> (chunk % 64) & 1 != 0)
    }

    pub(crate) fn set(&self, chunks: core::ops::Range<u32>, used: bool) {
        for chunk in chunks {
            let Some(word) = self.0.get(chunk as usize / 64) else { return };
            let (bit, old) = (1 << (chunk % 64), word.load(Relaxed));
            word.store(if used { old | bit } else { old & !bit }, Relaxed);
        }
    }
}

/// A team of heaps: where it lies and how many it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Team {
    base: u64,
    heaps: u32,
}

impl Team {
    /// Where teams lie as a rule: nothing else does.
    pub const BASE: u64 = 1 << 45;

    /// A team of `heaps` heaps at `base`, a multiple of 512 GiB.
    #[must_use]
    pub const fn new(base: u64, heaps: u32) -> Self {
        Self { base, heaps }
    }

    /// How many heaps it has room for.
    pub(crate) fn heaps(&self) -> u32 {
        self.heaps
    }

    /// log2 of the bytes that a tree spans.
    const fn grain(self) -> u64 {
        if self.heaps <= WIDE { grain::GIB512 } else { grain::GIB1 }
    }

    /// Where the tree of heap `position` is to be linked.
    #[must_use]
    pub const fn address(&self, position: u32) -> u64 {
        self.base + ((position as u64) << self.grain())
    }

    /// A tree for a heap, in `share`.
    ///
    /// # Errors
    ///
    /// As `at_alloc`.
    pub fn tree(&self, share: Id) -> Result<ObjRef, Error> {
        interior_of(share, self.grain(), "heap")
    }

    /// Makes what the heaps share, in the first tree; `share` pays. Before the first heap.
    ///
    /// # Errors
    ///
    /// As the calls.
    pub fn open(&self, first: ObjRef, share: Id) -> Result<(), Error> {
        let bytes = u64::from(self.heaps) * size_of::<Inbox>() as u64 + HEAPS as u64 / 8;
        let shared = segment(share, bytes, "heap team")?;
        map_in(first, 1, shared, SHARED, bytes.div_ceil(PAGE_BYTES), MapFlags::WRITE)
    }

    fn inboxes(self) -> &'static [Inbox] {
        let at = (self.base + SHARED) as *const Inbox;
        // SAFETY: `open` made room for them, zeroed, before any heap; they are atomics, for which zero is valid.
        unsafe { core::slice::from_raw_parts(at, self.heaps as usize) }
    }

    /// A bit for each heap that was made.
    fn made(self) -> &'static [AtomicU64; HEAPS / 64] {
        let at = self.base + SHARED + u64::from(self.heaps) * size_of::<Inbox>() as u64;
        // SAFETY: as `inboxes`; aligned to 128.
        unsafe { &*(at as *const [AtomicU64; HEAPS / 64]) }
    }

    /// The chunks in use of heap `position`, if it was made.
    pub(crate) fn in_use(self, position: u32) -> Option<&'static InUse> {
        let word = self.made().get(position as usize / 64)?;
        let made = position < self.heaps && word.load(Acquire) >> (position % 64) & 1 != 0;
        // SAFETY: it was made, so its control is mapped: atomics, zeroed at first.
        made.then(|| unsafe { &*((self.address(position) + HEAP_BYTES) as *const InUse) })
    }

    /// Whether `at` lies in a chunk of one of the heaps.
    pub(crate) fn knows(self, at: u64) -> bool {
        let Some(offset) = at.checked_sub(self.base) else { return false };
        let Ok(position) = u32::try_from(offset >> self.grain()) else { return false };
        let chunk = (offset & ((1 << self.grain()) - 1)) / CHUNK as u64;
        self.in_use(position).is_some_and(|used| used.get(chunk))
    }

    /// Makes heap `position` in `tree`; its memory comes from `share`. In checking mode when `CHECKED`.
    ///
    /// # Errors
    ///
    /// As the calls.
    ///
    /// # Safety
    ///
    /// `tree` came from [`Team::tree`] and is linked at [`Team::address`] here and wherever blocks of the heap
    /// are used, as the first tree is, which was opened. No other heap is made at this position, and all heaps of
    /// the team agree on `CHECKED`.
    pub unsafe fn heap<const CHECKED: bool>(
        &self,
        tree: ObjRef,
        share: Id,
        position: u32,
    ) -> Result<NonNull<Heap<'static, TreePages<PIECES>, CHECKED>>, Error> {
        let base = self.address(position);
        let control = segment(share, CONTROL_BYTES, "heap control")?;
        map_in(tree, 0, control, 0, CONTROL_BYTES.div_ceil(PAGE_BYTES), MapFlags::WRITE)?;
        if let Some(word) = self.made().get(position as usize / 64) {
            word.fetch_or(1 << (position % 64), Release);
        }
        let end = ((1_u64 << self.grain()) / CHUNK as u64).min(u64::from(CHUNKS)) as u32;
        let team = Some((*self, position));
        let owner = Cell::new((tree, share));
        let place = Place { owner, base, inside: 0, chunks: (1, end), team };
        // Backwards: the last one is taken first.
        let pages = TreePages::new(place, (2..TREE_SLOTS as u64).rev());
        // SAFETY: the caller's promise.
        let heap = unsafe { Heap::shared(pages, self.inboxes(), position) };
        let at =
            NonNull::new(base as *mut Heap<'static, TreePages<PIECES>, CHECKED>).ok_or(Error::BadAddress)?;
        // SAFETY: the tree's own memory, of which nobody else knows, aligned to a page.
        unsafe { at.write(heap) };
        Ok(at)
    }
}
