//! From the entry code to a core's kernel, and back or elsewhere.

use crate::panic;
use crate::platform::{X86, cores, end_of_interrupt};
use crate::signs;
use core::marker::PhantomData;
use corey_arch_x86_64_apic::{CARD, IPI, SPURIOUS, TIMER};
use corey_arch_x86_64_asm::{read_gs, wait_for_interrupt};
use corey_arch_x86_64_cpu::{Block, Entries, Vectors, Words, enter_user};
use corey_kernel_hal::{Boot, Cause, Fault, Outcome, Registers, Traps, USER_END};

/// The entries of kernel `K`.
#[derive(Debug)]
pub(crate) struct Ways<K>(PhantomData<K>);

/// This core's kernel.
#[inline(always)]
fn kernel<'a, K: Boot<X86>>() -> &'a mut K::Core {
    // SAFETY: the block holds the kernel's address since before user code first ran here.
    let address = unsafe { read_gs::<{ Block::KERNEL }>() };
    // SAFETY: the value lives for good, belongs to this core, and entries do not nest: interrupts are off.
    unsafe { &mut *(address as *mut K::Core) }
}

/// Leaves the kernel for somewhere else than where it came from.
pub(crate) fn leave<K: Boot<X86>>(mut outcome: Outcome) -> ! {
    loop {
        match outcome {
            // SAFETY: interrupts are off, GS is the kernel's; the kernel checked the context and loaded its
            // address space.
            Outcome::Enter(context) => unsafe { enter_user(&context) },
            Outcome::Idle => wait_for_interrupt(),
            Outcome::Resume(_) => unreachable!("an idle core has nothing to resume"),
        }
        outcome = kernel::<K>().idle();
    }
}

impl<K: Boot<X86>> Ways<K> {
    fn finish(outcome: Outcome) {
        if !matches!(outcome, Outcome::Resume(_)) {
            leave::<K>(outcome);
        }
    }
}

impl<K: Boot<X86>> Entries for Ways<K> {
    #[inline(always)]
    fn syscall(number: u64, args: [u64; 6]) -> Words {
        match kernel::<K>().syscall(number, args) {
            Outcome::Resume([a, b]) => Words(a, b),
            other => leave::<K>(other),
        }
    }

    #[inline(always)]
    fn page_fault(address: u64, code: u64, registers: &mut Registers) {
        // The processor itself reached for user memory in ring 3's name (a descriptor, say): not to be resolved.
        if code & 1 << 2 == 0 {
            return Self::exception(Vectors::PAGE_FAULT, code, registers);
        }
        let cause = if code & 1 << 4 != 0 {
            Cause::Fetch
        } else if code & 1 << 1 != 0 {
            Cause::Write
        } else {
            Cause::Read
        };
        if let Some(outcome) = kernel::<K>().page_fault(Fault { address, cause, code }, registers) {
            Self::finish(outcome);
        }
    }

    fn exception(vector: u8, code: u64, registers: &mut Registers) {
        Self::finish(kernel::<K>().exception(vector, code, registers));
    }

    fn interrupt(vector: u8, user: bool, registers: &mut Registers) {
        // A sleeping core's kernel ends a card's interrupt when it has closed the line: ended here, it would come again at once. What
        // comes when a program runs was sent before the line was closed.
        if vector != SPURIOUS && (user || vector != CARD) {
            end_of_interrupt();
        }
        // A program that jumped out of its half was interrupted before the processor could tell: `iretq` would
        // fault on that address, in ring 0.
        if user && registers.rip >= USER_END {
            return Self::exception(Vectors::PROTECTION, 0, registers);
        }
        // In the kernel only a sleeping core takes interrupts, and it looks at mailbox and clock when it wakes.
        if user && vector == IPI {
            Self::finish(kernel::<K>().interrupt(registers));
        }
        if user && vector == TIMER {
            Self::finish(kernel::<K>().tick(registers));
        }
    }

    fn urgent(vector: u8, registers: &Registers) {
        if panic::under_way() {
            corey_arch_x86_64_asm::stop();
        }
        if vector == Vectors::NMI {
            return signs::answer(registers, K::injected);
        }
        // Others see to what a core leaves that stops; a machine with one core has none.
        if cores() < 2 || !signs::machine_check(registers) {
            panic::set_registers(registers);
            panic!("machine check");
        }
    }

    fn fatal(vector: u8, code: u64, address: u64, registers: &Registers) -> ! {
        panic::set_registers(registers);
        panic!("exception {vector} in the kernel, error code {code:#x}, address {address:#x}");
    }
}
