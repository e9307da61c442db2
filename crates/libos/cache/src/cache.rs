//! [`Cache`]: the region of memory, and what lies where.

use crate::BLOCK;
use crate::file::{File, Line};
use crate::pool::Lane;
use crate::word::MOST_BLOCKS;
use core::marker::PhantomData;
use core::ptr::NonNull;
use corey_lib_sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Blocks that get a home at once.
pub(crate) const CHUNK: u32 = 32;

/// How much a cache has of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Clients at a time, from 1: one for each core that uses it.
    pub clients: u32,
    /// Files.
    pub files: u32,
    /// Blocks, of data and of tree nodes.
    pub blocks: u32,
}

/// What every client reads and hardly anybody writes.
#[repr(C, align(128))]
struct Header {
    /// [`MAGIC`] once it is complete.
    magic: AtomicU64,
    clients: AtomicU32,
    files: AtomicU32,
    blocks: AtomicU32,
}

/// Words of all clients.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Common {
    /// Blocks that were never used begin here, in chunks.
    pub(crate) fresh: AtomicU32,
    /// The era of eviction.
    pub(crate) era: AtomicU64,
}

const MAGIC: u64 = u64::from_le_bytes(*b"corey bc");

/// A cache in a region of memory. Each thread has its own value of this type; what they share lies in the region.
#[derive(Clone, Copy, Debug)]
pub struct Cache<'a> {
    at: NonNull<u8>,
    shape: Shape,
    homes: usize,
    generations: usize,
    lanes: usize,
    files: usize,
    stride: usize,
    /// Where block 0 would be.
    blocks: usize,
    region: PhantomData<&'a AtomicU64>,
}

// SAFETY: it refers to atomics, and to blocks that are reached under the cache's rules only.
unsafe impl Send for Cache<'_> {}

impl Shape {
    /// Bytes of the region; `None` for a cache without clients, files or blocks, or with too many.
    #[must_use]
    pub fn bytes(self) -> Option<usize> {
        Some(self.places()?.end)
    }

    fn places(self) -> Option<Places> {
        if self.clients == 0
            || self.clients > u32::from(u16::MAX)
            || self.files == 0
            || self.files > 1 << 24
            || self.blocks == 0
            || self.blocks > MOST_BLOCKS
        {
            return None;
        }
        let (clients, files, blocks) = (self.clients as usize, self.files as usize, self.blocks as usize);
        let after =
            |at: usize, bytes: usize, align: usize| at.checked_add(bytes)?.checked_next_multiple_of(align);
        let homes = after(size_of::<Header>(), size_of::<Common>(), 128)?;
        let generations = after(homes, (blocks / CHUNK as usize + 1) * size_of::<AtomicU16>(), 128)?;
        let lanes = after(generations, blocks.checked_add(1)?.checked_mul(size_of::<AtomicU64>())?, 128)?;
        let all_files = after(lanes, clients.checked_mul(size_of::<Lane>())?, 128)?;
        let stride = size_of::<File>().checked_add(clients.checked_mul(size_of::<Line>())?)?;
        // Each client has a block to write back from.
        let blocks_at = after(all_files, files.checked_mul(stride)?, BLOCK)?;
        let end = after(blocks_at, blocks.checked_add(clients)?.checked_mul(BLOCK)?, BLOCK)?;
        Some(Places { homes, generations, lanes, files: all_files, stride, blocks: blocks_at, end })
    }
}

struct Places {
    homes: usize,
    generations: usize,
    lanes: usize,
    files: usize,
    stride: usize,
    blocks: usize,
    end: usize,
}

impl<'a> Cache<'a> {
    /// Makes a cache in zeroed memory. `None` when `at` is not aligned to a block, or the shape is none.
    ///
    /// # Safety
    ///
    /// [`Shape::bytes`] bytes from `at` on are zero, are used by this cache only, and stay for `'a`, at this address for every
    /// client.
    #[must_use]
    pub unsafe fn make(at: NonNull<u8>, shape: Shape) -> Option<Self> {
        let cache = Self::over(at, shape)?;
        let header = cache.header();
        header.clients.store(shape.clients, Ordering::Relaxed);
        header.files.store(shape.files, Ordering::Relaxed);
        header.blocks.store(shape.blocks, Ordering::Relaxed);
        // An era that no line has.
        cache.common().era.store(1, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Some(cache)
    }

    /// The cache that was made at `at`; `None` when there is none.
    ///
    /// # Safety
    ///
    /// As [`Cache::make`], for the shape it was made with; a page there may be read whatever it holds.
    #[must_use]
    pub unsafe fn at(at: NonNull<u8>) -> Option<Self> {
        if !at.as_ptr().addr().is_multiple_of(BLOCK) {
            return None;
        }
        // SAFETY: the caller's promise; a header is atomics.
        let header = unsafe { at.cast::<Header>().as_ref() };
        let [clients, files, blocks] = [&header.clients, &header.files, &header.blocks];
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return None;
        }
        let [clients, files, blocks] = [clients, files, blocks].map(|word| word.load(Ordering::Relaxed));
        Self::over(at, Shape { clients, files, blocks })
    }

