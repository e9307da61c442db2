//! 100,000 random operations and every fault, against queues of frames.

mod rig;

use corey_drivers_e1000::{Completion, Interrupts, QuiesceError, Refused, StartError};
use corey_test_e1000_model::{Delivery, Fault, Speed};
use rig::{Rig, buffer, frame, padded};
use std::collections::VecDeque;

const DD: u64 = 1 << 32;
const EOP: u64 = 1 << 33;

/// Numbers from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % below
    }
}

/// What must be true of driver and card, in queues.
struct Walk<const N: usize> {
    rig: Rig<N>,
    random: Random,
    /// Pages that nobody has.
    pages: Vec<u64>,
    /// Cookies of receive buffers with the driver.
    receiving: VecDeque<u64>,
    /// Cookies and frames with the driver, to be sent.
    transmitting: VecDeque<(u64, Vec<u8>)>,
    /// How many of these, from the front, have been on the wire.
    on_wire: usize,
    /// Frames that the card has accepted.
    arrived: VecDeque<Vec<u8>>,
    /// Frames that the card moved to memory, with the descriptor's second word; `None`: not written.
    moved: VecDeque<(Vec<u8>, Option<u64>)>,
    /// The last descriptor did not end its frame.
    in_piece: bool,
    /// A report or a doorbell is missing, so something does not come back before a restart.
    stuck: bool,
    fault: Option<Fault>,
    link: bool,
    /// Received, sent, damaged since the start.
    counted: [u64; 3],
    /// The card's part of that cannot be compared: it was gone.
    lost_count: bool,
    completions: u64,
    restarts: u64,
}

impl<const N: usize> Walk<N> {
    /// Enough to fill both rings, and some more.
    const PAGES: u64 = 2 * N as u64 + 20;

    fn new(seed: u64) -> Self {
        Self {
            rig: Rig::started(Self::PAGES as usize),
            random: Random(seed),
            pages: (0..Self::PAGES).collect(),
            receiving: VecDeque::new(),
            transmitting: VecDeque::new(),
            on_wire: 0,
            arrived: VecDeque::new(),
            moved: VecDeque::new(),
            in_piece: false,
            stuck: false,
            fault: None,
            link: true,
            counted: [0; 3],
            lost_count: false,
            completions: 0,
            restarts: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..22 => self.several(Self::post_receive),
            22..40 => self.several(Self::post_transmit),
            40..52 => _ = self.rig.nic.ring_doorbells(),
            52..64 => self.several(Self::deliver),
            64..73 => self.several(|walk| _ = walk.card_receives()),
            73..82 => self.several(|walk| _ = walk.card_transmits()),
            82..93 => {
                let budget = self.random.below(N as u64) as usize;
                self.poll(budget);
            }
            93 => self.count(),
            94 => {
                let interrupts = if self.random.below(2) == 0 { Interrupts::On } else { Interrupts::Off };
                self.rig.nic.set_interrupts(interrupts);
                assert!(interrupts == Interrupts::On || !self.rig.card.interrupts());
                assert_eq!(self.rig.nic.interrupt_cause().is_err(), self.fault == Some(Fault::Gone));
            }
            95 => {
                self.link = !self.link;
                self.rig.card.set_link(self.link.then_some(Speed::Gigabit));
            }
            96 => self.catch_up(),
            97 => self.rig.card.audit(),
            98 => {
                if self.stuck || self.random.below(10) == 0 {
                    self.restart();
                }
            }
            _ => self.inject(),
        }
    }

    /// Up to half a ring of the same.
    fn several(&mut self, what: impl Fn(&mut Self)) {
        (0..1 + self.random.below(N as u64 / 2)).for_each(|_| what(self));
    }

    fn post_receive(&mut self) {
        let room = N - 1 - self.receiving.len();
        assert_eq!(self.rig.nic.receive_room(), room);
        let Some(page) = self.pages.pop() else { return };
        let result = self.rig.nic.post_receive(buffer(page), page);
        if room == 0 {
            assert_eq!(result, Err(Refused::Full));
            self.pages.push(page);
        } else {
            assert_eq!(result, Ok(()));
            self.receiving.push_back(page);
        }
    }

