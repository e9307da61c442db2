//! A driver, its card, and the memory between them.
#![allow(dead_code, reason = "each test uses what it needs")]

use corey_drivers_e1000::{Completion, E1000, QuiesceError};
use corey_kernel_hal::Mmio;
use corey_test_e1000_model::{Card, Fault, Memory, Ring};
use std::cell::Cell;

pub(crate) const PAGE: u64 = 4096;
const RECEIVE_RING: u64 = 0x1000;
const TRANSMIT_RING: u64 = 0x3000;
/// The first of the pages for buffers.
const PAGES: u64 = 0x8000;

/// A driver with rings of `N`, and what surrounds it.
pub(crate) struct Rig<const N: usize> {
    pub(crate) memory: Memory,
    pub(crate) card: Card,
    pub(crate) nic: E1000<Card, Ring, N>,
}

impl<const N: usize> Rig<N> {
    /// A card that was not started, with room for `pages` buffers.
    pub(crate) fn new(pages: usize) -> Self {
        let memory = Memory::new(PAGES as usize + pages * PAGE as usize);
        let card = Card::new(memory.clone());
        let nic =
            E1000::new(card.clone(), memory.ring(RECEIVE_RING, 2 * N), memory.ring(TRANSMIT_RING, 2 * N));
        Self { memory, card, nic }
    }

    /// The same, started.
    pub(crate) fn started(pages: usize) -> Self {
        let mut rig = Self::new(pages);
        rig.start();
        rig
    }

    pub(crate) fn start(&mut self) {
        let card = self.card.clone();
        self.nic.start(&mut |time| card.elapse(time)).expect("a card that is whole starts");
    }

    pub(crate) fn quiesce(&mut self) -> Result<Vec<u64>, QuiesceError> {
        let (card, mut cookies) = (self.card.clone(), Vec::new());
        self.nic.quiesce(&mut |time| card.elapse(time), &mut |cookie| cookies.push(cookie))?;
        Ok(cookies)
    }

    /// Everything that is done, `budget` of each kind at most.
    pub(crate) fn poll(&mut self, budget: usize) -> Vec<Completion> {
        let mut done = Vec::new();
        let count = self.nic.poll(budget, |completion| done.push(completion));
        assert_eq!(count, done.len());
        done
    }

    /// Posts the buffer in page `page`, with its number as the cookie.
    pub(crate) fn post_receive(&mut self, page: u64) {
        self.nic.post_receive(buffer(page), page).expect("there is room");
    }

    /// Posts a frame from page `page`, with its number as the cookie.
    pub(crate) fn post_transmit(&mut self, page: u64, frame: &[u8]) {
        self.memory.fill(buffer(page), frame);
        self.nic.post_transmit(buffer(page), frame.len() as u16, page).expect("there is room");
    }
}

/// A card that goes after some accesses.
pub(crate) struct Leaving {
    pub(crate) card: Card,
    pub(crate) left: Cell<u32>,
}

impl Leaving {
    /// One that stays, for now.
    pub(crate) fn new(card: Card) -> Self {
        Self { card, left: Cell::new(u32::MAX) }
    }

    fn one(&self) {
        match self.left.get() {
            0 => self.card.inject(Fault::Gone),
            left => self.left.set(left - 1),
        }
    }
}

impl Mmio for &Leaving {
    fn read(&self, offset: u32) -> u32 {
        self.one();
        self.card.read(offset)
    }

    fn write(&self, offset: u32, value: u32) {
        self.one();
        self.card.write(offset, value);
    }
}

/// Where the data of page `page` begins: behind a header.
pub(crate) fn buffer(page: u64) -> u64 {
    PAGES + page * PAGE + 64
}

/// A broadcast of `length` bytes, at least 15, that differs from others by `seed`, at its start and at its end.
pub(crate) fn frame(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend(seed.to_le_bytes());
    bytes.resize(length - 1, seed as u8);
    bytes.push(!seed as u8);
    bytes
}

/// A frame as it is on the wire.
pub(crate) fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(60), 0);
    frame
}

pub(crate) fn received(cookie: u64, length: u16) -> Completion {
    Completion::Received { cookie, frame: Ok(length) }
}
