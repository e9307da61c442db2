//! Starting the other processors: from real mode straight to long mode.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_arch_x86_64_apic::{Frequencies, LocalApic, delay};
use corey_arch_x86_64_asm::pause;
use corey_arch_x86_64_paging::direct;
use corey_kernel_hal::Range;

global_asm!(
    ".section .rodata",
    ".balign 16",
    ".globl corey_start_code",
    "corey_start_code:",
    ".code16",
    "jmp 1f",
    ".balign 8",
    "corey_start_segments:",
    ".quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff",
    ".globl corey_start_pointer",
    "corey_start_pointer: .short 23",
    ".long 0",
    ".globl corey_start_far",
    "corey_start_far: .long 0",
    ".short 8",
    ".balign 8",
    ".globl corey_start_root",
    "corey_start_root: .quad 0",
    ".globl corey_start_stack",
    "corey_start_stack: .quad 0",
    ".globl corey_start_argument",
    "corey_start_argument: .quad 0",
    ".globl corey_start_entry",
    "corey_start_entry: .quad 0",
    ".set corey_start_pointer_at, corey_start_pointer - corey_start_code",
    ".set corey_start_root_at, corey_start_root - corey_start_code",
    ".set corey_start_far_at, corey_start_far - corey_start_code",
    "1:",
    "cli",
    "cld",
    "mov ax, cs",
    "mov ds, ax",
    "lgdtd [corey_start_pointer_at]",
    "mov eax, 0x20",
    "mov cr4, eax",
    "mov eax, [corey_start_root_at]",
    "mov cr3, eax",
    // SCE, LME, NXE.
    "mov ecx, 0xc0000080",
    "mov eax, 0x901",
    "xor edx, edx",
    "wrmsr",
    "mov eax, 0x80010033",
    "mov cr0, eax",
    "jmp fword ptr [corey_start_far_at]",
    ".code64",
    ".globl corey_start_long",
    "corey_start_long:",
    "mov eax, 0x10",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov rsp, [rip + corey_start_stack]",
    "mov rdi, [rip + corey_start_argument]",
    "xor ebp, ebp",
    "mov rax, [rip + corey_start_entry]",
    "call rax",
    "2: hlt",
    "jmp 2b",
    ".globl corey_start_end",
    "corey_start_end:",
    ".text",
);

unsafe extern "C" {
    static corey_start_code: u8;
    static corey_start_long: u8;
    static corey_start_pointer: u8;
    static corey_start_far: u8;
    static corey_start_root: u8;
    static corey_start_stack: u8;
    static corey_start_argument: u8;
    static corey_start_entry: u8;
    static corey_start_end: u8;
    static corey_boot_root: u8;
}

/// Processors that reached the kernel.
static ARRIVED: AtomicU64 = AtomicU64::new(0);

/// Called by a started processor, first of all.
pub fn arrived() {
    ARRIVED.fetch_add(1, Ordering::SeqCst);
}

/// A page below 640 KiB that is RAM and not in use.
#[must_use]
pub fn low_page(ram: &[Range], used: &[Range]) -> Option<u64> {
    (1..0xa0_u64).map(|page| page << 12).find(|at| {
        let page = Range { start: *at, end: at + 4096 };
        let overlaps = |r: &Range| r.start < page.end && page.start < r.end;
        ram.iter().any(|r| r.start <= page.start && page.end <= r.end) && !used.iter().any(overlaps)
    })
}

fn offset(symbol: *const u8) -> usize {
    symbol as usize - &raw const corey_start_code as usize
}

/// One processor to start.
#[derive(Clone, Copy, Debug)]
pub struct Starting {
    /// Its APIC ID.
    pub id: u8,
    /// Its stack, a virtual address the boot tables map.
    pub stack: u64,
    /// What `entry` gets.
    pub argument: u64,
}

/// Starts processors one after the other at `entry`, on the boot tables. `next` says which, or that all were
/// tried; it hears whether the last one came.
///
/// # Safety
///
/// `page` is a free page below 1 MiB; stacks and arguments are good for `entry`, which does not return.
pub unsafe fn start(
    apic: LocalApic,
    frequencies: Frequencies,
    page: u64,
    all: &[u8],
    entry: extern "C" fn(u64) -> !,
    next: &mut dyn FnMut(Option<bool>) -> Option<Starting>,
) {
    let code = direct(page);
    let length = offset(&raw const corey_start_end);
    // SAFETY: the page is free; source and target do not overlap.
    unsafe { core::ptr::copy_nonoverlapping(&raw const corey_start_code, code, length) };
    let put = |symbol: *const u8, value: u64, bytes: usize| {
        for (i, byte) in value.to_le_bytes().iter().take(bytes).enumerate() {
            // SAFETY: inside the copied code.
            unsafe { code.wrapping_add(offset(symbol) + i).write_volatile(*byte) };
        }
    };
    let pointer = &raw const corey_start_pointer;
    put(pointer.wrapping_add(2), page + offset(pointer) as u64 - 24, 4);
    put(&raw const corey_start_far, page + offset(&raw const corey_start_long) as u64, 4);
    put(&raw const corey_start_root, &raw const corey_boot_root as u64, 8);
    put(&raw const corey_start_entry, entry as *const () as u64, 8);
    for id in all {
        apic.init(*id);
    }
    if !all.is_empty() {
        delay(apic, frequencies, 10_000);
    }
    let mut came = None;
    while let Some(starting) = next(came) {
        put(&raw const corey_start_stack, starting.stack, 8);
        put(&raw const corey_start_argument, starting.argument, 8);
        let before = ARRIVED.load(Ordering::SeqCst);
        // The manuals want a second start interrupt; one that started ignores it.
        let there = || ARRIVED.load(Ordering::SeqCst) != before;
        for _ in 0..2 {
            apic.start(starting.id, (page >> 12) as u8);
            let mut patience = 20_000_u32;
            while !there() && patience > 0 {
                pause();
                patience -= 1;
            }
            if there() {
                break;
            }
            delay(apic, frequencies, 100_000);
        }
        came = Some(there());
    }
}
