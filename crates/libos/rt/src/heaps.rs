//! The heaps of a program: one per core, a team; and the allocator that finds a thread's own.
//!
//! The global allocator finds the core's heap through its stack: every stack ends at a multiple of
//! `STACK_SPAN`, and the last bytes are the thread's block, whose first words lead to the heap. The heap is made at
//! the thread's first allocation. The trees of all heaps are made before the program's first other thread
//! ([`open`]), so that they are among the mappings that every thread begins with.
//!
//! With the word `heap=check` on the command line all heaps are in checking mode. They are found through another
//! word of the block, and only when the first one leads nowhere, so that the others pay nothing for the choice.
//!
//! A core's heap outlives its threads: the next thread there goes on with it, and between them any core gives its
//! memory back ([`Tenure`]).

use crate::pages::{Place, TreePages};
use crate::process::Process;
use crate::team::HEAPS;
pub use crate::team::{CheckedHeap, ProgramHeap, Team};
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use corey_abi::{Error, Id, ObjRef, STACK_SPAN, ShareCalls, THREAD_BYTES};
use corey_libos_heap::{CHUNK, Found, Heap, Tenure};
use corey_libos_sys::{pause, sys};
use corey_libos_vm::Space;

/// Segments of a private heap, and slots of its root.
const PRIVATE_PIECES: usize = 32;
/// Bytes of addresses that a private heap takes.
const PRIVATE_SPAN: u64 = 64 << 30;

/// A heap in a thread's own root tree.
pub type PrivateHeap = Heap<'static, TreePages<PRIVATE_PIECES>>;

/// Heaps the program has room for; 0 for a copy of a program that had heaps: it has none.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// The program's share, its first root tree, the slot there for the first heap's tree, the first thread's block.
static PROGRAM: AtomicU64 = AtomicU64::new(0);
static ROOT: AtomicU64 = AtomicU64::new(0);
static FIRST_SLOT: AtomicU64 = AtomicU64::new(0);
static FIRST_BLOCK: AtomicU64 = AtomicU64::new(0);
/// Whether the heaps are in checking mode.
static CHECKING: AtomicBool = AtomicBool::new(false);
/// Whether all trees are there.
static OPEN: AtomicBool = AtomicBool::new(false);
/// The heaps' trees, and who has the heaps.
static TREES: [AtomicU64; HEAPS] = [const { AtomicU64::new(0) }; HEAPS];
static TENURES: [Tenure; HEAPS] = [const { Tenure::new() }; HEAPS];

fn team() -> Team {
    Team::new(Team::BASE, COUNT.load(Relaxed) as u32)
}

/// Sets a slot aside for the first heap of a program on `cores` cores. No call is made.
pub(crate) fn set_aside(space: &mut Space, program: Id, cores: u32, checking: bool) {
    let Ok(slot) = space.take_slot() else { return };
    COUNT.store(u64::from(cores.min(HEAPS as u32)), Relaxed);
    PROGRAM.store(program.0, Relaxed);
    ROOT.store(space.tree.object.0, Relaxed);
    FIRST_SLOT.store(slot, Relaxed);
    FIRST_BLOCK.store(thread_block(), Relaxed);
    CHECKING.store(checking, Relaxed);
}

/// The same in a copy of a program, where the statics are those of the original. When that has heaps, the copy has
/// none: their addresses are taken, and the memory is the original's.
pub(crate) fn begin_copy(program: Id, tree: Id) {
    let [plain, checked, position] = words();
    [plain, checked, position].iter().for_each(|word| word.store(0, Relaxed));
    let taken = TREES[0].load(Relaxed) != 0;
    if taken {
        COUNT.store(0, Relaxed);
    }
    PROGRAM.store(program.0, Relaxed);
    ROOT.store(tree.0, Relaxed);
    FIRST_BLOCK.store(if taken { 0 } else { thread_block() }, Relaxed);
}

/// Whether the program's heaps are in checking mode.
#[must_use]
pub fn is_checking() -> bool {
    CHECKING.load(Relaxed)
}

/// Address of this thread's block.
#[inline(always)]
pub(crate) fn thread_block() -> u64 {
    let here = 0_u8;
    (&raw const here as u64 & !(STACK_SPAN - 1)) + STACK_SPAN - THREAD_BYTES
}

