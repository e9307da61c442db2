//! Registers: at a program's start, and after a call.

use crate::SECRET;
use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{SYSCALLS, number};
use corey_libos_rt::Process;
use corey_libos_rt::vm::Ended;
use corey_libos_test::{Fixture, Suite};

/// rax rbx rcx rdx rsi rdi rbp r8 … r15, rflags, ds es fs gs: as [`dump`] stores them.
const GENERAL: usize = 20;
/// From here on what `fxsave64` stores.
const FPU: usize = 24;
const WORDS: usize = FPU + 64;

#[repr(align(64))]
struct Dump([AtomicU64; WORDS]);
static DUMP: Dump = Dump([const { AtomicU64::new(0) }; WORDS]);
/// What the filler halts by (its pcore's share and object), and where it stores what it filled.
#[repr(C, align(16))]
struct Filler([AtomicU64; 2], [AtomicU64; 64]);
static FILLER: Filler = Filler([const { AtomicU64::new(0) }; 2], [const { AtomicU64::new(0) }; 64]);

/// Stores every register, then halts.
#[unsafe(naked)]
extern "C" fn dump(at: u64) -> ! {
    naked_asm!(
        "mov [rdi], rax",
        "mov [rdi + 8], rbx",
        "mov [rdi + 16], rcx",
        "mov [rdi + 24], rdx",
        "mov [rdi + 32], rsi",
        // rdi is the argument.
        "mov qword ptr [rdi + 40], 0",
        "mov [rdi + 48], rbp",
        "mov [rdi + 56], r8",
        "mov [rdi + 64], r9",
        "mov [rdi + 72], r10",
        "mov [rdi + 80], r11",
        "mov [rdi + 88], r12",
        "mov [rdi + 96], r13",
        "mov [rdi + 104], r14",
        "mov [rdi + 112], r15",
        "pushfq",
        "pop qword ptr [rdi + 120]",
        "mov rax, ds",
        "mov [rdi + 128], rax",
        "mov rax, es",
        "mov [rdi + 136], rax",
        "mov rax, fs",
        "mov [rdi + 144], rax",
        "mov rax, gs",
        "mov [rdi + 152], rax",
        "fxsave64 [rdi + {fpu}]",
        "xor edi, edi",
        "sub rsp, 8",
        "call {halt}",
        "ud2",
        fpu = const FPU * 8,
        halt = sym end,
    )
}

extern "C" fn end() -> ! {
    corey_libos_rt::halt(0)
}

/// Fills every register it can with the secret, then halts. `rdi` points to a [`Filler`].
#[unsafe(naked)]
extern "C" fn fill(own: u64) -> ! {
    naked_asm!(
        "lea r15, [rdi + 16]",
        "mov rsi, [rdi + 8]",
        "mov rdi, [rdi]",
        "mov eax, 0x23",
        "mov ds, eax", "mov es, eax", "mov fs, eax", "mov gs, eax",
        "movabs rbx, {secret}",
        "movq xmm0, rbx", "punpcklqdq xmm0, xmm0",
        "movaps xmm1, xmm0", "movaps xmm2, xmm0", "movaps xmm3, xmm0", "movaps xmm4, xmm0",
        "movaps xmm5, xmm0", "movaps xmm6, xmm0", "movaps xmm7, xmm0", "movaps xmm8, xmm0",
        "movaps xmm9, xmm0", "movaps xmm10, xmm0", "movaps xmm11, xmm0", "movaps xmm12, xmm0",
        "movaps xmm13, xmm0", "movaps xmm14, xmm0", "movaps xmm15, xmm0",
        // x87 numbers, rounding and masks of both units.
        "push rbx",
        "fild qword ptr [rsp]", "fild qword ptr [rsp]", "fild qword ptr [rsp]",
        "mov dword ptr [rsp], 0x7f80", "ldmxcsr [rsp]",
        "mov dword ptr [rsp], 0x0f7f", "fldcw [rsp]",
        "fxsave64 [r15]",
        // Arithmetic flags, and the direction.
        "or qword ptr [rsp], -1",
        "mov qword ptr [rsp], 0xcd5", "popfq",
        "mov rcx, rbx", "mov rdx, 7", "mov r8, rbx", "mov r9, rbx", "mov r10, rbx", "mov r11, rbx",
        "mov r12, rbx", "mov r13, rbx", "mov r14, rbx", "mov r15, rbx", "mov rbp, rbx",
        "mov eax, {halt}",
        "syscall",
        "ud2",
        secret = const SECRET,
        halt = const number::pcore_halt,
    )
}

