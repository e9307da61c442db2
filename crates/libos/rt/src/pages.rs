//! Memory for a heap: segments of the program's own.

use core::ptr::NonNull;
use corey_abi::{Id, MapFlags, PAGE_BYTES};
use corey_libos_heap::Pages;
use corey_libos_sys::segment;
use corey_libos_vm::Space;

/// Gives a [`corey_libos_heap::Heap`] segments of `share`, mapped in `space`: nothing another core sees.
#[derive(Debug)]
pub struct SegmentPages<'a> {
    /// Where they are mapped.
    pub space: &'a mut Space,
    /// The share that names them and pays.
    pub share: Id,
}

impl Pages for SegmentPages<'_> {
    fn pages(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        let npages = (bytes as u64).div_ceil(PAGE_BYTES);
        let object = segment(self.share, npages * PAGE_BYTES, "heap").ok()?;
        let (va, _) = self.space.map(object, npages, MapFlags::WRITE | MapFlags::HEAP).ok()?;
        NonNull::new(va as *mut u8)
    }
}