/// The words of this thread's block that lead to its heap: a plain one's address, one's in checking mode, and the
/// heap's position plus 1.
#[inline(always)]
fn words() -> &'static [AtomicU64; 3] {
    // SAFETY: every stack ends with a block (`corey_libos_vm::stack`, `exec`, the kernel for the first one).
    unsafe { &*(thread_block() as *const [AtomicU64; 3]) }
}

/// This thread's heap, when it is a plain one and was used before.
#[inline(always)]
pub(crate) fn plain() -> Option<NonNull<ProgramHeap>> {
    let [plain, ..] = words();
    NonNull::new(plain.load(Relaxed) as *mut ProgramHeap)
}

/// A heap of either mode.
pub(crate) enum Either {
    Plain(&'static mut ProgramHeap),
    Checked(&'static mut CheckedHeap),
}

/// Does the same with a heap of either mode.
macro_rules! with {
    ($either:expr, $heap:ident => $work:expr) => {
        match $either {
            Either::Plain($heap) => $work,
            Either::Checked($heap) => $work,
        }
    };
}
pub(crate) use with;

impl Either {
    /// The heap at `position`.
    ///
    /// # Safety
    ///
    /// It was made, and the caller has it alone while it has the result.
    unsafe fn at(position: u32) -> Self {
        let at = team().address(position);
        if is_checking() {
            // SAFETY: the caller's promise.
            Self::Checked(unsafe { &mut *(at as *mut CheckedHeap) })
        } else {
            // SAFETY: the caller's promise.
            Self::Plain(unsafe { &mut *(at as *mut ProgramHeap) })
        }
    }
}

/// This thread's heap, which is made if need be.
#[cold]
#[inline(never)]
pub(crate) fn mine() -> Option<Either> {
    let [plain, checked, position] = words();
    let position = match position.load(Relaxed) {
        0 if FIRST_BLOCK.load(Relaxed) == thread_block() => 0,
        0 => return None,
        joined => joined as u32 - 1,
    };
    if plain.load(Relaxed) == 0 && checked.load(Relaxed) == 0 {
        claim(position).ok()?;
        let word = if is_checking() { checked } else { plain };
        word.store(team().address(position), Relaxed);
    }
    // SAFETY: claimed by this thread; the callers end with the reference before the next one is made.
    Some(unsafe { Either::at(position) })
}

/// Makes the heap at `position` this thread's. Only threads of core `position` ask.
fn claim(position: u32) -> Result<(), Error> {
    let tenure = TENURES.get(position as usize).ok_or(Error::OutOfRange)?;
    match tenure.find(pause) {
        Found::None => {
            make(position)?;
            tenure.begin();
            Ok(())
        }
        Found::Whole => Ok(()),
        Found::Left => {
            // SAFETY: it was made, and the thread that had it ended: its core runs this one.
            let whole = with!(unsafe { Either::at(position) }, heap => heap.is_whole());
            if whole {
                return Ok(());
            }
            tenure.lose();
            Err(Error::Busy)
        }
        Found::Lost => Err(Error::Busy),
    }
}

fn make(position: u32) -> Result<(), Error> {
    if position == 0 {
        open_first()?;
    }
    let share = Id(PROGRAM.load(Relaxed));
    let tree = TREES.get(position as usize).map_or(0, |tree| tree.load(Acquire));
    if tree == 0 {
        return Err(Error::NotFound);
    }
    let tree = ObjRef { share, object: Id(tree) };
    if is_checking() {
        // SAFETY: `open` linked it everywhere; the state says that it was not made; all have the same mode.
        unsafe { team().heap::<true>(tree, share, position) }?;
    } else {
        // SAFETY: as above.
        unsafe { team().heap::<false>(tree, share, position) }?;
    }
    Ok(())
}

/// Makes and links the first heap's tree, with what all heaps share. By the first thread.
fn open_first() -> Result<(), Error> {
    let [first, ..] = &TREES;
    if first.load(Relaxed) != 0 {
        return Ok(());
    }
    let (share, team) = (Id(PROGRAM.load(Relaxed)), team());
    if team.heaps() == 0 {
        return Err(Error::NotFound);
    }
    let root = ObjRef { share, object: Id(ROOT.load(Relaxed)) };
    let tree = team.tree(share)?;
    let ready = team
        .open(tree, share)
        .and_then(|()| Space::link_at(root, FIRST_SLOT.load(Relaxed), tree, team.address(0)));
    if let Err(error) = ready {
        // It was made for this.
        let _ = sys().share_delobj(tree);
        return Err(error);
    }
    first.store(tree.object.0, Release);
    Ok(())
}

/// Makes the trees of all heaps, and links them here: threads that begin with this space's mappings can use every
/// heap's blocks, whenever the heap is made. By the first thread; the second time it does nothing.
///
/// # Errors
///
/// As the calls; it can be tried again.
///
/// # Cost
///
/// A tree for each core of the machine: two calls, one page.
pub fn open(process: &mut Process) -> Result<(), Error> {
    if OPEN.load(Relaxed) {
        return Ok(());
    }
    open_first()?;
    let (share, team) = (Id(PROGRAM.load(Relaxed)), team());
    for (position, place) in (0..team.heaps()).zip(&TREES) {
        if place.load(Relaxed) == 0 {
            let tree = team.tree(share)?;
            if let Err(error) = process.space.link(tree, team.address(position)) {
                // It was made for this.
                let _ = sys().share_delobj(tree);
                return Err(error);
            }
            place.store(tree.object.0, Release);
        }
    }
    OPEN.store(true, Relaxed);
    Ok(())
}

/// Says that this thread, which just began on core `core`, uses that core's heap. Nothing is made yet.
///
/// # Safety
///
/// It is the only thread of that core that does, and holds the program's share.
pub unsafe fn join(core: u32) {
    let [_, _, position] = words();
    position.store(u64::from(core) + 1, Relaxed);
}

/// Sends what waits for other heaps, and leaves this thread's heap to the next one on its core. The thread
/// allocates and frees nothing any more.
pub fn leave() {
    let [plain, checked, position] = words();
    if plain.load(Relaxed) == 0 && checked.load(Relaxed) == 0 {
        return;
    }
    if let Some(heap) = mine() {
        with!(heap, heap => heap.flush());
    }
    [plain, checked].iter().for_each(|word| word.store(0, Relaxed));
    if let Some(tenure) = TENURES.get((position.load(Relaxed) as usize).saturating_sub(1)) {
        tenure.leave();
    }
}

/// Gives back what heaps do not use: blocks to other heaps, chunks to the kernel. This thread's heap, and those of
/// cores whose threads have returned.
pub fn trim() {
    let [plain, checked, _] = words();
    if (plain.load(Relaxed) != 0 || checked.load(Relaxed) != 0)
        && let Some(heap) = mine()
    {
        with!(heap, heap => heap.trim());
    }
    for (position, tenure) in (0..team().heaps()).zip(&TENURES) {
        if tenure.borrow() {
            // SAFETY: it was made, and nobody else has it while it is lent.
            with!(unsafe { Either::at(position) }, heap => heap.trim());
            tenure.leave();
        }
    }
}

/// A heap in the root tree of `process`, whose share pays: no other core reaches its blocks, unless it is given the
/// mappings. A forked program has a copy of it, and says so by [`TreePages::follow`]. 1 GiB and more, up to 32 large
/// blocks.
///
/// # Errors
///
/// `Full` when the root has no 32 free slots.
pub fn private(process: &mut Process) -> Result<PrivateHeap, Error> {
    let mut slots = heapless::Vec::<u64, PRIVATE_PIECES>::new();
    for _ in 0..PRIVATE_PIECES {
        // There is room.
        let _ = slots.push(process.space.take_slot()?);
    }
    let base = process.space.reserve(PRIVATE_SPAN);
    let owner = Cell::new((process.space.tree, process.program));
    let chunks = (0, (PRIVATE_SPAN / CHUNK as u64) as u32);
    let place = Place { owner, base, inside: base, chunks, team: None };
    Ok(Heap::private(TreePages::new(place, slots.into_iter().rev())))
}
