//! [`Shared`]: a value, its lock, its home core and its name.

use crate::atomic::{AtomicBool, Ordering, UnsafeCell};
use core::fmt;
use core::ops::{Deref, DerefMut};

/// What a core does while it waits: tell the processor, serve the mailbox.
pub trait Relax {
    /// One turn of a spin loop.
    fn relax(&mut self);
}

/// A value that a second core may touch, behind a test-and-test-and-set lock.
///
/// 128-byte aligned: neighbours share no line, and the adjacent-line prefetcher finds nothing of
/// another core's.
///
/// ```text
/// holder:  swap(true) = false ── uses the value ── store(false, Release)
/// waiter:            swap(true) = true ── load … load (relax: pause, serve mailbox) ── swap(true) = false
/// ```
///
/// The waiter spins on a read, so the holder's line is stolen once per release, not once per turn.
#[repr(align(128))]
pub struct Shared<T> {
    locked: AtomicBool,
    home: u16,
    name: &'static str,
    /// Reached only by the one who changed `locked` from false to true.
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached only through a guard, and `locked` admits one guard at a time; moving `T`
// between cores through the guard needs `T: Send`.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// A value at home on core `home`.
    #[must_use]
    pub fn new(home: u16, name: &'static str, value: T) -> Self {
        Self { locked: AtomicBool::new(false), home, name, value: UnsafeCell::new(value) }
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock<R: Relax + ?Sized>(&self, waiter: &mut R) -> Guard<'_, T> {
        while self.locked.swap(true, Ordering::Acquire) {
            while self.locked.load(Ordering::Relaxed) {
                waiter.relax();
            }
        }
        Guard { lock: self }
    }

    /// The value, when nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self` excludes guards.
        unsafe { &mut *self.value.get() }
    }

    /// The core whose memory holds it.
    pub fn home(&self) -> u16 {
        self.home
    }

    /// What it is, for reports.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({} of core {})", self.name, self.home)
    }
}

/// Access to a [`Shared`] value; gives the lock back when dropped.
#[derive(Debug)]
pub struct Guard<'a, T> {
    lock: &'a Shared<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.locked.store(false, Ordering::Release);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Yield;
    impl Relax for Yield {
        fn relax(&mut self) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn eight_threads_lose_no_increment() {
        let shared = Arc::new(Shared::new(0, "count", 0_u64));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || (0..1000).for_each(|_| *shared.lock(&mut Yield) += 1))
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(*shared.lock(&mut Yield), 8000);
    }

    #[test]
    fn it_says_where_and_what_it_is() {
        let mut shared = Shared::new(3, "x", 1);
        assert_eq!((shared.home(), shared.name(), *shared.get_mut()), (3, "x", 1));
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models {
    use super::*;
    use crate::explore::{self, Bounds, Guarded, Yield};
    use std::sync::Arc;

    /// Each of several who want it has it once, alone.
    #[test]
    fn one_guard_at_a_time() {
        explore::check_within(Bounds::SPINS, |threads| {
            let shared = Arc::new((Shared::new(0, "model", ()), Guarded::new(0)));
            let all = shared.clone();
            explore::all(threads, move |_| {
                let (lock, value) = &*all;
                let _guard = lock.lock(&mut Yield);
                value.with(|value| *value += 1);
            });
            shared.1.with(|value| assert_eq!(*value, threads));
        });
    }
}