    fn post_transmit(&mut self) {
        let room = N - 1 - self.transmitting.len();
        assert_eq!(self.rig.nic.transmit_room(), room);
        let Some(page) = self.pages.pop() else { return };
        let frame = frame(17 + self.random.below(1498) as usize, self.random.below(u64::MAX));
        self.rig.memory.fill(buffer(page), &frame);
        let result = self.rig.nic.post_transmit(buffer(page), frame.len() as u16, page);
        if room == 0 {
            assert_eq!(result, Err(Refused::Full));
            self.pages.push(page);
        } else {
            assert_eq!(result, Ok(()));
            self.transmitting.push_back((page, frame));
        }
    }

    fn deliver(&mut self) {
        let frame = frame(60 + self.random.below(1459) as usize, self.random.below(u64::MAX));
        if self.rig.card.deliver(&frame) == Delivery::Accepted {
            self.counted[0] += 1;
            self.arrived.push_back(frame);
        }
    }

    fn card_receives(&mut self) -> bool {
        let moves = self.rig.card.step_receive();
        if moves {
            let frame = self.arrived.pop_front().expect("it had accepted one");
            let length = frame.len() as u64;
            let word = match self.fault {
                Some(Fault::Silent) => None,
                Some(Fault::Garbage(word)) => Some(word),
                Some(Fault::Length(length)) => Some(DD | EOP | u64::from(length)),
                Some(Fault::Errors(errors)) => Some(DD | EOP | length | u64::from(errors) << 40),
                Some(Fault::NoEnd) => Some(DD | length),
                _ => Some(DD | EOP | length),
            };
            self.stuck |= word.is_none_or(|word| word & DD == 0);
            self.moved.push_back((frame, word));
        }
        moves
    }

    fn card_transmits(&mut self) -> bool {
        let moves = self.rig.card.step_transmit();
        for sent in self.rig.card.take_sent() {
            self.counted[1] += 1;
            assert_eq!(sent, padded(self.transmitting[self.on_wire].1.clone()));
            self.on_wire += 1;
        }
        // Not every descriptor reports, so this may call one stuck that is not.
        self.stuck |= moves
            && match self.fault {
                Some(Fault::Silent) => true,
                Some(Fault::Garbage(word)) => word & DD == 0,
                _ => false,
            };
        moves
    }

    fn poll(&mut self, budget: usize) {
        let _ = self.rig.card.take_accesses();
        let done = self.rig.poll(budget);
        assert_eq!(self.rig.card.take_accesses(), Default::default(), "no register is touched");
        let received = done.iter().filter(|done| matches!(done, Completion::Received { .. })).count();
        assert!(received <= budget && done.len() - received <= budget);
        self.completions += done.len() as u64;
        for done in done {
            match done {
                Completion::Received { cookie, frame } => {
                    assert_eq!(Some(cookie), self.receiving.pop_front());
                    let (sent, word) = self.moved.pop_front().expect("the card wrote it");
                    self.received(cookie, frame.ok(), &sent, word.expect("it said so"));
                    self.pages.push(cookie);
                }
                Completion::Sent { cookie } => {
                    assert_eq!(self.transmitting.pop_front().map(|(posted, _)| posted), Some(cookie));
                    self.on_wire = self.on_wire.checked_sub(1).expect("not before it was on the wire");
                    self.pages.push(cookie);
                }
            }
        }
    }

    /// The driver believes of a descriptor what can be true.
    fn received(&mut self, page: u64, length: Option<u16>, sent: &[u8], word: u64) {
        let piece = std::mem::replace(&mut self.in_piece, word & EOP == 0) || self.in_piece;
        let claimed = (word & 0xffff) as u16;
        let good = !piece && word >> 40 & 0xff == 0 && (1..=1518).contains(&claimed);
        assert_eq!(length, good.then_some(claimed), "word {word:#x}");
        self.counted[2] += u64::from(!good);
        assert_eq!(self.rig.memory.bytes(buffer(page), sent.len()), sent);
    }

    fn count(&mut self) {
        let Ok(seen) = self.rig.nic.statistics() else {
            assert_eq!(self.fault, Some(Fault::Gone));
            return;
        };
        assert_eq!(seen.damaged, self.counted[2]);
        if !self.lost_count {
            assert_eq!([seen.received, seen.sent], self.counted[..2]);
        }
    }

    /// A card that is whole leaves nothing undone.
    fn catch_up(&mut self) {
        self.rig.nic.ring_doorbells();
        while self.card_receives() | self.card_transmits() {}
        self.poll(usize::MAX);
        if self.fault.is_none() && !self.stuck {
            assert!(self.receiving.is_empty() || self.arrived.is_empty());
            assert!(self.transmitting.is_empty() || !self.link);
        }
    }

