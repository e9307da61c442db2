//! Slots: 512 bytes each, eight to a frame, type-stable.

use crate::header::{Header, SLOT};
use core::sync::atomic::Ordering;
use corey_kernel_hal::Platform;
use corey_kernel_mem::Zeroed;

/// A list of slots, chained through their headers.
#[derive(Debug, Default)]
pub(crate) struct SlotList {
    /// Address of the first header, 0 for none.
    head: u64,
    count: u64,
}

impl SlotList {
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    pub(crate) fn push(&mut self, header: &'static Header) {
        header.next.store(self.head, Ordering::Relaxed);
        self.head = core::ptr::from_ref(header) as u64;
        self.count += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<&'static Header> {
        if self.head == 0 {
            return None;
        }
        // SAFETY: addresses in the list come from `push`, and slot memory is never anything else.
        let header = unsafe { &*(self.head as *const Header) };
        self.head = header.next.load(Ordering::Relaxed);
        self.count -= 1;
        Some(header)
    }

    pub(crate) fn append(&mut self, other: &mut Self) {
        while let Some(header) = other.pop() {
            self.push(header);
        }
    }
}

/// One core's free slots.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    pub(crate) free: SlotList,
    /// Frames of slots.
    pub(crate) frames: u64,
}

impl Slab {
    /// Cuts `frame` into slots, for ever.
    pub(crate) fn add<P: Platform>(&mut self, platform: &P, frame: Zeroed) {
        let frame = frame.into_owned();
        let base = platform.direct(frame.frame()).as_ptr();
        for slot in (0..4096 / SLOT).rev() {
            let header = base.wrapping_add(slot * SLOT).cast::<Header>();
            // SAFETY: inside the frame, aligned, all zero: a valid header of a free slot; the frame is
            // never freed.
            self.free.push(unsafe { &*header });
        }
        self.frames += 1;
    }
}
