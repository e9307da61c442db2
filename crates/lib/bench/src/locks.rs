//! The locks that the benchmark `rwlock` takes, on both systems.

use core::sync::atomic::{AtomicU32, Ordering};
use corey_lib_sync::{Forced, Relax, RwLock};

use crate::sync::{Alone, MAX_CORES};

/// The lock of variant `ours`: that of the buffer cache.
pub type OurLock = RwLock<u64, MAX_CORES, Forced>;

/// Waits as its function says.
#[derive(Clone, Copy, Debug)]
pub struct Pausing<F: Fn()>(pub F);

impl<F: Fn()> Relax for Pausing<F> {
    #[inline(always)]
    fn relax(&mut self) {
        (self.0)();
    }
}

/// A reader-writer lock in one word, as textbooks have it and Linux had it: readers are counted there, and the
/// highest bit is the writer's. All zeroes is free.
#[derive(Debug, Default)]
#[repr(C)]
pub struct WordLock(Alone<AtomicU32>);

impl WordLock {
    const WRITER: u32 = 1 << 31;

    /// Waits until no writer is there, and counts one reader more.
    #[inline(always)]
    pub fn read(&self, pause: impl Fn()) {
        while self.0.0.fetch_add(1, Ordering::Acquire) & Self::WRITER != 0 {
            self.0.0.fetch_sub(1, Ordering::Relaxed);
            while self.0.0.load(Ordering::Relaxed) & Self::WRITER != 0 {
                pause();
            }
        }
    }

    /// Counts one reader less.
    #[inline(always)]
    pub fn end_read(&self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }

    /// Waits until nobody is there, and enters.
    pub fn write(&self, pause: impl Fn()) {
        while self.0.0.compare_exchange(0, Self::WRITER, Ordering::Acquire, Ordering::Relaxed).is_err() {
            pause();
        }
    }

    /// Leaves. Readers that came meanwhile are counted and step back, so only the bit is cleared.
    pub fn end_write(&self) {
        self.0.0.fetch_and(!Self::WRITER, Ordering::Release);
    }
}

/// A lock whose takers draw numbers and are served in their order; all zeroes is free.
#[derive(Debug, Default)]
#[repr(C)]
pub struct TicketLock(Alone<[AtomicU32; 2]>);

impl TicketLock {
    /// Draws a number and waits until it is served.
    #[inline(always)]
    pub fn lock(&self, pause: impl Fn()) {
        let [next, served] = &self.0.0;
        let mine = next.fetch_add(1, Ordering::Relaxed);
        while served.load(Ordering::Acquire) != mine {
            pause();
        }
    }

    /// Serves the next number.
    #[inline(always)]
    pub fn unlock(&self) {
        let [_, served] = &self.0.0;
        // Only who holds the lock writes it.
        served.store(served.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

/// One lock of each kind, for all cores of a benchmark; all zeroes is valid.
#[derive(Debug)]
#[repr(C)]
pub struct ReadLocks {
    /// A line for each core.
    pub ours: OurLock,
    /// One word.
    pub word: WordLock,
    /// One core at a time.
    pub ticket: TicketLock,
}

impl ReadLocks {
    /// Free locks.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ours: RwLock::new(0),
            word: WordLock(Alone(AtomicU32::new(0))),
            ticket: TicketLock(Alone([AtomicU32::new(0), AtomicU32::new(0)])),
        }
    }
}

impl Default for ReadLocks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    const ROUNDS: u32 = 500;

    /// Adds one again and again, in two steps that nobody may come between.
    fn count(total: &AtomicU64, enter: impl Fn(), leave: impl Fn()) {
        for _ in 0..ROUNDS {
            enter();
            let before = total.load(Ordering::Relaxed);
            std::thread::yield_now();
            total.store(before + 1, Ordering::Relaxed);
            leave();
        }
    }

    #[test]
    fn a_ticket_excludes() {
        let (locks, total) = (ReadLocks::new(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    count(&total, || locks.ticket.lock(std::thread::yield_now), || locks.ticket.unlock());
                });
            }
        });
        assert_eq!(total.into_inner(), 3 * u64::from(ROUNDS));
    }

    #[test]
    fn a_word_lets_readers_in_together_and_writers_alone() {
        let (lock, total) = (WordLock::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| count(&total, || lock.write(std::thread::yield_now), || lock.end_write()));
            }
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    lock.read(std::thread::yield_now);
                    let before = total.load(Ordering::Relaxed);
                    std::thread::yield_now();
                    assert_eq!(total.load(Ordering::Relaxed), before, "a writer was there");
                    lock.end_read();
                }
            });
        });
        assert_eq!(total.into_inner(), 2 * u64::from(ROUNDS));
        lock.read(|| ());
        lock.read(|| panic!("a reader waited for a reader"));
    }

    #[test]
    fn every_core_has_a_reader_of_ours() {
        let locks = ReadLocks::new();
        let mut readers: Vec<_> = (0..MAX_CORES).map(|core| locks.ours.reader(core).unwrap()).collect();
        let guards: Vec<_> = readers.iter_mut().map(|reader| reader.read(&mut Pausing(|| ()))).collect();
        assert!(guards.iter().all(|guard| **guard == 0));
    }
}
