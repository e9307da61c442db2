//! The C memory functions, and memory the program mapped as values.
#![allow(unreachable_pub, reason = "compiled code calls the C functions by name")]

use corey_arch_x86_64_user::memory::{compare, copy, copy_down, fill};

/// A type that may lie in memory several cores share: atomics only, and all zeroes is valid.
///
/// # Safety
///
/// As said.
pub unsafe trait Shared: Sync {}

// SAFETY: atomics; zero is valid.
unsafe impl Shared for core::sync::atomic::AtomicU64 {}
// SAFETY: as the elements.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// A value in mapped memory.
///
/// # Panics
///
/// When `address` is not aligned for a `T`.
///
/// # Safety
///
/// `size_of::<T>()` bytes from `address` on are mapped writable, used as a `T` only, and stay.
#[must_use]
pub unsafe fn shared<T: Shared>(address: u64) -> &'static T {
    assert!(address.is_multiple_of(align_of::<T>() as u64), "{address:#x} is not aligned");
    // SAFETY: the caller's promise; fresh segments are zero, and zero is valid.
    unsafe { &*(address as *const T) }
}

/// As in C.
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { copy(to, from, count) };
    to
}

/// As in C.
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) < count {
        // SAFETY: the caller's promise; `to` lies above `from`.
        unsafe { copy_down(to, from, count) };
    } else {
        // SAFETY: the caller's promise.
        unsafe { copy(to, from, count) };
    }
    to
}

/// As in C.
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { fill(to, byte as u8, count) };
    to
}

/// As in C.
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { compare(a, b, count) }
}

/// As in C.
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { compare(a, b, count) }
}
