//! One timer for each connection, in a hierarchical timing wheel: to set, to cancel and to expire cost a constant.
//!
//! A tick is 1,024 µs. Level `n` has 64 slots of 64ⁿ ticks. An entry lies at the level of the highest digit (base 64) in which
//! its tick differs from the wheel's, and moves down when the wheel reaches its slot. So every entry of a level is due before
//! every entry of the levels above.

use alloc::vec::Vec;

use crate::time::Instant;

const NONE: u32 = u32::MAX;
const LEVELS: usize = 8;
const SLOTS: usize = 64;
const DIGIT: u32 = 6;
/// 48 bits of ticks: 9,000 years.
const LAST: u64 = (1 << (DIGIT * LEVELS as u32)) - 1;
const SHIFT: u32 = 10;
const IDLE: u16 = u16::MAX;

#[derive(Clone, Copy)]
struct Node {
    at: u64,
    next: u32,
    previous: u32,
    /// Level × 64 + slot, or [`IDLE`].
    place: u16,
}

const FRESH: Node = Node { at: u64::MAX, next: NONE, previous: NONE, place: IDLE };

pub(crate) struct Wheel {
    now: u64,
    heads: [u32; LEVELS * SLOTS],
    occupied: [u64; LEVELS],
    nodes: Vec<Node>,
}

