//! How files begin and end.
//!
//! Whoever holds a file counts in a line of its own, so opening a file is nobody else's business. Whoever removes one makes
//! every core fence before it looks at the counts:
//!
//! ```text
//! holder   holds + 1 ─(compiler only)─ removed? ────┐ has it        holds − 1 ─(compiler only)─ removed? ── frees
//! remover  removed ── force ─ every core fences ────┴─ holds? 0 ── frees
//! ```
//!
//! As in the reader-writer lock: a holder that looked before its forced fence is seen; one that looks after sees. Who frees
//! has the content lock in write mode and looks once more, so it happens once.

use crate::backing::Backing;
use crate::client::{Client, Env, Held};
use crate::error::Error;
use crate::file::{File, FileId, State};
use core::sync::atomic::Ordering;
#[cfg(not(loom))]
use corey_lib_sync::atomic::compiler_fence;

/// The holder's fence, which a remover forces; loom's threads execute it themselves.
#[inline(always)]
fn holder_fence() {
    #[cfg(not(loom))]
    compiler_fence(Ordering::SeqCst);
    #[cfg(loom)]
    corey_lib_sync::atomic::fence(Ordering::SeqCst);
}

impl<'a, E: Env, B: Backing> Client<'a, E, B> {
    /// Makes a file, empty, and holds it. `key` is what the backing knows it by; 0 for a file that is only here. `notes` are
    /// those of [`Held::note`], `size` is how many bytes the backing has already, with zeroes behind them in the last block.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyFiles`], [`Error::TooLarge`].
    pub fn create(&mut self, key: u64, size: u64, notes: [u64; 4]) -> Result<Held<'a>, Error> {
        let files = self.cache.shape().files;
        let first = match self.lane.hint.load(Ordering::Relaxed) {
            // Clients begin apart.
            0 => (u64::from(files) * u64::from(self.number) / u64::from(self.cache.shape().clients)) as u32,
            hint => hint - 1,
        };
        for step in 0..files {
            let slot = ((u64::from(first) + u64::from(step)) % u64::from(files)) as u32;
            match self.create_in(slot, key, size, notes) {
                Err(Error::TooManyFiles) => {}
                made => return made,
            }
        }
        Err(Error::TooManyFiles)
    }

    /// As [`Client::create`], in a slot that the caller names: the first file in slot 0 of a cache is [`FileId::FIRST`].
    ///
    /// # Errors
    ///
    /// [`Error::TooManyFiles`] when a file is in it.
    pub fn create_in(&mut self, slot: u32, key: u64, size: u64, notes: [u64; 4]) -> Result<Held<'a>, Error> {
        if size > crate::LARGEST {
            return Err(Error::TooLarge);
        }
        let (file, line) = self.cache.file_and_line(slot, self.number).ok_or(Error::TooManyFiles)?;
        let state = file.state();
        let generation = state.generation().wrapping_add(1);
        if !state.is_free() || !file.turn(state, State::making(generation)) {
            return Err(Error::TooManyFiles);
        }
        file.facts.size.store(size, Ordering::Relaxed);
        file.facts.key.store(key, Ordering::Relaxed);
        for (note, value) in file.facts.notes.iter().zip(notes) {
            note.store(value, Ordering::Relaxed);
        }
        self.lane.hint.store(slot + 1, Ordering::Relaxed);
        line.holds.store(line.holds.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        line.changed.store(self.env.now(), Ordering::Relaxed);
        // Nobody else turns a slot that is being made.
        let _ = file.turn(State::making(generation), State::live(generation));
        Ok(Held { file, line, lane: self.lane, id: FileId::new(slot, generation) })
    }

    /// Holds a file. Writes one line, the client's own in that file.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when it was removed.
    #[inline]
    pub fn hold(&mut self, id: FileId) -> Result<Held<'a>, Error> {
        let slot = id.slot();
        let (file, line) = self.cache.file_and_line(slot, self.number).ok_or(Error::NotFound)?;
        line.holds.store(line.holds.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        holder_fence();
        if file.state() == State::live(id.generation()) {
            return Ok(Held { file, line, lane: self.lane, id });
        }
        self.let_go(file, slot, line).map_or(Err(Error::NotFound), |()| Err(Error::NotFound))
    }

    /// Lets a file go. The last one of a removed file frees its content.
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`]: it was given to another client than it came from, and is never freed.
    /// The backing failed to forget a removed file, which stays until [`Client::sweep`] can free it.
    #[inline]
    pub fn release(&mut self, held: Held<'a>) -> Result<(), Error> {
        self.has(&held)?;
        self.let_go(held.file, held.id.slot(), held.line)
    }

    #[inline]
    fn let_go(&mut self, file: &'a File, slot: u32, line: &crate::file::Line) -> Result<(), Error> {
        // Release: what was done with the file comes before.
        line.holds.store(line.holds.load(Ordering::Relaxed) - 1, Ordering::Release);
        holder_fence();
        if file.state().is_removed() { self.reap(file, slot) } else { Ok(()) }
    }

    /// Removes a file: nobody can hold it from now on. Its content goes with the last one who does.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when it was removed; as [`Client::release`].
    pub fn remove(&mut self, id: FileId) -> Result<(), Error> {
        let slot = id.slot();
        let file = self.cache.file(slot).ok_or(Error::NotFound)?;
        if !file.turn(State::live(id.generation()), State::removed(id.generation())) {
            return Err(Error::NotFound);
        }
        // It forces the fence before it looks at the counts.
        self.reap(file, slot)
    }

    /// Frees a removed file that nobody holds.
    #[cold]
    fn reap(&mut self, file: &'a File, slot: u32) -> Result<(), Error> {
        self.alone(file, slot, |client| {
            let state = file.state();
            let held = |line: &crate::file::Line| line.holds.load(Ordering::Acquire) != 0;
            if !state.is_removed() || client.cache.lines(slot).any(held) {
                return Ok(());
            }
            let key = file.facts.key.load(Ordering::Relaxed);
            if key != 0 {
                client.backing.truncate(key, 0).map_err(Error::Backing)?;
            }
            client.cache.cut(file, 0, &mut |block| client.free(block));
            for line in client.cache.lines(slot) {
                line.era.store(0, Ordering::Relaxed);
                line.changed.store(0, Ordering::Relaxed);
            }
            // Its own generation stays: the next file here has another.
            let _ = file.turn(state, State::free(state.generation()));
            Ok(())
        })
    }

    /// Frees removed files that nobody holds and whose end failed before. Returns how many are left.
    pub fn sweep(&mut self) -> u32 {
        let mut left = 0;
        for slot in 0..self.cache.shape().files {
            let Some(file) = self.cache.file(slot).filter(|file| file.state().is_removed()) else { continue };
            left += u32::from(self.reap(file, slot).is_err());
        }
        left
    }

    /// When a file was last changed, as the clocks of its clients say.
    #[must_use]
    pub fn changed(&self, held: &Held<'a>) -> u64 {
        let lines = self.cache.lines(held.id.slot());
        lines.map(|line| line.changed.load(Ordering::Relaxed)).max().unwrap_or(0)
    }
}
