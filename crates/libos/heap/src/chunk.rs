//! Chunks: what every address leads to, and what only the owner writes.

use crate::sizes::{self, CLASSES, UNIT};
use core::ptr::NonNull;

/// Bytes of a chunk, and its alignment. A large block's chunk is as long as it needs.
pub const CHUNK: usize = 1 << 20;
/// The class of a chunk that holds one large block.
pub(crate) const LARGE: u32 = CLASSES as u32;
/// Marks chunks, for checking mode.
const MAGIC: u64 = 0x434f_5245_5948_4541;
/// The trigger of a chunk whose frees never lead to the slow path: no number of blocks is one less than none.
pub(crate) const NEVER: u32 = u32::MAX;

/// The first line: written once, read by every core.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Fixed {
    /// The heap it belongs to.
    pub(crate) owner: u32,
    /// Class, or [`LARGE`].
    pub(crate) class: u32,
    /// Offset of the first block.
    pub(crate) first: u32,
    /// Blocks that fit.
    pub(crate) capacity: u32,
    /// Bytes of a block.
    pub(crate) block: usize,
    /// Bytes the source gave.
    pub(crate) bytes: usize,
    magic: u64,
}

/// A free block: the link to the next.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Free {
    pub(crate) next: Option<NonNull<Free>>,
}

/// The second line: the owner's.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct State {
    /// First free block.
    pub(crate) free: Option<NonNull<Free>>,
    /// Frees until the slow path, were nothing taken meanwhile: blocks handed out, less `trigger`.
    pub(crate) left: u32,
    /// With so many blocks handed out, a free takes the slow path.
    trigger: u32,
    /// Blocks that were ever linked.
    pub(crate) carved: u32,
    /// Neighbours in the list of chunks of the class.
    pub(crate) next: Option<Chunk>,
    pub(crate) previous: Option<Chunk>,
}

impl State {
    const fn new(used: u32) -> Self {
        Self { free: None, left: used, trigger: 0, carved: 0, next: None, previous: None }
    }

    /// Blocks handed out.
    pub(crate) fn used(&self) -> u32 {
        self.left.wrapping_add(self.trigger)
    }

    /// Says with how many blocks handed out a free takes the slow path.
    pub(crate) fn set_trigger(&mut self, trigger: u32) {
        self.left = self.used().wrapping_sub(trigger);
        self.trigger = trigger;
    }
}

#[repr(C)]
struct Header {
    fixed: Fixed,
    state: State,
}

struct Unwritten(Header);
// SAFETY: nobody writes it: it has no free block, and is in no list.
unsafe impl Sync for Unwritten {}

static NOTHING: Unwritten = Unwritten(Header {
    fixed: Fixed { owner: u32::MAX, class: 0, first: 0, capacity: 0, block: 0, bytes: 0, magic: 0 },
    state: State::new(0),
});

/// Bytes before the first block.
const HEADER: usize = size_of::<Header>();

/// A chunk: by type invariant its memory is mapped and begins with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk(NonNull<Header>);

impl Chunk {
    /// A chunk without blocks: where there is none, so that taking a block asks one question less.
    pub(crate) const NOTHING: Self = Self(NonNull::from_ref(&NOTHING.0));

    fn write(at: NonNull<u8>, fixed: Fixed, used: u32) -> Self {
        let state = State::new(used);
        let chunk = Self(at.cast());
        // SAFETY: the callers got at least `HEADER` bytes there, aligned to 4096, and nobody else uses them.
        unsafe { chunk.0.write(Header { fixed, state }) };
        chunk
    }

    /// Makes a chunk of `class`.
    ///
    /// # Safety
    ///
    /// [`CHUNK`] bytes from `at` on, a multiple of it, are the caller's alone.
    pub(crate) unsafe fn of_class(at: NonNull<u8>, owner: u32, class: usize) -> Self {
        let block = sizes::bytes(class);
        let first = if block.is_power_of_two() { HEADER.max(block) } else { HEADER };
        let capacity = ((CHUNK - first) / block) as u32;
        let class = class as u32;
        let (first, bytes) = (first as u32, CHUNK);
        Self::write(at, Fixed { owner, class, first, capacity, block, bytes, magic: MAGIC }, 0)
    }

    /// Bytes of a chunk for a large block of `size` bytes, and the block's offset. `None` when there is none.
    pub(crate) fn large_bytes(size: usize, align: usize) -> Option<(usize, usize)> {
        let first = HEADER.max(align);
        let bytes = first.checked_add(size)?.checked_next_multiple_of(4096)?;
        (first < CHUNK && isize::try_from(bytes).is_ok()).then_some((bytes, first))
    }

    /// Makes a chunk for one block, which is handed out.
    ///
    /// # Safety
    ///
    /// `bytes` bytes from `at` on, a multiple of [`CHUNK`], are the caller's alone; `first` is an offset in it.
    pub(crate) unsafe fn large(at: NonNull<u8>, owner: u32, bytes: usize, first: usize) -> Self {
        let block = bytes - first;
        let first = first as u32;
        Self::write(at, Fixed { owner, class: LARGE, first, capacity: 1, block, bytes, magic: MAGIC }, 1)
    }

    /// The chunk of a block.
    ///
    /// # Safety
    ///
    /// `block` came from a heap and is not yet given back.
    #[inline(always)]
    pub(crate) unsafe fn of_block(block: NonNull<u8>) -> Self {
        let base = block.as_ptr().map_addr(|at| at & !(CHUNK - 1));
        // SAFETY: a block lies in the first `CHUNK` bytes of its chunk and behind its header, so the base is
        // not null.
        Self(unsafe { NonNull::new_unchecked(base) }.cast())
    }

    /// What never changes.
    #[inline(always)]
    pub(crate) fn fixed<'a>(self) -> &'a Fixed {
        // SAFETY: type invariant; nobody writes this line after the chunk was made.
        unsafe { &(*self.0.as_ptr()).fixed }
    }

    /// The owner's line.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and has no other reference to it.
    #[inline(always)]
    pub(crate) unsafe fn state<'a>(self) -> &'a mut State {
        // SAFETY: the caller's promise; type invariant.
        unsafe { &mut (*self.0.as_ptr()).state }
    }

    /// Its first free block.
    #[inline(always)]
    pub(crate) fn free(self) -> Option<NonNull<Free>> {
        // SAFETY: type invariant; the callers are the owner, who holds no reference to the line, or this is
        // `NOTHING`, which nobody writes.
        unsafe { (*self.0.as_ptr()).state.free }
    }

    /// Where it begins.
    pub(crate) fn start(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// Block number `number`.
    pub(crate) fn block(self, number: u32) -> NonNull<u8> {
        let fixed = self.fixed();
        let offset = fixed.first as usize + number as usize * fixed.block;
        // SAFETY: the callers stay below the capacity: the block lies in the chunk.
        unsafe { self.start().add(offset) }
    }

    /// Whether this looks like a chunk, and `at` like the start of one of its blocks.
    pub(crate) fn starts_block(self, at: usize) -> bool {
        let fixed = self.fixed();
        if fixed.magic != MAGIC || fixed.block == 0 || !fixed.block.is_multiple_of(UNIT) {
            return false;
        }
        let offset = at.wrapping_sub(self.start().addr().get()).wrapping_sub(fixed.first as usize);
        offset.is_multiple_of(fixed.block) && offset / fixed.block < fixed.capacity as usize
    }
}
