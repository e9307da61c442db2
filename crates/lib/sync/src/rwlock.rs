//! [`RwLock`]: many readers, each on a line of its own, and one writer that visits them all.

#[cfg(not(loom))]
use crate::atomic::compiler_fence;
use crate::atomic::{AtomicU32, Ordering, UnsafeCell, fence, read_ptr};
use crate::shared::Relax;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// How a reader's store becomes visible before its load: see [`Plain`] and [`Forced`].
pub trait Mode: sealed::Mode {}

mod sealed {
    pub trait Mode {
        /// Between the reader's store and its load.
        fn reader_fence();
    }
}

/// The steps of the lock over words that lie elsewhere: for whoever has a lock per object and a line per core and
/// object, with more on it. [`RwLock`] is made of them.
pub mod words {
    use super::{AtomicU32, Mode, Ordering, Relax};

    /// Says in `reading` that this core reads. Takes it back, and says false, when a writer is there.
    #[inline(always)]
    pub fn enter<M: Mode>(reading: &AtomicU32, writer: &AtomicU32) -> bool {
        reading.store(1, Ordering::Relaxed);
        M::reader_fence();
        // Acquire: what the last writer wrote comes before what is read.
        let free = writer.load(Ordering::Acquire) == 0;
        if !free {
            leave(reading);
        }
        free
    }

    /// This core reads no more.
    #[inline(always)]
    pub fn leave(reading: &AtomicU32) {
        reading.store(0, Ordering::Release);
    }

    /// Sets the writers' word if it is clear.
    pub fn claim(writer: &AtomicU32) -> bool {
        writer.swap(1, Ordering::Acquire) == 0
    }

    /// Waits until the writers' word is the caller's. A fence follows, then [`await_reader`] for each reader's word.
    pub fn exclude<R: Relax + ?Sized>(writer: &AtomicU32, waiter: &mut R) {
        while !claim(writer) {
            while writer.load(Ordering::Relaxed) != 0 {
                waiter.relax();
            }
        }
    }

    /// Waits until nobody reads.
    pub fn await_reader<R: Relax + ?Sized>(reading: &AtomicU32, waiter: &mut R) {
        while reading.load(Ordering::Acquire) != 0 {
            waiter.relax();
        }
    }

    /// Clears the writers' word.
    pub fn release(writer: &AtomicU32) {
        writer.store(0, Ordering::Release);
    }
}

/// The reader executes a full fence.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

/// The reader executes no fence; a writer forces one on every core ([`Fence`]). For locks that are read
/// all the time and written hardly ever.
#[derive(Clone, Copy, Debug)]
pub struct Forced;

impl sealed::Mode for Plain {
    #[inline(always)]
    fn reader_fence() {
        fence(Ordering::SeqCst);
    }
}
impl Mode for Plain {}

impl sealed::Mode for Forced {
    #[inline(always)]
    fn reader_fence() {
        #[cfg(not(loom))]
        compiler_fence(Ordering::SeqCst);
        // loom knows no fence that another thread executes: the forced one stands where the reader would
        // have received it.
        #[cfg(loom)]
        fence(Ordering::SeqCst);
    }
}
impl Mode for Forced {}

/// A full fence on every core that may read.
///
/// # Safety
///
/// When [`Fence::force`] returns, every core that may hold a reader has executed a full fence since the
/// call, and so has the caller. In Corey this is `core_fence` of a share that all readers hold, on the host
/// `membarrier`.
pub unsafe trait Fence {
    /// Forces the fence.
    fn force(&mut self);
}

/// One core's words, on a line that no other core writes.
#[repr(C, align(128))]
struct Slot {
    /// 1 while a [`Reader`] has this slot.
    claimed: AtomicU32,
    /// 1 while that reader reads, or finds out whether it may.
    reading: AtomicU32,
}

/// The writers' word, on a line of its own.
#[repr(C, align(128))]
struct Writer(AtomicU32);

/// A value that `N` cores read without touching each other's lines.
///
/// All zeroes is a free lock around a zero value, so it may lie in a fresh segment that several cores map.
///
/// ```text
/// reader, slot i:  reading[i] = 1 ── fence ── writer? 0 ── reads ── reading[i] = 0
/// writer:          writer = 1 ── fence ── reading[0]? 0 … reading[i]? 1 ··· 1 ··· 0 ── writes ── writer = 0
/// ```
///
/// Each side stores its own word before it loads the other's. With a fence between the two, not both can
/// load the old value: the reader sees the writer and steps back, or the writer sees the reader and waits.
/// In the forced form the reader's fence is the writer's doing:
///
/// ```text
/// reader, slot i:  reading[i] = 1 ─(compiler only)─ writer? ──────┐ reads
/// writer:          writer = 1 ── force ─ every core fences ───────┴─ reading[i]?
/// ```
///
/// Did the reader load before its forced fence, then its store is visible when `force` returns. Did it load
/// after, then it sees the writer.
///
/// A reader writes its own line and reads the writers' line, which stays in every cache until someone
/// writes. Writers pay: `N` lines, and in the forced form an interrupt for each core. A stream of writers
/// can keep readers out; use the lock where writing is rare.
#[repr(C)]
pub struct RwLock<T, const N: usize, M: Mode = Plain> {
    writer: Writer,
    slots: [Slot; N],
    mode: PhantomData<M>,
    /// Written only by the one who set `writer` and then found every `reading` clear; read also by those
    /// who set their `reading` and then found `writer` clear.
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached only through guards: one `WriteGuard` alone, or `ReadGuard`s. Readers on
// several cores need `T: Sync`, a writer that takes the value to its core needs `T: Send`.
unsafe impl<T: Send + Sync, const N: usize, M: Mode> Sync for RwLock<T, N, M> {}

impl<T, const N: usize, M: Mode> RwLock<T, N, M> {
    /// A free lock.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self {
            writer: Writer(AtomicU32::new(0)),
            slots: [const { Slot { claimed: AtomicU32::new(0), reading: AtomicU32::new(0) } }; N],
            mode: PhantomData,
            value: UnsafeCell::new(value),
        }
    }

    /// Claims slot `slot`, the caller's core number as a rule. `None` when there is no such slot or another
    /// reader has it. A core that ends without dropping its reader leaves the slot claimed.
    #[must_use]
    pub fn reader(&self, slot: usize) -> Option<Reader<'_, T, N, M>> {
        let slot = self.slots.get(slot)?;
        // Made only when claimed: what is not there is not dropped, which would give the other reader's slot away.
        (slot.claimed.swap(1, Ordering::Acquire) == 0).then(|| Reader { lock: self, slot })
    }

    /// Waits until the writers' word is ours.
    fn exclude<R: Relax + ?Sized>(&self, waiter: &mut R) {
        words::exclude(&self.writer.0, waiter);
    }

    /// Waits for every reader; the fence is behind us.
    fn scan<R: Relax + ?Sized>(&self, waiter: &mut R) -> WriteGuard<'_, T, N, M> {
        for slot in &self.slots {
            words::await_reader(&slot.reading, waiter);
        }
        WriteGuard { lock: self }
    }

    /// The value, when nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self` excludes guards.
        unsafe { &mut *self.value.get() }
    }
}

