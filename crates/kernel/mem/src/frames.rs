//! Frames as values.

use crate::memory::{LARGE, Memory};
use corey_kernel_hal::{Frame, Platform};
use corey_lib_sync::atomic::{Ordering, compiler_fence};

/// Frames of a 2 MiB page that are zeroed or copied at once; messages are served in between.
const PART: u32 = 64;

/// A frame that belongs to whoever has this value. Its contents are whatever was there.
///
/// Dropping it leaks the frame, which an audit finds: give it to a cell or free it.
#[derive(Debug)]
#[must_use = "a dropped frame is lost"]
pub struct Owned(pub(crate) Frame);

impl Owned {
    /// Which frame it is.
    #[must_use]
    pub fn frame(&self) -> Frame {
        self.0
    }

    /// Fills it with zeroes.
    pub fn zero<P: Platform>(self, platform: &P) -> Zeroed {
        // SAFETY: `self` owns the frame.
        unsafe { platform.zero(self.0, 1) };
        Zeroed(self)
    }

    /// Fills a 2 MiB page with zeroes; `between` runs after every 64 frames.
    pub fn zero_large<P: Platform>(self, platform: &P, mut between: impl FnMut()) -> Zeroed {
        for at in (0..LARGE).step_by(PART as usize) {
            // SAFETY: `self` owns the page's 512 frames.
            unsafe { platform.zero(Frame(self.0.0 + at), PART) };
            between();
        }
        Zeroed(self)
    }

    /// Copies the 2 MiB page `from` into this one; `between` runs after every 64 frames.
    pub fn copy_of_large<P: Platform>(
        self,
        platform: &P,
        from: crate::DataFrame,
        mut between: impl FnMut(),
    ) -> Zeroed {
        for at in (0..LARGE).step_by(PART as usize) {
            // SAFETY: `self` owns the page's 512 frames, and both are 2 MiB pages.
            unsafe { platform.copy(Frame(from.frame().0 + at), Frame(self.0.0 + at), PART) };
            between();
        }
        Zeroed(self)
    }

    /// Copies the page `from` into it. Contents are then as good as zeroes: fit to be a page.
    pub fn copy_of<P: Platform>(self, platform: &P, from: crate::DataFrame) -> Zeroed {
        // SAFETY: `self` owns the frame.
        unsafe { platform.copy(from.frame(), self.0, 1) };
        Zeroed(self)
    }
}

/// An owned frame whose contents are known: zeroes, or a copied page of a program.
#[derive(Debug)]
#[must_use = "a dropped frame is lost"]
pub struct Zeroed(pub(crate) Owned);

impl Zeroed {
    /// Forgets that the contents are known.
    pub fn into_owned(self) -> Owned {
        self.0
    }
}

/// Frames chained through their descriptors.
#[derive(Debug, Default)]
pub struct FrameList {
    /// First frame's number; 0 for none (frame 0 is never handed out).
    head: u32,
    count: u64,
}

impl FrameList {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { head: 0, count: 0 }
    }

    /// Frames in it; a 2 MiB page is 512.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == 0
    }

    /// Adds a frame.
    pub fn push(&mut self, memory: &Memory, frame: Owned) {
        memory.info(frame.0).set_next(self.head);
        // In this order, whenever this core stops: the list of a slab is walked by whoever is left.
        compiler_fence(Ordering::Release);
        self.head = frame.0.0;
        self.count += memory.info(frame.0).frames();
    }

    /// Takes the frame that was added last.
    pub fn pop(&mut self, memory: &Memory) -> Option<Owned> {
        if self.head == 0 {
            return None;
        }
        let frame = Frame(self.head);
        self.head = memory.info(frame).next();
        self.count -= memory.info(frame).frames();
        Some(Owned(frame))
    }

    /// The frames in it, last added first.
    pub fn iter<'m>(&self, memory: &'m Memory) -> impl Iterator<Item = Frame> + use<'m> {
        let mut at = self.head;
        core::iter::from_fn(move || {
            let frame = (at != 0).then_some(Frame(at))?;
            at = memory.info(frame).next();
            Some(frame)
        })
    }

    /// Takes `those` out.
    pub fn take_those(&mut self, memory: &Memory, those: &[Frame]) -> Self {
        let (mut all, mut taken) = (core::mem::take(self), Self::new());
        while let Some(frame) = all.pop(memory) {
            let to = if those.contains(&frame.0) { &mut taken } else { &mut *self };
            to.push(memory, frame);
        }
        taken
    }

    /// Moves all of `other` here, one by one.
    pub fn append(&mut self, memory: &Memory, other: &mut Self) {
        while let Some(frame) = other.pop(memory) {
            self.push(memory, frame);
        }
    }
}
