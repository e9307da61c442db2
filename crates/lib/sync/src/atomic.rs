//! The one place that chooses between real atomics and loom's.

#[cfg(not(loom))]
pub(crate) use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, Ordering, fence},
};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, Ordering, fence};

/// Where a cell's value is, for reading.
#[cfg(not(loom))]
pub(crate) fn read_ptr<T>(cell: &UnsafeCell<T>) -> *const T {
    cell.get()
}
/// As above; loom lets several readers in.
#[cfg(loom)]
pub(crate) fn read_ptr<T>(cell: &UnsafeCell<T>) -> *const T {
    cell.0.with(|p| p)
}

/// loom's cell under `core`'s interface; loom checks each access for races.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

#[cfg(loom)]
impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }
    pub(crate) fn get(&self) -> *mut T {
        self.0.with_mut(|p| p)
    }
}
