//! Memory of its own that a program which forks has: a child does not get a copy, it gets as much that is new.
//!
//! So the parent may write here while it forks without breaking a page: where its children's ends are reported, and the
//! table it works with.

use crate::plan::Plan;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::PAGE_BYTES;
use corey_libos_rt::Shared;
use corey_libos_sys::pause;

/// Children that can run at once.
pub(crate) const CHILDREN: usize = 256;

/// The memory, in pages of a segment that is zero at the start.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Place {
    /// Where the kernel reports ends.
    words: [[AtomicU64; 2]; CHILDREN],
    /// 1 while a thread forks: the others wait.
    busy: AtomicU64,
    plan: UnsafeCell<Plan>,
}

/// Pages of it.
pub(crate) const PAGES: u64 = (size_of::<Place>() as u64).div_ceil(PAGE_BYTES);

// SAFETY: `plan` is reached through a `Guard`, of which `busy` admits one at a time.
unsafe impl Sync for Place {}
// SAFETY: zeroes are status words of runs, a free lock, and an empty plan.
unsafe impl Shared for Place {}

impl Place {
    /// Status words of the child on core `core`, and their offset.
    pub(crate) fn words(&self, core: u16) -> (&[AtomicU64; 2], u64) {
        let at = usize::from(core) % CHILDREN;
        (&self.words[at], at as u64 * 16)
    }

    /// The plan, once no other thread forks.
    pub(crate) fn plan(&self) -> Guard<'_> {
        while self.busy.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            pause();
        }
        Guard(self)
    }
}

/// The plan, for one thread.
#[derive(Debug)]
pub(crate) struct Guard<'a>(&'a Place);

impl Deref for Guard<'_> {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        // SAFETY: this guard has the lock.
        unsafe { &*self.0.plan.get() }
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Plan {
        // SAFETY: this guard has the lock, and is borrowed mutably.
        unsafe { &mut *self.0.plan.get() }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.busy.store(0, Ordering::Release);
    }
}
