//! Cells that own a frame of kernel data.

use crate::frames::{Owned, Zeroed};
use core::marker::PhantomData;
use corey_kernel_hal::{Frame, PAGE_SIZE, Platform};
use corey_lib_sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a kernel frame may hold.
///
/// # Safety
///
/// Exactly 4096 bytes, aligned to at most 4096, made of atomics only (so shared references may write),
/// all zeroes is a valid value, and nothing needs dropping.
pub unsafe trait Content: Sync {}

/// 512 words.
pub type Words = [AtomicU64; 512];

// SAFETY: 512 × 8 bytes of atomics; 0 is valid.
unsafe impl Content for Words {}

/// Owns at most one frame, published once: readers need no lock.
#[derive(Debug)]
#[repr(C, align(8))]
pub struct FrameCell<T: Content> {
    /// 0, or the number of a frame that holds a `T`. Changes from 0 once, and back only through `&mut`.
    frame: AtomicU32,
    /// Makes it a word.
    unused: AtomicU32,
    content: PhantomData<fn() -> T>,
}

// SAFETY: 512 × 8 bytes of atomics; 0 is "no frame".
unsafe impl<T: Content> Content for [FrameCell<T>; 512] {}

impl<T: Content> Default for FrameCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Content> FrameCell<T> {
    /// An empty cell.
    #[must_use]
    pub const fn new() -> Self {
        Self { frame: AtomicU32::new(0), unused: AtomicU32::new(0), content: PhantomData }
    }

    const SIZE: () = assert!(size_of::<T>() as u64 == PAGE_SIZE);

    /// What it holds.
    #[inline(always)]
    pub fn get<P: Platform>(&self, platform: &P) -> Option<&T> {
        Some(self.get_with_frame(platform)?.1)
    }

    /// What it holds, and the frame's number.
    #[inline(always)]
    pub fn get_with_frame<P: Platform>(&self, platform: &P) -> Option<(Frame, &T)> {
        let () = Self::SIZE;
        let frame = self.frame.load(Ordering::Acquire);
        if frame == 0 {
            return None;
        }
        // SAFETY: `frame` holds a `T` while `self` is borrowed (field invariant), is RAM, and `T` is
        // made of atomics.
        let content = unsafe { platform.direct(Frame(frame)).cast::<T>().as_ref() };
        Some((Frame(frame), content))
    }

    /// Publishes `frame` as an all-zero `T`.
    ///
    /// # Errors
    ///
    /// The frame comes back when another core was first.
    pub fn publish(&self, frame: Zeroed) -> Result<(), Zeroed> {
        let word = frame.0.0.0;
        match self.frame.compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(_) => Err(frame),
        }
    }

    /// The frame's number, for audits.
    #[must_use]
    pub fn frame(&self) -> Option<Frame> {
        let frame = self.frame.load(Ordering::Acquire);
        (frame != 0).then_some(Frame(frame))
    }

    /// Takes the frame back. The caller empties a `T` that owns frames itself first.
    pub fn take(&mut self) -> Option<Owned> {
        let frame = core::mem::take(self.frame.get_mut());
        (frame != 0).then_some(Owned(Frame(frame)))
    }

    /// What it holds, exclusively.
    pub fn get_mut<P: Platform>(&mut self, platform: &P) -> Option<&mut T> {
        let frame = self.frame()?;
        // SAFETY: as in `get`, and `&mut self` excludes every other reference.
        Some(unsafe { platform.direct(frame).cast::<T>().as_mut() })
    }
}
