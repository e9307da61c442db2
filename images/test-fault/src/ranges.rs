//! What can be counted: vectors, selectors, ports, model-specific registers; and the end of the user half.

use crate::{Runner, cases::LIVES, is_among};
use core::arch::naked_asm;
use corey_abi::{Error, MapFlags, PAGE_BYTES};
use corey_libos_rt::Process;
use corey_libos_rt::sys::segment;
use corey_libos_test::Suite;

/// Bytes of one piece of code in the page.
const PIECE: u64 = 16;
/// First address above what can be mapped, and the last page that can.
const END: u64 = 0x7fff_ffff_f000;
const LAST: u64 = END - PAGE_BYTES;

/// Writes `bytes` at `offset` of a new page, and maps it for execution at `va`, or anywhere for 0.
fn code(process: &mut Process, va: u64, write: &mut dyn FnMut(&mut [u8])) -> Result<u64, Error> {
    let page = segment(process.program, PAGE_BYTES, "code")?;
    let (at, slot) = process.space.map(page, 1, MapFlags::WRITE)?;
    // SAFETY: one page, just mapped writable, and nobody else knows it.
    write(unsafe { core::slice::from_raw_parts_mut(at as *mut u8, PAGE_BYTES as usize) });
    process.space.unmap(slot)?;
    if va == 0 {
        return Ok(process.space.map(page, 1, MapFlags::EXECUTE)?.0);
    }
    process.space.map_at(page, va, 0, 1, MapFlags::EXECUTE).map(|_| va)
}

/// A page with `int n; ud2` at `n * PIECE`.
pub(crate) fn code_page(suite: &mut Suite, process: &mut Process) -> Option<u64> {
    let made = code(process, 0, &mut |bytes| {
        for (n, piece) in bytes.chunks_exact_mut(PIECE as usize).enumerate() {
            piece[..4].copy_from_slice(&[0xcd, n as u8, 0x0f, 0x0b]);
        }
    });
    suite.works("a page of code", made)
}

/// Code in the last page that can be mapped: the page above cannot.
pub(crate) fn edge(suite: &mut Suite, process: &mut Process) -> Option<u64> {
    let page = suite.works("a page", segment(process.program, PAGE_BYTES, "edge"))?;
    for (name, va) in [("the last page of the user half", END), ("a page beyond it", END + PAGE_BYTES)] {
        let mapped = process.space.map_at(page, va, 0, 1, MapFlags::EXECUTE);
        suite.refused(name, mapped, Error::OutOfRange);
    }
    let made = code(process, LAST, &mut |bytes| {
        let end = bytes.len();
        bytes.fill(0x90);
        // `xor eax, eax; dec eax; syscall`: no call has this number, and it returns to where nothing is.
        bytes[end - 6..].copy_from_slice(&[0x31, 0xc0, 0xff, 0xc8, 0x0f, 0x05]);
        // `jmp` to the `nop` before that, for whoever begins here.
        bytes[..2].copy_from_slice(&[0xeb, 0x10]);
    });
    suite.works("code in the page before", made)
}

/// Runs off the end of what can be mapped: by a call that returns there, and by no call.
pub(crate) fn at_the_edge(suite: &mut Suite, runner: &mut Runner<'_>, at: u64) {
    for (name, entry) in [
        ("a call returns to the end of the user half", END - 6),
        ("an instruction crosses the end of the user half", END - 1),
        ("code runs up to the end of the user half", at),
    ] {
        let ended = runner.run(entry, 0);
        let good = ended.is_ok_and(|e| is_among(e, 1 << 14, Some(END)));
        suite.check(name, good, format_args!("{ended:x?}"));
    }
}

/// Tries `count` values; `wrong` says what an end should not have been.
fn all(
    suite: &mut Suite,
    runner: &mut Runner<'_>,
    name: &str,
    values: impl Iterator<Item = (u64, u64, u32)>,
) {
    let (mut wrong, mut count) = (None, 0_u32);
    for (entry, arg, accepted) in values {
        count += 1;
        let ended = runner.run(entry, arg);
        if !ended.is_ok_and(|ended| is_among(ended, accepted, None)) {
            wrong.get_or_insert((arg, entry, ended));
        }
    }
    suite.check(name, wrong.is_none(), format_args!("{count} tried, first wrong {wrong:x?}"));
}

/// `int n` for every n: a breakpoint may be raised, nothing else.
pub(crate) fn interrupts(suite: &mut Suite, runner: &mut Runner<'_>, page: u64) {
    let values = (0..256).map(|n| (page + n * PIECE, n, if n == 3 { 1 << 3 } else { 1 << 13 }));
    all(suite, runner, "int n is refused but for the breakpoint", values);
}

