//! A handler and its stack.

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Error, Id, MapFlags, PAGE_BYTES, masked};
use corey_libos_sys::segment;
use corey_libos_sys::upcall::{Context, form};
use corey_libos_vm::Space;

/// Pages of a handler's stack.
const STACK_PAGES: u64 = 8;

/// The place of a handler: its stack, and above it the masked word, one word of the program's own, and how contexts
/// are saved.
#[derive(Clone, Copy, Debug)]
pub struct Handler {
    top: u64,
}

impl Handler {
    /// Makes the stack in a segment of `share`, maps it in `space`, and has the kernel enter `entry` (made by
    /// [`crate::upcall_entry`]) there. `data` is for the handler ([`Handler::data`]).
    ///
    /// # Errors
    ///
    /// As `segment_alloc`, `at_set_slot`, `at_get` and `at_set`; `Unsupported` when this processor has more FPU state
    /// than a [`Context`] has room for.
    pub fn install(space: &mut Space, share: Id, entry: u64, data: u64) -> Result<Self, Error> {
        let form = form().ok_or(Error::Unsupported)?;
        let handler = Self::place(space, share)?;
        handler.fill(data, form);
        space.set_handler(entry, handler.top, handler.top)?;
        Ok(handler)
    }

    /// As [`Handler::install`], in a space that is not the caller's: `own` is.
    ///
    /// # Errors
    ///
    /// As [`Handler::install`].
    pub fn prepare(
        own: &mut Space,
        space: &mut Space,
        share: Id,
        entry: u64,
        data: u64,
    ) -> Result<Self, Error> {
        let form = form().ok_or(Error::Unsupported)?;
        let pages = segment(share, (STACK_PAGES + 1) * PAGE_BYTES, "upcall stack")?;
        let (va, _) = space.map(pages, STACK_PAGES + 1, MapFlags::WRITE)?;
        let (here, slot) = own.map(pages, STACK_PAGES + 1, MapFlags::WRITE)?;
        Self { top: here + STACK_PAGES * PAGE_BYTES }.fill(data, form);
        own.unmap(slot)?;
        let handler = Self { top: va + STACK_PAGES * PAGE_BYTES };
        space.set_handler(entry, handler.top, handler.top)?;
        Ok(handler)
    }

    fn place(space: &mut Space, share: Id) -> Result<Self, Error> {
        let pages = segment(share, (STACK_PAGES + 1) * PAGE_BYTES, "upcall stack")?;
        let (va, _) = space.map(pages, STACK_PAGES + 1, MapFlags::WRITE)?;
        Ok(Self { top: va + STACK_PAGES * PAGE_BYTES })
    }

    /// The handler that a context was saved for: it lies at the top of its stack.
    #[must_use]
    pub fn of(context: &Context) -> Self {
        Self { top: core::ptr::from_ref(context) as u64 + size_of::<Context>() as u64 }
    }

    fn word(self, number: usize) -> &'static AtomicU64 {
        let at = (self.top as *const AtomicU64).wrapping_add(number);
        // SAFETY: `place` mapped a page from `top` on, for good, and it holds these words only.
        unsafe { &*at }
    }

    /// Writes the words that do not change.
    fn fill(self, data: u64, form: u64) {
        self.word(1).store(data, Ordering::Relaxed);
        self.word(2).store(form, Ordering::Relaxed);
    }

    /// What `install` was given.
    #[must_use]
    pub fn data(self) -> u64 {
        self.word(1).load(Ordering::Relaxed)
    }

    /// Masks upcalls, as one that is delivered does.
    pub fn mask(self) {
        self.word(0).fetch_or(masked::MASKED, Ordering::Acquire);
    }

    /// Allows upcalls.
    pub fn unmask(self) {
        self.word(0).fetch_and(!masked::MASKED, Ordering::Release);
    }

    /// Whether a tick came while masked; forgets it.
    #[must_use]
    pub fn take_tick(self) -> bool {
        self.word(0).fetch_and(!masked::TICK, Ordering::Relaxed) & masked::TICK != 0
    }

    /// Address of the masked word, for [`crate::resume`].
    #[must_use]
    pub fn masked(self) -> *mut u64 {
        self.top as *mut u64
    }
}
