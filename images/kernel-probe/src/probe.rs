//! What the processor must refuse.

use core::arch::asm;
use core::fmt::Write;
use corey_arch_x86_64::X86;
use corey_arch_x86_64_asm::{invlpg, read_cr0, read_cr3, read_cr4, write_cr0, write_cr4};
use corey_arch_x86_64_paging::{DIRECT_BASE, KERNEL_BASE, Stack, direct, flags};
use corey_kernel_hal::{Access, BootAlloc, CoreId, Exit, Frame, Machine, Platform};

/// Where a page of user memory appears.
const USER_PAGE: u64 = 0x1000_0000;
/// `ret`.
const RETURN: u8 = 0xc3;

/// A constant, to be written.
static CONSTANT: u64 = 0x1234;
/// Data, to be executed.
static mut DATA: [u8; 16] = [RETURN; 16];

/// One attempt.
pub(crate) struct Probe {
    name: &'static str,
    /// The core that tries.
    pub(crate) core: CoreId,
    /// Whether the protection is turned off first.
    off: bool,
    machine: &'static dyn Machine,
    /// An address space with one user page.
    root: Frame,
}

impl Probe {
    /// What the command line asks for.
    pub(crate) fn new(
        words: &'static str,
        machine: &'static dyn Machine,
        platform: &X86,
        alloc: &mut impl BootAlloc,
    ) -> Option<Self> {
        let word = |key: &str| words.split_whitespace().find_map(|w| w.strip_prefix(key));
        let name = word("probe=")?;
        let core = CoreId(word("core=").and_then(|n| n.parse().ok()).unwrap_or(0));
        let off = words.split_whitespace().any(|w| w == "off");
        let mut table = |index: u64, entry: u64| {
            let table = alloc.slice(512, |i| if i as u64 == index { entry } else { 0 });
            Frame(((table.as_ptr() as u64 - DIRECT_BASE) / 4096) as u32)
        };
        let returns = u64::from_le_bytes([RETURN; 8]);
        let page = table(0, returns);
        let lowest = table(USER_PAGE >> 12 & 511, X86::leaf(page, Access::Execute));
        let second = table(USER_PAGE >> 21 & 511, X86::table(lowest));
        let third = table(USER_PAGE >> 30 & 511, X86::table(second));
        let root = table(USER_PAGE >> 39 & 511, X86::table(third));
        // SAFETY: the table is new, and loaded nowhere.
        unsafe { platform.init_root(root) };
        Some(Self { name, core, off, machine, root })
    }

    /// Tries. What is refused ends in a panic; what is allowed is said, and ends the machine.
    pub(crate) fn run(&self, platform: &X86) {
        // SAFETY: `new` prepared it, and it stays.
        unsafe { platform.load_root(Some(self.root)) };
        match self.name {
            "smep" => {
                self.control(20);
                // SAFETY: the page holds `ret`. It is the processor that must refuse.
                unsafe { asm!("call {}", in(reg) USER_PAGE) };
            }
            "smap" => {
                self.control(21);
                read(USER_PAGE);
            }
            "wp" | "alias" => {
                let at = &raw const CONSTANT as u64;
                let at = if self.name == "wp" { at } else { direct(at - KERNEL_BASE) as u64 };
                if self.off {
                    // SAFETY: write-protect only.
                    unsafe { write_cr0(read_cr0() & !(1 << 16)) };
                }
                write(at);
            }
            "nx" => {
                let data = &raw const DATA as u64;
                if self.off {
                    change_entry(data, |entry| entry & !flags::NO_EXECUTE);
                }
                // SAFETY: it holds `ret`. It is the processor that must refuse.
                unsafe { asm!("call {}", in(reg) data) };
            }
            "overflow" => {
                self.own_stack::<8>();
                self.say(&[recurse(1) as u8]);
            }
            "guard0" | "guard1" | "guard2" | "guard3" => {
                let number = self.name.bytes().last().map_or(0, |digit| digit - b'0');
                let stack = Stack::of(self.core.index(), usize::from(number));
                if self.off {
                    let above = change_entry(stack.bottom, |entry| entry);
                    change_entry(stack.bottom - 8, |_| above);
                }
                read(stack.bottom - 8);
            }
            "nmi" => {
                self.own_stack::<2>();
                // SAFETY: the processor must leave the stack, which is none, alone: NMI has its own.
                unsafe { on_no_stack::<2>() };
            }
            "mce" => {
                self.own_stack::<18>();
                // SAFETY: as above; it ends in a panic that says "machine check".
                unsafe { on_no_stack::<18>() };
            }
            other => panic!("probe={other}: there is no such probe"),
        }
        let mut line = Line([0; 80], 0);
        // Names are short.
        let _ = writeln!(line, "probe {}: allowed", self.name);
        self.say(&line.0[..line.1]);
        self.machine.exit(Exit::Status(1))
    }

