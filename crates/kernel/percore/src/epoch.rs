//! Quiescence: when can no core hold a pointer any more?
//!
//! ```text
//! reader     enter: epoch = odd, fence ─ look up ─ use ─ exit: epoch = even (release)
//! reclaimer  unlink ─ fence ─ snapshot ………… even, or changed? ── reuse the memory
//! ```
//!
//! If the reader's fence comes first, the snapshot sees its odd epoch and waits for its exit. If the
//! reclaimer's fence comes first, the reader's look-up sees the link gone.

use core::marker::PhantomData;
use corey_lib_sync::atomic::{AtomicU64, Ordering, fence};

/// One core's epoch: odd while it runs kernel code.
#[derive(Debug, Default)]
pub struct Epoch(AtomicU64);

/// A reading of another core's [`Epoch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(u64);

/// Proof that this core is inside the kernel. Pointers to objects borrow from it. A value costs nothing; it
/// ends by [`Epoch::leave`].
#[derive(Debug)]
pub struct Entered<'e>(PhantomData<&'e Epoch>);

impl Epoch {
    /// Enters the kernel: from here on, what this core looks up stays. Entries do not nest: interrupts are off
    /// inside.
    #[inline(always)]
    pub fn enter(&self) -> Entered<'_> {
        let now = self.0.load(Ordering::Relaxed);
        debug_assert!(now & 1 == 0, "kernel entries do not nest");
        // The swap is the store and the fence in one instruction.
        self.0.swap(now + 1, Ordering::SeqCst);
        #[cfg(loom)]
        fence(Ordering::SeqCst);
        Entered(PhantomData)
    }

    /// Leaves the kernel: every pointer that borrowed from `inside` is gone.
    #[inline(always)]
    pub fn leave(&self, inside: Entered<'_>) {
        let Entered(PhantomData) = inside;
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now + 1, Ordering::Release);
    }

    /// A witness that this core is inside already, for mailbox handlers.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub fn inside(&self) -> Entered<'_> {
        assert!(self.0.load(Ordering::Relaxed) & 1 == 1, "mailboxes are served inside the kernel");
        Entered(PhantomData)
    }

    /// The epoch as its own core sees it: one number per entry.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether its core, which runs no more, stopped in the kernel.
    #[must_use]
    pub(crate) fn is_inside(&self) -> bool {
        self.0.load(Ordering::Acquire) & 1 == 1
    }

    /// The epoch as another core sees it. Call it after unlinking, once per batch: it fences.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        fence(Ordering::SeqCst);
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// Whether the core has been outside the kernel since `snapshot`.
    #[must_use]
    pub fn passed(&self, snapshot: Snapshot) -> bool {
        snapshot.0 & 1 == 0 || self.0.load(Ordering::Acquire) != snapshot.0
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_core_outside_has_passed_and_one_inside_has_not() {
        let epoch = Epoch::default();
        assert!(epoch.passed(epoch.snapshot()));
        let inside = epoch.enter();
        let seen = epoch.snapshot();
        assert!(!epoch.passed(seen));
        epoch.leave(inside);
        assert!(epoch.passed(seen));
        let _again = epoch.enter();
        assert!(epoch.passed(seen), "it was outside in between");
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models {
    use super::*;
    use corey_lib_sync::explore::{self, Guarded};
    use std::sync::Arc;

    #[derive(Default)]
    struct Model {
        epochs: [Epoch; 8],
        unlinked: AtomicU64,
        memory: Guarded<u64>,
    }

    /// What a reader found linked is not reused while it is inside, and what it wrote is there for who reuses it.
    #[test]
    fn no_reuse_under_a_reader() {
        explore::check(|threads| {
            let model = Arc::new(Model::default());
            explore::all(threads, move |number| {
                let Model { epochs, unlinked, memory } = &*model;
                if number > 0 {
                    let inside = epochs[number].enter();
                    if unlinked.load(Ordering::Acquire) == 0 {
                        assert_eq!(memory.look(|memory| *memory), 0, "reused under a reader");
                    }
                    epochs[number].leave(inside);
                    return;
                }
                unlinked.store(1, Ordering::Release);
                let readers = || epochs.get(1..threads).into_iter().flatten();
                let seen: Vec<_> = readers().map(Epoch::snapshot).collect();
                if readers().zip(seen).all(|(epoch, seen)| epoch.passed(seen)) {
                    memory.with(|memory| *memory = 1);
                }
            });
        });
    }
}
