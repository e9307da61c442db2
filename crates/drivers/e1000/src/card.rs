//! The driver as the kernel's device object has it.

use corey_kernel_hal::{CardCounts, Direction, Dma, Done, Filter, Mmio, NetworkCard};

use crate::driver::{Completion, E1000};
use crate::status::{Interrupts, Link};

/// A controller, and what it is called.
pub struct Named<M, D> {
    /// PCI vendor and device.
    model: (u16, u16),
    driver: E1000<M, D>,
    doorbells: u64,
    /// What its counters said when it was last started: frames missed, errors.
    before: (u64, u64),
    /// Which of the machine's interrupt lines it pulls, if that is known.
    line: Option<u8>,
}

impl<M: Mmio, D: Dma> Named<M, D> {
    /// A controller of `model`, stopped.
    pub const fn new(model: (u16, u16), driver: E1000<M, D>) -> Self {
        Self { model, driver, doorbells: 0, before: (0, 0), line: None }
    }

    /// It pulls line `line` of the machine.
    pub fn set_line(&mut self, line: u8) {
        self.line = Some(line);
    }

    /// The driver, for who seeks the place of its line.
    pub fn driver(&mut self) -> &mut E1000<M, D> {
        &mut self.driver
    }

    fn counted(&mut self) -> (u64, u64) {
        self.driver
            .statistics()
            .map_or((0, 0), |all| (all.missed, all.crc_errors + all.receive_errors + all.length_errors))
    }
}

impl<M: Mmio + Send, D: Dma + Send> NetworkCard for Named<M, D> {
    fn model(&self) -> (u16, u16) {
        self.model
    }

    fn address(&self) -> [u8; 6] {
        self.driver.mac().map_or([0; 6], |address| address.0)
    }

    fn speed(&self) -> u16 {
        match self.driver.link() {
            Ok(Link::Up { speed, .. }) => speed,
            Ok(Link::Down) | Err(_) => 0,
        }
    }

    fn room(&self, direction: Direction) -> u16 {
        let room = match direction {
            Direction::Receive => self.driver.receive_room(),
            Direction::Transmit => self.driver.transmit_room(),
        };
        u16::try_from(room).unwrap_or(u16::MAX)
    }

    fn start(&mut self, wait: &mut dyn FnMut(u32)) -> bool {
        self.doorbells = 0;
        let started = self.driver.start(wait).is_ok();
        self.before = self.counted();
        started
    }

    fn stop(&mut self, wait: &mut dyn FnMut(u32)) -> bool {
        self.driver.quiesce(wait, &mut |_| ()).is_ok()
    }

    #[inline]
    fn post(&mut self, direction: Direction, address: u64, length: u16, cookie: u16) -> bool {
        let cookie = u64::from(cookie);
        match direction {
            Direction::Receive => self.driver.post_receive(address, cookie),
            Direction::Transmit => self.driver.post_transmit(address, length, cookie),
        }
        .is_ok()
    }

    #[inline]
    fn ring(&mut self) {
        self.doorbells += self.driver.ring_doorbells();
    }

    #[inline]
    fn poll(&mut self, most: usize, each: &mut dyn FnMut(Done)) {
        self.driver.poll(most, |done| {
            let (cookie, length, failed) = match done {
                Completion::Received { cookie, frame: Ok(length) } => (cookie, length, false),
                Completion::Received { cookie, frame: Err(_) } => (cookie, 0, true),
                Completion::Sent { cookie } => (cookie, 0, false),
            };
            // It came from `post`.
            each(Done { cookie: cookie as u16, length, failed });
        });
    }

    fn listen(&mut self, filter: Filter) {
        self.driver.set_filter(filter);
    }

    fn line(&self) -> Option<u8> {
        self.line
    }

    fn arm(&mut self) {
        // What happened so far is found by who polls now. A card that is gone interrupts nobody.
        let _ = self.driver.interrupt_cause();
        self.driver.set_interrupts(Interrupts::On);
    }

    fn disarm(&mut self) {
        self.driver.set_interrupts(Interrupts::Off);
    }

    fn counts(&mut self) -> CardCounts {
        let (missed, errors) = self.counted();
        CardCounts {
            missed: missed.saturating_sub(self.before.0),
            errors: errors.saturating_sub(self.before.1),
            doorbells: self.doorbells,
        }
    }
}
