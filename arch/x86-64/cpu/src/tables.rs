//! Descriptor tables: segments and task state per core, one interrupt table for all.

use crate::entry::{Entries, stub_addresses};
use crate::features::features;
use crate::isolated;
use crate::page::EntryPage;
use core::arch::asm;
use core::sync::atomic::Ordering;
use corey_arch_x86_64_asm::{msr, read_cr0, read_cr4, read_msr, write_cr0, write_cr4, write_msr, write_xcr0};

/// Kernel code.
pub(crate) const KERNEL_CODE: u16 = 0x08;
/// User data.
pub(crate) const USER_DATA: u16 = 0x23;
/// User code.
pub(crate) const USER_CODE: u16 = 0x2b;
const TASK: u16 = 0x30;

/// Vectors with stacks of their own: NMI, double fault, machine check.
pub const IST_STACKS: usize = 3;

/// Vector numbers that have a meaning here.
#[derive(Debug)]
pub struct Vectors;

impl Vectors {
    /// Non-maskable interrupt.
    pub const NMI: u8 = 2;
    /// Breakpoint.
    pub const BREAKPOINT: u8 = 3;
    /// Double fault.
    pub const DOUBLE_FAULT: u8 = 8;
    /// General protection.
    pub const PROTECTION: u8 = 13;
    /// Page fault.
    pub const PAGE_FAULT: u8 = 14;
    /// Machine check.
    pub const MACHINE_CHECK: u8 = 18;

    pub(crate) fn has_error_code(vector: u8) -> bool {
        matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
    }

    fn stack(vector: u8) -> u64 {
        match vector {
            Self::NMI => 1,
            Self::DOUBLE_FAULT => 2,
            Self::MACHINE_CHECK => 3,
            _ => 0,
        }
    }
}

/// Task state (Intel SDM vol. 3A §8.7): stacks only. 32-bit words, because the fields are not aligned.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct TaskState([u32; 26]);

/// One core's tables. Stays where it is once loaded.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub(crate) struct CoreTables {
    segments: [u64; 8],
    task: TaskState,
}

