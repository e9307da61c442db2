//! The ways into the kernel and out of it.
//!
//! ```text
//! syscall   swapgs ─ kernel stack ─ rsp, rip, rflags, number pushed ─ E::syscall ─ canonical? ─ sysret
//! exception CPU frame ─ swapgs if from user ─ 15 registers pushed ─ E::… ─ popped ─ iret
//! ```

use crate::copy::step_over;
use crate::features::{FEATURES, Features};
use crate::isolated::{leave_isolated, syscall_isolated};
use crate::tables::{USER_CODE, USER_DATA, Vectors};
use core::arch::naked_asm;
use core::sync::atomic::Ordering;
use corey_arch_x86_64_asm::read_cr2;
use corey_kernel_hal::{Registers, UserContext};

/// Two result registers: rax, rdx.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Words(pub u64, pub u64);

/// What entry code calls, on the kernel stack, interrupts off.
pub trait Entries: 'static {
    /// A system call; returns to the caller, or does not return.
    fn syscall(number: u64, args: [u64; 6]) -> Words;
    /// A user page fault.
    fn page_fault(address: u64, code: u64, registers: &mut Registers);
    /// Any other user exception.
    fn exception(vector: u8, code: u64, registers: &mut Registers);
    /// An interrupt vector ≥ 32; `user` says whether user code was interrupted.
    fn interrupt(vector: u8, user: bool, registers: &mut Registers);
    /// NMI and machine check, on their own stacks, without GS.
    fn urgent(vector: u8, registers: &Registers);
    /// An exception of the kernel itself.
    fn fatal(vector: u8, code: u64, address: u64, registers: &Registers) -> !;
}

/// Address of the system-call entry.
pub(crate) fn syscall_address<E: Entries>() -> u64 {
    if is_isolated() {
        syscall_isolated::<E> as *const () as u64
    } else {
        syscall_entry::<E> as *const () as u64
    }
}

fn is_isolated() -> bool {
    FEATURES.isolated.load(Ordering::Relaxed)
}

pub(crate) extern "C" fn on_syscall<E: Entries>(
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
    number: u64,
) -> Words {
    E::syscall(number, [a, b, c, d, e, f])
}

/// A return address that `sysret` would fault on in ring 0: the program ran off the end of its half.
pub(crate) extern "C" fn on_bad_return<E: Entries>(rip: u64, rflags: u64, rsp: u64) -> ! {
    let mut registers = Registers {
        rip,
        rflags,
        rsp,
        cs: u64::from(USER_CODE),
        ss: u64::from(USER_DATA),
        ..Registers::default()
    };
    E::exception(Vectors::PROTECTION, 0, &mut registers);
    // It went to the program's handler.
    // SAFETY: GS is the kernel's, interrupts are off; the kernel set code, stack and flags for the handler.
    unsafe { resume_user(&registers) }
}

/// Enters user mode with exactly these registers.
///
/// # Safety
///
/// Interrupts are off, GS is the kernel's; code and stack segment are the user's. What is on the kernel stack is
/// given up.
#[unsafe(naked)]
unsafe extern "C" fn resume_user(registers: &Registers) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rbp",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rbx",
        "pop rax",
        "cmp byte ptr [rip + {features} + {isolated}], 0",
        "jne {leave}",
        "swapgs",
        "iretq",
        leave = sym leave_isolated,
        features = sym FEATURES,
        isolated = const core::mem::offset_of!(Features, isolated),
    );
}

/// `syscall` lands here with rcx = rip, r11 = rflags, and the user's stack.
#[unsafe(naked)]
extern "C" fn syscall_entry<E: Entries>() {
    naked_asm!(
        "swapgs",
        "mov gs:[16], rsp",
        "mov rsp, gs:[8]",
        "push qword ptr gs:[16]",
        "push rcx",
        "push r11",
        "push rax",
        "mov rcx, r10",
        "call {handler}",
        "pop r10",
        "pop r11",
        "pop rcx",
        "mov r10, rcx",
        "shr r10, 47",
        "jnz 2f",
        "xor edi, edi",
        "xor esi, esi",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "pop rsp",
        "swapgs",
        "sysretq",
        "2:",
        "mov rdi, rcx",
        "mov rsi, r11",
        "pop rdx",
        "mov rsp, gs:[8]",
        "call {bad}",
        handler = sym on_syscall::<E>,
        bad = sym on_bad_return::<E>,
    );
}

