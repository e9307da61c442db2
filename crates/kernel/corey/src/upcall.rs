//! Upcalls: faults and ticks that the kernel does not resolve go to the program's handler (PROTOCOLS, upcalls).

use crate::core_kernel::Core;
use corey_abi::{Plain, TICK_VECTOR, UpcallFrame, UserPtr, masked};
use corey_kernel_atree::Tree;
use corey_kernel_hal::{Platform, Registers};
use corey_kernel_object::{Entered, Link};

/// Flags a handler begins with: interrupts on, the bit that is always one. No single step, no direction, no
/// alignment checks.
const HANDLER_FLAGS: u64 = 0x202;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) vector: u64,
    pub(crate) error: u64,
    pub(crate) address: u64,
}

impl<P: Platform> Core<P> {
    /// Sends `event` to the running tree's handler: `registers` then enter it. False when that cannot be: no
    /// handler, a fault while masked, an unwritable stack or masked word. Then the run ends.
    #[cold]
    #[inline(never)]
    pub(crate) fn upcall(&mut self, inside: &Entered<'_>, event: Event, registers: &mut Registers) -> bool {
        let Some(tree) = Link::from(self.ctx.local.paging.root).resolve::<Tree>(inside) else { return false };
        let handler = tree.handler(&mut self.ctx.local);
        if handler.entry == 0 {
            return false;
        }
        if handler.masked != 0 {
            let at = UserPtr(handler.masked);
            let mut word = [0; 8];
            if self.ctx.copy_in(inside, at, &mut word).is_err() {
                return false;
            }
            let word = u64::from_le_bytes(word);
            let tick = event.vector == TICK_VECTOR;
            let next = match (word & masked::MASKED != 0, tick) {
                (true, false) => return false,
                (true, true) => word | masked::TICK,
                (false, _) => word | masked::MASKED,
            };
            // The program is interrupted, and its tree runs here alone: nobody changes the word in between but
            // another core that was given the page, which then has itself to blame.
            if self.ctx.copy_out(inside, &next.to_le_bytes(), at).is_err() {
                return false;
            }
            if word & masked::MASKED != 0 {
                return true;
            }
        }
        let Event { vector, error, address } = event;
        let Registers { rip, cs, rflags, rsp, ss, .. } = *registers;
        let frame = UpcallFrame { vector, error, address, rip, cs, rflags, rsp, ss };
        let mut bytes = [0; UpcallFrame::BYTES];
        frame.to_bytes(&mut bytes);
        let top = handler.stack.wrapping_sub(UpcallFrame::BYTES as u64);
        if self.ctx.copy_out(inside, &bytes, UserPtr(top)).is_err() {
            return false;
        }
        registers.rip = handler.entry;
        registers.rsp = top;
        registers.rflags = HANDLER_FLAGS;
        true
    }
}
