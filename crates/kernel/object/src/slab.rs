//! Slots: 512 bytes each, eight to a frame, type-stable.

use crate::header::{Header, SLOT};
use corey_kernel_hal::{Frame, Platform};
use corey_kernel_mem::{FrameList, Memory, Zeroed};
use corey_lib_sync::Quarantine;
use corey_lib_sync::atomic::Ordering;

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

    /// The slot that was added last.
    pub(crate) fn first(&self) -> Option<&'static Header> {
        if self.head == 0 {
            return None;
        }
        // SAFETY: addresses in the list come from `push`, and slot memory is never anything else.
        Some(unsafe { &*(self.head as *const Header) })
    }

    pub(crate) fn pop(&mut self) -> Option<&'static Header> {
        let header = self.first()?;
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

/// One core's slots.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    pub(crate) free: SlotList,
    /// Frames of slots; they never leave.
    pub(crate) frames: FrameList,
}

impl Quarantine for Slab {
    fn quarantine(&mut self) {
        // Free slots are lost. Frames of slots are only ever added, each after its descriptor names the next: the list is
        // whole with the new one or without.
        self.free = SlotList::default();
    }
}

impl Slab {
    /// Cuts `frame` into slots, for ever.
    pub(crate) fn add<P: Platform>(&mut self, platform: &P, memory: &Memory, frame: Zeroed) {
        let frame = frame.into_owned();
        for header in slots(platform, frame.frame()).rev() {
            self.free.push(header);
        }
        self.frames.push(memory, frame);
    }
}

/// The slots of a slab's frame.
pub(crate) fn slots<P: Platform>(
    platform: &P,
    frame: Frame,
) -> impl DoubleEndedIterator<Item = &'static Header> + use<P> {
    let base = platform.direct(frame).as_ptr();
    (0..4096 / SLOT).map(move |slot| {
        let header = base.wrapping_add(slot * SLOT).cast::<Header>();
        // SAFETY: inside the frame and aligned; the frame was zeroed when it became a slab's, zeroes are the
        // header of a free slot, headers are made of atomics, and the frame is never freed.
        unsafe { &*header }
    })
}
