//! Checking mode: what was done wrong with a block.
//!
//! Behind the bytes asked for lies a red zone, at the end of the block a trailer: size and state, each mixed
//! with the address. Freeing looks at both; a block of another core too, so this mode does write its lines.

use crate::chunk::Chunk;
use crate::heap::{Heap, PRIVATE, Pages};
use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

const ZONE: u8 = 0xfd;
/// Least bytes of the red zone.
const ZONE_BYTES: usize = 16;
const LIVE: u64 = 0x11fe_c0de_11fe_c0de;
const FREED: u64 = 0xdead_c0de_dead_c0de;

#[repr(C, align(16))]
struct Trailer {
    size: AtomicU64,
    state: AtomicU64,
}

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No block of this heap or its team begins there.
    Foreign,
    /// The block was given back before.
    FreedTwice,
    /// Bytes behind the block were written.
    Overrun,
    /// The block was taken with this size.
    Size(usize),
}

/// Misuse of a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misuse {
    /// What was wrong.
    pub wrong: Wrong,
    /// The address that was given.
    pub address: usize,
    /// Bytes of a block of its class, and the heap that owns it, where there is one.
    pub block: Option<(usize, u32)>,
    /// The heap that found it.
    pub heap: u32,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wrong, address, block, heap } = self;
        match wrong {
            Wrong::Foreign => write!(f, "{address:#x} is no block of this heap or its team")?,
            Wrong::FreedTwice => write!(f, "{address:#x} was freed twice")?,
            Wrong::Overrun => write!(f, "bytes behind {address:#x} were written")?,
            Wrong::Size(size) => {
                write!(f, "{address:#x} was taken with {size} bytes, and freed with another size")?;
            }
        }
        f.write_str(" (")?;
        if let Some((bytes, owner)) = block {
            write!(f, "class of {bytes} bytes, {}; ", Of(*owner))?;
        }
        write!(f, "given to {})", Of(*heap))
    }
}

/// A heap by its position.
struct Of(u32);

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PRIVATE => f.write_str("a private heap"),
            heap => write!(f, "heap {heap}"),
        }
    }
}

fn trailer<'a>(chunk: Chunk, block: NonNull<u8>) -> &'a Trailer {
    // SAFETY: the callers' block is one of the chunk, and larger than the trailer in this mode.
    let at = unsafe { block.add(chunk.fixed().block - size_of::<Trailer>()) };
    // SAFETY: atomics, aligned to 16 as blocks and their sizes are.
    unsafe { at.cast::<Trailer>().as_ref() }
}

impl<P: Pages, const CHECKED: bool> Heap<'_, P, CHECKED> {
    /// Takes a block with red zone and trailer.
    pub(crate) fn take_checked(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let size = layout.size().checked_add(ZONE_BYTES + size_of::<Trailer>())?;
        let block = self.take_plain(Layout::from_size_align(size, layout.align()).ok()?)?;
        // SAFETY: just taken.
        let chunk = unsafe { Chunk::of_block(block) };
        let zone = chunk.fixed().block - size_of::<Trailer>() - layout.size();
        // SAFETY: the block has more bytes than the layout.
        let end = unsafe { block.add(layout.size()) };
        // SAFETY: the zone ends where the trailer begins.
        unsafe { end.write_bytes(ZONE, zone) };
        let (trailer, key) = (trailer(chunk, block), block.addr().get() as u64);
        trailer.size.store(layout.size() as u64 ^ key, Ordering::Relaxed);
        trailer.state.store(LIVE ^ key, Ordering::Relaxed);
        Some(block)
    }

    /// Marks `block` free, or says what is wrong.
    #[cold]
    #[inline(never)]
    pub(crate) fn check(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), Misuse> {
        self.inspect(block, layout)?;
        // SAFETY: `inspect` found that it is a block.
        let chunk = unsafe { Chunk::of_block(block) };
        let (trailer, key) = (trailer(chunk, block), block.addr().get() as u64);
        // Two cores may free it at once: one of them finds it freed.
        if trailer.state.swap(FREED ^ key, Ordering::Relaxed) != LIVE ^ key {
            return Err(self.misuse(Wrong::FreedTwice, block, Some(chunk)));
        }
        Ok(())
    }

    fn misuse(&self, wrong: Wrong, block: NonNull<u8>, chunk: Option<Chunk>) -> Misuse {
        let block_of = chunk.map(|chunk| (chunk.fixed().block, chunk.fixed().owner));
        Misuse { wrong, address: block.addr().get(), block: block_of, heap: self.owner }
    }

    /// Looks at a block that is to be given back.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn inspect(&self, block: NonNull<u8>, layout: Layout) -> Result<(), Misuse> {
        let at = block.addr().get();
        if !self.source.knows(at) {
            return Err(self.misuse(Wrong::Foreign, block, None));
        }
        // SAFETY: the source knows the address, so its chunk's header can be read.
        let chunk = unsafe { Chunk::of_block(block) };
        if !chunk.starts_block(at) {
            return Err(self.misuse(Wrong::Foreign, block, None));
        }
        let wrong = |wrong| Err(self.misuse(wrong, block, Some(chunk)));
        let owner = chunk.fixed().owner;
        if owner != self.owner && owner as usize >= self.team.len() {
            return wrong(Wrong::Foreign);
        }
        let (trailer, key) = (trailer(chunk, block), at as u64);
        match trailer.state.load(Ordering::Relaxed) {
            0 => return wrong(Wrong::Foreign),
            state if state == FREED ^ key => return wrong(Wrong::FreedTwice),
            state if state != LIVE ^ key => return wrong(Wrong::Overrun),
            _ => {}
        }
        let size = (trailer.size.load(Ordering::Relaxed) ^ key) as usize;
        let room = chunk.fixed().block - size_of::<Trailer>();
        if size > room {
            return wrong(Wrong::Overrun);
        }
        // SAFETY: the zone lies in the block, and nobody may write it.
        let end = unsafe { block.add(size) };
        // SAFETY: as above.
        let zone = unsafe { core::slice::from_raw_parts(end.as_ptr(), room - size) };
        if zone.iter().any(|byte| *byte != ZONE) {
            return wrong(Wrong::Overrun);
        }
        if size != layout.size() {
            return wrong(Wrong::Size(size));
        }
        Ok(())
    }
}
