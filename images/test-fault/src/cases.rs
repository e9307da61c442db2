//! The table: what a program does, and what may come of it.

use crate::{Runner, is_among};
use core::arch::naked_asm;
use core::arch::x86_64::__cpuid_count;
use corey_libos_test::Suite;

/// An end of its own.
pub(crate) const LIVES: u32 = 1 << 31;
const DE: u32 = 1 << 0;
const DB: u32 = 1 << 1;
const BP: u32 = 1 << 3;
const UD: u32 = 1 << 6;
const SS: u32 = 1 << 12;
const GP: u32 = 1 << 13;
const PF: u32 = 1 << 14;
const MF: u32 = 1 << 16;
const XM: u32 = 1 << 19;

/// A program and its possible ends.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) entry: extern "C" fn(u64) -> !,
    pub(crate) arg: u64,
    /// Vectors, a bit each, and [`LIVES`].
    pub(crate) accepted: u32,
    /// Of a page fault.
    pub(crate) address: Option<u64>,
}

/// A row of assembly. Where more than one end is accepted, processors differ, or the emulator does: QEMU 7.2 reads the
/// frames of far returns as the supervisor (which SMAP refuses), takes every non-canonical address for a protection
/// fault, has no int1, raises no vector exceptions, and takes any MXCSR and any base.
macro_rules! row {
    ($name:literal, $accepted:expr, $($text:literal),+) => {{
        #[unsafe(naked)]
        extern "C" fn entry(_: u64) -> ! {
            naked_asm!($($text,)+ "jmp {live}", live = sym crate::ends::live)
        }
        Case { name: $name, entry, arg: 0, accepted: $accepted, address: None }
    }};
}

macro_rules! rows {
    ($($name:literal => [$accepted:expr] $($text:literal),+;)*) => {
        &[$(row!($name, $accepted, $($text),+)),*]
    };
}