    fn say(&self, bytes: &[u8]) {
        self.machine.console_write(bytes);
    }

    /// Turns a bit of CR4 off, when asked to.
    fn control(&self, bit: u32) {
        if self.off {
            // SAFETY: a protection only; no translation changes.
            unsafe { write_cr4(read_cr4() & !(1 << bit)) };
        }
    }

    /// Takes vector `VECTOR`'s own stack away, when asked to.
    fn own_stack<const VECTOR: usize>(&self) {
        let mut pointer = [0_u16; 5];
        // SAFETY: stores the table's limit and address, ten bytes.
        unsafe { asm!("sidt [{}]", in(reg) &mut pointer) };
        let [_, a, b, c, d] = pointer.map(u64::from);
        let gate = ((a | b << 16 | c << 32 | d << 48) as *mut u64).wrapping_add(2 * VECTOR);
        if self.off {
            // SAFETY: inside the table, which lies in boot memory; the other cores sleep.
            let now = unsafe { gate.read_volatile() };
            // SAFETY: as above.
            unsafe { gate.write_volatile(now & !(7 << 32)) };
        }
    }
}

/// Changes the entry of the page at `address`, mapped or not, in the tables of this core; returns what it is now.
fn change_entry(address: u64, to: impl FnOnce(u64) -> u64) -> u64 {
    let mut table = read_cr3();
    for shift in [39, 30, 21] {
        let at = direct(table).cast::<u64>().wrapping_add((address >> shift) as usize & 511);
        // SAFETY: a table of the kernel's half, in the direct map; stacks and image are mapped in pages of 4 KiB.
        table = unsafe { at.read_volatile() } & 0x000f_ffff_ffff_f000;
    }
    let at = direct(table).cast::<u64>().wrapping_add((address >> 12) as usize & 511);
    // SAFETY: as above.
    let now = to(unsafe { at.read_volatile() });
    // SAFETY: as above; the caller changes a page that nobody else needs as it is.
    unsafe { at.write_volatile(now) };
    invlpg(address);
    now
}

struct Line([u8; 80], usize);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            *self.0.get_mut(self.1).ok_or(core::fmt::Error)? = byte;
            self.1 += 1;
        }
        Ok(())
    }
}

fn read(at: u64) {
    // SAFETY: a fault is what is tested; nothing is done with the value.
    unsafe { (at as *const u64).read_volatile() };
}

fn write(at: u64) {
    // SAFETY: a fault is what is tested; a constant that nobody else reads.
    unsafe { (at as *mut u64).write_volatile(0) };
}

/// Uses the whole stack, and more.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let room = core::hint::black_box([depth; 64]);
    if depth == 0 { 0 } else { recurse(depth + 1) + room[3] }
}

/// Raises `VECTOR` with a stack pointer that points nowhere.
///
/// # Safety
///
/// The vector has a stack of its own, and its handler returns or ends the machine.
unsafe fn on_no_stack<const VECTOR: u8>() {
    // SAFETY: the caller's promise; the stack pointer comes back.
    unsafe {
        asm!(
            "mov {kept}, rsp",
            "xor esp, esp",
            "int {vector}",
            "mov rsp, {kept}",
            kept = out(reg) _,
            vector = const VECTOR,
        );
    }
}
