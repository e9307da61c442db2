//! Chunks for a heap, from an anonymous mapping.

use std::marker::PhantomData;
use std::ptr::NonNull;

use corey_libos_heap::{CHUNK, Contents, Pages};

/// Addresses of one heap: far more than it needs. Memory is taken at the first touch.
const AREA: usize = 1 << 30;

/// Memory of one heap; all heaps of a team end before it.
#[derive(Debug)]
pub(crate) struct Area {
    /// What was mapped: an area, and a chunk more so that one can begin at a multiple of a chunk.
    mapped: usize,
}

impl Area {
    pub(crate) fn new() -> Result<Self, String> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new anonymous mapping at an address the kernel chooses aliases nothing.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), AREA + CHUNK, rights, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(format!("mmap: {}", std::io::Error::last_os_error()));
        }
        Ok(Self { mapped: at as usize })
    }

    /// The only source of this area's chunks.
    pub(crate) fn chunks(&self) -> Chunks<'_> {
        let start = self.mapped.next_multiple_of(CHUNK);
        Chunks { next: start, end: start + AREA, given_back: Vec::new(), area: PhantomData }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping, and what borrowed from it has ended.
        unsafe { libc::munmap(self.mapped as *mut libc::c_void, AREA + CHUNK) };
    }
}

/// Hands out an area's chunks.
#[derive(Debug)]
pub(crate) struct Chunks<'a> {
    next: usize,
    end: usize,
    /// Where, and how many bytes.
    given_back: Vec<(usize, usize)>,
    area: PhantomData<&'a Area>,
}

impl Pages for Chunks<'_> {
    fn take(&mut self, bytes: usize) -> Option<(NonNull<u8>, Contents)> {
        if let Some(position) = self.given_back.iter().position(|(_, there)| *there == bytes) {
            let (at, _) = self.given_back.swap_remove(position);
            return NonNull::new(at as *mut u8).map(|at| (at, Contents::Any));
        }
        let at = self.next;
        let next = at.checked_add(bytes.checked_next_multiple_of(CHUNK)?)?;
        if next > self.end {
            return None;
        }
        self.next = next;
        NonNull::new(at as *mut u8).map(|at| (at, Contents::Zero))
    }

    unsafe fn give(&mut self, at: NonNull<u8>, bytes: usize) {
        self.given_back.push((at.as_ptr() as usize, bytes));
    }

    fn knows(&self, _: usize) -> bool {
        unreachable!("only checking mode asks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_goes_out_again() {
        let area = Area::new().unwrap();
        let mut chunks = area.chunks();
        let (first, contents) = chunks.take(4096).unwrap();
        assert!(first.as_ptr().addr().is_multiple_of(CHUNK) && contents == Contents::Zero);
        let (second, _) = chunks.take(CHUNK).unwrap();
        assert_eq!(second.as_ptr().addr() - first.as_ptr().addr(), CHUNK);
        // SAFETY: nobody uses it.
        unsafe { chunks.give(first, 4096) };
        assert_eq!(chunks.take(4096), Some((first, Contents::Any)));
        assert_eq!(chunks.take(AREA), None);
    }
}
