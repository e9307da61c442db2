//! A pattern in every register a program has, and what a program finds in them on its first instruction.

use core::arch::naked_asm;
use core::mem::offset_of;
use corey_libos_rt::sys::upcall;

/// Room for FPU state, as the processor writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
struct Image([u64; 336]);

impl Image {
    const ZERO: Self = Self([0; 336]);

    fn words(&self, from: usize, to: usize) -> &[u64] {
        &self.0[from / 8..to / 8]
    }
    /// x87 control word, status word, tags (abridged), opcode.
    fn x87(&self) -> u64 {
        self.0[0]
    }
    fn mxcsr(&self) -> u64 {
        self.0[3] & 0xffff_ffff
    }
}

/// [`form`]: the processor has AVX, and the kernel keeps it.
const AVX: u64 = 4;

/// What this processor has: bits of [`upcall::form`], and [`AVX`].
pub(crate) fn form() -> u64 {
    let known = upcall::form().unwrap_or(0);
    // OSXSAVE and AVX.
    let both = 1 << 27 | 1 << 28;
    known | if core::arch::x86_64::__cpuid(1).ecx & both == both { AVX } else { 0 }
}

/// What a program found on its first instruction.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Birth {
    fpu: Image,
    /// As `fnstenv` writes it: it shows addresses that `fxsave` may hide.
    environment: [u32; 8],
    /// All but rdi, rsi and rdx, which have arguments.
    general: [u64; 12],
    flags: u64,
    /// ds, es, fs, gs.
    selectors: [u64; 4],
    bases: [u64; 2],
}

impl Birth {
    pub(crate) const NONE: Self = Self {
        fpu: Image::ZERO,
        environment: [0; 8],
        general: [1; 12],
        flags: 0,
        selectors: [1; 4],
        bases: [1; 2],
    };

    /// Records everything; returns. `at` in rdi, the form in rdx, as a program's first instruction has them. Changes rax
    /// and rcx.
    #[unsafe(naked)]
    pub(crate) extern "C" fn record(at: *mut Self, _: u64, form: u64) {
        naked_asm!(
            "mov [rdi + {general}], rax",
            "mov [rdi + {general} + 8], rbx",
            "mov [rdi + {general} + 16], rcx",
            "mov [rdi + {general} + 24], rbp",
            "mov [rdi + {general} + 32], r8",
            "mov [rdi + {general} + 40], r9",
            "mov [rdi + {general} + 48], r10",
            "mov [rdi + {general} + 56], r11",
            "mov [rdi + {general} + 64], r12",
            "mov [rdi + {general} + 72], r13",
            "mov [rdi + {general} + 80], r14",
            "mov [rdi + {general} + 88], r15",
            "pushfq",
            "pop rax",
            "mov [rdi + {flags}], rax",
            "xor eax, eax",
            "mov [rdi + {bases}], rax",
            "mov [rdi + {bases} + 8], rax",
            "mov eax, ds",
            "mov [rdi + {selectors}], rax",
            "mov eax, es",
            "mov [rdi + {selectors} + 8], rax",
            "mov eax, fs",
            "mov [rdi + {selectors} + 16], rax",
            "mov eax, gs",
            "mov [rdi + {selectors} + 24], rax",
            "test dl, 2",
            "jz 2f",
            "rdfsbase rax",
            "mov [rdi + {bases}], rax",
            "rdgsbase rax",
            "mov [rdi + {bases} + 8], rax",
            "2:",
            "mov rcx, rdx",
            "test cl, 1",
            "jz 3f",
            "mov eax, -1",
            "mov edx, -1",
            "xsave64 [rdi]",
            "mov rdx, rcx",
            "jmp 4f",
            "3:",
            "fxsave64 [rdi]",
            "4:",
            "fnstenv [rdi + {environment}]",
            "fldcw [rdi + {environment}]",
            // Selectors that another program could see.
            "mov eax, 0x23",
            "mov ds, eax",
            "mov es, eax",
            "mov fs, eax",
            "mov gs, eax",
            "ret",
            general = const offset_of!(Self, general),
            flags = const offset_of!(Self, flags),
            bases = const offset_of!(Self, bases),
            selectors = const offset_of!(Self, selectors),
            environment = const offset_of!(Self, environment),
        )
    }