pub(crate) extern "C" fn on_page_fault<E: Entries>(code: u64, registers: &mut Registers) {
    let address = read_cr2();
    if registers.cs & 3 != 0 {
        E::page_fault(address, code, registers);
    } else if let Some(next) = step_over(registers.rip) {
        registers.rip = next;
    } else {
        E::fatal(Vectors::PAGE_FAULT, code, address, registers);
    }
}

pub(crate) extern "C" fn on_trap<E: Entries, const V: u8>(code: u64, registers: &mut Registers) {
    let user = registers.cs & 3 != 0;
    match (V, user) {
        (32.., _) => E::interrupt(V, user, registers),
        (_, true) => E::exception(V, code, registers),
        (_, false) => match step_over(registers.rip) {
            // A copy to a non-canonical address cannot happen (ranges are checked), a misaligned one neither.
            Some(next) if V == Vectors::PROTECTION => registers.rip = next,
            _ => E::fatal(V, code, 0, registers),
        },
    }
}

pub(crate) extern "C" fn on_urgent<E: Entries, const V: u8>(code: u64, registers: &mut Registers) {
    if V == Vectors::DOUBLE_FAULT {
        E::fatal(V, code, read_cr2(), registers);
    }
    E::urgent(V, registers);
}

/// Saves all registers as [`Registers`], calls the handler, restores. `$swap` is the test for user mode.
///
/// A program's RFLAGS come along: the direction flag would turn the kernel's string instructions around, and the
/// alignment flag would let it reach user pages as `stac` does. `SMAP` says whether `clac` is an instruction here.
macro_rules! stub {
    ($name:ident, $first:literal, $handler:ident $(, $vector:ident)?; $($swap:literal)?) => {
        #[unsafe(naked)]
        pub(crate) extern "C" fn $name<E: Entries, const SMAP: bool $(, const $vector: u8)?>() {
            naked_asm!(
                $first,
                // The error code makes room for rax, next to rip.
                "push rbx",
                "mov rbx, [rsp + 8]",
                "mov [rsp + 8], rax",
                "push rcx", "push rdx", "push rsi", "push rdi", "push rbp",
                "push r8", "push r9", "push r10", "push r11",
                "push r12", "push r13", "push r14", "push r15",
                "cld",
                ".if {smap}", "clac", ".endif",
                "mov rdi, rbx",
                "mov rsi, rsp",
                $("test byte ptr [rsp + 128], 3", "jz 2f", $swap, "2:",)?
                "call {handler}",
                $("test byte ptr [rsp + 128], 3", "jz 3f", $swap, "3:",)?
                "pop r15", "pop r14", "pop r13", "pop r12",
                "pop r11", "pop r10", "pop r9", "pop r8",
                "pop rbp", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rbx", "pop rax",
                "iretq",
                handler = sym $handler::<E $(, $vector)?>,
                smap = const SMAP as u8,
            );
        }
    };
}

stub!(page_fault_stub, "", on_page_fault; "swapgs");
stub!(trap_stub, "push 0", on_trap, V; "swapgs");
stub!(code_stub, "", on_trap, V; "swapgs");
stub!(urgent_stub, "push 0", on_urgent, V;);
stub!(urgent_code_stub, "", on_urgent, V;);

