//! [`Core`]: one core's kernel, as the entry code sees it.

use crate::gate::Gate;
use crate::poller::Poller;
use crate::system::System;
use crate::upcall::Event;
use crate::waiting::Waiting;
use corey_abi::{TICK_VECTOR, dispatch, reason};
use corey_kernel_atree::fault;
use corey_kernel_hal::{Cause, Fault, Outcome, Platform, Registers, Traps, UserContext};
use corey_kernel_object::{Ctx, Entered};
use corey_kernel_pcore::{Current, Ending, Report, Request};
use corey_kernel_share::Authority;

/// Vector of a page fault, in reports.
const PAGE_FAULT: u32 = 14;

/// Times that a fault without memory is tried again while memory waits in limbo.
const STARVED_TURNS: usize = 8;

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
    /// A run was started here while shares of the one before were dropped: it may have some of them, too.
    pub(crate) reheld: bool,
    /// Set when a run begins at this exit.
    pub(crate) enter: Option<UserContext>,
    /// What the running program waits for.
    pub(crate) waiting: Option<Waiting>,
    /// What it polls as a kernel core.
    pub(crate) poller: Poller,
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
            reheld: false,
            enter: None,
            waiting: None,
            poller: Poller::default(),
        }
    }

    /// Leaves the kernel; the short way when nothing was noted and no message waits.
    #[inline(always)]
    fn finish(&mut self, inside: Entered<'static>, words: [u64; 2]) -> Outcome {
        if self.ctx.local.attention || self.ctx.local.own().mailbox.is_pending() {
            return self.settle(inside, Some(words));
        }
        self.ctx.leave(inside);
        Outcome::Resume(words)
    }

    /// A system call that found a message waiting. Apart, so that the common way saves no registers for it.
    #[cold]
    #[inline(never)]
    #[allow(
        clippy::too_many_arguments,
        reason = "words stay in the registers they came in: an array would be stored by every call"
    )]
    fn syscall_after_messages(
        a: u64,
        b: u64,
        c: u64,
        d: u64,
        e: u64,
        f: u64,
        number: u64,
        core: &mut Self,
        inside: Entered<'static>,
        outcome: &mut Outcome,
    ) {
        core.ctx.local.serve_mailbox();
        let words = dispatch(Gate { core, inside: &inside }, number, [a, b, c, d, e, f]);
        *outcome = core.settle(inside, Some(words));
    }

    /// A page fault that found a message waiting, or that nothing resolves.
    #[cold]
    #[inline(never)]
    fn page_fault_slow(
        &mut self,
        mut inside: Entered<'static>,
        address: u64,
        cause: Cause,
        code: u64,
        registers: &mut Registers,
    ) -> Option<Outcome> {
        self.ctx.local.serve_mailbox();
        let event = Event { vector: PAGE_FAULT.into(), error: code, address };
        for _ in 0..STARVED_TURNS {
            if fault(&mut self.ctx, &inside, address, cause) {
                return self.page_fault_settle(inside);
            }
            if !self.ctx.take_starved() {
                break;
            }
            // What would do may wait for this core to leave: outside for a moment, no pointer is kept.
            self.ctx.leave(inside);
            inside = self.ctx.enter();
        }
        if self.upcall(&inside, event, registers) {
            return self.page_fault_settle(inside);
        }
        Some(self.fail(inside, PAGE_FAULT, address, registers))
    }

    /// A page fault that is resolved, and something waits for the kernel exit.
    #[cold]
    #[inline(never)]
    fn page_fault_settle(&mut self, inside: Entered<'static>) -> Option<Outcome> {
        match self.settle(inside, Some([0; 2])) {
            Outcome::Resume(_) => None,
            other => Some(other),
        }
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
        let inside = self.ctx.enter();
        if self.ctx.local.own().mailbox.is_pending() {
            let [a, b, c, d, e, f] = args;
            let mut outcome = Outcome::Idle;
            Self::syscall_after_messages(a, b, c, d, e, f, number, self, inside, &mut outcome);
            return outcome;
        }
        let words = dispatch(Gate { core: self, inside: &inside }, number, args);
        self.finish(inside, words)
    }

    #[inline(always)]
    fn page_fault(&mut self, trap: Fault, registers: &mut Registers) -> Option<Outcome> {
        self.ctx.local.counters.faults += 1;
        let inside = self.ctx.enter();
        let waiting = self.ctx.local.own().mailbox.is_pending();
        if waiting || !fault(&mut self.ctx, &inside, trap.address, trap.cause) {
            return self.page_fault_slow(inside, trap.address, trap.cause, trap.code, registers);
        }
        if self.ctx.local.attention || self.ctx.local.own().mailbox.is_pending() {
            return self.page_fault_settle(inside);
        }
        self.ctx.leave(inside);
        None
    }

    fn exception(&mut self, vector: u8, code: u64, registers: &mut Registers) -> Outcome {
        let inside = self.ctx.enter();
        let event = Event { vector: vector.into(), error: code, address: 0 };
        if self.upcall(&inside, event, registers) {
            return self.finish(inside, [0; 2]);
        }
        let address = registers.rip;
        self.fail(inside, u32::from(vector), address, registers)
    }

    fn tick(&mut self, registers: &mut Registers) -> Outcome {
        let inside = self.ctx.enter();
        let over = self.current.is_some() && self.ctx.local.slice_is_over();
        self.ctx.local.set_timer(None);
        // One that was on its way when the slice changed is none.
        if !over || self.upcall(&inside, Event { vector: TICK_VECTOR, error: 0, address: 0 }, registers) {
            return self.finish(inside, [0; 2]);
        }
        self.ending =
            Some(Ending { reason: reason::FAULT, value: TICK_VECTOR as u32, address: registers.rip });
        self.settle(inside, None)
    }

    fn interrupt(&mut self, _: &mut Registers) -> Outcome {
        let inside = self.ctx.enter();
        self.ctx.local.serve_all();
        self.finish(inside, [0; 2])
    }

    fn idle(&mut self) -> Outcome {
        let inside = self.ctx.enter();
        // Something woke it, most likely a message.
        self.ctx.local.serve_all();
        self.settle(inside, None)
    }
}
