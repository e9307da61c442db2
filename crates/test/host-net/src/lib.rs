//! A lossy Ethernet in virtual time, an independent peer and a DHCP server on it, and frames that are wrong.
//!
//! **Paper.** None.
//!
//! **Invariants.** The same seed gives the same run. A frame is delivered whole, with a bit flipped, twice or not at all, and
//! never before its delay has passed.
//!
//! **Sharing.** None: ports of one wire stay on one thread.
//!
//! **Testing.** The tests of `libos/net` use it.
#![forbid(unsafe_code)]

mod dhcp;
mod malformed;
mod peer;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

pub use dhcp::{Asked, DhcpServer, Mood};
pub use malformed::{Malformed, Station};
pub use peer::Peer;

/// What a wire does to frames; each of a thousand, on its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Frames lost.
    pub loss: u32,
    /// Frames delivered twice.
    pub duplication: u32,
    /// Frames delayed by up to eight times the usual.
    pub reordering: u32,
    /// Frames with one bit flipped.
    pub corruption: u32,
}

impl Faults {
    /// Every fault at so many of a thousand.
    #[must_use]
    pub fn all(each: u32) -> Self {
        Self { loss: each, duplication: each, reordering: each, corruption: each }
    }
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A generator.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit.max(1)
    }
}

/// Sorted by arrival; a number keeps the order of frames that arrive together.
type Flying = Reverse<(u64, u64, usize, Vec<u8>)>;

struct Medium {
    /// Microseconds.
    now: u64,
    delay: u64,
    faults: Faults,
    random: Random,
    sent: u64,
    flying: BinaryHeap<Flying>,
    arrived: Vec<VecDeque<Vec<u8>>>,
}

/// An Ethernet segment: what one port sends, every other receives.
#[derive(Clone)]
pub struct Wire(Rc<RefCell<Medium>>);

/// One station's end of a wire.
#[derive(Clone)]
pub struct Port {
    wire: Wire,
    number: usize,
}

impl Wire {
    /// A wire whose frames take `delay` microseconds.
    #[must_use]
    pub fn new(delay: u64, faults: Faults, seed: u64) -> Self {
        Self(Rc::new(RefCell::new(Medium {
            now: 0,
            delay,
            faults,
            random: Random::new(seed),
            sent: 0,
            flying: BinaryHeap::new(),
            arrived: Vec::new(),
        })))
    }

    /// Another station's port.
    #[must_use]
    pub fn port(&self) -> Port {
        let mut medium = self.0.borrow_mut();
        medium.arrived.push(VecDeque::new());
        Port { wire: self.clone(), number: medium.arrived.len() - 1 }
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.borrow().now
    }

    /// When the next frame arrives.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.0.borrow().flying.peek().map(|Reverse((at, ..))| *at)
    }

    /// Frames sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.0.borrow().sent
    }

    /// Changes what happens to frames from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// Moves time on to the next arrival or to `until`, whichever comes first.
    pub fn advance(&self, until: u64) {
        let mut medium = self.0.borrow_mut();
        let next = medium.flying.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
        medium.now = medium.now.max(next.min(until));
        let now = medium.now;
        while let Some(Reverse((at, ..))) = medium.flying.peek()
            && *at <= now
        {
            if let Some(Reverse((_, _, port, frame))) = medium.flying.pop() {
                medium.arrived[port].push_back(frame);
            }
        }
    }
}

impl Medium {
    fn happens(&mut self, of_thousand: u32) -> bool {
        of_thousand > 0 && self.random.below(1000) < u64::from(of_thousand)
    }

    fn fly(&mut self, to: usize, frame: &[u8]) {
        let faults = self.faults;
        let mut frame = frame.to_vec();
        if self.happens(faults.corruption) {
            let bit = self.random.below(frame.len() as u64 * 8) as usize;
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        let longer = if self.happens(faults.reordering) { self.random.below(8 * self.delay) } else { 0 };
        self.sent += 1;
        self.flying.push(Reverse((self.now + self.delay + longer, self.sent, to, frame)));
    }

    fn send(&mut self, from: usize, frame: &[u8]) {
        for to in (0..self.arrived.len()).filter(|to| *to != from) {
            let faults = self.faults;
            if self.happens(faults.loss) {
                continue;
            }
            if self.happens(faults.duplication) {
                self.fly(to, frame);
            }
            self.fly(to, frame);
        }
    }
}

impl Port {
    /// Sends one frame to every other port.
    pub fn send(&self, frame: &[u8]) {
        self.wire.0.borrow_mut().send(self.number, frame);
    }

    /// The oldest frame that has arrived.
    #[must_use]
    pub fn receive(&self) -> Option<Vec<u8>> {
        self.wire.0.borrow_mut().arrived[self.number].pop_front()
    }

    /// Whether a frame has arrived.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        !self.wire.0.borrow().arrived[self.number].is_empty()
    }
}
