//! The program on a core, as a test plays it.

use crate::core_loop::registers;
use crate::platform::FakePlatform;
use corey_abi::{Client, Error, Transport, Word, from_registers};
use corey_kernel_hal::{Cause, Fault, Outcome, Platform, Registers, Traps, UserContext, UserFault};

/// The program's context ended, or was replaced: what it asked for has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left;

/// A running program.
pub struct User<'a> {
    core: &'a mut dyn Traps,
    platform: FakePlatform,
    context: UserContext,
    /// What an upcall changes.
    registers: Registers,
    left: Option<Outcome>,
}

impl<'a> User<'a> {
    pub(crate) fn new(core: &'a mut dyn Traps, platform: FakePlatform, context: UserContext) -> Self {
        let registers = Registers { rip: context.entry, rsp: context.stack, ..registers() };
        Self { core, platform, context, registers, left: None }
    }

    pub(crate) fn take_left(&mut self) -> Option<Outcome> {
        self.left.take()
    }

    /// What the kernel entered: entry, stack, arguments.
    #[must_use]
    pub fn context(&self) -> UserContext {
        self.context
    }

    /// Instruction and stack pointer, where the last upcall led; then puts `back` there, as a return does.
    pub fn follow_upcall(&mut self, back: (u64, u64)) -> (u64, u64) {
        let now = (self.registers.rip, self.registers.rsp);
        (self.registers.rip, self.registers.rsp) = back;
        now
    }

    /// Whether the context is over.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left.is_some()
    }

    /// This core's hardware.
    #[must_use]
    pub fn platform(&self) -> &FakePlatform {
        &self.platform
    }

    fn follow(&mut self, outcome: Outcome) -> Result<[u64; 2], Left> {
        match outcome {
            Outcome::Resume(words) => Ok(words),
            other => {
                self.left = Some(other);
                Err(Left)
            }
        }
    }

    /// Takes a pending interrupt, as user mode does between two instructions.
    pub fn interrupts(&mut self) {
        let core = self.platform.core();
        if self.left.is_none() && self.platform.hardware().take_interrupt(core) {
            let outcome = self.core.interrupt(&mut self.registers);
            // The caller sees by `has_left` where that led.
            let _ = self.follow(outcome);
        }
        if self.left.is_none() && self.platform.hardware().take_tick(core) {
            let outcome = self.core.tick(&mut self.registers);
            let _ = self.follow(outcome);
        }
    }

    /// A raw system call. An error that the manual does not name for it fails the test.
    ///
    /// # Errors
    ///
    /// [`Left`].
    pub fn call_raw(&mut self, number: u64, args: [u64; 6]) -> Result<[u64; 2], Left> {
        self.interrupts();
        if self.left.is_some() {
            return Err(Left);
        }
        let outcome = self.core.syscall(number, args);
        let words = self.follow(outcome)?;
        if let Err(error) = from_registers(words) {
            self.platform.hardware().refused(number, error);
        }
        Ok(words)
    }

    /// The typed calls.
    pub fn sys(&mut self) -> Client<&mut Self> {
        Client(self)
    }

    fn access<R>(
        &mut self,
        cause: Cause,
        make: impl Fn(&FakePlatform) -> Result<R, UserFault>,
    ) -> Result<R, Left> {
        loop {
            self.interrupts();
            if self.left.is_some() {
                return Err(Left);
            }
            self.platform.hardware().failure.check();
            match make(&self.platform) {
                Ok(value) => return Ok(value),
                Err(UserFault { address }) => {
                    let before = self.registers.rip;
                    let fault = Fault { address, cause, code: 4 };
                    if let Some(outcome) = self.core.page_fault(fault, &mut self.registers) {
                        self.follow(outcome)?;
                    }
                    if self.registers.rip != before {
                        // The program is in its handler now.
                        return Err(Left);
                    }
                }
            }
        }
    }

    /// A load, with the kernel's help.
    ///
    /// # Errors
    ///
    /// [`Left`] when the fault ended the program.
    pub fn read(&mut self, address: u64) -> Result<u64, Left> {
        self.access(Cause::Read, |platform| platform.user_read(address))
    }

    /// A store, with the kernel's help.
    ///
    /// # Errors
    ///
    /// As [`User::read`].
    pub fn write(&mut self, address: u64, value: u64) -> Result<(), Left> {
        self.access(Cause::Write, |platform| platform.user_write(address, value))
    }

    /// Stores words from `address` on.
    ///
    /// # Errors
    ///
    /// As [`User::read`].
    pub fn write_all(&mut self, address: u64, words: &[u64]) -> Result<(), Left> {
        (address..).step_by(8).zip(words).try_for_each(|(at, word)| self.write(at, *word))
    }
}

impl Transport for &mut User<'_> {
    fn call<const N: usize>(&mut self, number: u64, args: [Word; 6]) -> Result<[Word; 2], Error> {
        match self.call_raw(number, args) {
            Ok(words) => from_registers(words),
            // The program is over; tests ask `has_left`.
            Err(Left) => Ok([0; 2]),
        }
    }
}
