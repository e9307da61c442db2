//! The allocator of programs: that of the thread's own heap.

use crate::callers::Callers;
use crate::heaps::{Either, mine, plain, with};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

/// The allocator of programs.
#[derive(Debug)]
struct Program;

#[global_allocator]
static PROGRAM_HEAP: Program = Program;

#[cold]
#[inline(never)]
fn take(layout: Layout, zeroed: bool) -> *mut u8 {
    let block = mine().and_then(
        |heap| with!(heap, heap => if zeroed { heap.take_zeroed(layout) } else { heap.take(layout) }),
    );
    block.map_or(core::ptr::null_mut(), NonNull::as_ptr)
}

/// # Safety
///
/// As `dealloc`.
#[cold]
#[inline(never)]
unsafe fn give(block: NonNull<u8>, layout: Layout) {
    let here = 0_u64;
    let Some(heap) = mine() else {
        panic!("a thread without a heap frees {block:p}; called from {}", Callers::above(&here));
    };
    // SAFETY: the caller's promise.
    let given = with!(heap, heap => unsafe { heap.try_give(block, layout) });
    if let Err(misuse) = given {
        panic!("heap misuse on core {}: {misuse}; called from {}", misuse.heap, Callers::above(&here));
    }
}

// SAFETY: a heap's blocks do not overlap and hold their layout; heaps of the team free each other's blocks.
unsafe impl GlobalAlloc for Program {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match plain() {
            Some(mut heap) => {
                // SAFETY: a thread's heap is its own, and the reference ends here.
                let heap = unsafe { heap.as_mut() };
                heap.take(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr)
            }
            None => take(layout, false),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout, true)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else { return };
        match plain() {
            Some(mut heap) => {
                // SAFETY: as above.
                let heap = unsafe { heap.as_mut() };
                // SAFETY: the caller's promise.
                unsafe { heap.give(block, layout) };
            }
            // SAFETY: the caller's promise.
            None => unsafe { give(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some(heap), Some(block)) = (mine(), NonNull::new(block)) else { return core::ptr::null_mut() };
        // SAFETY: the caller's promise.
        let new = with!(heap, heap => unsafe { heap.resize(block, layout, size) });
        new.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }
}