    /// Whether it was all as at power-on.
    pub(crate) fn is_clean(&self) -> bool {
        let present = self.fpu.0[512 / 8];
        let [control, status, tags, address, _, data, ..] = self.environment;
        let x87 = control & 0xffff == 0x037f && status & 0xffff == 0 && tags & 0xffff == 0xffff;
        self.general == [0; 12]
            && self.flags == 0x202
            && self.selectors == [0; 4]
            && self.bases == [0; 2]
            && x87
            && (address, data) == (0, 0)
            && self.fpu.x87() == 0x037f
            && self.fpu.words(8, 24) == [0; 2]
            && self.fpu.mxcsr() == 0x1f80
            && self.fpu.words(32, 416).iter().all(|word| *word == 0)
            // Beyond x87 and SSE: not there, or there and zero.
            && (present & !3 == 0 || self.fpu.words(576, 2688).iter().all(|word| *word == 0))
    }
}

/// A pattern of one's own.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Canary {
    before: Image,
    after: Image,
    pattern: u64,
    form: u64,
    mxcsr: u32,
    default_mxcsr: u32,
    control: u64,
    general: [u64; 13],
    flags: u64,
    bases: [u64; 2],
}

impl Canary {
    /// A canary of kind `number`, which chooses the pattern and how numbers are rounded.
    pub(crate) fn new(number: u64, form: u64) -> Self {
        let round = number % 3 + 1;
        Self {
            before: Image::ZERO,
            after: Image::ZERO,
            pattern: 0x0123_4567_89ab_cdef_u64.rotate_left(8 * (number % 8) as u32) ^ number,
            form,
            mxcsr: 0x1f80 | (round as u32) << 13,
            default_mxcsr: 0x1f80,
            control: 0x037f | round << 10,
            general: [0; 13],
            flags: 0,
            bases: [0; 2],
        }
    }

