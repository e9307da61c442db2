//! Chunks from the host's allocator, counted and bounded.
#![allow(dead_code, reason = "each test file uses a part")]

use corey_libos_heap::{CHUNK, Contents, Pages};
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

/// What all sources of a team gave: start and bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given(Arc<Mutex<BTreeMap<usize, usize>>>);

impl Given {
    pub(crate) fn chunks(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) given: Given,
    /// Chunks it may still give.
    pub(crate) left: usize,
    /// Whether it has little room for chunks of one block, and gives memory that is not zero.
    pub(crate) scarce: bool,
}

impl Host {
    pub(crate) fn new(given: &Given, left: usize) -> Self {
        Self { given: given.clone(), left, scarce: false }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, CHUNK).unwrap()
}

impl Pages for Host {
    fn take(&mut self, bytes: usize) -> Option<(NonNull<u8>, Contents)> {
        assert!(bytes > 0 && bytes.is_multiple_of(4096));
        self.left = self.left.checked_sub(1)?;
        // SAFETY: the layout is not empty.
        let at = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout(bytes)) })?;
        assert!(self.given.0.lock().unwrap().insert(at.addr().get(), bytes).is_none());
        if !self.scarce {
            return Some((at, Contents::Zero));
        }
        // SAFETY: just allocated.
        unsafe { at.write_bytes(0xa5, bytes) };
        Some((at, Contents::Any))
    }

    unsafe fn give(&mut self, at: NonNull<u8>, bytes: usize) {
        assert_eq!(self.given.0.lock().unwrap().remove(&at.addr().get()), Some(bytes));
        self.left += 1;
        // SAFETY: it was allocated with this layout.
        unsafe { std::alloc::dealloc(at.as_ptr(), layout(bytes)) };
    }

    fn is_scarce(&self) -> bool {
        self.scarce
    }

    fn knows(&self, at: usize) -> bool {
        let given = self.given.0.lock().unwrap();
        given.range(..=at).next_back().is_some_and(|(start, bytes)| at < start + bytes)
    }
}

/// A pseudo-random sequence.
#[derive(Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Writes a pattern that depends on `seed`.
pub(crate) fn fill(at: NonNull<u8>, size: usize, seed: usize) {
    for n in 0..size {
        // SAFETY: the callers own `size` bytes there.
        unsafe { at.add(n).write((seed + n) as u8) };
    }
}

/// Whether the pattern is still there.
pub(crate) fn holds(at: NonNull<u8>, size: usize, seed: usize) -> bool {
    // SAFETY: as `fill`, which wrote them.
    let bytes = unsafe { std::slice::from_raw_parts(at.as_ptr(), size) };
    bytes.iter().enumerate().all(|(n, byte)| *byte == (seed + n) as u8)
}
