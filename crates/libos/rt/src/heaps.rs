//! The heaps of a program: one per core, each in an interior tree, all at the same addresses on every core.
//!
//! Heap `n` of a team lies in GiB `n` of the team's range, in a tree of its own; a core that links all trees
//! can use every pointer. The tree's last chunk holds the heap itself, and in the first tree the inboxes.
//!
//! The global allocator finds the core's heap through its stack: every stack ends at a multiple of
//! `STACK_SPAN`, and the last bytes are the thread's block, whose first word is the heap's address. The first
//! thread gets heap 0 at its first allocation. Other heaps are made by [`prepare`] before the threads are, so
//! that their trees are copied with the rest of the address space; a thread begins with [`join`].

use crate::pages::{CHUNKS, InUse, SPAN, TreePages};
use crate::process::Process;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use corey_abi::{Error, Id, MapFlags, ObjRef, PAGE_BYTES, STACK_SPAN, THREAD_BYTES};
use corey_libos_heap::{CHUNK, Heap, Inbox};
use corey_libos_sys::segment;
use corey_libos_vm::{Space, interior, map_in};

/// A heap of a program.
pub type ProgramHeap = Heap<'static, TreePages>;

/// Where a tree's last chunk begins.
const CONTROL: u64 = (CHUNKS * CHUNK) as u64;
/// Bytes of the heap in it; inboxes follow.
const HEAP_BYTES: u64 = (size_of::<ProgramHeap>() as u64).next_multiple_of(128);
/// Slot of the last chunk.
const SLOT: u64 = corey_abi::TREE_SLOTS as u64 - 1;

/// A team of heaps: where it lies and how many it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Team {
    base: u64,
    heaps: u32,
}

impl Team {
    /// Takes addresses for `heaps` heaps. Spaces with the same contents give the same ones.
    #[must_use]
    pub fn new(space: &mut Space, heaps: u32) -> Self {
        Self { base: space.reserve(u64::from(heaps) * SPAN), heaps }
    }

    /// Where the tree of heap `position` is to be linked.
    #[must_use]
    pub const fn address(&self, position: u32) -> u64 {
        self.base + position as u64 * SPAN
    }

    /// A tree for a heap, in `share`, with zeroed memory for the heap itself.
    ///
    /// # Errors
    ///
    /// As the calls.
    pub fn tree(&self, share: Id) -> Result<ObjRef, Error> {
        let tree = interior(share, "heap")?;
        let bytes = HEAP_BYTES + u64::from(self.heaps) * (size_of::<Inbox>() + size_of::<InUse>()) as u64;
        let control = segment(share, bytes, "heap control")?;
        map_in(tree, SLOT, control, CONTROL, bytes.div_ceil(PAGE_BYTES), MapFlags::WRITE)?;
        Ok(tree)
    }

    /// The inboxes and the records of chunks in use.
    fn shared(&self) -> (&'static [Inbox], &'static [InUse]) {
        let (at, heaps) = (self.base + CONTROL + HEAP_BYTES, self.heaps as usize);
        let inboxes = at as *const Inbox;
        let used = (at + (heaps * size_of::<Inbox>()) as u64) as *const InUse;
        // SAFETY: `tree` made room for them in the first tree, zeroed; both are atomics, for which zero is valid.
        let inboxes = unsafe { core::slice::from_raw_parts(inboxes, heaps) };
        // SAFETY: as above.
        (inboxes, unsafe { core::slice::from_raw_parts(used, heaps) })
    }

    /// Makes heap `position` in `tree`; its memory comes from `share`.
    ///
    /// # Safety
    ///
    /// `tree` came from [`Team::tree`] and is linked at [`Team::address`] here and wherever blocks of the heap
    /// are used, as the first tree is. No other heap is at this position.
    #[must_use]
    pub unsafe fn heap(&self, tree: ObjRef, share: Id, position: u32) -> NonNull<ProgramHeap> {
        let (inboxes, used) = self.shared();
        let pages = TreePages::new(tree, share, self.base, position as usize, used);
        // SAFETY: the caller's promise.
        let heap = unsafe { Heap::shared(pages, inboxes, position) };
        let at = (self.address(position) + CONTROL) as *mut ProgramHeap;
        // SAFETY: the tree's own memory, of which nobody else knows, aligned to a page.
        unsafe { at.write(heap) };
        // SAFETY: not null: no mapping begins at 0.
        unsafe { NonNull::new_unchecked(at) }
    }
}

/// The program's team (base and heaps), its share and root tree, the slot for tree 0, the first thread's block.
static TEAM: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static PROGRAM: AtomicU64 = AtomicU64::new(0);
static ROOT: AtomicU64 = AtomicU64::new(0);
static FIRST_SLOT: AtomicU64 = AtomicU64::new(0);
static FIRST_BLOCK: AtomicU64 = AtomicU64::new(0);

/// Heaps that were prepared, a bit each.
static PREPARED: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Whether heap `position` was prepared.
#[must_use]
pub fn is_prepared(position: u32) -> bool {
    let word = PREPARED.get(position as usize / 64);
    word.is_some_and(|word| word.load(Relaxed) >> (position % 64) & 1 == 1)
}

