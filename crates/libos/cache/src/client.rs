//! [`Client`]: one core's way into a cache.

use crate::backing::Backing;
use crate::cache::Cache;
use crate::error::Error;
use crate::evict;
use crate::file::{File, FileId, Line};
use crate::pool::Lane;
use core::fmt;
use core::sync::atomic::Ordering;
use corey_lib_sync::{Fence, Forced, Relax, words};

/// What the cache needs of the machine.
pub trait Env: Relax + Fence {
    /// Copies bytes of a block that may change meanwhile: then the copy is torn, and thrown away.
    ///
    /// # Safety
    ///
    /// Both are `count` bytes; `to` is the caller's alone.
    unsafe fn copy_out(&mut self, block: *const u8, to: *mut u8, count: usize);

    /// Reads a word of a block that may change meanwhile, as [`Env::copy_out`].
    ///
    /// # Safety
    ///
    /// It is 8 bytes of one block, aligned.
    #[inline(always)]
    unsafe fn word(&mut self, block: *const u8) -> u64 {
        let mut bytes = [0; 8];
        // SAFETY: the caller's; `bytes` has as many.
        unsafe { self.copy_out(block, bytes.as_mut_ptr(), bytes.len()) };
        u64::from_le_bytes(bytes)
    }

    /// Copies bytes into a block that is the caller's, while readers may still copy what it held before.
    ///
    /// # Safety
    ///
    /// Both are `count` bytes.
    unsafe fn copy_in(&mut self, from: *const u8, block: *mut u8, count: usize);

    /// Copies from a block as in [`Env::copy_out`] to one as in [`Env::copy_in`].
    ///
    /// # Safety
    ///
    /// Both are `count` bytes.
    unsafe fn copy_across(&mut self, from: *const u8, to: *mut u8, count: usize);

    /// Fills bytes of a block as in [`Env::copy_in`] with zeroes.
    ///
    /// # Safety
    ///
    /// It has `count` bytes.
    unsafe fn zero(&mut self, block: *mut u8, count: usize);

    /// A clock that goes forward, for when files were changed.
    fn now(&mut self) -> u64;
}

/// One core's way into a cache: everything goes through it. Drop gives the number back.
pub struct Client<'a, E, B> {
    pub(crate) cache: Cache<'a>,
    pub(crate) number: u32,
    pub(crate) lane: &'a Lane,
    pub(crate) env: E,
    pub(crate) backing: &'a B,
}

/// A file that stays: it can be removed, but its content is there until the last one lets go ([`Client::release`]).
#[must_use = "a file that is not released is never freed"]
#[derive(Debug)]
pub struct Held<'a> {
    pub(crate) file: &'a File,
    pub(crate) line: &'a Line,
    /// Of the client whose line it is.
    pub(crate) lane: &'a Lane,
    pub(crate) id: FileId,
}

impl Held<'_> {
    /// Which file it is.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Its bytes.
    #[must_use]
    #[inline(always)]
    pub fn size(&self) -> u64 {
        self.file.facts.size.load(Ordering::Acquire)
    }

    /// Whether it was removed.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.file.state().is_removed()
    }

    /// Note `number` of four that whoever is above keeps with a file; 0 in a new one.
    #[must_use]
    pub fn note(&self, number: usize) -> u64 {
        self.file.facts.notes.get(number).map_or(0, |note| note.load(Ordering::Acquire))
    }

    /// Changes a note. Whoever sees it sees what was written before.
    pub fn set_note(&self, number: usize, value: u64) {
        if let Some(note) = self.file.facts.notes.get(number) {
            note.store(value, Ordering::Release);
        }
    }
}

impl<'a, E: Env, B: Backing> Client<'a, E, B> {
    /// Claims number `number`, one below the shape's `clients`. `None` when there is no such number or another client has
    /// it.
    #[must_use]
    pub fn new(cache: Cache<'a>, number: u32, env: E, backing: &'a B) -> Option<Self> {
        let lane = cache.lane(number)?;
        if lane.claimed.swap(1, Ordering::Acquire) != 0 {
            return None;
        }
        Some(Self { cache, number, lane, env, backing })
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> Cache<'a> {
        self.cache
    }

    /// Whether this client holds it: with another one's line it would use content that nobody sees it use.
    #[inline(always)]
    pub(crate) fn has(&self, held: &Held<'a>) -> Result<(), Error> {
        if core::ptr::eq(held.lane, self.lane) { Ok(()) } else { Err(Error::NotHeld) }
    }

    /// Begins to use content: waits while somebody has the content lock in write mode.
    #[inline(always)]
    pub(crate) fn pin(&mut self, file: &File, line: &Line) {
        while !words::enter::<Forced>(&line.reading, &file.facts.writer) {
            self.await_writer(file);
        }
    }

    #[cold]
    fn await_writer(&mut self, file: &File) {
        while file.facts.writer.load(Ordering::Relaxed) != 0 {
            self.env.relax();
        }
    }

    /// Ends it.
    #[inline(always)]
    pub(crate) fn unpin(&self, line: &Line) {
        words::leave(&line.reading);
    }

    /// Runs `work` with the content lock in write mode.
    pub(crate) fn alone<R>(&mut self, file: &File, slot: u32, work: impl FnOnce(&mut Self) -> R) -> R {
        words::exclude(&file.facts.writer, &mut self.env);
        self.env.force();
        for line in self.cache.lines(slot) {
            words::await_reader(&line.reading, &mut self.env);
        }
        let result = work(self);
        words::release(&file.facts.writer);
        result
    }

    /// A block that is this client's alone, in a new generation. Evicts others when there is none, of `pinned`, too, whose
    /// content lock this client has: whoever looked at a slot before has to look again.
    #[inline(always)]
    pub(crate) fn block(&mut self, pinned: Option<&File>) -> Result<(u32, u64), Error> {
        match self.cache.allocate(self.number, self.lane, &mut self.env) {
            Some(block) => Ok(block),
            None => evict::make_room(self, pinned),
        }
    }

    /// Gives a block back.
    #[inline(always)]
    pub(crate) fn free(&self, block: u32) {
        self.cache.free(self.number, self.lane, block);
    }
}

impl<E, B> Drop for Client<'_, E, B> {
    fn drop(&mut self) {
        self.lane.claimed.store(0, Ordering::Release);
    }
}

impl<E, B> fmt::Debug for Client<'_, E, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({} of {:?})", self.number, self.cache.shape())
    }
}
