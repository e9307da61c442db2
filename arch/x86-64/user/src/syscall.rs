//! The trap into the kernel.

use core::arch::asm;

/// Makes system call `number` with the first `N` of `args`. Returns the two result registers, undecoded.
///
/// Memory the arguments point to may be read and written: `nomem` and `readonly` are left unset on purpose.
#[inline(always)]
#[must_use]
pub fn syscall<const N: usize>(number: u64, args: [u64; 6]) -> [u64; 2] {
    const { assert!(N <= 6) };
    let [a, b, c, d, e, f] = args;
    let (first, second);
    // Registers of words that the call does not read are not loaded; the kernel returns none of them.
    macro_rules! trap {
        ($($operand:tt)*) => {
            // SAFETY: the kernel keeps callee-saved registers and the stack; the others are declared here. What
            // a call does to this program's memory is what the program asked for.
            unsafe {
                asm!("syscall", inlateout("rax") number => first, lateout("rcx") _, lateout("r11") _, $($operand)*)
            }
        };
    }
    match N {
        0 => trap!(
            lateout("rdi") _, lateout("rsi") _, lateout("rdx") second, lateout("r10") _, lateout("r8") _, lateout("r9") _,
            options(nostack)
        ),
        1 => trap!(
            inlateout("rdi") a => _, lateout("rsi") _, lateout("rdx") second, lateout("r10") _, lateout("r8") _,
            lateout("r9") _, options(nostack)
        ),
        2 => trap!(
            inlateout("rdi") a => _, inlateout("rsi") b => _, lateout("rdx") second, lateout("r10") _,
            lateout("r8") _, lateout("r9") _, options(nostack)
        ),
        3 => trap!(
            inlateout("rdi") a => _, inlateout("rsi") b => _, inlateout("rdx") c => second, lateout("r10") _,
            lateout("r8") _, lateout("r9") _, options(nostack)
        ),
        _ => trap!(
            inlateout("rdi") a => _, inlateout("rsi") b => _, inlateout("rdx") c => second, inlateout("r10") d => _,
            inlateout("r8") e => _, inlateout("r9") f => _, options(nostack)
        ),
    }
    [first, second]
}