impl<T, const N: usize> RwLock<T, N, Plain> {
    /// Waits for other writers, then for every reader. The caller's own core must not be reading.
    pub fn write<R: Relax + ?Sized>(&self, waiter: &mut R) -> WriteGuard<'_, T, N, Plain> {
        self.exclude(waiter);
        fence(Ordering::SeqCst);
        self.scan(waiter)
    }
}

impl<T, const N: usize> RwLock<T, N, Forced> {
    /// Waits for other writers, forces a fence on the readers' cores, then waits for every reader. The
    /// caller's own core must not be reading.
    pub fn write<R: Relax + ?Sized, F: Fence + ?Sized>(
        &self,
        fence: &mut F,
        waiter: &mut R,
    ) -> WriteGuard<'_, T, N, Forced> {
        self.exclude(waiter);
        fence.force();
        self.scan(waiter)
    }
}

impl<T, const N: usize, M: Mode> fmt::Debug for RwLock<T, N, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RwLock({N} slots)")
    }
}

/// One core's right to read; gives the slot back when dropped.
pub struct Reader<'a, T, const N: usize, M: Mode> {
    lock: &'a RwLock<T, N, M>,
    slot: &'a Slot,
}

impl<'a, T, const N: usize, M: Mode> Reader<'a, T, N, M> {
    /// Waits until no writer is there. `&mut self`: a slot carries one guard at a time.
    #[inline]
    pub fn read<R: Relax + ?Sized>(&mut self, waiter: &mut R) -> ReadGuard<'_, T, N, M> {
        while !self.enter() {
            while self.lock.writer.0.load(Ordering::Relaxed) != 0 {
                waiter.relax();
            }
        }
        ReadGuard { lock: self.lock, slot: self.slot }
    }

    /// Reads unless a writer is there.
    #[inline]
    pub fn try_read(&mut self) -> Option<ReadGuard<'_, T, N, M>> {
        self.enter().then(|| ReadGuard { lock: self.lock, slot: self.slot })
    }

    /// Says that this slot reads. Takes it back when a writer is there.
    #[inline(always)]
    fn enter(&self) -> bool {
        words::enter::<M>(&self.slot.reading, &self.lock.writer.0)
    }
}

impl<T, const N: usize, M: Mode> Drop for Reader<'_, T, N, M> {
    fn drop(&mut self) {
        // A guard that was forgotten must not keep writers out for ever: it borrowed this reader, so
        // nobody uses it any more.
        self.slot.reading.store(0, Ordering::Release);
        self.slot.claimed.store(0, Ordering::Release);
    }
}

/// Read access; the reader's word is cleared when it is dropped.
pub struct ReadGuard<'a, T, const N: usize, M: Mode> {
    lock: &'a RwLock<T, N, M>,
    slot: &'a Slot,
}

impl<T, const N: usize, M: Mode> Deref for ReadGuard<'_, T, N, M> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: while `reading` is set no writer passes its scan.
        unsafe { &*read_ptr(&self.lock.value) }
    }
}

impl<T, const N: usize, M: Mode> Drop for ReadGuard<'_, T, N, M> {
    #[inline(always)]
    fn drop(&mut self) {
        words::leave(&self.slot.reading);
    }
}

/// Write access; the writers' word is cleared when it is dropped.
pub struct WriteGuard<'a, T, const N: usize, M: Mode> {
    lock: &'a RwLock<T, N, M>,
}

impl<T, const N: usize, M: Mode> Deref for WriteGuard<'_, T, N, M> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard has the writers' word and found no reader.
        unsafe { &*read_ptr(&self.lock.value) }
    }
}

impl<T, const N: usize, M: Mode> DerefMut for WriteGuard<'_, T, N, M> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T, const N: usize, M: Mode> Drop for WriteGuard<'_, T, N, M> {
    fn drop(&mut self) {
        words::release(&self.lock.writer.0);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
#[path = "rwlock_stress.rs"]
mod stress;

#[cfg(all(test, any(loom, shuttle)))]
#[path = "rwlock_models.rs"]
mod models;