/// Runs a thread that fills all registers, then one that stores what it finds, on the same core.
pub(crate) fn of_the_program_before(suite: &mut Suite, process: &Process, fixture: &Fixture) {
    let prepare = |core: &mut corey_libos_rt::vm::Core| {
        FILLER.0[0].store(core.pcore.share.0, Ordering::SeqCst);
        FILLER.0[1].store(core.pcore.object.0, Ordering::SeqCst);
        Ok(())
    };
    let run = |entry: extern "C" fn(u64) -> !, argument: u64| {
        let shares = [process.boot, process.console];
        let mut prepare = prepare;
        let remote = fixture.start_with(process, 1, entry as usize as u64, argument, &shares, &mut prepare);
        remote.map(|remote| {
            let ended = remote.wait();
            remote.core.release();
            ended
        })
    };
    suite.equal(
        "a thread fills its registers",
        run(fill, FILLER.0.as_ptr() as u64),
        Ok(Some(Ended::Halted(7))),
    );
    let filled = |at: usize| FILLER.1[at].load(Ordering::Relaxed);
    let all =
        filled(0) as u16 == 0x0f7f && filled(3) as u32 == 0x7f80 && (20..52).all(|at| filled(at) == SECRET);
    suite.check("all of them", all && filled(4) != 0, "");
    suite.equal("the next one stores its own", run(dump, DUMP.0.as_ptr() as u64), Ok(Some(Ended::Halted(0))));
    let word = |at: usize| DUMP.0[at].load(Ordering::Relaxed);
    let general = (0..GENERAL).filter(|at| *at != 15 && word(*at) != 0).count();
    suite.check(
        "and finds zeroes in the general and segment registers",
        general == 0,
        format_args!("{general}"),
    );
    suite.equal("interrupts on, nothing else, in its flags", word(15), 0x202);
    // Control and status word, tags; instruction and data pointer; MXCSR; then registers of both units.
    let fpu = |at: usize| word(FPU + at);
    suite.equal("the x87 unit as at power-on", [fpu(0), fpu(1), fpu(2)], [0x037f, 0, 0]);
    suite.equal("and MXCSR", fpu(3) as u32, 0x1f80);
    let vector = (4..52).filter(|at| fpu(*at) != 0).count();
    suite.check("zeroes in the x87 and vector registers", vector == 0, format_args!("{vector}"));
}

/// What a call leaves in registers that are not results: nothing of the kernel's.
pub(crate) fn after_a_call(suite: &mut Suite) {
    const NAMES: [&str; 2] =
        ["after a call the registers that are no results are zero", "and those that are kept are kept"];
    // With these arguments none does anything, and `pcore_current` what it should.
    let (mut left, mut kept, mut count) = (None, true, 0);
    for call in SYSCALLS.iter().map(|call| call.number).chain([0x7777, u64::MAX]) {
        let (rdi, rsi, r8, r9, r10, rbx): (u64, u64, u64, u64, u64, u64);
        // SAFETY: the arguments are good for none of these calls; a call changes what is declared here.
        unsafe {
            asm!(
                "push rbx",
                "mov rbx, {secret}",
                "mov rdi, rbx", "mov rsi, rbx", "mov rdx, rbx", "mov r10, rbx", "mov r8, rbx", "mov r9, rbx",
                "syscall",
                "mov r11, rbx",
                "pop rbx",
                secret = in(reg) SECRET,
                inlateout("rax") call => _,
                lateout("rdi") rdi, lateout("rsi") rsi, lateout("rdx") _, lateout("r8") r8, lateout("r9") r9,
                lateout("r10") r10, lateout("rcx") _, lateout("r11") rbx,
            );
        }
        let found = [rdi, rsi, r8, r9, r10];
        if found != [0; 5] {
            left.get_or_insert((call, found));
        }
        kept &= rbx == SECRET;
        count += 1;
    }
    suite.check(NAMES[0], left.is_none(), format_args!("{count} calls, {left:x?}"));
    suite.check(NAMES[1], kept, "");
}
