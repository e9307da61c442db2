//! [`Backing`]: where a file's blocks come from and go to.

use crate::BLOCK;
use core::ptr::NonNull;
use corey_lib_sync::atomic::{AtomicU32, Ordering};
use corey_lib_sync::words;

/// What went wrong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device did not do it.
    Failed,
    /// There is no room.
    NoSpace,
    /// It takes no writes.
    ReadOnly,
}

/// A store of blocks, called by many clients at once; of one file by one at a time.
///
/// **Order.** Writes of one file come one after the other. What was written before a [`Backing::barrier`] is there before
/// anything that is written after it: a client that writes data, then a barrier, then what refers to the data, never leaves
/// a reference to what is not there.
pub trait Backing: Sync {
    /// Reads block `block` of the file that has `key`; one that was never written is zeroes.
    ///
    /// # Errors
    ///
    /// Whatever was read does not count.
    fn read(&self, key: u64, block: u64, into: &mut [u8; BLOCK]) -> Result<(), Fault>;

    /// Writes a block.
    ///
    /// # Errors
    ///
    /// The block is as it was.
    fn write(&self, key: u64, block: u64, from: &[u8; BLOCK]) -> Result<(), Fault>;

    /// Forgets the blocks from `blocks` on.
    ///
    /// # Errors
    ///
    /// All are as they were.
    fn truncate(&self, key: u64, blocks: u64) -> Result<(), Fault>;

    /// Waits until everything written is there for good.
    ///
    /// # Errors
    ///
    /// Some of it may not be.
    fn barrier(&self) -> Result<(), Fault>;
}

/// No backing: the cache is the only place. Files have key 0, and nothing is evicted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Backing for Nothing {
    fn read(&self, _: u64, _: u64, into: &mut [u8; BLOCK]) -> Result<(), Fault> {
        into.fill(0);
        Ok(())
    }
    fn write(&self, _: u64, _: u64, _: &[u8; BLOCK]) -> Result<(), Fault> {
        Err(Fault::ReadOnly)
    }
    fn truncate(&self, _: u64, _: u64) -> Result<(), Fault> {
        Ok(())
    }
    fn barrier(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// A store in memory: each file has the same room.
#[derive(Debug)]
pub struct Memory {
    lock: AtomicU32,
    at: NonNull<[u8; BLOCK]>,
    files: u64,
    /// Blocks of each.
    blocks: u64,
}

// SAFETY: its memory is touched under its lock only.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

impl Memory {
    /// A store in `files` × `blocks` zeroed blocks of memory at `at`, for keys from 1 to `files`.
    ///
    /// # Safety
    ///
    /// They are this store's, and stay.
    #[must_use]
    pub unsafe fn new(at: NonNull<[u8; BLOCK]>, files: u64, blocks: u64) -> Self {
        Self { lock: AtomicU32::new(0), at, files, blocks }
    }

    fn with<R>(&self, key: u64, block: u64, work: impl FnOnce(*mut [u8; BLOCK]) -> R) -> Result<R, Fault> {
        if !(1..=self.files).contains(&key) || block >= self.blocks {
            return Err(Fault::NoSpace);
        }
        while self.lock.swap(1, Ordering::Acquire) != 0 {
            core::hint::spin_loop();
        }
        let result = work(self.at.as_ptr().wrapping_add(((key - 1) * self.blocks + block) as usize));
        self.lock.store(0, Ordering::Release);
        Ok(result)
    }
}

impl Backing for Memory {
    fn read(&self, key: u64, block: u64, into: &mut [u8; BLOCK]) -> Result<(), Fault> {
        if block >= self.blocks {
            into.fill(0);
            return Ok(());
        }
        // SAFETY: one of its blocks, under the lock.
        self.with(key, block, |at| unsafe { core::ptr::copy_nonoverlapping(at, into, 1) })
    }
    fn write(&self, key: u64, block: u64, from: &[u8; BLOCK]) -> Result<(), Fault> {
        // SAFETY: one of its blocks, under the lock.
        self.with(key, block, |at| unsafe { core::ptr::copy_nonoverlapping(from, at, 1) })
    }
    fn truncate(&self, key: u64, blocks: u64) -> Result<(), Fault> {
        for block in blocks..self.blocks {
            // SAFETY: one of its blocks, under the lock.
            self.with(key, block, |at| unsafe { at.write_bytes(0, 1) })?;
        }
        Ok(())
    }
    fn barrier(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// As [`words::exclude`], unless somebody has the word.
pub(crate) fn try_lock(word: &AtomicU32) -> bool {
    word.load(Ordering::Relaxed) == 0 && words::claim(word)
}
