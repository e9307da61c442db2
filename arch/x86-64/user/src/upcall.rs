//! Upcalls: where the kernel enters a program for a fault or a tick, and how it goes back.
//!
//! ```text
//! kernel   frame of 8 words below the handler's stack, masked word set ─ entry
//! entry    15 registers, FS and GS base, the FPU state saved below it: a [`Context`] ─ handler(context) → context to go on with
//! resume   its registers restored, flags and return address put below its own stack's red zone ─ unmasked ─ ret
//! ```
//!
//! What is still needed moves to the interrupted stack before upcalls are unmasked: one that comes between that
//! and the `ret` begins at the top of the handler's stack again, and finds nothing there that it could break.
//!
//! `iretq` would do as well on a processor; QEMU 7.2 reads its frame with the supervisor's rights, which SMAP refuses.
//!
//! Segment selectors are no part of a context: a program that loads other ones than 0 keeps track of them itself.

use core::arch::naked_asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

/// Code and stack segment of user code, as the kernel sets them up.
pub const SEGMENTS: (u64, u64) = (0x2b, 0x23);
/// Flags of user code: interrupts on.
pub const FLAGS: u64 = 0x202;

/// Bytes of FPU state there is room for: XSAVE's standard form with AVX-512, the largest that the kernel turns on.
const STATE: usize = 2688;
/// Bytes of a context.
const SIZE: usize = STATE + 256;
/// Where its parts lie.
const FORM: usize = STATE;
const BASES: usize = FORM + 8;
const GENERAL: usize = FORM + 72;
const FRAME: usize = GENERAL + 15 * 8 + 24;
/// Distance of general register `n` from the start, in the order of [`Context::general`].
const fn general(n: usize) -> usize {
    GENERAL + 8 * n
}

/// [`Context::form`]: the state is XSAVE's, in its standard form; else FXSAVE's.
const XSAVE: u64 = 1;
/// [`Context::form`]: user code reads and writes its FS and GS bases, so they are part of the context.
const FSGSBASE: u64 = 2;

/// How this processor's contexts are saved, as the kernel set it up; `None` when its state is larger than a
/// [`Context`] has room for. Asks CPUID, which a hypervisor may make slow: once per handler or context.
#[must_use]
pub fn form() -> Option<u64> {
    let features = __cpuid(1).ecx;
    // The kernel turns FS and GS bases on where they are there.
    let leaves = __cpuid(0).eax;
    let bases = leaves >= 7 && __cpuid_count(7, 0).ebx & 1 != 0;
    let bases = if bases { FSGSBASE } else { 0 };
    // Bit 27: the kernel has set CR4.OSXSAVE.
    if features >> 27 & 1 == 0 {
        return Some(bases);
    }
    // EBX: bytes for the components that XCR0 has now.
    (__cpuid_count(0xd, 0).ebx as usize <= STATE).then_some(bases | XSAVE)
}

/// Everything of a context that was interrupted: 2,944 bytes, aligned to 64.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Context {
    /// FPU, SSE, AVX and AVX-512 state, as `xsave64` or `fxsave64` writes it.
    pub fpu: [u64; STATE / 8],
    /// How it was saved ([`form`]).
    pub form: u64,
    /// FS and GS base.
    pub bases: [u64; 2],
    /// Makes the size a multiple of 64.
    pub unused: [u64; 6],
    /// r15 r14 r13 r12 r11 r10 r9 r8 rbp rdi rsi rdx rcx rbx rax.
    pub general: [u64; 15],
    /// What happened: vector, error code, address.
    pub event: [u64; 3],
    /// rip, cs, rflags, rsp, ss.
    pub frame: [u64; 5],
}

const _: () = assert!(size_of::<Context>() == SIZE && SIZE == 2944);
const _: () = assert!(core::mem::offset_of!(Context, form) == FORM);
const _: () = assert!(core::mem::offset_of!(Context, bases) == BASES);
const _: () = assert!(core::mem::offset_of!(Context, general) == GENERAL);
const _: () = assert!(core::mem::offset_of!(Context, frame) == FRAME);

impl Context {
    /// A context that begins at `entry(argument)` with stack pointer `stack`.
    #[must_use]
    pub fn new(entry: u64, stack: u64, argument: u64) -> Self {
        // No component marked as present: XRSTOR gives each its initial state.
        let mut fpu = [0; STATE / 8];
        // Control word and MXCSR as at power-on: all exceptions masked.
        fpu[0] = 0x037f;
        fpu[3] = 0x1f80;
        let mut general = [0; 15];
        general[9] = argument;
        let form = form().unwrap_or(0);
        let frame = [entry, SEGMENTS.0, FLAGS, stack, SEGMENTS.1];
        Self { fpu, form, bases: [0; 2], unused: [0; 6], general, event: [0; 3], frame }
    }
}

/// MXCSR as a function expects it.
#[doc(hidden)]
pub static DEFAULT_MXCSR: u32 = 0x1f80;

