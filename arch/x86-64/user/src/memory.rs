//! Memory functions for programs without a C library: words by `rep`, the rest by bytes.

use core::arch::asm;

/// Copies `count` bytes upwards.
///
/// # Safety
///
/// As `memcpy`; an overlap is fine when `to` lies below `from`.
#[inline(always)]
pub unsafe fn copy(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: the caller's promise; the direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep movsq", "mov rcx, {rest}", "rep movsb",
            rest = in(reg) count % 8,
            inout("rcx") count / 8 => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Copies `count` bytes downwards, from the last.
///
/// # Safety
///
/// As `memmove`, for `to` above `from`.
pub unsafe fn copy_down(to: *mut u8, from: *const u8, count: usize) {
    for i in (0..count).rev() {
        // SAFETY: the caller's promise; volatile, or the loop becomes a call of itself.
        let byte = unsafe { from.wrapping_add(i).read_volatile() };
        // SAFETY: as above.
        unsafe { to.wrapping_add(i).write_volatile(byte) };
    }
}

/// Fills `count` bytes.
///
/// # Safety
///
/// As `memset`.
#[inline(always)]
pub unsafe fn fill(to: *mut u8, byte: u8, count: usize) {
    let word = u64::from(byte) * 0x0101_0101_0101_0101;
    // SAFETY: the caller's promise; the direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep stosq", "mov rcx, {rest}", "rep stosb",
            rest = in(reg) count % 8,
            inout("rcx") count / 8 => _, inout("rdi") to => _, in("rax") word,
            options(nostack, preserves_flags),
        );
    }
}

/// Compares `count` bytes.
///
/// # Safety
///
/// As `memcmp`.
#[must_use]
pub unsafe fn compare(a: *const u8, b: *const u8, count: usize) -> i32 {
    for i in 0..count {
        // SAFETY: the caller's promise; volatile, or the loop becomes a call of itself.
        let x = unsafe { a.wrapping_add(i).read_volatile() };
        // SAFETY: as above.
        let y = unsafe { b.wrapping_add(i).read_volatile() };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_and_filled_whole() {
        for count in 0..40 {
            let from: Vec<u8> = (0..40).collect();
            let mut to = vec![0xff; 40];
            // SAFETY: both have 40 bytes.
            unsafe { copy(to.as_mut_ptr(), from.as_ptr(), count) };
            assert_eq!(to[..count], from[..count]);
            assert!(to[count..].iter().all(|b| *b == 0xff));
            // SAFETY: it has 40 bytes.
            unsafe { fill(to.as_mut_ptr(), 7, count) };
            assert!(to[..count].iter().all(|b| *b == 7) && to[count..].iter().all(|b| *b == 0xff));
            let mut over: Vec<u8> = (0..41).collect();
            let at = over.as_mut_ptr();
            // SAFETY: 41 bytes at most are moved within 41.
            unsafe { copy_down(at.wrapping_add(1), at, count) };
            assert_eq!(over[1..=count], from[..count]);
        }
        // SAFETY: three bytes each.
        assert!(unsafe { compare(b"abc".as_ptr(), b"abd".as_ptr(), 3) } < 0);
    }
}