/// Everything that is one sequence of instructions.
pub(crate) const ROWS: &[Case] = rows! {
    // Exceptions, by vector.
    "divides by zero" => [DE] "xor ecx, ecx", "div ecx";
    "divides the lowest number by -1" => [DE] "mov eax, 0x80000000", "cdq", "mov ecx, -1", "idiv ecx";
    "steps singly" => [DB] "pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop";
    "raises a debug exception (int1)" => [DB | UD] ".byte 0xf1";
    "breaks (int3)" => [BP] "int3";
    "breaks (int 3, two bytes)" => [BP] ".byte 0xcd, 3";
    "checks for overflow (into)" => [UD] ".byte 0xce";
    "checks a bound" => [UD] ".byte 0x62, 0x00, 0x0f, 0x0b";
    "executes ud2" => [UD] "ud2";
    "executes ud1" => [UD] ".byte 0x0f, 0xb9, 0xc0";
    "executes ud0" => [UD] ".byte 0x0f, 0xff, 0xc0";
    "locks an addition to a register" => [UD] ".byte 0xf0, 0x01, 0xc0";
    "executes what 64-bit mode has not (pusha)" => [UD] ".byte 0x60";
    "executes what 64-bit mode has not (aam)" => [UD] ".byte 0xd4, 0x0a";
    "executes what 64-bit mode has not (far call)" => [UD] ".byte 0x9a, 0, 0, 0, 0, 8, 0";
    "uses the FPU, which is there" => [LIVES] "fninit", "fld1", "fstp st(0)";
    "returns with a nested task" => [PF | GP] "pushfq", "or dword ptr [rsp], 0x4000", "popfq", "push 0x23", "push rsp", "pushfq", "push 0x2b", "lea rax, [rip + 3f]", "push rax", "iretq", "3:";
    "pops beyond the user half" => [SS | GP] "movabs rsp, 0x800000000000", "pop rax";
    "pushes beyond the user half" => [SS | GP] "movabs rsp, 0x800000000010", "push rax";
    "addresses its frame beyond the user half" => [SS | GP] "movabs rbp, 0x800000000000", "mov rax, [rbp]";
    "calls with a stack beyond the user half" => [SS | GP] "movabs rsp, 0x800000000010", "call 3f", "3:";
    "reads a word across the end of the user half" => [PF | GP] "movabs rax, 0x7ffffffffffc", "mov rax, [rax]";
    "raises an x87 exception" => [MF] "push 0x37b", "fldcw [rsp]", "fldz", "fld1", "fdivrp st(1), st", "fwait";
    "leaves an x87 exception pending" => [LIVES | MF] "push 0x37b", "fldcw [rsp]", "fldz", "fld1", "fdivrp st(1), st";
    "asks for alignment checks" => [LIVES] "pushfq", "or dword ptr [rsp], 0x40000", "popfq", "mov eax, [rsp + 1]";
    "moves an aligned vector that is not" => [GP] "movaps xmm0, [rsp + 1]";
    "exchanges 16 bytes that are not aligned" => [GP] "lea rdi, [rsp - 63]", "lock cmpxchg16b [rdi]";
    "raises a vector exception" => [XM | LIVES] "push 0", "ldmxcsr [rsp]", "xorps xmm1, xmm1", "mov eax, 0x3f800000", "movd xmm0, eax", "divss xmm0, xmm1";
    "writes what MXCSR has not" => [GP | LIVES] "push -1", "ldmxcsr [rsp]";
    "executes an instruction of 16 bytes" => [GP] ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90";
    "asks for shadow stacks" => [UD | LIVES] ".byte 0xf3, 0x48, 0x0f, 0xae, 0xe8";
    // Instructions of ring 0.
    "halts the processor" => [GP] "hlt";
    "turns interrupts off" => [GP] "cli";
    "turns interrupts on" => [GP] "sti";
    "loads the segment table" => [GP] "lgdt [rsp]";
    "loads the interrupt table" => [GP] "lidt [rsp]";
    "loads a local segment table" => [GP] "xor eax, eax", "lldt ax";
    "loads a task" => [GP] "mov eax, 0x30", "ltr ax";
    "loads the machine status word" => [GP] "xor eax, eax", "lmsw ax";
    "clears the task flag" => [GP] "clts";
    "throws the caches away" => [GP] "invd";
    "writes the caches back" => [GP] "wbinvd";
    "forgets a translation" => [GP] "invlpg [rsp]";
    "forgets an address space" => [GP | UD] "xor eax, eax", "invpcid rax, [rsp]";
    "reads CR0" => [GP] "mov rax, cr0";
    "reads CR2" => [GP] "mov rax, cr2";
    "reads CR3" => [GP] "mov rax, cr3";
    "reads CR4" => [GP] "mov rax, cr4";
    "reads CR8" => [GP] "mov rax, cr8";
    "writes CR0" => [GP] "mov cr0, rax";
    "writes CR2" => [GP] "mov cr2, rax";
    "writes CR3" => [GP] "mov cr3, rax";
    "writes CR4" => [GP] "mov cr4, rax";
    "writes CR8" => [GP] "mov cr8, rax";
    "reads a debug register" => [GP] "mov rax, dr7";
    "writes a debug register" => [GP] "mov dr0, rax";
    "turns debug registers on" => [GP] "mov dr7, rax";
    "reads a performance counter" => [GP] "xor ecx, ecx", "rdpmc";
    "swaps GS" => [GP] "swapgs";
    "returns from a system call" => [GP] "sysretq";
    "enters the other way (sysenter)" => [GP | UD] "sysenter";
    "leaves the other way (sysexit)" => [GP | UD] "sysexit";
    "sets extended control register 0" => [GP | UD] "xor ecx, ecx", "xor edx, edx", "mov eax, 1", "xsetbv";
    "watches a line" => [GP | UD] "xor ecx, ecx", "xor edx, edx", "mov rax, rsp", "monitor";
    "waits for a line" => [GP | UD] "xor ecx, ecx", "xor eax, eax", "mwait";
    "allows itself user pages (stac)" => [UD | GP] "stac";
    "denies itself user pages (clac)" => [UD | GP] "clac";
    "returns from system management" => [UD] "rsm";
    "calls a hypervisor of Intel's" => [UD] "vmcall";
    "calls a hypervisor of AMD's" => [UD] "vmmcall";
    "starts a virtual machine (AMD)" => [UD | GP] "vmrun";
    "loads a virtual machine (AMD)" => [UD | GP] "vmload";
    "clears interrupts of all (AMD)" => [UD | GP] "clgi";
    "starts virtual machines (Intel)" => [UD | GP] ".byte 0xf3, 0x0f, 0xc7, 0x34, 0x24";
    "writes protection keys" => [UD | LIVES] "xor eax, eax", "xor ecx, ecx", "xor edx, edx", "wrpkru";
    "reads strings from a port" => [GP] "mov edx, 0x3f8", "mov rdi, rsp", "insb";
    "writes strings to a port" => [GP] "mov edx, 0x3f8", "mov rsi, rsp", "outsb";
    "asks for I/O privilege" => [GP] "pushfq", "or dword ptr [rsp], 0x3000", "popfq", "cli";
    "reads a port with I/O privilege asked for" => [GP] "pushfq", "or dword ptr [rsp], 0x3000", "popfq", "in al, 0x80";
    "flushes a line of the kernel's" => [PF | LIVES] "mov rax, 0xffffffff80100000", "clflush [rax]";
    "prefetches from the kernel" => [LIVES] "mov rax, 0xffffffff80100000", "prefetcht0 [rax]";
    "reads the time" => [LIVES] "rdtsc";
    "asks what the processor is" => [LIVES] "xor eax, eax", "cpuid";
    // Far ways.
    "returns far into ring 0" => [GP | PF] "push 8", "push 0", "retfq";
    "returns far into a segment of 32 bits" => [GP | PF] "push 0x1b", "push 0", "retfq";
    "returns from no interrupt into ring 0" => [GP | PF] "push 0x10", "push 0", "push 2", "push 8", "push 0", "iretq";
    "returns from no interrupt onto the kernel's stack segment" => [GP | PF] "push 0x10", "push rsp", "push 2", "push 0x2b", "push 0", "iretq";
    "calls far into ring 0" => [GP] "push 8", "push 0", "rex64 lcall [rsp]";
    "calls the task" => [GP] "push 0x30", "push 0", "rex64 lcall [rsp]";
    "jumps far to the task" => [GP] "push 0x33", "push 0", "rex64 ljmp [rsp]";
    "calls far to nowhere" => [GP] "push 0", "push 0", "rex64 lcall [rsp]";
    "returns beyond the user half" => [GP | PF] "movabs rax, 0x800000000000", "push rax", "ret";
    "calls beyond the user half" => [GP | PF] "movabs rax, 0x800000000000", "call rax";
    "pops a kernel segment" => [GP] "push 0x10", "pop fs";
    "loads a far pointer with a kernel segment" => [GP] "push 0x10", "push 0", "lfs eax, [rsp + 4]";
    // Flags and stacks at a call.
    "single step at a call" => [DB] "pushfq", "or dword ptr [rsp], 0x100", "popfq", "syscall";
    "alignment checks at a call" => [LIVES] "pushfq", "or dword ptr [rsp], 0x40000", "popfq", "mov eax, 0x103", "lea rdi, [rsp - 1255]", "syscall";
    "a nested task at a call" => [LIVES] "pushfq", "or dword ptr [rsp], 0x4000", "popfq", "mov eax, 0x41", "syscall";
    "the direction flag at a call" => [LIVES] "sub rsp, 2048", "mov rdi, rsp", "mov eax, 0x103", "std", "syscall", "cld", "cmp qword ptr [rsp], 0", "jne 3f", "ud2", "3:";
    "every flag at a call" => [LIVES | DB] "push 0x245ed5", "popfq", "mov eax, 0x41", "syscall";
    "every flag at a fault" => [PF] "push 0x244ed5", "popfq", "mov eax, [0x30]";
    "single step at a fault" => [PF | DB] "push 0x344", "popfq", "mov eax, [0x30]";
    "every flag at a breakpoint" => [BP] "push 0x244ed5", "popfq", "int3";
    "no stack at a call" => [LIVES] "xor esp, esp";
    "a stack in the kernel at a call" => [LIVES] "mov rsp, 0xffffffff80100000";
    "a stack beyond the user half at a call" => [LIVES] "movabs rsp, 0x8000000000000000";
    "a stack at the highest address at a call" => [LIVES] "mov rsp, -1";
    "no stack at a fault" => [PF] "xor esp, esp", "mov eax, [0x30]";
    "a stack in the kernel at a fault" => [PF] "mov rsp, 0xffffffff80100000", "mov eax, [0x30]";
    "a stack beyond the user half at a breakpoint" => [BP] "movabs rsp, 0x8000000000000000", "int3";
    "a stack segment change before a call" => [LIVES] "mov eax, 0x23", "mov ss, eax", "syscall";
    "a stack segment change before a breakpoint" => [BP] "mov eax, 0x23", "mov ss, eax", "int3";
    "a stack segment change before a single step" => [DB] "pushfq", "or dword ptr [rsp], 0x100", "mov eax, 0x23", "popfq", "mov ss, eax", "syscall";
    "sets its GS base to the kernel's half and calls" => [UD | LIVES] "mov rax, 0xffff800000100000", "wrgsbase rax";
    "sets its FS base to the kernel's half and reads" => [UD | PF] "mov rax, 0xffff800000100000", "wrfsbase rax", "mov rax, fs:[0]";
    "sets its FS base beyond the user half" => [UD | GP | LIVES] "movabs rax, 0x800000000000", "wrfsbase rax";
};

