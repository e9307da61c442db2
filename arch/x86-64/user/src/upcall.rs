//! Upcalls: where the kernel enters a program for a fault or a tick, and how it goes back.
//!
//! ```text
//! kernel   frame of 8 words below the handler's stack, masked word set ─ entry
//! entry    15 registers and the FPU saved below it: a [`Context`] ─ handler(context) → context to go on with
//! resume   its registers restored, flags and return address put below its own stack's red zone ─ unmasked ─ ret
//! ```
//!
//! What is still needed moves to the interrupted stack before upcalls are unmasked: one that comes between that
//! and the `ret` begins at the top of the handler's stack again, and finds nothing there that it could break.
//!
//! `iretq` would do as well on a processor; QEMU 7.2 reads its frame with the supervisor's rights, which SMAP refuses.

use core::arch::naked_asm;

/// Code and stack segment of user code, as the kernel sets them up.
pub const SEGMENTS: (u64, u64) = (0x2b, 0x23);
/// Flags of user code: interrupts on.
pub const FLAGS: u64 = 0x202;

/// Everything of a context that was interrupted: 704 bytes, aligned to 16.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct Context {
    /// FPU and SSE state, as `fxsave64` writes it.
    pub fpu: [u64; 64],
    /// Makes the rest 16-byte aligned.
    pub unused: u64,
    /// r15 r14 r13 r12 r11 r10 r9 r8 rbp rdi rsi rdx rcx rbx rax.
    pub general: [u64; 15],
    /// What happened: vector, error code, address.
    pub event: [u64; 3],
    /// rip, cs, rflags, rsp, ss.
    pub frame: [u64; 5],
}

const _: () = assert!(size_of::<Context>() == 704);
const _: () = assert!(core::mem::offset_of!(Context, general) == 520);
const _: () = assert!(core::mem::offset_of!(Context, frame) == 664);

impl Context {
    /// A context that begins at `entry(argument)` with stack pointer `stack`.
    #[must_use]
    pub fn new(entry: u64, stack: u64, argument: u64) -> Self {
        let mut fpu = [0; 64];
        // Control word and MXCSR as at power-on: all exceptions masked.
        fpu[0] = 0x037f;
        fpu[3] = 0x1f80;
        let mut general = [0; 15];
        general[9] = argument;
        Self { fpu, unused: 0, general, event: [0; 3], frame: [entry, SEGMENTS.0, FLAGS, stack, SEGMENTS.1] }
    }
}

/// Defines `$name`, an entry for upcalls that calls `$handler: extern "C" fn(&mut Context) -> *const Context`. The
/// masked word is the first word above the handler's stack.
#[macro_export]
macro_rules! upcall_entry {
    ($name:ident, $handler:path) => {
        /// Where the kernel enters for an upcall.
        #[unsafe(naked)]
        extern "C" fn $name() -> ! {
            ::core::arch::naked_asm!(
                "push rax", "push rbx", "push rcx", "push rdx", "push rsi", "push rdi", "push rbp",
                "push r8", "push r9", "push r10", "push r11", "push r12", "push r13", "push r14", "push r15",
                "sub rsp, 520",
                "fxsave64 [rsp]",
                "cld",
                "mov rdi, rsp",
                // The masked word, kept across the call.
                "lea rbx, [rsp + 704]",
                "xor ebp, ebp",
                "call {handler}",
                "mov rdi, rax",
                "mov rsi, rbx",
                "jmp {resume}",
                handler = sym $handler,
                resume = sym $crate::upcall::resume,
            )
        }
    };
}

/// Goes on with `context`; clears the masked word's first bit on the way.
///
/// # Safety
///
/// Upcalls are masked; `context` is one that was interrupted, or new, and is not resumed twice; 168 bytes below
/// its stack pointer are mapped writable.
#[unsafe(naked)]
pub unsafe extern "C" fn resume(context: *const Context, masked: *mut u64) -> ! {
    naked_asm!(
        "fxrstor64 [rdi]",
        // Below the red zone: rsi, rdi, rax, rflags, rip.
        "mov rax, [rdi + 688]",
        "sub rax, 168",
        "mov rcx, [rdi + 600]",
        "mov [rax], rcx",
        "mov rcx, [rdi + 592]",
        "mov [rax + 8], rcx",
        "mov rcx, [rdi + 632]",
        "mov [rax + 16], rcx",
        "mov rcx, [rdi + 680]",
        "mov [rax + 24], rcx",
        "mov rcx, [rdi + 664]",
        "mov [rax + 32], rcx",
        "mov r15, [rdi + 520]",
        "mov r14, [rdi + 528]",
        "mov r13, [rdi + 536]",
        "mov r12, [rdi + 544]",
        "mov r11, [rdi + 552]",
        "mov r10, [rdi + 560]",
        "mov r9, [rdi + 568]",
        "mov r8, [rdi + 576]",
        "mov rbp, [rdi + 584]",
        "mov rdx, [rdi + 608]",
        "mov rcx, [rdi + 616]",
        "mov rbx, [rdi + 624]",
        "mov rsp, rax",
        // One instruction: a tick that is remembered meanwhile is not lost.
        "and qword ptr [rsi], -2",
        "pop rsi",
        "pop rdi",
        "pop rax",
        "popfq",
        "ret 128",
    )
}