macro_rules! with_argument {
    ($($name:ident: $($text:literal),+;)*) => { $(
        #[unsafe(naked)]
        extern "C" fn $name(_: u64) -> ! {
            naked_asm!($($text,)+ "jmp {live}", live = sym crate::ends::live)
        }
    )* };
}
with_argument! {
    load_ds: "mov ds, edi";
    load_fs: "mov fs, edi";
    load_gs: "mov gs, edi";
    load_ss: "mov ss, edi";
    far_jump: "sub rsp, 16", "lea rax, [rip + 2f]", "mov [rsp], rax", "mov [rsp + 8], rdi",
        "rex64 ljmp [rsp]", "2:";
    // The page must be there: the processor's own access is not for the kernel to resolve.
    far_call: "mov eax, 4096", "mov al, [rax]", "sub rsp, 16", "mov qword ptr [rsp], 0", "mov [rsp + 8], rdi", "rex64 lcall [rsp]";
    port_in: "mov edx, edi", "in al, dx";
    port_out: "mov edx, edi", "out dx, al";
    read_model: "mov ecx, edi", "rdmsr";
    write_model: "mov ecx, edi", "xor eax, eax", "xor edx, edx", "wrmsr";
}

fn address(of: extern "C" fn(u64) -> !) -> u64 {
    of as usize as u64
}

/// Descriptors of a program's making where a processor that was never told has its local table: at address 0. Page 0
/// cannot be mapped; the next one can.
pub(crate) fn forged_table(suite: &mut Suite, process: &mut Process) -> Option<()> {
    let page = suite.works("a page", segment(process.program, PAGE_BYTES, "table"))?;
    let (at, slot) = suite.works("mapped", process.space.map(page, 1, MapFlags::WRITE))?;
    let target = forged_target as extern "C" fn() -> ! as usize as u64;
    // A call gate of 16 bytes into kernel code, for everybody.
    let gate = [target & 0xffff | 8 << 16 | 0xec << 40 | (target >> 16 & 0xffff) << 48, target >> 32];
    for (n, at) in (at..at + PAGE_BYTES).step_by(8).enumerate() {
        // SAFETY: inside the page, just mapped writable.
        unsafe { (at as *mut u64).write_volatile(gate[n % 2]) };
    }
    suite.works("unmapped", process.space.unmap(slot))?;
    suite.works("at address 4096", process.space.map_at(page, PAGE_BYTES, 0, 1, MapFlags::WRITE))?;
    Some(())
}

/// Where the forged gate leads: `ud2`, in whatever ring that is.
#[unsafe(naked)]
extern "C" fn forged_target() -> ! {
    naked_asm!("ud2")
}

/// Calls through the forged gates.
pub(crate) fn forged_gates(suite: &mut Suite, runner: &mut Runner<'_>) {
    let tried = (0..16).map(|n| (address(far_call), (PAGE_BYTES + 16 * n) | 7, 1 << 13));
    all(suite, runner, "no gate of a program's making is a gate", tried);
}

/// Every selector of the table's eight entries and eight beyond, of both tables, with every privilege.
pub(crate) fn selectors(suite: &mut Suite, runner: &mut Runner<'_>) {
    const NULL: u64 = 0;
    const DATA: u64 = 0x20;
    const CODE: u64 = 0x28;
    let local = |selector: u64| selector & 4 != 0;
    let entry = |selector: u64| selector & !7;
    let data = move |s: u64| !local(s) && [NULL, DATA, CODE].contains(&entry(s));
    let stack = move |s: u64| s == DATA | 3;
    let jump = move |s: u64| s == CODE | 3;
    let either = |good: bool| if good { LIVES } else { 1 << 13 };
    let values = || (0..128_u64).chain([0xfff8, 0xffff]);
    let tried = values().flat_map(move |s| {
        [
            (address(load_ds), data(s)),
            (address(load_fs), data(s)),
            (address(load_gs), data(s)),
            (address(load_ss), stack(s)),
        ]
        .map(|(of, good)| (of, s, either(good)))
    });
    all(suite, runner, "no selector but the program's own can be loaded", tried);
    // The program's own code with less privilege asked for is its own code; all else is refused.
    let tried = values().map(move |s| {
        let own = !local(s) && entry(s) == CODE;
        (address(far_jump), s, if own { LIVES | 1 << 13 } else { either(jump(s)) })
    });
    all(suite, runner, "no far jump leaves the program's code segment", tried);
}

/// Ports of all kinds: configuration space, interrupt controllers, timer, power, the serial port.
pub(crate) fn ports(suite: &mut Suite, runner: &mut Runner<'_>) {
    let ports = [0, 0x20, 0x21, 0x40, 0x60, 0x64, 0x70, 0x80, 0xf4, 0x3f8, 0x604, 0xcf8, 0xcf9, 0xffff];
    let tried = ports.into_iter().flat_map(|p| [port_in, port_out].map(|of| (address(of), p, 1 << 13)));
    all(suite, runner, "every port is refused", tried);
}

/// Model-specific registers, those that would give the kernel away first of all.
pub(crate) fn model_registers(suite: &mut Suite, runner: &mut Runner<'_>) {
    let registers = [
        0,
        0x10,
        0x1b,
        0x3a,
        0x48,
        0x49,
        0x10a,
        0x174,
        0x175,
        0x176,
        0x1d9,
        0x277,
        0x600,
        0x6e0,
        0xda0,
        0xc000_0080,
        0xc000_0081,
        0xc000_0082,
        0xc000_0083,
        0xc000_0084,
        0xc000_0100,
        0xc000_0101,
        0xc000_0102,
        0xc000_0103,
        0xc001_0117,
        0xffff_ffff,
    ];
    let tried =
        registers.into_iter().flat_map(|r| [read_model, write_model].map(|of| (address(of), r, 1 << 13)));
    all(suite, runner, "every model-specific register is refused", tried);
}
