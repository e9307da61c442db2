//! Fake physical memory: one host allocation, addressed from 1 MiB, with holes.

use corey_kernel_hal::{Frame, PAGE_SIZE, Range};
use std::alloc::{Layout, alloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Physical address of the first byte of RAM.
pub const FIRST_ADDRESS: u64 = 1 << 20;

/// What RAM holds at power-on, and holes always.
pub const GARBAGE: u8 = 0xa5;

/// Bytes of a page, as a size.
const PAGE: usize = PAGE_SIZE as usize;

/// Memory and, per frame, how many cached translations reach it.
pub(crate) struct Ram {
    /// First byte; `frames.len()` pages, never freed.
    base: NonNull<u8>,
    frames: Box<[FrameState]>,
    free: Vec<Range>,
}

#[derive(Default)]
struct FrameState {
    /// TLB entries, upper-level entries and loaded roots that name it, over all cores.
    cached: AtomicU32,
    /// 1: a test said that nobody may reach it.
    poisoned: AtomicU8,
    /// Not RAM.
    hole: bool,
}

/// A model's memory, given back when the next execution begins.
#[cfg(any(loom, shuttle))]
struct Given(NonNull<u8>, Layout);

#[cfg(any(loom, shuttle))]
impl Drop for Given {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the execution that used it is over.
        unsafe { std::alloc::dealloc(self.0.as_ptr(), self.1) };
    }
}

// SAFETY: `base` is used only through atomics, or by owners of a frame as `Platform` demands.
unsafe impl Send for Ram {}
// SAFETY: as above.
unsafe impl Sync for Ram {}

impl Ram {
    /// Gives the host its memory back when the machine is off; what is read there afterwards is zero.
    pub(crate) fn power_off(&self) {
        // SAFETY: the range is this allocation, which stays mapped; everything in it is read through atomics, and
        // any value is one of those.
        let result = unsafe {
            libc::madvise(self.base.as_ptr().cast(), self.frames.len() * PAGE, libc::MADV_DONTNEED)
        };
        assert_eq!(result, 0, "the host takes its memory back");
    }

    /// `bytes` of address space from [`FIRST_ADDRESS`] on, less `holes` (sorted, disjoint, page aligned).
    pub(crate) fn new(bytes: u64, holes: &[Range]) -> Self {
        let pages = usize::try_from(bytes / PAGE_SIZE).expect("fits the host");
        let layout = Layout::from_size_align(pages * PAGE, PAGE).expect("a sane size");
        assert!(pages > 0, "a machine has memory");
        // SAFETY: the size is not zero.
        let base = unsafe { alloc(layout) };
        let base = NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout));
        #[cfg(any(loom, shuttle))]
        corey_lib_sync::explore::keep(vec![Given(base, layout)]);
        // SAFETY: the allocation has this many bytes and nobody else knows it.
        unsafe { base.write_bytes(GARBAGE, pages * PAGE) };
        let mut free = Vec::new();
        let mut start = FIRST_ADDRESS;
        for hole in holes {
            assert!(hole.start >= start && hole.end > hole.start && hole.start % PAGE_SIZE == 0);
            if hole.start > start {
                free.push(Range { start, end: hole.start });
            }
            start = hole.end;
        }
        let end = FIRST_ADDRESS + pages as u64 * PAGE_SIZE;
        assert!(start < end, "the last hole ends inside the memory");
        free.push(Range { start, end });
        let frames = (0..pages as u64)
            .map(|page| {
                let address = FIRST_ADDRESS + page * PAGE_SIZE;
                FrameState {
                    hole: holes.iter().any(|h| (h.start..h.end).contains(&address)),
                    ..FrameState::default()
                }
            })
            .collect();
        Self { base, frames, free }
    }

    /// The ranges that are RAM.
    pub(crate) fn free(&self) -> &[Range] {
        &self.free
    }

    fn index(frame: Frame) -> Option<usize> {
        usize::try_from(frame.address().checked_sub(FIRST_ADDRESS)? / PAGE_SIZE).ok()
    }

    fn state(&self, frame: Frame) -> Option<&FrameState> {
        self.frames.get(Self::index(frame)?).filter(|f| !f.hole)
    }

    /// Whether `frame` is RAM.
    pub(crate) fn is_ram(&self, frame: Frame) -> bool {
        self.state(frame).is_some()
    }

    /// Where the host holds `frame`.
    pub(crate) fn direct(&self, frame: Frame) -> NonNull<u8> {
        let index = Self::index(frame).filter(|i| *i < self.frames.len());
        let index = index.unwrap_or_else(|| panic!("{frame:?} is outside of memory"));
        // SAFETY: the index is below the number of pages allocated.
        unsafe { self.base.add(index * PAGE) }
    }

    /// The 64-bit word at `offset` (a multiple of 8, below a page) of `frame`.
    pub(crate) fn word(&self, frame: Frame, offset: u64) -> &AtomicU64 {
        assert!(offset < PAGE_SIZE && offset.is_multiple_of(8));
        // SAFETY: the offset lies in the page.
        let at = unsafe { self.direct(frame).add(offset as usize) };
        // SAFETY: aligned, in the allocation, which is never freed; all reach it atomically.
        unsafe { at.cast().as_ref() }
    }

    /// The byte at `offset` of `frame`.
    pub(crate) fn byte(&self, frame: Frame, offset: u64) -> &AtomicU8 {
        assert!(offset < PAGE_SIZE);
        // SAFETY: the offset lies in the page.
        let at = unsafe { self.direct(frame).add(offset as usize) };
        // SAFETY: in the allocation, which is never freed; all reach it atomically.
        unsafe { at.cast().as_ref() }
    }

    /// One more translation reaches `frame`. False when it is no RAM.
    #[must_use]
    pub(crate) fn hold(&self, frame: Frame) -> bool {
        self.state(frame).map(|f| f.cached.fetch_add(1, Ordering::SeqCst)).is_some()
    }

    /// One translation less reaches `frame`.
    pub(crate) fn release(&self, frame: Frame) {
        let state = self.state(frame).expect("held, so it is RAM");
        let before = state.cached.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "the fake counts translations right");
    }

    /// Translations that reach `frame`.
    pub(crate) fn held(&self, frame: Frame) -> u32 {
        self.state(frame).map_or(0, |f| f.cached.load(Ordering::SeqCst))
    }

    pub(crate) fn set_poison(&self, frame: Frame, poisoned: bool) {
        let state = self.state(frame).expect("poison is for RAM");
        state.poisoned.store(poisoned.into(), Ordering::SeqCst);
    }

    pub(crate) fn is_poisoned(&self, frame: Frame) -> bool {
        self.state(frame).is_none_or(|f| f.poisoned.load(Ordering::SeqCst) == 1)
    }

    /// The first hole frame that somebody wrote to.
    pub(crate) fn damaged_hole(&self) -> Option<Frame> {
        let first = FIRST_ADDRESS / PAGE_SIZE;
        (0..self.frames.len()).find_map(|i| {
            let frame = Frame((first + i as u64) as u32);
            let garbage = u64::from_ne_bytes([GARBAGE; 8]);
            let damaged = self.frames[i].hole
                && (0..PAGE_SIZE).step_by(8).any(|o| self.word(frame, o).load(Ordering::Relaxed) != garbage);
            damaged.then_some(frame)
        })
    }
}
