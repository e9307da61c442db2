//! Every entry of every core: the state the kernel relies on.

use crate::fail;
use core::arch::asm;
use core::sync::atomic::Ordering;
use corey_arch_x86_64::X86;
use corey_arch_x86_64_asm::{msr, read_cr0, read_cr4, read_msr};
use corey_arch_x86_64_cpu::features;
use corey_arch_x86_64_paging::Stack;
use corey_kernel_hal::{CoreId, Fault, Outcome, Registers, Traps};

/// RFLAGS that would change what kernel code means: single step, interrupts, direction, nested task, alignment
/// checks (with SMAP: user memory in reach). And the program's I/O privilege.
const CLEAR_FLAGS: u64 = 1 << 8 | 1 << 9 | 1 << 10 | 3 << 12 | 1 << 14;
const ALIGNMENT: u64 = 1 << 18;

/// A core's kernel whose every entry is looked at.
pub(crate) struct Watch<K> {
    kernel: K,
    core: CoreId,
    platform: X86,
}

impl<K> Watch<K> {
    pub(crate) fn new(kernel: K, core: CoreId, platform: X86) -> Self {
        Self { kernel, core, platform }
    }

    /// `trap` says that the flags were the processor's doing, not `syscall`'s mask.
    fn look(&mut self) -> &mut K {
        fail::at_entry(self.core);
        let (flags, stack): (u64, u64);
        // SAFETY: reads two registers; the push is undone.
        unsafe { asm!("pushfq", "pop {}", "mov {}, rsp", out(reg) flags, out(reg) stack) };
        let found = features();
        let has = |flag: &core::sync::atomic::AtomicBool| flag.load(Ordering::Relaxed);
        // Without SMAP the flag means nothing in ring 0.
        let clear = CLEAR_FLAGS & !(3 << 12) | if has(&found.smap) { ALIGNMENT } else { 0 };
        assert!(flags & clear == 0, "probe: entered with flags {flags:#x}");
        let own = Stack::of(self.core.index(), 0);
        assert!(own.holds(stack), "probe: entered on stack {stack:#x}, not on {own:x?}");
        let wanted = u64::from(has(&found.smep)) << 20
            | u64::from(has(&found.smap)) << 21
            | u64::from(has(&found.umip)) << 11;
        let cr4 = read_cr4();
        assert!(cr4 & wanted == wanted, "probe: CR4 is {cr4:#x}, without {wanted:#x}");
        let cr0 = read_cr0();
        assert!(cr0 >> 16 & 1 == 1, "probe: CR0 is {cr0:#x}, without write-protect");
        // SAFETY: every x86-64 processor has the register.
        let efer = unsafe { read_msr(msr::IA32_EFER) };
        assert!(efer >> 11 & 1 == 1, "probe: EFER is {efer:#x}, without NXE");
        &mut self.kernel
    }
}

impl<K: Traps> Traps for Watch<K> {
    fn syscall(&mut self, number: u64, args: [u64; 6]) -> Outcome {
        if number == fail::STOP_CORE {
            fail::stop_core(&self.platform, args);
            return Outcome::Resume([0; 2]);
        }
        self.look().syscall(number, args)
    }
    fn page_fault(&mut self, fault: Fault, registers: &mut Registers) -> Option<Outcome> {
        self.look().page_fault(fault, registers)
    }
    fn exception(&mut self, vector: u8, code: u64, registers: &mut Registers) -> Outcome {
        self.look().exception(vector, code, registers)
    }
    fn interrupt(&mut self, registers: &mut Registers) -> Outcome {
        self.look().interrupt(registers)
    }
    fn tick(&mut self, registers: &mut Registers) -> Outcome {
        self.look().tick(registers)
    }
    fn idle(&mut self) -> Outcome {
        self.look().idle()
    }
}
