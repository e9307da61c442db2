//! The ways into the kernel and out of it when user mode runs on tables of its own (`pti=on`, ADR 7).
//!
//! ```text
//! user tables    the user half of the running root, as it was when user mode was entered; this code; the interrupt table;
//!                the core's `EntryPage`
//! in             CPU frame on the trampoline ─ swapgs ─ CR3 of the kernel ─ frame to the kernel stack ─ as ever
//! out            as ever ─ user half of the top-level table copied ─ frame to the trampoline ─ CR3 of user mode ─ iret
//! NMI, #MC, #DF  CPU frame on a trampoline ─ CR3 found is kept ─ CR3 of the kernel ─ stack ─ … ─ CR3 found ─ iret
//! ```
//!
//! An entry at the top of the user half changes while user code runs only by this core, in the kernel, or by another that
//! waits until this core was in the kernel: so the copy at each exit is what the root says. There are no global pages and no
//! PCIDs: each write of CR3 forgets all translations.

use crate::block::Block;
use crate::entry::{Entries, addresses, on_bad_return, on_page_fault, on_syscall, on_trap, on_urgent};
use crate::entry::{code_stub, page_fault_stub, trap_stub};
use crate::tables::Vectors;
use core::arch::naked_asm;
use corey_arch_x86_64_paging::DIRECT_BASE;

/// `syscall` lands here with rcx = rip, r11 = rflags, and the user's stack.
#[unsafe(naked)]
#[unsafe(link_section = ".entry")]
pub(crate) extern "C" fn syscall_isolated<E: Entries>() {
    naked_asm!(
        "swapgs",
        "mov gs:[16], rsp",
        "mov gs:[{scratch}], rax",
        "mov rax, gs:[{root}]",
        "mov cr3, rax",
        "mov rax, gs:[{scratch}]",
        "mov rsp, gs:[8]",
        "push qword ptr gs:[16]",
        "push rcx",
        "push r11",
        "push rax",
        "mov rcx, r10",
        "call {handler}",
        "pop r10",
        "pop r11",
        "pop r8",
        "mov r9, cr3",
        "mov gs:[{root}], r9",
        "movabs rsi, {direct}",
        "add rsi, r9",
        "mov rdi, gs:[{user_table}]",
        "mov ecx, 256",
        "rep movsq",
        "mov r9, gs:[{user_root}]",
        "mov rcx, r8",
        "mov r10, rcx",
        "shr r10, 47",
        "jnz 2f",
        "pop rsp",
        "mov cr3, r9",
        "xor edi, edi",
        "xor esi, esi",
        "xor r8d, r8d",
        "xor r9d, r9d",
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
        scratch = const Block::SCRATCH,
        root = const Block::ROOT,
        user_root = const Block::USER_ROOT,
        user_table = const Block::USER_TABLE,
        direct = const DIRECT_BASE,
    );
}

/// Goes to user mode: all registers are the program's, its frame lies on the kernel stack, GS is the kernel's.
#[unsafe(naked)]
#[unsafe(link_section = ".entry")]
pub(crate) extern "C" fn leave_isolated() {
    naked_asm!(
        "push rax",
        "push rcx",
        "push rsi",
        "push rdi",
        "mov rax, cr3",
        "mov gs:[{root}], rax",
        "movabs rsi, {direct}",
        "add rsi, rax",
        "mov rdi, gs:[{user_table}]",
        "mov ecx, 256",
        "rep movsq",
        "lea rsi, [rsp + 32]",
        "mov rdi, gs:[{frame}]",
        "mov ecx, 5",
        "rep movsq",
        "pop rdi",
        "pop rsi",
        "pop rcx",
        "pop qword ptr gs:[{scratch}]",
        "mov rsp, gs:[{frame}]",
        "mov rax, gs:[{user_root}]",
        "mov cr3, rax",
        "mov rax, gs:[{scratch}]",
        "swapgs",
        "iretq",
        scratch = const Block::SCRATCH,
        root = const Block::ROOT,
        user_root = const Block::USER_ROOT,
        user_table = const Block::USER_TABLE,
        frame = const Block::FRAME,
        direct = const DIRECT_BASE,
    );
}

/// As `stub!` of the other entries. From the kernel, on the kernel's tables and stack, it is the other that goes on; `$cs` is
/// where the processor's frame has the code segment.
macro_rules! stub {
    ($name:ident, $plain:ident, $cs:literal, $first:literal, $handler:ident $(, $vector:ident)?) => {
        #[unsafe(naked)]
        #[unsafe(link_section = ".entry")]
        extern "C" fn $name<E: Entries, const SMAP: bool $(, const $vector: u8)?>() {
            naked_asm!(
                concat!("test byte ptr [rsp + ", $cs, "], 3"),
                "jz {plain}",
                $first,
                "swapgs",
                "mov gs:[{scratch}], rax",
                "mov rax, gs:[{root}]",
                "mov cr3, rax",
                "mov rax, rsp",
                "mov rsp, gs:[8]",
                "push qword ptr [rax + 40]",
                "push qword ptr [rax + 32]",
                "push qword ptr [rax + 24]",
                "push qword ptr [rax + 16]",
                "push qword ptr [rax + 8]",
                "push qword ptr [rax]",
                "mov rax, gs:[{scratch}]",
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
                "call {handler}",
                "pop r15", "pop r14", "pop r13", "pop r12",
                "pop r11", "pop r10", "pop r9", "pop r8",
                "pop rbp", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rbx", "pop rax",
                "jmp {leave}",
                plain = sym $plain::<E, SMAP $(, $vector)?>,
                handler = sym $handler::<E $(, $vector)?>,
                leave = sym leave_isolated,
                scratch = const Block::SCRATCH,
                root = const Block::ROOT,
                smap = const SMAP as u8,
            );
        }
    };
}

stub!(page_fault, page_fault_stub, 16, "", on_page_fault);
stub!(trap, trap_stub, 8, "push 0", on_trap, V);
stub!(code, code_stub, 16, "", on_trap, V);

/// NMI, double fault and machine check: on any tables, with any GS.
macro_rules! urgent {
    ($name:ident, $first:literal) => {
        #[unsafe(naked)]
        #[unsafe(link_section = ".entry")]
        extern "C" fn $name<E: Entries, const SMAP: bool, const V: u8>() {
            naked_asm!(
                $first,
                "push rax",
                "mov rax, cr3",
                "push rax",
                // Above the frame lie the kernel's root and this vector's stack.
                "mov rax, [rsp + 64]",
                "mov cr3, rax",
                "mov rax, [rsp + 72]",
                "xchg rsp, rax",
                "push rax",
                "push rax",
                "push qword ptr [rax + 56]",
                "push qword ptr [rax + 48]",
                "push qword ptr [rax + 40]",
                "push qword ptr [rax + 32]",
                "push qword ptr [rax + 24]",
                "push qword ptr [rax + 16]",
                "mov rax, [rax + 8]",
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
                "call {handler}",
                "pop r15", "pop r14", "pop r13", "pop r12",
                "pop r11", "pop r10", "pop r9", "pop r8",
                "pop rbp", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rbx", "pop rax",
                "add rsp, 40",
                "pop rsp",
                "pop rax",
                "mov cr3, rax",
                "pop rax",
                "add rsp, 8",
                "iretq",
                handler = sym on_urgent::<E, V>,
                smap = const SMAP as u8,
            );
        }
    };
}

urgent!(urgent_plain, "push 0");
urgent!(urgent_code, "");

addresses!(page_fault, trap, code, urgent_plain, urgent_code);
