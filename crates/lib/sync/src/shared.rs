//! [`Shared`]: a value, its lock, its home core and its name.

use crate::atomic::{AtomicU16, Ordering, UnsafeCell};
use core::fmt;
use core::ops::{Deref, DerefMut};

/// What a core does while it waits: tell the processor, serve the mailbox.
pub trait Relax {
    /// One turn of a spin loop.
    fn relax(&mut self);

    /// Who waits, as the word of a lock names its holder; not 0. All the same where nobody asks for holders.
    #[inline(always)]
    fn holder(&self) -> u16 {
        1
    }

    /// Whether `holder` has stopped and never runs again.
    fn is_gone(&self, holder: u16) -> bool {
        let _ = holder;
        false
    }

    /// A lock was taken from a holder that is gone: the lock's name and home core.
    fn took_over(&mut self, name: &'static str, home: u16) {
        let _ = (name, home);
    }
}

/// A value that can be given up when its holder stopped in the middle of a change.
pub trait Quarantine {
    /// Makes the value safe to use without a look at what it was: it may be half changed. What it had stays nobody's.
    fn quarantine(&mut self);
}

/// The word of a lock that nobody holds.
const FREE: u16 = 0;

/// A value that a second core may touch, behind a test-and-test-and-set lock.
///
/// 128-byte aligned: neighbours share no line, and the adjacent-line prefetcher finds nothing of
/// another core's.
///
/// ```text
/// holder:  0 → own number ── uses the value ── store(0, Release)
/// waiter:            not 0 ── load … load (relax: pause, serve mailbox) ── 0 → own number
/// heir:              not 0 ── load … the holder is gone: its number → own number, once ── quarantine
/// ```
///
/// The waiter spins on a read, so the holder's line is stolen once per release, not once per turn.
#[repr(align(128))]
pub struct Shared<T> {
    /// 0, or who holds it ([`Relax::holder`]).
    holder: AtomicU16,
    home: u16,
    name: &'static str,
    /// Reached only by the one who changed `holder` to itself.
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached only through a guard, and `holder` admits one guard at a time (one that is gone uses
// its guard no more); moving `T`
// between cores through the guard needs `T: Send`.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// A value at home on core `home`.
    #[must_use]
    pub fn new(home: u16, name: &'static str, value: T) -> Self {
        Self { holder: AtomicU16::new(FREE), home, name, value: UnsafeCell::new(value) }
    }

    /// Waits for the lock. Takes it from a holder that is gone; the value is in quarantine then.
    #[inline]
    pub fn lock<R: Relax + ?Sized>(&self, waiter: &mut R) -> Guard<'_, T>
    where
        T: Quarantine,
    {
        if !self.change(FREE, waiter.holder()) {
            self.wait(waiter);
        }
        Guard { lock: self }
    }

    #[inline(always)]
    fn change(&self, from: u16, to: u16) -> bool {
        self.holder.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    #[inline(never)]
    fn wait<R: Relax + ?Sized>(&self, waiter: &mut R)
    where
        T: Quarantine,
    {
        loop {
            let holder = self.holder.load(Ordering::Relaxed);
            if holder == FREE {
                if self.change(FREE, waiter.holder()) {
                    return;
                }
            } else if waiter.is_gone(holder) && self.change(holder, waiter.holder()) {
                // SAFETY: the holder uses its guard no more, and of those who found that out one changed the word.
                unsafe { &mut *self.value.get() }.quarantine();
                waiter.took_over(self.name, self.home);
                return;
            } else {
                waiter.relax();
            }
        }
    }

    /// Takes the lock if it is free; `own` says for whom.
    #[inline]
    pub fn try_lock<R: Relax + ?Sized>(&self, own: &R) -> Option<Guard<'_, T>> {
        // The guard of who was refused must never be: dropping it would give the lock away.
        self.change(FREE, own.holder()).then(|| Guard { lock: self })
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
        self.lock.holder.store(FREE, Ordering::Release);
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

    impl Quarantine for u64 {
        fn quarantine(&mut self) {
            *self = 99;
        }
    }

    /// Waits as holder 2, for whom holder 1 is gone.
    #[derive(Default)]
    struct Heir(Vec<(&'static str, u16)>);
    impl Relax for Heir {
        fn relax(&mut self) {
            panic!("the holder is gone: there is nothing to wait for");
        }
        fn holder(&self) -> u16 {
            2
        }
        fn is_gone(&self, holder: u16) -> bool {
            holder == 1
        }
        fn took_over(&mut self, name: &'static str, home: u16) {
            self.0.push((name, home));
        }
    }

    #[test]
    fn a_lock_is_taken_from_a_holder_that_is_gone_and_once() {
        let shared = Shared::new(5, "x", 7_u64);
        core::mem::forget(shared.lock(&mut Yield));
        let mut heir = Heir::default();
        assert_eq!(*shared.lock(&mut heir), 99, "what it had is nobody's");
        *shared.lock(&mut heir) = 3;
        assert_eq!((*shared.lock(&mut Yield), heir.0), (3, vec![("x", 5)]));
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

    /// A holder that never gives the lock back is gone for all.
    struct Heir(u16);
    impl Relax for Heir {
        fn relax(&mut self) {
            Yield.relax();
        }
        fn holder(&self) -> u16 {
            self.0
        }
        fn is_gone(&self, holder: u16) -> bool {
            holder == 1
        }
    }

    /// Of those who find the holder gone, one gives the value up; then each has it, alone.
    #[test]
    fn a_lock_has_one_heir() {
        explore::check_within(Bounds::SPINS, |threads| {
            let shared = Arc::new(Shared::new(0, "model", Count(0)));
            core::mem::forget(shared.lock(&mut Heir(1)));
            let all = shared.clone();
            explore::all(threads, move |number| all.lock(&mut Heir(number as u16 + 2)).0 += 1);
            assert_eq!(shared.lock(&mut Heir(50)).0, 100 + threads, "in quarantine once, then used by each");
        });
    }

    /// A number, and what tells that it was given up.
    struct Count(usize);
    impl Quarantine for Count {
        fn quarantine(&mut self) {
            self.0 += 100;
        }
    }

    /// Each of several who want it has it once, alone.
    #[test]
    fn one_guard_at_a_time() {
        explore::check_within(Bounds::SPINS, |threads| {
            let shared = Arc::new((Shared::new(0, "model", Count(0)), Guarded::new(0)));
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