    fn over(at: NonNull<u8>, shape: Shape) -> Option<Self> {
        let places = shape.places().filter(|_| at.as_ptr().addr().is_multiple_of(BLOCK))?;
        let Places { homes, generations, lanes, files, stride, blocks, .. } = places;
        let blocks = at.as_ptr().addr().wrapping_add(blocks).wrapping_sub(BLOCK);
        Some(Self { at, shape, homes, generations, lanes, files, stride, blocks, region: PhantomData })
    }

    /// How much it has of everything.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What lies `offset` bytes into the region.
    ///
    /// # Safety
    ///
    /// A `T` does.
    #[inline(always)]
    unsafe fn part<T>(&self, offset: usize) -> &'a T {
        // SAFETY: the caller's promise; the region stays for `'a` (`make`), and all parts are atomics.
        unsafe { &*self.at.as_ptr().wrapping_add(offset).cast::<T>() }
    }

    fn header(&self) -> &'a Header {
        // SAFETY: it lies at the begin.
        unsafe { self.part(0) }
    }

    #[inline(always)]
    pub(crate) fn common(&self) -> &'a Common {
        // SAFETY: it follows the header.
        unsafe { self.part(size_of::<Header>()) }
    }

    /// The home of the chunk that `block` is in.
    #[inline(always)]
    pub(crate) fn home(&self, block: u32) -> &'a AtomicU16 {
        debug_assert!(block <= self.shape.blocks);
        // SAFETY: there is one for each chunk; blocks come from this cache's words.
        unsafe { self.part(self.homes + (block / CHUNK) as usize * size_of::<AtomicU16>()) }
    }

    /// The generation of a block.
    #[inline(always)]
    pub(crate) fn generation(&self, block: u32) -> &'a AtomicU64 {
        debug_assert!(block <= self.shape.blocks);
        // SAFETY: there is one for each block; blocks come from this cache's words.
        unsafe { self.part(self.generations + block as usize * size_of::<AtomicU64>()) }
    }

    /// A client's lane.
    pub(crate) fn lane(&self, client: u32) -> Option<&'a Lane> {
        // SAFETY: there is one for each client.
        (client < self.shape.clients)
            .then(|| unsafe { self.part(self.lanes + client as usize * size_of::<Lane>()) })
    }

    /// All lanes, by client.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = (u32, &'a Lane)> + use<'a> {
        let cache = *self;
        (0..self.shape.clients).filter_map(move |client| Some((client, cache.lane(client)?)))
    }

    /// A file's slot.
    pub(crate) fn file(&self, slot: u32) -> Option<&'a File> {
        // SAFETY: there is one for each file.
        (slot < self.shape.files).then(|| unsafe { self.part(self.files + slot as usize * self.stride) })
    }

    /// A file's slot and a client's line in it, which is behind it.
    #[inline(always)]
    pub(crate) fn file_and_line(&self, slot: u32, client: u32) -> Option<(&'a File, &'a Line)> {
        if slot >= self.shape.files || client >= self.shape.clients {
            return None;
        }
        let at = self.files + slot as usize * self.stride;
        let line = at + size_of::<File>() + client as usize * size_of::<Line>();
        // SAFETY: there is one for each file.
        let file = unsafe { self.part(at) };
        // SAFETY: lines follow it, one for each client.
        Some((file, unsafe { self.part(line) }))
    }

    /// All clients' lines in a file.
    pub(crate) fn lines(&self, slot: u32) -> impl Iterator<Item = &'a Line> + use<'a> {
        let cache = *self;
        (0..self.shape.clients).filter_map(move |client| Some(cache.file_and_line(slot, client)?.1))
    }

    /// Where a block's bytes are.
    #[inline(always)]
    pub(crate) fn bytes(&self, block: u32) -> *mut u8 {
        debug_assert!(block != 0 && block <= self.shape.blocks + self.shape.clients);
        self.at.as_ptr().with_addr(self.blocks.wrapping_add(block as usize * BLOCK))
    }

    /// The block behind all others that client `client` writes back from.
    pub(crate) fn own_block(&self, client: u32) -> u32 {
        self.shape.blocks + 1 + client
    }
}