/// Makes `stub_addresses`, of the stubs with these names: those of vectors that have a stub of their own, and of all others
/// that a processor can send.
macro_rules! addresses {
    ($page_fault:ident, $trap:ident, $code:ident, $urgent:ident, $urgent_code:ident; $($number:literal)*) => {
        /// Addresses of the stubs, by vector, for a processor with SMAP or without.
        pub(crate) fn stub_addresses<E: Entries, const SMAP: bool>() -> impl Fn(u8) -> u64 {
            |vector| match vector {
                Vectors::PAGE_FAULT => $page_fault::<E, SMAP> as *const () as u64,
                Vectors::DOUBLE_FAULT => $urgent_code::<E, SMAP, { Vectors::DOUBLE_FAULT }> as *const () as u64,
                Vectors::NMI => $urgent::<E, SMAP, { Vectors::NMI }> as *const () as u64,
                Vectors::MACHINE_CHECK => $urgent::<E, SMAP, { Vectors::MACHINE_CHECK }> as *const () as u64,
                $($number if Vectors::has_error_code($number) => $code::<E, SMAP, $number> as *const () as u64,
                $number => $trap::<E, SMAP, $number> as *const () as u64,)*
                // Vectors nobody sends are spurious.
                _ => $trap::<E, SMAP, 0xff> as *const () as u64,
            }
        }
    };
    ($($name:ident),*) => {
        addresses!($($name),*; 0 1 3 4 5 6 7 9 10 11 12 13 15 16 17 19 20 21 22 23 24 25 26 27 28 29 30 31 0xe0 0xf0 0xf1);
    };
}
pub(crate) use addresses;

addresses!(page_fault_stub, trap_stub, code_stub, urgent_stub, urgent_code_stub);

/// The initial user state (Intel SDM vol. 1 §13.6): what FXRSTOR takes whole, and XRSTOR with no component marked as
/// present: it then puts every component of XCR0 into its initial state, and takes MXCSR from here.
#[repr(C, align(64))]
struct CleanState([u32; 144]);
static CLEAN: CleanState = {
    let mut words = [0; 144];
    words[0] = 0x037f;
    words[6] = 0x1f80;
    CleanState(words)
};

/// Starts `context` afresh: every component of user state as at power-on, all registers zero but the arguments, FS and
/// GS with their bases too, interrupts on. So nothing is left of what ran here before.
///
/// # Safety
///
/// Interrupts are off, GS is the kernel's, the address space is the context's; entry and stack lie in the
/// user half. What is on the kernel stack is given up.
#[unsafe(naked)]
pub unsafe extern "C" fn enter_user(context: &UserContext) -> ! {
    naked_asm!(
        // FXRSTOR leaves the last instruction's addresses on some processors; this does not.
        "fninit",
        "mov rax, [rip + {features} + {xcr0}]",
        "test eax, eax",
        "jz 2f",
        "xor edx, edx",
        "xrstor64 [rip + {clean}]",
        "jmp 3f",
        "2:",
        "fxrstor64 [rip + {clean}]",
        "3:",
        "mov rax, rdi",
        "push {ss}",
        "push qword ptr [rax + 8]",
        "push 0x202",
        "push {cs}",
        "push qword ptr [rax]",
        "mov rdi, [rax + 16]",
        "mov rsi, [rax + 24]",
        "mov rdx, [rax + 32]",
        "mov rcx, [rax + 40]",
        "mov r8, [rax + 48]",
        "mov r9, [rax + 56]",
        "xor eax, eax", "xor ebx, ebx", "xor ebp, ebp",
        "xor r10d, r10d", "xor r11d, r11d", "xor r12d, r12d",
        "xor r13d, r13d", "xor r14d, r14d", "xor r15d, r15d",
        // What ran here before could have loaded these: its last words to a stranger.
        "mov ds, eax",
        "mov es, eax",
        "mov fs, eax",
        "swapgs",
        // GS is the user's from here on. A null selector clears the base on some processors only; bases other than 0
        // there are only where user code can write them.
        "mov gs, eax",
        "cmp byte ptr [rip + {features} + {fsgsbase}], 0",
        "je 4f",
        "wrfsbase rax",
        "wrgsbase rax",
        "4:",
        "cmp byte ptr [rip + {features} + {isolated}], 0",
        "jne 5f",
        "iretq",
        "5:",
        "swapgs",
        "jmp {leave}",
        leave = sym leave_isolated,
        isolated = const core::mem::offset_of!(Features, isolated),
        clean = sym CLEAN,
        features = sym FEATURES,
        xcr0 = const core::mem::offset_of!(Features, xcr0),
        fsgsbase = const core::mem::offset_of!(Features, fsgsbase),
        ss = const USER_DATA,
        cs = const USER_CODE,
    );
}

const _: () = assert!(core::mem::offset_of!(UserContext, entry) == 0);
const _: () = assert!(core::mem::offset_of!(UserContext, stack) == 8);
const _: () = assert!(core::mem::offset_of!(UserContext, args) == 16);
