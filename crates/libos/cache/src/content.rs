//! Reading and writing.
//!
//! ```text
//! reader           slot → w ─ copies w's block ─────────────── slot still w, or w's generation? yes: whole, else again
//! full write       copies into a block of its own ─ slot ⇄ new ─ old block goes home
//! partial write    slot → w ─ copies w's block and its bytes ─ slot: w → new, else again
//! reuse            out of a chain, or to carry others in one ─ generation + 1 ── fence ── first byte
//! ```
//!
//! A block is reused only after it left its slot, and a word never comes back: its generation grew. So a slot that still has
//! the word says that the block was there all the time; and a generation that is still the word's says that the block, though
//! replaced, was not reused. A reader or writer that loses [`TRIES`] times takes the content lock in write mode, and wins.

use crate::BLOCK;
use crate::backing::{Backing, Fault};
use crate::client::{Client, Env, Held};
use crate::error::Error;
use crate::file::{File, Line};
use crate::tree::{LARGEST, Nodes};
use crate::word::Word;
use core::sync::atomic::Ordering;
use corey_lib_sync::atomic::{AtomicU32, AtomicU64, fence};
use corey_lib_sync::words::{exclude as lock, release as unlock};

/// How often somebody loses before it takes the lock.
const TRIES: u32 = 64;

/// Why a step was not done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    Error(Error),
    /// Others were faster each time.
    Starved,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A piece of one block.
#[derive(Clone, Copy)]
struct Piece {
    block: u64,
    within: usize,
    count: usize,
}

impl Piece {
    #[inline(always)]
    fn at(offset: u64, left: usize) -> Self {
        let within = (offset % BLOCK as u64) as usize;
        Self { block: offset / BLOCK as u64, within, count: left.min(BLOCK - within) }
    }
}

/// Where nodes of a file's tree come from.
struct Maker<'c, 'a, E, B>(&'c mut Client<'a, E, B>, &'a File);

impl<E: Env, B: Backing> Nodes for Maker<'_, '_, E, B> {
    fn take(&mut self) -> Result<u32, Error> {
        Ok(self.0.block(Some(self.1))?.0)
    }
    fn give(&mut self, block: u32) {
        self.0.free(block);
    }
}

/// Something to be found in a block by [`Client::look`].
pub trait Search {
    /// What is found.
    type Found;

    /// Searches a block, which may change meanwhile: comes to an end whatever it reads, and is called again then.
    fn search<E: Env>(&self, block: &mut Look<'_, E>) -> Self::Found;
}

/// A block while [`Client::look`] is at it.
#[derive(Debug)]
pub struct Look<'e, E> {
    env: &'e mut E,
    /// Of [`BLOCK`] bytes.
    block: *const u8,
}

impl<E: Env> Look<'_, E> {
    /// The eight bytes from `at` on, little endian; of `at` what makes it a multiple of 8 in the block is taken.
    #[inline(always)]
    pub fn word(&mut self, at: usize) -> u64 {
        // SAFETY: inside the block, aligned as that is.
        unsafe { self.env.word(self.block.wrapping_add(at & (BLOCK - 8))) }
    }
}

