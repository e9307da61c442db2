//! Where other cores leave what belongs to this one.

use crate::atomic::{AtomicPtr, Ordering, UnsafeCell};
use core::ptr::{self, NonNull};

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

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    #[repr(C)]
    struct Batch {
        link: Link,
        content: UnsafeCell<u32>,
    }

    fn send(inbox: &Inbox, content: u32) {
        let batch = Box::new(Batch { link: Link::new(), content: UnsafeCell::new(0) });
        batch.content.with_mut(|at| {
            // SAFETY: ours until it is pushed.
            unsafe { *at = content }
        });
        // SAFETY: leaked, so it stays.
        unsafe { inbox.push(NonNull::from(Box::leak(batch)).cast()) };
    }

    fn receive(inbox: &Inbox) -> u32 {
        let (mut next, mut sum) = (inbox.take_all(), 0);
        while let Some(link) = next {
            // SAFETY: just taken.
            next = unsafe { link.as_ref().next() };
            // SAFETY: the link is the first field of a leaked batch.
            let batch = unsafe { Box::from_raw(link.cast::<Batch>().as_ptr()) };
            sum += batch.content.with(|at| {
                // SAFETY: ours since it was taken; loom objects if the writer's access is not before.
                unsafe { *at }
            });
        }
        sum
    }

    /// loom forgets that a load depends on a later exchange when the exchanging thread loads in between, as `push`
    /// does; so the owner looks before the others began, and, in a second model, when they may have pushed.
    #[test]
    fn each_batch_is_taken_once_and_whole() {
        batches(|| ());
        let early = batches(loom::thread::yield_now);
        assert!(early > 0, "no execution took a batch before its sender ended");
    }

    /// Returns in how many executions the owner took something before all was sent.
    fn batches(before: fn()) -> usize {
        let seen = Arc::new(AtomicUsize::new(0));
        let count = seen.clone();
        loom::model(move || {
            let inbox = Arc::new(Inbox::default());
            let producers: Vec<_> = [1, 10]
                .into_iter()
                .map(|content| {
                    let inbox = Arc::clone(&inbox);
                    loom::thread::spawn(move || {
                        send(&inbox, content);
                        if content == 10 {
                            send(&inbox, 100);
                        }
                    })
                })
                .collect();
            before();
            let early = receive(&inbox);
            count.fetch_add(usize::from(early > 0), std::sync::atomic::Ordering::Relaxed);
            producers.into_iter().for_each(|p| p.join().unwrap());
            assert_eq!(early + receive(&inbox), 111);
        });
        seen.load(std::sync::atomic::Ordering::Relaxed)
    }
}
