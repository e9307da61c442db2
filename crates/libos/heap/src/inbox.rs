//! Where other cores leave what belongs to this one.

use core::ptr::{self, NonNull};
use corey_lib_sync::atomic::{AtomicPtr, Ordering, UnsafeCell};

/// The first word of whatever lies in an inbox.
#[derive(Debug)]
#[repr(C)]
pub struct Link {
    /// What was pushed before. Written by who pushes, before the push; read by who took.
    next: UnsafeCell<*mut Link>,
}

impl Link {
    /// A link to nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { next: UnsafeCell::new(ptr::null_mut()) }
    }

    /// What was pushed before this.
    ///
    /// # Safety
    ///
    /// The caller took the link from its inbox.
    #[must_use]
    pub unsafe fn next(&self) -> Option<NonNull<Self>> {
        // SAFETY: the caller has the link alone: who pushed it does not touch it any more.
        NonNull::new(unsafe { *self.next.get() })
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

/// A heap's inbox, alone on its lines: many push, the owner takes all. All zeroes is an empty one.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Inbox {
    /// What was pushed last.
    first: AtomicPtr<Link>,
}

impl Inbox {
    /// Leaves `link` for the owner, with one atomic exchange when nobody else pushes.
    ///
    /// # Safety
    ///
    /// `link` stays valid until it is taken, and whoever takes it has it alone from then on.
    pub unsafe fn push(&self, link: NonNull<Link>) {
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            // SAFETY: valid, and still the caller's alone.
            let cell = unsafe { &link.as_ref().next };
            // SAFETY: as above; the reference to the cell is used for nothing else.
            unsafe { *cell.get() = first };
            // Release: what the batch holds is there for who takes it.
            match self.first.compare_exchange_weak(first, link.as_ptr(), Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Whether there is nothing, as far as this core can see.
    pub fn is_empty(&self) -> bool {
        self.first.load(Ordering::Relaxed).is_null()
    }

    /// Takes everything; the last one pushed comes first. Writes nothing when there is nothing.
    pub fn take_all(&self) -> Option<NonNull<Link>> {
        if self.is_empty() {
            return None;
        }
        NonNull::new(self.first.swap(ptr::null_mut(), Ordering::Acquire))
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models {
    use super::*;
    use corey_lib_sync::explore::{self, Bounds, Guarded};
    use std::sync::Arc;

    #[repr(C)]
    struct Batch {
        link: Link,
        content: Guarded<u64>,
    }

    fn send(inbox: &Inbox, content: u64) {
        let batch = Box::new(Batch { link: Link::new(), content: Guarded::new(0) });
        // Ours until it is pushed.
        batch.content.with(|at| *at = content);
        // SAFETY: leaked, so it stays.
        unsafe { inbox.push(NonNull::from(Box::leak(batch)).cast()) };
    }

    fn receive(inbox: &Inbox) -> u64 {
        let (mut next, mut sum) = (inbox.take_all(), 0);
        while let Some(link) = next {
            // SAFETY: just taken.
            next = unsafe { link.as_ref().next() };
            // SAFETY: the link is the first field of a leaked batch.
            let batch = unsafe { Box::from_raw(link.cast::<Batch>().as_ptr()) };
            sum += batch.content.with(|at| *at);
        }
        sum
    }

    /// Senders and an owner that looks, after `before`, while they send: each batch is taken once and whole.
    fn batches(threads: usize, before: fn()) {
        let inbox = Arc::new(Inbox::default());
        inbox.is_empty();
        let all = inbox.clone();
        let got = explore::all(threads, move |number| {
            if number == 0 {
                before();
                return receive(&all);
            }
            send(&all, 1 << (8 * number - 8));
            if number == 1 {
                send(&all, 2);
            }
            0
        });
        let sent = 2 + (1..threads).map(|number| 1 << (8 * number - 8)).sum::<u64>();
        assert_eq!(got.into_iter().sum::<u64>() + receive(&inbox), sent);
    }

    const BOUNDS: Bounds = Bounds { loom: &[(2, None, None), (3, None, None)], shuttle: 8 };

    #[test]
    fn each_batch_is_taken_once_and_whole() {
        explore::check_within(BOUNDS, |threads| batches(threads, || ()));
    }

    /// loom forgets that a load depends on a later exchange when the exchanging thread loads in between, as `push` does;
    /// so the owner looks before the others began, above, and here when they may have pushed.
    #[test]
    fn a_batch_is_taken_while_others_are_sent() {
        explore::check_within(BOUNDS, |threads| batches(threads, explore::yield_now));
    }
}
