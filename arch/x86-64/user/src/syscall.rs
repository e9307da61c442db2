//! The trap into the kernel.

use core::arch::asm;

/// Makes system call `number`. Returns the two result registers, undecoded.
///
/// Memory the arguments point to may be read and written: `nomem` and `readonly` are left unset on purpose.
#[inline(always)]
#[must_use]
pub fn syscall(number: u64, args: [u64; 6]) -> [u64; 2] {
    let [a, b, c, d, e, f] = args;
    let (first, second);
    // SAFETY: the kernel keeps callee-saved registers and the stack; the others are declared here. What a call
    // does to this program's memory is what the program asked for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => first,
            inlateout("rdi") a => _,
            inlateout("rsi") b => _,
            inlateout("rdx") c => second,
            inlateout("r10") d => _,
            inlateout("r8") e => _,
            inlateout("r9") f => _,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    [first, second]
}