impl<'a, E: Env, B: Backing> Client<'a, E, B> {
    /// Reads bytes from `offset` on into `into`: as many as there are before the file's end. Each block is one of those that
    /// were written there, whole; two blocks may be of different times.
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`]; [`Error::Backing`], [`Error::Full`]: the file has a backing, and a block could not be had.
    ///
    /// # Cost
    ///
    /// No lock, no locked operation, and no line that another client wrote, while nobody writes or removes.
    #[inline]
    pub fn read(&mut self, held: &Held<'a>, offset: u64, into: &mut [u8]) -> Result<usize, Error> {
        self.has(held)?;
        let (file, line) = (held.file, held.line);
        self.pin(file, line);
        let count = into.len().min(held.size().saturating_sub(offset) as usize);
        let into = into.get_mut(..count).unwrap_or_default();
        let result = self.read_pinned(file, offset, into);
        self.used(line);
        self.unpin(line);
        match result {
            Ok(()) => Ok(count),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Starved) => self.read_alone(held, offset, into),
        }
    }

    /// What `search` finds in block `block`, without a copy; `None` where there is none.
    ///
    /// # Errors
    ///
    /// As [`Client::read`].
    #[inline(always)]
    pub fn look<S: Search>(
        &mut self,
        held: &Held<'a>,
        block: u64,
        search: &S,
    ) -> Result<Option<S::Found>, Error> {
        self.has(held)?;
        let (file, line) = (held.file, held.line);
        self.pin(file, line);
        let result = self
            .look_piece(file, block, |env, block| block.map(|block| search.search(&mut Look { env, block })));
        self.used(line);
        self.unpin(line);
        match result {
            Err(Stop::Starved) => self.look_alone(held, block, search),
            other => other.map_err(alone_error),
        }
    }

    #[cold]
    #[inline(never)]
    fn look_alone<S: Search>(
        &mut self,
        held: &Held<'a>,
        block: u64,
        search: &S,
    ) -> Result<Option<S::Found>, Error> {
        let look = |env: &mut E, block: Option<_>| block.map(|block| search.search(&mut Look { env, block }));
        self.alone(held.file, held.id.slot(), |client| client.look_piece(held.file, block, look))
            .map_err(alone_error)
    }

    #[cold]
    fn read_alone(&mut self, held: &Held<'a>, offset: u64, into: &mut [u8]) -> Result<usize, Error> {
        self.alone(held.file, held.id.slot(), |client| {
            let count = into.len().min(held.size().saturating_sub(offset) as usize);
            let into = into.get_mut(..count).unwrap_or_default();
            client.read_pinned(held.file, offset, into).map(|()| count)
        })
        .map_err(alone_error)
    }

    /// The file was used in this era.
    #[inline(always)]
    fn used(&self, line: &Line) {
        line.era.store(self.cache.common().era.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    #[inline(always)]
    fn read_pinned(&mut self, file: &'a File, offset: u64, into: &mut [u8]) -> Result<(), Stop> {
        let mut rest = into;
        let mut at = offset;
        while !rest.is_empty() {
            let piece = Piece::at(at, rest.len());
            let (now, later) = rest.split_at_mut_checked(piece.count).unwrap_or_default();
            self.read_piece(file, piece, now)?;
            at += piece.count as u64;
            rest = later;
        }
        Ok(())
    }

    #[inline(always)]
    fn read_piece(&mut self, file: &'a File, piece: Piece, into: &mut [u8]) -> Result<(), Stop> {
        self.look_piece(file, piece.block, |env, block| match block {
            // SAFETY: within the block; `into` has as many bytes.
            Some(block) => unsafe {
                env.copy_out(block.wrapping_add(piece.within), into.as_mut_ptr(), into.len());
            },
            None => into.fill(0),
        })
    }

    /// What `look` finds in a block that stays as it is meanwhile, or where there is none.
    #[inline(always)]
    fn look_piece<R>(
        &mut self,
        file: &'a File,
        block: u64,
        mut look: impl FnMut(&mut E, Option<*const u8>) -> R,
    ) -> Result<R, Stop> {
        for _ in 0..TRIES {
            let slot = self.cache.slot(file, block);
            let word = slot.map_or(Word::NONE, |slot| Word(slot.load(Ordering::Acquire)));
            let Some(slot) = slot.filter(|_| !word.is_none()) else {
                if !self.fetch(file, block)? {
                    return Ok(look(&mut self.env, None));
                }
                continue;
            };
            let found = look(&mut self.env, Some(self.cache.bytes(word.index())));
            if self.was_whole(slot, word) {
                return Ok(found);
            }
            self.lost();
        }
        Err(Stop::Starved)
    }

    /// Whether what was just copied from the block of `word` is what was there when `slot` had it.
    #[inline(always)]
    fn was_whole(&self, slot: &AtomicU64, word: Word) -> bool {
        // The copy comes before what follows.
        fence(Ordering::Acquire);
        slot.load(Ordering::Relaxed) == word.0
            || word.is_of(self.cache.generation(word.index()).load(Ordering::Relaxed))
    }

    #[cold]
    fn lost(&self) {
        let retries = &self.lane.retries;
        retries.store(retries.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Has a block read from the file's backing. False when there is none.
    #[cold]
    fn fetch(&mut self, file: &'a File, block: u64) -> Result<bool, Stop> {
        let key = file.facts.key.load(Ordering::Relaxed);
        if key == 0 {
            return Ok(false);
        }
        let cache = self.cache;
        let slot = cache.slot_or_make(file, block, &mut Maker(self, file))?;
        if slot.load(Ordering::Acquire) != 0 {
            return Ok(true);
        }
        // Before the lock, under which no block of this file could be written back to make room.
        let (fresh, generation) = self.block(Some(file))?;
        let word = Word::block(fresh, generation, false);
        // Under this lock nothing of the file is written back: so a slot that is empty now and at the exchange below was
        // empty all the time, and what was read is what is there.
        lock(&file.locks.backing, &mut self.env);
        let result = self.fetch_locked(slot, key, block, word);
        unlock(&file.locks.backing);
        if result != Ok(true) {
            self.free(fresh);
        }
        result.map_or_else(|fault| Err(Error::Backing(fault).into()), |_| Ok(true))
    }

    /// Reads a block into that of `word`, and puts it into `slot`. False when there is one, which somebody else read or wrote.
    fn fetch_locked(&mut self, slot: &AtomicU64, key: u64, block: u64, word: Word) -> Result<bool, Fault> {
        if slot.load(Ordering::Acquire) != 0 {
            return Ok(false);
        }
        // SAFETY: this client's alone until it is in the slot; a reader that still copies what was there throws it away.
        let bytes = unsafe { &mut *self.cache.bytes(word.index()).cast::<[u8; BLOCK]>() };
        self.backing.read(key, block, bytes)?;
        self.lane.loaded.store(self.lane.loaded.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Ok(slot.compare_exchange(0, word.0, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }

    /// Writes `from` at `offset`; the file grows as far as needed. Each block is replaced at once: a reader sees it as it was
    /// or as it is.
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`], [`Error::OutOfRange`], [`Error::TooLarge`]: nothing was written. [`Error::Full`], [`Error::Backing`]: neither. When some
    /// blocks were written before one that could not be, how many bytes those are is the result.
    ///
    /// # Cost
    ///
    /// A whole block: three exchanges, of which one is of a line that others may have, the slot's. A part: a copy of the rest.
    #[inline]
    pub fn write(&mut self, held: &Held<'a>, offset: u64, from: &[u8]) -> Result<usize, Error> {
        self.has(held)?;
        let end = offset.checked_add(from.len() as u64).ok_or(Error::OutOfRange)?;
        if end > LARGEST {
            return Err(Error::TooLarge);
        }
        let (file, line) = (held.file, held.line);
        let (mut rest, mut at) = (from, offset);
        let mut stopped = None;
        self.pin(file, line);
        while !rest.is_empty() {
            let piece = Piece::at(at, rest.len());
            let (now, later) = rest.split_at_checked(piece.count).unwrap_or_default();
            let mut result = self.write_piece(file, piece, now);
            if matches!(result, Err(Stop::Starved)) {
                self.unpin(line);
                result = self.alone(file, held.id.slot(), |client| client.write_piece(file, piece, now));
                self.pin(file, line);
            }
            if let Err(stop) = result {
                stopped = Some(alone_error(stop));
                break;
            }
            at += piece.count as u64;
            rest = later;
        }
        // The bytes come before the size that covers them.
        if at != offset && at > file.facts.size.load(Ordering::Relaxed) {
            file.facts.size.fetch_max(at, Ordering::Release);
        }
        self.used(line);
        line.changed.store(self.env.now(), Ordering::Relaxed);
        self.unpin(line);
        match stopped {
            Some(error) if at == offset => Err(error),
            _ => Ok((at - offset) as usize),
        }
    }

    #[inline(always)]
    fn write_piece(&mut self, file: &'a File, piece: Piece, from: &[u8]) -> Result<(), Stop> {
        if piece.count != BLOCK {
            return self.write_part(file, piece, from);
        }
        let (fresh, generation) = self.block(Some(file))?;
        // SAFETY: this client's alone; `from` has a block's bytes.
        unsafe { self.env.copy_in(from.as_ptr(), self.cache.bytes(fresh), BLOCK) };
        let slot = match self.slot_to_write(file, piece.block) {
            Ok(slot) => slot,
            Err(error) => {
                self.free(fresh);
                return Err(error.into());
            }
        };
        let dirty = file.facts.key.load(Ordering::Relaxed) != 0;
        // Release: the bytes. Acquire: the old block's home.
        let old = Word(slot.swap(Word::block(fresh, generation, dirty).0, Ordering::AcqRel));
        if !old.is_none() {
            self.free(old.index());
        }
        Ok(())
    }

    #[inline(always)]
    fn slot_to_write(&mut self, file: &'a File, block: u64) -> Result<&'a AtomicU64, Error> {
        let cache = self.cache;
        match cache.slot(file, block) {
            Some(slot) => Ok(slot),
            None => cache.slot_or_make(file, block, &mut Maker(self, file)),
        }
    }

    fn write_part(&mut self, file: &'a File, piece: Piece, from: &[u8]) -> Result<(), Stop> {
        let dirty = file.facts.key.load(Ordering::Relaxed) != 0;
        let (fresh, generation) = self.block(Some(file))?;
        let result = self.replace(file, piece.block, Word::block(fresh, generation, dirty), |client, old| {
            client.copy_around(old, fresh, piece.within, piece.count);
            let to = client.cache.bytes(fresh).wrapping_add(piece.within);
            // SAFETY: this client's alone; the piece lies within the block.
            unsafe { client.env.copy_in(from.as_ptr(), to, piece.count) };
        });
        if result.is_err() {
            self.free(fresh);
        }
        result
    }

    /// Puts the block of `new` in the place of the one that is there, after `make` made it of that one.
    fn replace(
        &mut self,
        file: &'a File,
        block: u64,
        new: Word,
        mut make: impl FnMut(&mut Self, Word),
    ) -> Result<(), Stop> {
        let slot = self.slot_to_write(file, block)?;
        let mut old = Word(slot.load(Ordering::Acquire));
        for _ in 0..TRIES {
            if old.is_none() && self.fetch(file, block)? {
                old = Word(slot.load(Ordering::Acquire));
                if old.is_none() {
                    // Evicted at once.
                    continue;
                }
            }
            make(self, old);
            // The same word: the block was there, in that generation, while it was copied.
            match slot.compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    if !old.is_none() {
                        self.free(old.index());
                    }
                    return Ok(());
                }
                Err(now) => old = Word(now),
            }
            self.lost();
        }
        Err(Stop::Starved)
    }

    /// Copies what lies around `count` bytes at `within` from the block of `old`; zeroes when that is none.
    fn copy_around(&mut self, old: Word, to: u32, within: usize, count: usize) {
        let to = self.cache.bytes(to);
        let behind = within + count;
        for (from, until) in [(0, within), (behind, BLOCK)] {
            let (place, bytes) = (to.wrapping_add(from), until - from);
            if old.is_none() {
                // SAFETY: within the block, which is this client's alone.
                unsafe { self.env.zero(place, bytes) };
            } else {
                // SAFETY: as above, and within the other block.
                unsafe {
                    self.env.copy_across(self.cache.bytes(old.index()).wrapping_add(from), place, bytes)
                };
            }
        }
    }

    /// Writes at the end, wherever that is: no other append comes between. Returns where.
    ///
    /// # Errors
    ///
    /// As [`Client::write`].
    pub fn append(&mut self, held: &Held<'a>, from: &[u8]) -> Result<(u64, usize), Error> {
        lock(&held.file.locks.tail, &mut self.env);
        let at = held.size();
        let result = self.write(held, at, from);
        unlock(&held.file.locks.tail);
        result.map(|count| (at, count))
    }

    /// Takes lock `number` of the two that a file has for whoever is above: they order those who take them and nobody else.
    pub fn lock(&mut self, held: &Held<'a>, number: usize) {
        lock(above(held, number), &mut self.env);
    }

    /// Gives it back.
    pub fn unlock(&mut self, held: &Held<'a>, number: usize) {
        unlock(above(held, number));
    }

    /// Sets the size. What is cut off goes; what is added is zeroes.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::Full`], [`Error::Backing`]: nothing was changed.
    ///
    /// # Cost
    ///
    /// Cutting takes the content lock in write mode: an interrupt for each core that uses the cache.
    pub fn truncate(&mut self, held: &Held<'a>, size: u64) -> Result<(), Error> {
        self.has(held)?;
        if size > LARGEST {
            return Err(Error::TooLarge);
        }
        let (file, line) = (held.file, held.line);
        self.alone(file, held.id.slot(), |client| client.truncate_alone(file, size))?;
        line.changed.store(self.env.now(), Ordering::Relaxed);
        Ok(())
    }

    fn truncate_alone(&mut self, file: &'a File, size: u64) -> Result<(), Error> {
        let now = file.facts.size.load(Ordering::Relaxed);
        if size >= now {
            file.facts.size.store(size, Ordering::Release);
            return Ok(());
        }
        let (keep, within) = (size.div_ceil(BLOCK as u64), (size % BLOCK as u64) as usize);
        let key = file.facts.key.load(Ordering::Relaxed);
        // What is behind the end of the last block has to be here to be made zero.
        if within != 0 {
            self.fetch(file, keep - 1).map_err(alone_error)?;
        }
        if key != 0 {
            self.backing.truncate(key, keep).map_err(Error::Backing)?;
        }
        if within != 0
            && let Some(slot) = self.cache.slot(file, keep - 1)
        {
            self.in_place(file, slot, |client, block| {
                // SAFETY: within the block, which nobody else uses while this client is alone.
                unsafe { client.env.zero(block.wrapping_add(within), BLOCK - within) };
            });
        }
        let cache = self.cache;
        cache.cut(file, keep, &mut |block| self.free(block));
        file.facts.size.store(size, Ordering::Release);
        Ok(())
    }

    /// Changes a block where it is, if there is one. Only with the content lock in write mode.
    fn in_place(&mut self, file: &File, slot: &AtomicU64, change: impl FnOnce(&mut Self, *mut u8)) -> bool {
        let word = Word(slot.load(Ordering::Acquire));
        if word.is_none() {
            return false;
        }
        change(self, self.cache.bytes(word.index()));
        if file.facts.key.load(Ordering::Relaxed) != 0 {
            slot.store(word.dirty().0, Ordering::Release);
        }
        true
    }

    /// Writes bytes of one block that is there in its place: what needs no block when there is none. Readers wait meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when the bytes are not within a block that the cache has, or not before the file's end: nothing was
    /// written.
    pub fn write_in_place(&mut self, held: &Held<'a>, offset: u64, from: &[u8]) -> Result<(), Error> {
        self.has(held)?;
        let piece = Piece::at(offset, from.len());
        let (file, line) = (held.file, held.line);
        let done = self.alone(file, held.id.slot(), |client| {
            // Behind the end are zeroes.
            let end = offset.checked_add(from.len() as u64);
            let inside = end.is_some_and(|end| end <= file.facts.size.load(Ordering::Relaxed));
            let inside = inside && piece.count == from.len();
            let slot = client.cache.slot(file, piece.block).filter(|_| inside);
            slot.is_some_and(|slot| {
                client.in_place(file, slot, |client, block| {
                    // SAFETY: the piece lies within the block, which nobody else uses while this client is alone.
                    unsafe {
                        client.env.copy_in(from.as_ptr(), block.wrapping_add(piece.within), piece.count)
                    };
                })
            })
        });
        line.changed.store(self.env.now(), Ordering::Relaxed);
        if done { Ok(()) } else { Err(Error::Full) }
    }

    /// Writes all to the backing that it lacks, then has it there for good.
    ///
    /// # Errors
    ///
    /// The first fault; what was not written is still to be.
    pub fn sync(&mut self, held: &Held<'a>) -> Result<(), Error> {
        self.has(held)?;
        let (file, line) = (held.file, held.line);
        let cache = self.cache;
        let key = file.facts.key.load(Ordering::Relaxed);
        if key == 0 {
            return Ok(());
        }
        let mut result = Ok(());
        self.pin(file, line);
        cache.each_slot(file, &mut |_| {}, &mut |block, slot| {
            lock(&file.locks.backing, &mut self.env);
            result = self.write_back(key, block, slot);
            unlock(&file.locks.backing);
            result.is_ok()
        });
        self.unpin(line);
        result.and_then(|()| self.backing.barrier()).map_err(Error::Backing)
    }

    /// Writes a block that the backing lacks. The caller uses the content and has the backing lock.
    pub(crate) fn write_back(&mut self, key: u64, block: u64, slot: &AtomicU64) -> Result<(), Fault> {
        let own = self.cache.bytes(self.cache.own_block(self.number));
        loop {
            let word = Word(slot.load(Ordering::Acquire));
            if word.is_none() || !word.is_dirty() {
                return Ok(());
            }
            // SAFETY: two blocks, of which the second is this client's.
            unsafe { self.env.copy_across(self.cache.bytes(word.index()), own, BLOCK) };
            if !self.was_whole(slot, word) {
                self.lost();
                continue;
            }
            // SAFETY: this client's own, and nothing changes it meanwhile.
            self.backing.write(key, block, unsafe { &*own.cast::<[u8; BLOCK]>() })?;
            self.lane.written.store(self.lane.written.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            // Whoever wrote the block meanwhile marked it again.
            let _ = slot.compare_exchange(word.0, word.clean().0, Ordering::AcqRel, Ordering::Relaxed);
            return Ok(());
        }
    }
}

fn above<'h>(held: &'h Held<'_>, number: usize) -> &'h AtomicU32 {
    let [first, second] = &held.file.locks.above;
    if number == 0 { first } else { second }
}

/// Nobody starves who is alone.
fn alone_error(stop: Stop) -> Error {
    match stop {
        Stop::Error(error) => error,
        Stop::Starved => Error::Full,
    }
}
