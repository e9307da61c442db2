//! Programs that do what no program may: each ends with its own fault, and nothing else stops.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

use core::arch::{asm, naked_asm};
use corey_libos_rt::vm::Ended;
use corey_libos_rt::{Process, Status, entry, halt};
use corey_libos_test::{Fixture, Suite};

entry!(main);

const DIVIDE: u32 = 0;
const UNDEFINED: u32 = 6;
const STACK: u32 = 12;
const PROTECTION: u32 = 13;
const PAGE: u32 = 14;

/// An address of the program's text.
fn text() -> u64 {
    overflow as extern "C" fn(u64) -> ! as usize as u64
}

extern "C" fn read(at: u64) -> ! {
    // SAFETY: the fault is what is tested; nothing is done with the value.
    unsafe { (at as *const u8).read_volatile() };
    halt(0)
}

extern "C" fn write(at: u64) -> ! {
    // SAFETY: the fault is what is tested.
    unsafe { (at as *mut u8).write_volatile(0) };
    halt(0)
}

extern "C" fn jump(at: u64) -> ! {
    // SAFETY: the fault is what is tested.
    unsafe { asm!("jmp {}", in(reg) at, options(noreturn)) }
}

extern "C" fn jump_to_stack(_: u64) -> ! {
    let here = 0_u64;
    jump(core::ptr::from_ref(&here) as u64)
}

#[unsafe(naked)]
extern "C" fn overflow(_: u64) -> ! {
    naked_asm!("2:", "push rax", "jmp 2b")
}

macro_rules! instruction {
    ($($name:ident: $text:literal),* $(,)?) => { $(
        #[unsafe(naked)]
        extern "C" fn $name(_: u64) -> ! {
            naked_asm!($text, "2:", "pause", "jmp 2b")
        }
    )* };
}
instruction! {
    undefined: "ud2",
    divide: "xor ecx, ecx; div ecx",
    stop: "hlt",
    interrupts_off: "cli",
    port: "out 0x80, al",
    control: "mov rax, cr3",
    model: "mov ecx, 0xc0000080; rdmsr",
    model_write: "mov ecx, 0xc0000082; xor eax, eax; xor edx, edx; wrmsr",
    debug: "mov rax, dr7",
    debug_write: "mov dr0, rax",
    performance: "xor ecx, ecx; rdpmc",
    components: "xor ecx, ecx; mov eax, 3; xor edx, edx; xsetbv",
    bases: "swapgs",
    gate: "int 0x80",
    kernel_vector: "int 0xf0",
    return_far: "push 8; push 0; retfq",
    flags: "mov rsp, 0x800000000010; push rax",
    return_to_kernel: "push 0x10; push 0; push 2; push 8; push 0; iretq",
}

/// What an emulator raises instead: QEMU 7.2 reads the stack of a far return as the supervisor, which SMAP
/// refuses, and takes every non-canonical address for a protection fault.
fn second(vector: u32, name: &str) -> u32 {
    match vector {
        STACK => PROTECTION,
        PROTECTION if name.starts_with("returns") => PAGE,
        other => other,
    }
}

/// `vector`, or what the instruction raises on a processor that does not have it.
fn without_xsave(vector: u32) -> u32 {
    if core::arch::x86_64::__cpuid(1).ecx >> 27 & 1 == 0 { UNDEFINED } else { vector }
}

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "fault");
    if process.info.header.cores < 2 {
        suite.check(
            "programs that fault",
            true,
            "one core: a fault would end the run; tested with two and more",
        );
        return suite.finish();
    }
    let Some(fixture) = suite.works("a status page", Fixture::new(&mut process)) else {
        return suite.finish();
    };
    type Case = (&'static str, extern "C" fn(u64) -> !, u64, u32, Option<u64>);
    let kernel = 0xffff_ffff_8010_0000;
    let cases: &[Case] = &[
        ("reads address 0", read, 0, PAGE, Some(0)),
        ("reads what is not mapped", read, 0x7000_0000_0000, PAGE, Some(0x7000_0000_0000)),
        ("reads the kernel", read, kernel, PAGE, Some(kernel)),
        ("reads the direct map", read, 0xffff_8000_0010_0000, PAGE, Some(0xffff_8000_0010_0000)),
        ("writes the kernel", write, kernel, PAGE, Some(kernel)),
        ("reads a non-canonical address", read, 0x8000_0000_0000, PROTECTION, None),
        ("writes its own text", write, text(), PAGE, Some(text())),
        ("jumps to a non-canonical address", jump, 0x8000_0000_0000, PROTECTION, None),
        ("jumps into the kernel", jump, kernel, PAGE, Some(kernel)),
        ("jumps to address 0", jump, 0, PAGE, Some(0)),
        ("executes its stack", jump_to_stack, 0, PAGE, None),
        ("overflows its stack", overflow, 0, PAGE, None),
        ("executes an undefined instruction", undefined, 0, UNDEFINED, None),
        ("divides by zero", divide, 0, DIVIDE, None),
        ("halts the processor", stop, 0, PROTECTION, None),
        ("turns interrupts off", interrupts_off, 0, PROTECTION, None),
        ("writes a port", port, 0, PROTECTION, None),
        ("reads a control register", control, 0, PROTECTION, None),
        ("reads a model-specific register", model, 0, PROTECTION, None),
        ("writes a model-specific register", model_write, 0, PROTECTION, None),
        ("reads a debug register", debug, 0, PROTECTION, None),
        ("writes a debug register", debug_write, 0, PROTECTION, None),
        ("reads a performance counter", performance, 0, PROTECTION, None),
        ("changes which FPU state is kept", components, 0, without_xsave(PROTECTION), None),
        ("swaps GS with the kernel's", bases, 0, PROTECTION, None),
        ("raises a foreign interrupt", gate, 0, PROTECTION, None),
        ("raises the kernel's interrupt", kernel_vector, 0, PROTECTION, None),
        ("returns far into ring 0", return_far, 0, PROTECTION, None),
        ("puts its stack beyond the user half", flags, 0, STACK, None),
        ("returns from no interrupt into ring 0", return_to_kernel, 0, PROTECTION, None),
    ];
    for (n, (name, entry, arg, vector, address)) in cases.iter().enumerate() {
        let core = 1 + (n as u16 % (process.info.header.cores as u16 - 1));
        let ended = match fixture.start(&process, core, *entry, *arg) {
            Ok(remote) => {
                let ended = remote.wait();
                remote.core.release();
                ended
            }
            Err(error) => {
                suite.check(name, false, format_args!("not started: {error:?}"));
                continue;
            }
        };
        let good = match ended {
            Some(Ended::Fault(v, at)) => {
                (v == *vector || v == second(*vector, name)) && address.is_none_or(|a| a == at)
            }
            _ => false,
        };
        suite.check(name, good, format_args!("{ended:?}"));
    }
    suite.finish()
}