/// Defines `$name`, an entry for upcalls that calls `$handler: extern "C" fn(&mut Context) -> *const Context`. The
/// handler's stack ends at a multiple of 64; above it lie the masked word, a word of the program's own, and the
/// [`form`](crate::upcall::form) of contexts.
#[macro_export]
macro_rules! upcall_entry {
    ($name:ident, $handler:path) => {
        /// Where the kernel enters for an upcall.
        #[unsafe(naked)]
        extern "C" fn $name() -> ! {
            ::core::arch::naked_asm!(
                "push rax", "push rbx", "push rcx", "push rdx", "push rsi", "push rdi", "push rbp",
                "push r8", "push r9", "push r10", "push r11", "push r12", "push r13", "push r14", "push r15",
                "sub rsp, {general}",
                "mov rbx, [rsp + {size} + 16]",
                "mov [rsp + {form}], rbx",
                "test bl, 1",
                "jz 2f",
                // XSAVE leaves what it does not write of the header as it finds it, and XRSTOR wants zeroes there.
                "xor eax, eax",
                "mov [rsp + 512], rax", "mov [rsp + 520], rax", "mov [rsp + 528], rax", "mov [rsp + 536], rax",
                "mov [rsp + 544], rax", "mov [rsp + 552], rax", "mov [rsp + 560], rax", "mov [rsp + 568], rax",
                // Every component that the kernel turned on.
                "mov eax, -1",
                "mov edx, -1",
                "xsave64 [rsp]",
                "jmp 3f",
                "2:",
                "fxsave64 [rsp]",
                "3:",
                "test bl, 2",
                "jz 4f",
                "rdfsbase rax",
                "mov [rsp + {bases}], rax",
                "rdgsbase rax",
                "mov [rsp + {bases} + 8], rax",
                "4:",
                // The handler is a function: direction, x87 stack and control words as those expect them.
                "cld",
                "fninit",
                "ldmxcsr [rip + {mxcsr}]",
                "mov rdi, rsp",
                // The masked word, kept across the call.
                "lea rbx, [rsp + {size}]",
                "xor ebp, ebp",
                "call {handler}",
                "mov rdi, rax",
                "mov rsi, rbx",
                "jmp {resume}",
                general = const ::core::mem::offset_of!($crate::upcall::Context, general),
                form = const ::core::mem::offset_of!($crate::upcall::Context, form),
                bases = const ::core::mem::offset_of!($crate::upcall::Context, bases),
                size = const ::core::mem::size_of::<$crate::upcall::Context>(),
                mxcsr = sym $crate::upcall::DEFAULT_MXCSR,
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
        "mov rbx, [rdi + {form}]",
        "test bl, 1",
        "jz 2f",
        "mov eax, -1",
        "mov edx, -1",
        "xrstor64 [rdi]",
        "jmp 3f",
        "2:",
        "fxrstor64 [rdi]",
        "3:",
        "test bl, 2",
        "jz 4f",
        "mov rax, [rdi + {bases}]",
        "wrfsbase rax",
        "mov rax, [rdi + {bases} + 8]",
        "wrgsbase rax",
        "4:",
        // Below the red zone: rsi, rdi, rax, rflags, rip.
        "mov rax, [rdi + {rsp}]",
        "sub rax, 168",
        "mov rcx, [rdi + {rsi}]",
        "mov [rax], rcx",
        "mov rcx, [rdi + {rdi}]",
        "mov [rax + 8], rcx",
        "mov rcx, [rdi + {rax}]",
        "mov [rax + 16], rcx",
        "mov rcx, [rdi + {rflags}]",
        "mov [rax + 24], rcx",
        "mov rcx, [rdi + {rip}]",
        "mov [rax + 32], rcx",
        "mov r15, [rdi + {r15}]",
        "mov r14, [rdi + {r14}]",
        "mov r13, [rdi + {r13}]",
        "mov r12, [rdi + {r12}]",
        "mov r11, [rdi + {r11}]",
        "mov r10, [rdi + {r10}]",
        "mov r9, [rdi + {r9}]",
        "mov r8, [rdi + {r8}]",
        "mov rbp, [rdi + {rbp}]",
        "mov rdx, [rdi + {rdx}]",
        "mov rcx, [rdi + {rcx}]",
        "mov rbx, [rdi + {rbx}]",
        "mov rsp, rax",
        // One instruction: a tick that is remembered meanwhile is not lost.
        "and qword ptr [rsi], -2",
        "pop rsi",
        "pop rdi",
        "pop rax",
        "popfq",
        "ret 128",
        form = const FORM,
        bases = const BASES,
        rip = const FRAME,
        rflags = const FRAME + 16,
        rsp = const FRAME + 24,
        r15 = const general(0),
        r14 = const general(1),
        r13 = const general(2),
        r12 = const general(3),
        r11 = const general(4),
        r10 = const general(5),
        r9 = const general(6),
        r8 = const general(7),
        rbp = const general(8),
        rdi = const general(9),
        rsi = const general(10),
        rdx = const general(11),
        rcx = const general(12),
        rbx = const general(13),
        rax = const general(14),
    )
}