    /// Fills everything, waits for `turns` turns of a short loop, and writes down what is there then.
    #[unsafe(naked)]
    pub(crate) extern "C" fn hold(at: &mut Self, turns: u64) {
        naked_asm!(
            "push rbx",
            "push rbp",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            "fninit",
            "fldcw [rdi + {control}]",
            "ldmxcsr [rdi + {mxcsr}]",
            "fild qword ptr [rdi + {pattern}]",
            "fld st(0)",
            "fld st(0)",
            "fld st(0)",
            "fld st(0)",
            "fld st(0)",
            "fld st(0)",
            "fld st(0)",
            "movq xmm0, qword ptr [rdi + {pattern}]",
            "punpcklqdq xmm0, xmm0",
            "movaps xmm1, xmm0",
            "movaps xmm2, xmm0",
            "movaps xmm3, xmm0",
            "movaps xmm4, xmm0",
            "movaps xmm5, xmm0",
            "movaps xmm6, xmm0",
            "movaps xmm7, xmm0",
            "movaps xmm8, xmm0",
            "movaps xmm9, xmm0",
            "movaps xmm10, xmm0",
            "movaps xmm11, xmm0",
            "movaps xmm12, xmm0",
            "movaps xmm13, xmm0",
            "movaps xmm14, xmm0",
            "movaps xmm15, xmm0",
            "test byte ptr [rdi + {form}], 4",
            "jz 2f",
            "vinsertf128 ymm0, ymm0, xmm0, 1",
            "vmovaps ymm1, ymm0",
            "vmovaps ymm2, ymm0",
            "vmovaps ymm3, ymm0",
            "vmovaps ymm4, ymm0",
            "vmovaps ymm5, ymm0",
            "vmovaps ymm6, ymm0",
            "vmovaps ymm7, ymm0",
            "vmovaps ymm8, ymm0",
            "vmovaps ymm9, ymm0",
            "vmovaps ymm10, ymm0",
            "vmovaps ymm11, ymm0",
            "vmovaps ymm12, ymm0",
            "vmovaps ymm13, ymm0",
            "vmovaps ymm14, ymm0",
            "vmovaps ymm15, ymm0",
            "2:",
            "test byte ptr [rdi + {form}], 2",
            "jz 3f",
            // Addresses: below 2^47.
            "mov rax, [rdi + {pattern}]",
            "shr rax, 17",
            "wrfsbase rax",
            "shr rax, 1",
            "wrgsbase rax",
            "3:",
            "test byte ptr [rdi + {form}], 1",
            "jz 4f",
            "mov eax, -1",
            "mov edx, -1",
            "xsave64 [rdi]",
            "jmp 5f",
            "4:",
            "fxsave64 [rdi]",
            "5:",
            "mov rax, [rdi + {pattern}]",
            "mov rbx, rax",
            "mov rcx, rax",
            "mov rdx, rax",
            "mov rbp, rax",
            "mov r8, rax",
            "mov r9, rax",
            "mov r10, rax",
            "mov r11, rax",
            "mov r12, rax",
            "mov r13, rax",
            "mov r14, rax",
            "mov r15, rax",
            "std",
            "stc",
            // It leaves the carry.
            "6:",
            "dec rsi",
            "jnz 6b",
            "pushfq",
            "pop qword ptr [rdi + {flags}]",
            "cld",
            "mov [rdi + {general}], rax",
            "mov [rdi + {general} + 8], rbx",
            "mov [rdi + {general} + 16], rcx",
            "mov [rdi + {general} + 24], rdx",
            "mov [rdi + {general} + 32], rbp",
            "mov [rdi + {general} + 40], r8",
            "mov [rdi + {general} + 48], r9",
            "mov [rdi + {general} + 56], r10",
            "mov [rdi + {general} + 64], r11",
            "mov [rdi + {general} + 72], r12",
            "mov [rdi + {general} + 80], r13",
            "mov [rdi + {general} + 88], r14",
            "mov [rdi + {general} + 96], r15",
            "test byte ptr [rdi + {form}], 1",
            "jz 7f",
            "mov eax, -1",
            "mov edx, -1",
            "xsave64 [rdi + {after}]",
            "jmp 8f",
            "7:",
            "fxsave64 [rdi + {after}]",
            "8:",
            "test byte ptr [rdi + {form}], 2",
            "jz 9f",
            "rdfsbase rax",
            "mov [rdi + {bases}], rax",
            "rdgsbase rax",
            "mov [rdi + {bases} + 8], rax",
            "9:",
            "test byte ptr [rdi + {form}], 4",
            "jz 22f",
            "vzeroupper",
            "22:",
            "fninit",
            "ldmxcsr [rdi + {default}]",
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbp",
            "pop rbx",
            "ret",
            after = const offset_of!(Self, after),
            pattern = const offset_of!(Self, pattern),
            form = const offset_of!(Self, form),
            mxcsr = const offset_of!(Self, mxcsr),
            default = const offset_of!(Self, default_mxcsr),
            control = const offset_of!(Self, control),
            general = const offset_of!(Self, general),
            flags = const offset_of!(Self, flags),
            bases = const offset_of!(Self, bases),
        )
    }

    /// What was wrong after [`Canary::hold`]: a bit each for general registers, flags, x87 and SSE control, x87
    /// registers, SSE registers, upper halves, the rest of the state, bases.
    pub(crate) fn wrong(&self) -> u64 {
        let all = |words: &[u64]| words.iter().all(|word| *word == self.pattern);
        let bases = if self.form & 2 == 0 { [0; 2] } else { [self.pattern >> 17, self.pattern >> 18] };
        let (before, after) = (&self.before, &self.after);
        let x87 = after.x87();
        [
            self.general == [self.pattern; 13],
            // Carry, direction, interrupts on.
            self.flags & 0x601 == 0x601,
            x87 & 0xffff == self.control && after.mxcsr() == u64::from(self.mxcsr),
            // All eight in use, and as they were.
            x87 >> 32 & 0xff == 0xff
                && after.words(0, 160) == before.words(0, 160)
                && after.0[4] == self.mantissa(),
            all(after.words(160, 416)),
            self.form & AVX == 0 || all(after.words(576, 832)),
            after.words(832, 2688) == before.words(832, 2688),
            self.bases == bases,
        ]
        .iter()
        .enumerate()
        .fold(0, |wrong, (bit, good)| wrong | u64::from(!good) << bit)
    }

    /// The pattern as an x87 register has it: its absolute value, shifted up to the top.
    fn mantissa(&self) -> u64 {
        let value = (self.pattern as i64).unsigned_abs();
        value << value.leading_zeros()
    }
}
