//! [`Core`]: one core's kernel, as the entry code sees it.

use crate::gate::Gate;
use crate::system::System;
use corey_abi::{dispatch, reason, to_registers};
use corey_kernel_atree::fault;
use corey_kernel_hal::{Fault, Outcome, Platform, Registers, Traps, UserContext};
use corey_kernel_object::{Ctx, Entered};
use corey_kernel_pcore::{Current, Ending, Report, Request};
use corey_kernel_share::{Authority, Call};

/// Vector of a page fault, in reports.
const PAGE_FAULT: u32 = 14;

/// One core's kernel, by value: nobody else reaches it.
#[derive(Debug)]
pub struct Core<P: Platform> {
    pub(crate) system: &'static System<P>,
    pub(crate) ctx: Ctx<P>,
    /// The shares of what runs here.
    pub(crate) held: Authority,
    /// Shares to release between two entries.
    pub(crate) dropped: Authority,
    /// What runs here.
    pub(crate) current: Option<Current>,
    /// Set when it ends at this exit.
    pub(crate) ending: Option<Ending>,
    /// The end of what ran here, to be told when everything is dropped.
    pub(crate) report: Option<Report>,
    /// Set when it replaced itself.
    pub(crate) replaced: Option<Request>,
    /// Set when a run begins at this exit.
    pub(crate) enter: Option<UserContext>,
}

impl<P: Platform> Core<P> {
    pub(crate) fn new(system: &'static System<P>, ctx: Ctx<P>) -> Self {
        Self {
            system,
            ctx,
            held: Authority::default(),
            dropped: Authority::default(),
            current: None,
            ending: None,
            report: None,
            replaced: None,
            enter: None,
        }
    }

    /// Enters the kernel and serves the mailbox.
    #[inline(always)]
    pub(crate) fn begin(&mut self) -> Entered<'static> {
        let inside = self.ctx.enter();
        self.ctx.local.serve_mailbox();
        inside
    }

    /// Serves the mailbox and leaves the kernel; the short way when nothing was noted.
    #[inline(always)]
    fn finish(&mut self, inside: Entered<'static>, words: [u64; 2]) -> Outcome {
        self.ctx.local.serve_mailbox();
        if self.ctx.local.attention {
            return self.settle(inside, Some(words));
        }
        drop(inside);
        Outcome::Resume(words)
    }

    /// Ends what runs here because of an exception.
    #[cold]
    #[inline(never)]
    fn fail(
        &mut self,
        inside: Entered<'static>,
        vector: u32,
        address: u64,
        registers: &Registers,
    ) -> Outcome {
        log::info!(
            "core {}: a program's exception {vector} at {:#x}, address {address:#x}: its pcore halts",
            self.ctx.core().0,
            registers.rip
        );
        self.ending = Some(Ending { reason: reason::FAULT, value: vector, address });
        self.settle(inside, None)
    }
}

impl<P: Platform> Traps for Core<P> {
    #[inline(always)]
    fn syscall(&mut self, number: u64, args: [u64; 6]) -> Outcome {
        self.ctx.local.counters.syscalls += 1;
        let inside = self.begin();
        let mut gate = Gate {
            call: Call {
                ctx: &mut self.ctx,
                held: &mut self.held,
                inside: &inside,
                dropped: &mut self.dropped,
            },
            system: self.system,
            current: &self.current,
            ending: &mut self.ending,
            replaced: &mut self.replaced,
        };
        let words = to_registers(dispatch(&mut gate, number, args));
        self.finish(inside, words)
    }

    #[inline(always)]
    fn page_fault(&mut self, trap: Fault, registers: &mut Registers) -> Outcome {
        self.ctx.local.counters.faults += 1;
        let inside = self.begin();
        if fault(&mut self.ctx, &inside, trap.address, trap.cause) {
            return self.finish(inside, [0; 2]);
        }
        self.fail(inside, PAGE_FAULT, trap.address, registers)
    }

    fn exception(&mut self, vector: u8, _: u64, registers: &mut Registers) -> Outcome {
        let inside = self.begin();
        let address = registers.rip;
        self.fail(inside, u32::from(vector), address, registers)
    }

    fn interrupt(&mut self, _: &mut Registers) -> Outcome {
        let inside = self.begin();
        self.finish(inside, [0; 2])
    }

    fn idle(&mut self) -> Outcome {
        let inside = self.begin();
        self.settle(inside, None)
    }
}