extern "C" fn read(at: u64) -> ! {
    // SAFETY: the fault is what is tested; nothing is done with the value.
    unsafe { (at as *const u8).read_volatile() };
    crate::ends::live()
}

extern "C" fn write(at: u64) -> ! {
    // SAFETY: the fault is what is tested.
    unsafe { (at as *mut u8).write_volatile(0) };
    crate::ends::live()
}

#[unsafe(naked)]
extern "C" fn jump(_: u64) -> ! {
    naked_asm!("jmp rdi")
}

#[unsafe(naked)]
extern "C" fn jump_to_stack(_: u64) -> ! {
    naked_asm!("mov word ptr [rsp - 16], 0x0b0f", "lea rax, [rsp - 16]", "jmp rax")
}

#[unsafe(naked)]
extern "C" fn overflow(_: u64) -> ! {
    naked_asm!("2:", "push rax", "jmp 2b")
}

/// Constants and data, to be executed: `ud2`.
static CONSTANT: [u8; 2] = [0x0f, 0x0b];
static mut DATA: [u8; 2] = [0x0f, 0x0b];

/// Accesses to addresses: name, what, address, accepted, whether a page fault must name the address.
pub(crate) fn addresses() -> [Case; 22] {
    const KERNEL: u64 = 0xffff_ffff_8010_0000;
    const DIRECT: u64 = 0xffff_8000_0010_0000;
    const STACKS: u64 = 0xffff_fe00_0000_2000;
    const BEYOND: u64 = 0x8000_0000_0000;
    let text = overflow as extern "C" fn(u64) -> ! as usize as u64;
    let constant = CONSTANT.as_ptr() as u64;
    let data = &raw const DATA as u64;
    let case = |name, entry, arg, accepted| Case { name, entry, arg, accepted, address: Some(arg) };
    let anywhere =
        |name, entry: extern "C" fn(u64) -> !| Case { name, entry, arg: 0, accepted: PF, address: None };
    [
        case("reads address 0", read, 0, PF),
        case("reads what is not mapped", read, 0x7000_0000_0000, PF),
        case("reads the last page of the user half", read, 0x7fff_ffff_f000, PF),
        case("reads the kernel", read, KERNEL, PF),
        case("reads the direct map", read, DIRECT, PF),
        case("reads a kernel stack", read, STACKS, PF),
        case("reads the highest address", read, u64::MAX, PF),
        case("writes the kernel", write, KERNEL, PF),
        case("writes the direct map", write, DIRECT, PF),
        case("writes a kernel stack", write, STACKS, PF),
        case("reads a non-canonical address", read, BEYOND, GP),
        case("writes a non-canonical address", write, BEYOND | 1 << 62, GP),
        case("writes its own text", write, text, PF),
        case("writes its constants", write, constant, PF),
        case("jumps to a non-canonical address", jump, BEYOND, GP),
        case("jumps into the kernel", jump, KERNEL, PF),
        case("jumps into the direct map", jump, DIRECT, PF),
        case("jumps to address 0", jump, 0, PF),
        case("executes its data", jump, data, PF),
        case("executes its constants", jump, constant, PF),
        anywhere("executes its stack", jump_to_stack),
        anywhere("overflows its stack", overflow),
    ]
}

/// What depends on the processor: descriptor-table registers are readable unless it has UMIP.
pub(crate) fn by_feature(suite: &mut Suite, runner: &mut Runner<'_>) {
    let leaf = __cpuid_count(0, 0).eax;
    let umip = leaf >= 7 && __cpuid_count(7, 0).ecx >> 2 & 1 == 1;
    let wanted = if umip { GP } else { LIVES };
    let rows: &[Case] = rows! {
        "reads where the segment table is" => [0] "sgdt [rsp - 64]";
        "reads where the interrupt table is" => [0] "sidt [rsp - 64]";
        "reads the local table's selector" => [0] "sldt eax";
        "reads the task's selector" => [0] "str eax";
        "reads the machine status word" => [0] "smsw eax";
    };
    for Case { name, entry, .. } in rows {
        let ended = runner.run(*entry as usize as u64, 0);
        let good = ended.is_ok_and(|ended| is_among(ended, wanted, None));
        suite.check(name, good, format_args!("UMIP {umip}: {ended:?}"));
    }
}