impl CoreTables {
    /// Tables for a core with this kernel stack and these interrupt stacks (tops).
    pub(crate) fn new(stack: u64, interrupt_stacks: [u64; IST_STACKS]) -> Self {
        let mut task = TaskState([0; 26]);
        let mut set = |word: usize, value: u64| {
            task.0[word] = value as u32;
            task.0[word + 1] = (value >> 32) as u32;
        };
        set(1, stack);
        for (number, top) in interrupt_stacks.into_iter().enumerate() {
            set(9 + 2 * number, top);
        }
        // No I/O bitmap: its offset is the segment's limit.
        task.0[25] = 104 << 16;
        Self {
            segments: [
                0,
                0x00af_9b00_0000_ffff,
                0x00cf_9300_0000_ffff,
                0,
                0x00cf_f300_0000_ffff,
                0x00af_fb00_0000_ffff,
                0,
                0,
            ],
            task,
        }
    }
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Writes the interrupt table for entries of `E`.
pub fn interrupt_table<E: Entries>(table: &mut [[u64; 2]; 256]) {
    let (with_smap, without) = (stub_addresses::<E, true>(), stub_addresses::<E, false>());
    let (apart_with_smap, apart) =
        (isolated::stub_addresses::<E, true>(), isolated::stub_addresses::<E, false>());
    let [smap, isolated] = [&features().smap, &features().isolated].map(|flag| flag.load(Ordering::Relaxed));
    for (vector, entry) in table.iter_mut().enumerate() {
        let vector = vector as u8;
        let address = match (isolated, smap) {
            (false, true) => with_smap(vector),
            (false, false) => without(vector),
            (true, true) => apart_with_smap(vector),
            (true, false) => apart(vector),
        };
        // A program may execute `int3`: a breakpoint, reported as such.
        let user = if vector == Vectors::BREAKPOINT { 3 << 13 } else { 0 };
        let gate = 0x8e00 | user | Vectors::stack(vector);
        *entry = [
            address & 0xffff | u64::from(KERNEL_CODE) << 16 | gate << 32 | (address >> 16 & 0xffff) << 48,
            address >> 32,
        ];
    }
}

/// Loads a core's tables, block and control registers on this core.
///
/// # Safety
///
/// Runs on the core the page is for; both stay where they are for good; the block says where it is; `interrupts` was filled by
/// [`interrupt_table`]; the mapping has no page that is needed and not executable, or written and read-only.
pub unsafe fn load<E: Entries>(page: &'static mut EntryPage, interrupts: &'static [[u64; 2]; 256]) {
    let EntryPage { tables, block, .. } = page;
    let task = &raw const tables.task as u64;
    tables.segments[6] = 103 | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56;
    tables.segments[7] = task >> 32;
    let segments = Pointer { limit: 63, base: &raw const tables.segments as u64 };
    let gates = Pointer { limit: 4095, base: interrupts.as_ptr() as u64 };
    // SAFETY: the tables are complete and stay; the code segment loaded is 64-bit kernel code at ring 0.
    unsafe {
        asm!(
            "lgdt [{segments}]",
            "lidt [{gates}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "xor {scratch:e}, {scratch:e}",
            "mov ds, {scratch:e}",
            "mov es, {scratch:e}",
            "mov fs, {scratch:e}",
            "mov gs, {scratch:e}",
            "mov ss, {scratch:e}",
            // A processor begins with a local table of 64 KiB at address 0: in a program's hands.
            "lldt {scratch:x}",
            "ltr {task:x}",
            segments = in(reg) &segments,
            gates = in(reg) &gates,
            code = in(reg) u64::from(KERNEL_CODE),
            task = in(reg) TASK,
            scratch = out(reg) _,
        );
    }
    // SAFETY: GS is this core's block from here on; user code starts with 0.
    unsafe { write_msr(msr::IA32_GS_BASE, block.own) };
    // SAFETY: swapped in at each way into user mode.
    unsafe { write_msr(msr::IA32_KERNEL_GSBASE, 0) };
    // SAFETY: no `sysenter`: it faults without a segment.
    unsafe { write_msr(msr::IA32_SYSENTER_CS, 0) };
    // SAFETY: segments as `CoreTables::new` laid them out: sysret loads 0x18 + 16 and + 8.
    unsafe { write_msr(msr::IA32_STAR, 0x18 << 48 | u64::from(KERNEL_CODE) << 32) };
    // SAFETY: the entry code expects exactly what `syscall` does.
    unsafe { write_msr(msr::IA32_LSTAR, crate::entry::syscall_address::<E>()) };
    // SAFETY: enters with interrupts, traps, direction, nested task and alignment checks off.
    unsafe { write_msr(msr::IA32_FMASK, 0x4_7700) };
    set_control_registers();
}

/// Turns `syscall` and non-executable pages on; before any table with such pages is loaded.
pub fn enable_extensions() {
    // SAFETY: every x86-64 processor has the register; the boot path checked that NX is there.
    let value = unsafe { read_msr(msr::IA32_EFER) };
    // SAFETY: SCE and NXE; no table with the NX bit is loaded before.
    unsafe { write_msr(msr::IA32_EFER, value | 1 | 1 << 11) };
}

/// CR0: protected, FPU native, write-protect. CR4: what there is. XCR0: the user state that is kept.
fn set_control_registers() {
    let found = features();
    let on = |flag: &core::sync::atomic::AtomicBool, bit: u32| u64::from(flag.load(Ordering::Relaxed)) << bit;
    let xcr0 = found.xcr0.load(Ordering::Relaxed);
    // PAE, MCE, PGE unless user mode has tables of its own, OSFXSR, OSXMMEXCPT; OSXSAVE. Not PKE, PCE, TSD: no keys, no counters, the time-stamp counter.
    let cr4 = 1 << 5
        | 1 << 6
        | u64::from(!found.isolated.load(Ordering::Relaxed)) << 7
        | 1 << 9
        | 1 << 10
        | on(&found.smep, 20)
        | on(&found.smap, 21)
        | on(&found.umip, 11)
        | on(&found.fsgsbase, 16)
        | u64::from(xcr0 != 0) << 18;
    // SAFETY: paging stays as it is; what is turned on was found to be there.
    unsafe { write_cr4(cr4) };
    if xcr0 != 0 {
        // SAFETY: OSXSAVE was just set, and the processor has what was found.
        unsafe { write_xcr0(xcr0) };
    }
    // PE, MP, ET, NE, WP, PG.
    // SAFETY: paging stays on; write-protect binds the kernel to what it mapped.
    unsafe { write_cr0(0x8001_0033) };
    debug_assert!(read_cr0() >> 31 == 1 && read_cr4() == cr4);
}
