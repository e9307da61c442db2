//! A point that a program passes twice: here, and in a copy of itself on another core.
//!
//! ```text
//! pass(out)  callee-saved registers pushed ─ fork(out, stack) ─────────────→ popped ─ returns fork's value
//! copy        …… its memory is this stack, as `fork` found it ─ enter(stack, words) ─→ popped ─ returns 1
//! ```
//!
//! To the compiler it is a call like any other: in each copy of the memory it returns once.

use core::arch::naked_asm;

/// What the copy is told about itself.
pub type Words = [u64; 4];

/// Calls `$fork: extern "C" fn(&mut T, stack: u64) -> u64` with `out` and a stack pointer for [`enter`]; returns its value.
/// In a copy of this memory that begins at [`enter`] with that stack pointer, returns 1.
#[macro_export]
macro_rules! fork_point {
    ($name:ident, $fork:path, $argument:ty) => {
        #[unsafe(naked)]
        extern "C" fn $name(argument: &mut $argument, words: &mut $crate::fork::Words) -> u64 {
            ::core::arch::naked_asm!(
                "push rbp", "push rbx", "push r12", "push r13", "push r14", "push r15",
                // Where the copy's words go; and 16-byte alignment for the call.
                "push rsi",
                "mov rsi, rsp",
                "call {fork}",
                "add rsp, 8",
                "pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp",
                "ret",
                fork = sym $fork,
            )
        }
    };
}

/// Where the copy begins: on the stack that `fork` was told, with four words for the second argument of the fork
/// point.
///
/// # Safety
///
/// `stack` is what a fork point passed, and the memory is a copy of what it was then.
#[unsafe(naked)]
pub unsafe extern "C" fn enter(stack: u64, a: u64, b: u64, c: u64, d: u64) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        "pop rax",
        "mov [rax], rsi",
        "mov [rax + 8], rdx",
        "mov [rax + 16], rcx",
        "mov [rax + 24], r8",
        "mov eax, 1",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}
