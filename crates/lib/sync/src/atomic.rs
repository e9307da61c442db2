//! The one place that chooses between real atomics and those of a model checker.
//!
//! `--cfg loom` and `--cfg shuttle` replace them by types of the same size, layout and interface ([`crate::explore`]), so
//! that models run the code of the kernel as it is: also what lies in frames and slots, where zeroes are a value.

#[cfg(not(any(loom, shuttle)))]
pub use core::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, compiler_fence, fence,
    },
};

#[cfg(any(loom, shuttle))]
pub use crate::explored::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, UnsafeCell, compiler_fence, fence,
};
#[cfg(any(loom, shuttle))]
pub use core::sync::atomic::Ordering;

/// Where a cell's value is, for reading.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn read_ptr<T>(cell: &UnsafeCell<T>) -> *const T {
    cell.get()
}
/// As above; a checker lets several readers in.
#[cfg(any(loom, shuttle))]
pub(crate) fn read_ptr<T>(cell: &UnsafeCell<T>) -> *const T {
    cell.read_ptr()
}