impl Wheel {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            now: (now.micros() >> SHIFT).min(LAST),
            heads: [NONE; LEVELS * SLOTS],
            occupied: [0; LEVELS],
            nodes: Vec::new(),
        }
    }

    /// Makes room for timers `0..count`.
    pub(crate) fn grow(&mut self, count: usize) {
        if self.nodes.len() < count {
            self.nodes.resize(count, FRESH);
        }
    }

    /// Sees to it that timer `id` expires at `at` or before: an owner whose deadline moved on finds that out at the earlier
    /// expiry, for nothing in between.
    pub(crate) fn arm(&mut self, id: u32, at: Instant) {
        if at == Instant::NEVER {
            return;
        }
        // Rounded up: a timer is never early.
        let tick = (at.micros() >> SHIFT).saturating_add(1).max(self.now + 1).min(LAST);
        if self.node(id).at > tick {
            self.disarm(id);
            self.link(id, tick);
        }
    }

    pub(crate) fn disarm(&mut self, id: u32) {
        let node = self.node(id);
        if node.place == IDLE {
            return;
        }
        let place = usize::from(node.place);
        if node.next != NONE {
            self.node_mut(node.next).previous = node.previous;
        }
        if node.previous != NONE {
            self.node_mut(node.previous).next = node.next;
        } else if let Some(head) = self.heads.get_mut(place) {
            *head = node.next;
            if node.next == NONE
                && let Some(word) = self.occupied.get_mut(place / SLOTS)
            {
                *word &= !(1 << (place % SLOTS));
            }
        }
        *self.node_mut(id) = FRESH;
    }

    /// Takes one timer out that is due at `now`.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<u32> {
        let to = (now.micros() >> SHIFT).min(LAST);
        loop {
            let due = self.next_tick();
            if due > to {
                self.now = self.now.max(to);
                return None;
            }
            self.now = due;
            let level = self.occupied.iter().position(|word| *word != 0)?;
            let slot = (due >> (DIGIT * level as u32)) as usize % SLOTS;
            let head = self.heads.get(level * SLOTS + slot).copied().unwrap_or(NONE);
            if level == 0 {
                self.disarm(head);
                return Some(head);
            }
            self.cascade(head);
        }
    }

    /// When [`Wheel::expire`] may have something to do.
    pub(crate) fn next(&self) -> Instant {
        match self.next_tick() {
            u64::MAX => Instant::NEVER,
            tick => Instant::from_micros(tick << SHIFT),
        }
    }

    /// The first tick of the first slot with an entry.
    fn next_tick(&self) -> u64 {
        let Some((level, word)) = self.occupied.iter().enumerate().find(|(_, word)| **word != 0) else {
            return u64::MAX;
        };
        let shift = DIGIT * level as u32;
        let above = (self.now >> shift) & !(SLOTS as u64 - 1);
        (above + u64::from(word.trailing_zeros())) << shift
    }

    /// Spreads a slot's entries over the levels below.
    fn cascade(&mut self, mut id: u32) {
        while id != NONE {
            let Node { at, next, .. } = self.node(id);
            self.disarm(id);
            self.link(id, at);
            id = next;
        }
    }

    fn link(&mut self, id: u32, at: u64) {
        let differs = (at ^ self.now) | 1;
        let level = (63 - differs.leading_zeros()) / DIGIT;
        let slot = (at >> (DIGIT * level)) as usize % SLOTS;
        let place = level as usize * SLOTS + slot;
        let Some(head) = self.heads.get_mut(place) else { return };
        let next = core::mem::replace(head, id);
        if next != NONE {
            self.node_mut(next).previous = id;
        }
        *self.node_mut(id) = Node { at, next, previous: NONE, place: place as u16 };
        if let Some(word) = self.occupied.get_mut(level as usize) {
            *word |= 1 << slot;
        }
    }

    fn node(&self, id: u32) -> Node {
        self.nodes.get(id as usize).copied().unwrap_or(FRESH)
    }

    fn node_mut(&mut self, id: u32) -> &mut Node {
        self.nodes.get_mut(id as usize).expect("grow() came before the first use of an identifier")
    }

    /// Whether timer `id` expires soon enough for `deadline`.
    #[cfg(test)]
    pub(crate) fn is_in_time(&self, id: u32, deadline: Instant) -> bool {
        deadline == Instant::NEVER || self.node(id).at <= ((deadline.micros() >> SHIFT) + 1).max(self.now + 1)
    }

    /// How many timers are set, having walked every list.
    #[cfg(test)]
    pub(crate) fn check(&self) -> usize {
        let mut found = 0;
        for place in 0..LEVELS * SLOTS {
            let (mut id, mut previous) = (self.heads[place], NONE);
            assert_eq!(id != NONE, self.occupied[place / SLOTS] >> (place % SLOTS) & 1 == 1);
            while id != NONE {
                let node = self.node(id);
                assert_eq!((node.previous, usize::from(node.place)), (previous, place));
                assert!(node.at >= self.now);
                (previous, id) = (id, node.next);
                found += 1;
            }
        }
        assert_eq!(found, self.nodes.iter().filter(|node| node.place != IDLE).count());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn every_timer_expires_at_its_tick_and_in_order_however_far_time_jumps() {
        let mut random = Random::new([1, 2]);
        for round in 0..200_u64 {
            let start = Instant::from_micros(random.next() >> (20 + round % 30));
            let mut wheel = Wheel::new(start);
            wheel.grow(100);
            let mut deadlines: Vec<u64> = Vec::new();
            for id in 0..100 {
                let wait = random.next() >> (24 + random.below(40));
                deadlines.push(start.micros().saturating_add(wait));
                wheel.arm(id, Instant::from_micros(deadlines[id as usize]));
            }
            for id in (0..100).step_by(7) {
                wheel.disarm(id);
                deadlines[id as usize] = u64::MAX;
            }
            assert_eq!(wheel.check(), 85);
            let (mut now, mut left) = (start.micros(), 85);
            while left > 0 {
                let next = wheel.next().micros();
                now = if random.below(2) == 0 {
                    next.max(now)
                } else {
                    now + (random.next() >> (28 + random.below(30)))
                };
                while let Some(id) = wheel.expire(Instant::from_micros(now)) {
                    let deadline = core::mem::replace(&mut deadlines[id as usize], u64::MAX);
                    assert!(deadline <= now, "timer {id} is {} µs early", deadline - now);
                    left -= 1;
                }
                assert!(deadlines.iter().all(|at| *at == u64::MAX || at + 2048 > now), "one is late");
                assert_eq!(wheel.check(), left);
            }
            assert_eq!(wheel.next(), Instant::NEVER);
        }
    }

    #[test]
    fn arming_later_keeps_the_earlier_expiry() {
        let mut wheel = Wheel::new(Instant::default());
        wheel.grow(1);
        wheel.arm(0, Instant::from_micros(50_000));
        wheel.arm(0, Instant::from_micros(90_000));
        assert_eq!(wheel.expire(Instant::from_micros(40_000)), None);
        assert_eq!(wheel.expire(Instant::from_micros(60_000)), Some(0));
        assert_eq!(wheel.expire(Instant::from_micros(900_000)), None);
    }
}
