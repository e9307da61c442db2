//! Kernel panics: who, where, how it came to that; then the machine ends.

use crate::console::println;
use crate::exit::X86Machine;
use crate::platform::apic;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use corey_arch_x86_64_asm::{msr, read_msr, stop};
use corey_arch_x86_64_cpu::Block;
use corey_arch_x86_64_paging::{DIRECT_BASE, STACK_WINDOW};
use corey_kernel_hal::{Exit, Machine, Registers};
use corey_lib_archive::{Archive, symbols};

/// Stages of the boot, for reports.
const STAGES: [&str; 6] = ["first steps", "memory", "processors", "kernel", "programs", "?"];
static STAGE: AtomicUsize = AtomicUsize::new(0);
static PANICKED: AtomicBool = AtomicBool::new(false);
/// Address and bytes of the symbol table.
static SYMBOLS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

struct Saved(UnsafeCell<Option<Registers>>);
// SAFETY: written by the core that panics, before it says so; read by it alone.
unsafe impl Sync for Saved {}
static SAVED: Saved = Saved(UnsafeCell::new(None));

/// Says how far the boot is: an index of the stages.
pub(crate) fn stage(number: usize) {
    STAGE.store(number, Ordering::Relaxed);
}

/// Whether some core panics.
pub(crate) fn under_way() -> bool {
    PANICKED.load(Ordering::Relaxed)
}

/// Keeps the registers of the exception that leads to a panic.
pub(crate) fn set_registers(registers: &Registers) {
    if !under_way() {
        // SAFETY: see `Saved`; two cores that panic at once may mix their registers, no worse.
        unsafe { *SAVED.0.get() = Some(*registers) };
    }
}

/// Finds the symbol table in the archive.
pub(crate) fn set_symbols(archive: &'static [u8]) {
    if let Ok(Some(file)) = Archive::new(archive).find(symbols::PATH) {
        SYMBOLS[1].store(file.data.len() as u64, Ordering::Relaxed);
        SYMBOLS[0].store(file.data.as_ptr() as u64, Ordering::Release);
    }
}

/// Stops every other core.
pub(crate) fn stop_others() {
    PANICKED.store(true, Ordering::SeqCst);
    if let Some(apic) = apic() {
        apic.nmi_to_others();
    }
}

/// This core's number, also where GS is the user's.
fn core() -> u64 {
    // SAFETY: the register exists.
    let here = unsafe { read_msr(msr::IA32_GS_BASE) };
    // SAFETY: the register exists.
    let other = unsafe { read_msr(msr::IA32_KERNEL_GSBASE) };
    let Some(block) = [here, other].into_iter().find(|b| *b >= DIRECT_BASE) else { return 0 };
    // SAFETY: kernel addresses in these registers are blocks.
    unsafe { (*(block as *const Block)).core }
}

fn name(address: u64, show: &mut dyn FnMut(&str, u64)) {
    let (at, bytes) = (SYMBOLS[0].load(Ordering::Acquire), SYMBOLS[1].load(Ordering::Relaxed));
    if at == 0 {
        return show("?", 0);
    }
    // SAFETY: `set_symbols` stored a file of the archive, which stays.
    let table = unsafe { core::slice::from_raw_parts(at as *const u8, bytes as usize) };
    match symbols::lookup(table, address) {
        Some((name, offset)) => show(name, offset),
        None => show("?", 0),
    }
}

fn frame(number: usize, address: u64) {
    name(address, &mut |name, offset| {
        println!("  {number:2}  {address:#018x}  {:#}+{offset:#x}", rustc_demangle::demangle(name));
    });
}

fn backtrace(mut rbp: u64, rip: Option<u64>) {
    let mut number = 0;
    if let Some(rip) = rip {
        frame(number, rip);
        number += 1;
    }
    // Frames lie on mapped stacks: the window, or the image; each above the last.
    while number < 32 && rbp >= STACK_WINDOW && rbp.is_multiple_of(8) {
        // SAFETY: frame pointers of kernel code (forced on) point into its own, mapped stack.
        let [up, back] = unsafe { *(rbp as *const [u64; 2]) };
        if back < DIRECT_BASE {
            break;
        }
        frame(number, back - 1);
        number += 1;
        if up <= rbp {
            break;
        }
        rbp = up;
    }
}

fn registers(r: &Registers) {
    let names = [
        "r15", "r14", "r13", "r12", "r11", "r10", "r9", "r8", "rbp", "rdi", "rsi", "rdx", "rcx", "rbx", "rax",
    ];
    println!("  rip {:016x}  cs {:x}  rflags {:x}  rsp {:016x}  ss {:x}", r.rip, r.cs, r.rflags, r.rsp, r.ss);
    for (three, values) in names.chunks(3).zip(r.general.chunks(3)) {
        if let ([a, b, c], [x, y, z]) = (three, values) {
            println!("  {a:3} {x:016x}  {b:3} {y:016x}  {c:3} {z:016x}");
        }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if PANICKED.swap(true, Ordering::SeqCst) {
        stop();
    }
    stop_others();
    let stage = STAGES.get(STAGE.load(Ordering::Relaxed)).unwrap_or(&"?");
    println!("\nKERNEL PANIC on core {}, stage \"{stage}\"", core());
    println!("  {}", info.message());
    if let Some(at) = info.location() {
        println!("  at {}:{}", at.file(), at.line());
    }
    // SAFETY: see `Saved`.
    let saved = unsafe { *SAVED.0.get() };
    let (mut rbp, mut rip) = (0, None);
    match saved {
        Some(saved) => {
            registers(&saved);
            (rbp, rip) = (saved.general[8], Some(saved.rip));
        }
        None => {
            let rsp: u64;
            // SAFETY: reads two registers.
            unsafe {
                asm!("mov {}, rbp", "mov {}, rsp", out(reg) rbp, out(reg) rsp, options(nomem, nostack))
            };
            println!("  rbp {rbp:016x}  rsp {rsp:016x}  cr3 {:016x}", corey_arch_x86_64_asm::read_cr3());
        }
    }
    println!("backtrace:");
    backtrace(rbp, rip);
    X86Machine.exit(Exit::Status(3))
}