    fn inject(&mut self) {
        if self.random.below(3) > 0 {
            self.rig.card.heal();
            self.fault = None;
            return;
        }
        let dd = DD * self.random.below(4).min(1);
        let fault = match self.random.below(11) {
            0 => Fault::Gone,
            1 => Fault::StuckReset,
            2 => Fault::KeepsRunning,
            3 => Fault::NoEeprom,
            4 => Fault::Silent,
            // Sometimes one that looks well.
            5 if self.random.below(2) == 0 => Fault::Garbage(self.random.below(4096) | EOP | dd),
            5 => Fault::Garbage(self.random.below(u64::MAX) << 16 | dd),
            6 => Fault::Length(self.random.below(65536) as u16),
            7 => Fault::Errors(self.random.below(256) as u8),
            8 => Fault::NotLoaded,
            9 => Fault::NoReset,
            _ => Fault::NoEnd,
        };
        self.rig.card.inject(fault);
        self.fault = Some(fault);
        // It may miss a doorbell, too.
        self.lost_count |= fault == Fault::Gone;
        self.stuck |= fault == Fault::Gone;
        // What is stuck is not known before a restart; one comes soon.
        if self.random.below(2) == 0 {
            self.restart();
        }
    }

    fn restart(&mut self) {
        let expected: Vec<_> =
            self.receiving.iter().copied().chain(self.transmitting.iter().map(|(page, _)| *page)).collect();
        let cookies = match self.rig.quiesce() {
            Ok(cookies) => cookies,
            Err(error) => {
                let cause = match error {
                    QuiesceError::Gone => Fault::Gone,
                    QuiesceError::Reset => Fault::StuckReset,
                };
                assert_eq!(self.fault, Some(cause));
                // The bus is taken from it.
                self.rig.card.inject(Fault::Gone);
                self.lost_count = true;
                let mut cookies = Vec::new();
                self.rig.nic.give_back(&mut |cookie| cookies.push(cookie));
                cookies
            }
        };
        assert_eq!(cookies, expected, "each once, in order");
        self.pages.extend(cookies);
        self.pages.sort_unstable();
        assert_eq!(self.pages, (0..Self::PAGES).collect::<Vec<_>>());

        let writes = self.rig.memory.card_writes();
        assert_eq!(self.rig.card.deliver(&frame(60, 1)), Delivery::Deaf);
        self.rig.card.settle();
        self.rig.card.elapse(1_000_000);
        self.rig.card.settle();
        assert_eq!(self.rig.memory.card_writes(), writes, "not a byte after it was stopped");
        assert!(self.rig.card.take_sent().is_empty());
        assert!(self.rig.poll(usize::MAX).is_empty());

        if self.fault == Some(Fault::NoEeprom) {
            let card = self.rig.card.clone();
            assert_eq!(self.rig.nic.start(&mut |time| card.elapse(time)), Err(StartError::Address));
        }
        // Frames that the card has in itself; no descriptor is left to it in any case.
        let kept = self.fault == Some(Fault::NoReset);
        if !kept && self.fault != Some(Fault::NotLoaded) {
            self.rig.card.heal();
        }
        self.rig.start();
        self.rig.card.heal();
        self.receiving.clear();
        self.transmitting.clear();
        if !kept {
            self.arrived.clear();
        }
        self.moved.clear();
        self.on_wire = 0;
        (self.in_piece, self.stuck, self.fault) = (false, false, None);
        if std::mem::take(&mut self.lost_count) {
            let seen = self.rig.nic.statistics().expect("it is whole");
            self.counted = [seen.received, seen.sent, seen.damaged];
        }
        self.restarts += 1;
    }
}

/// 50,000 operations with rings of `N`.
fn walk<const N: usize>() {
    let (mut completions, mut restarts) = (0, 0);
    for seed in 1..=10 {
        let mut walk = Walk::<N>::new(seed);
        (0..5_000).for_each(|_| walk.step());
        walk.restart();
        completions += walk.completions;
        restarts += walk.restarts;
    }
    assert!(completions > 5_000, "{completions} buffers came back");
    assert!(restarts > 100, "{restarts} restarts");
}

#[test]
fn small_rings_that_are_often_full_lose_no_frame_and_no_cookie() {
    walk::<8>();
}

#[test]
fn rings_with_several_reports_in_a_batch_lose_no_frame_and_no_cookie() {
    walk::<128>();
}