fn team() -> Team {
    Team { base: TEAM[0].load(Relaxed), heaps: TEAM[1].load(Relaxed) as u32 }
}

/// Sets addresses and a slot aside for the heaps of a program on `cores` cores. No call is made.
pub(crate) fn set_aside(space: &mut Space, program: Id, cores: u32) {
    let Ok(slot) = space.take_slot() else { return };
    let team = Team::new(space, cores);
    TEAM[0].store(team.base, Relaxed);
    TEAM[1].store(u64::from(team.heaps), Relaxed);
    PROGRAM.store(program.0, Relaxed);
    ROOT.store(space.tree.object.0, Relaxed);
    FIRST_SLOT.store(slot, Relaxed);
    FIRST_BLOCK.store(thread_block(), Relaxed);
}

/// Address of this thread's block.
#[inline(always)]
fn thread_block() -> u64 {
    let here = 0_u8;
    (&raw const here as u64 & !(STACK_SPAN - 1)) + STACK_SPAN - THREAD_BYTES
}

/// The word of this thread's block that leads to its heap.
#[inline(always)]
fn heap_word() -> &'static AtomicU64 {
    // SAFETY: every stack ends with a block (`corey_libos_vm::stack`, `exec`, the kernel for the first one).
    unsafe { &*(thread_block() as *const AtomicU64) }
}

/// Makes heap 0, for the first thread.
#[cold]
fn start() -> Result<NonNull<ProgramHeap>, Error> {
    if FIRST_BLOCK.load(Relaxed) != thread_block() {
        return Err(Error::NotFound);
    }
    let (share, team) = (Id(PROGRAM.load(Relaxed)), team());
    let root = ObjRef { share, object: Id(ROOT.load(Relaxed)) };
    let tree = team.tree(share)?;
    Space::link_at(root, FIRST_SLOT.load(Relaxed), tree, team.address(0))?;
    // SAFETY: just linked; copies of this space link it too. The word below says that it was made.
    let heap = unsafe { team.heap(tree, share, 0) };
    heap_word().store(heap.as_ptr() as u64, Relaxed);
    Ok(heap)
}

/// This thread's heap.
#[inline(always)]
fn heap() -> Option<NonNull<ProgramHeap>> {
    match NonNull::new(heap_word().load(Relaxed) as *mut ProgramHeap) {
        Some(heap) => Some(heap),
        None => start().ok(),
    }
}

/// Makes heap `position` of the program, 1 or more, in `share`, which the threads that allocate from it hold.
/// Threads whose address space is copied after this can use it. Returns the slot.
///
/// # Errors
///
/// `OutOfRange` when the machine has no such core; else as the calls.
///
/// # Safety
///
/// No two heaps are made for one position.
pub unsafe fn prepare(process: &mut Process, share: Id, position: u32) -> Result<u64, Error> {
    let team = team();
    if position == 0 || position >= team.heaps {
        return Err(Error::OutOfRange);
    }
    heap().ok_or(Error::NoMemory)?;
    let tree = team.tree(share)?;
    let slot = process.space.link(tree, team.address(position))?;
    // SAFETY: just linked; the caller's promise.
    let _ = unsafe { team.heap(tree, share, position) };
    if let Some(word) = PREPARED.get(position as usize / 64) {
        word.fetch_or(1 << (position % 64), Relaxed);
    }
    Ok(slot)
}

/// Makes heap `position` this thread's.
///
/// # Safety
///
/// [`prepare`] made it before this thread's address space was copied, and no other thread uses it.
pub unsafe fn join(position: u32) {
    heap_word().store(team().address(position) + CONTROL, Relaxed);
}

/// Gives what this thread's heap does not use back: blocks to other heaps, chunks to the kernel.
pub fn trim() {
    if let Some(mut heap) = NonNull::new(heap_word().load(Relaxed) as *mut ProgramHeap) {
        // SAFETY: a thread's heap is its own, and no other reference lives across this call.
        unsafe { heap.as_mut() }.trim();
    }
}

/// The allocator of programs.
#[derive(Debug)]
struct Program;

#[global_allocator]
static PROGRAM_HEAP: Program = Program;

// SAFETY: a heap's blocks do not overlap and hold their layout; heaps of the team free each other's blocks.
unsafe impl GlobalAlloc for Program {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: a thread's heap is its own, and the reference ends here.
        let block = heap().and_then(|mut heap| unsafe { heap.as_mut() }.take(layout));
        block.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = heap().and_then(|mut heap| unsafe { heap.as_mut() }.take_zeroed(layout));
        block.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let (Some(mut heap), Some(block)) = (heap(), NonNull::new(block)) else {
            panic!("a thread without a heap frees {block:p}: it begins with join");
        };
        // SAFETY: as above.
        let heap = unsafe { heap.as_mut() };
        // SAFETY: the caller's promise.
        unsafe { heap.give(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some(mut heap), Some(block)) = (heap(), NonNull::new(block)) else {
            return core::ptr::null_mut();
        };
        // SAFETY: as above.
        let heap = unsafe { heap.as_mut() };
        // SAFETY: the caller's promise.
        let new = unsafe { heap.resize(block, layout, size) };
        new.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }
}
