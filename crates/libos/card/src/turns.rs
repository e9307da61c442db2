//! Which buffer is whose: frames are counted, and each has the buffer of its number.

use corey_abi::buffer_op;

/// Buffers for frames to come.
pub(crate) const RECEIVE: u64 = 128;
/// Buffers for frames to send.
pub(crate) const TRANSMIT: u64 = 128;
/// Frames sent that are looked for together.
const BLOCK: u64 = 16;

/// A frame's buffer, and the mark that is there when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) buffer: u64,
    pub(crate) mark: u64,
}

impl Place {
    /// That of a frame to come, counted from 0.
    #[inline(always)]
    pub(crate) const fn to_come(frame: u64) -> Self {
        // A fresh page has no mark.
        Self { buffer: frame % RECEIVE, mark: (frame / RECEIVE + 1) & buffer_op::MARK }
    }

    /// That of a frame to send.
    #[inline(always)]
    pub(crate) const fn to_send(frame: u64) -> Self {
        Self { buffer: RECEIVE + frame % TRANSMIT, mark: (frame / TRANSMIT + 1) & buffer_op::MARK }
    }
}

/// How far a card is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turns {
    /// The next frame to come.
    came: u64,
    /// Frames sent, and those of which it is known that they are: whole blocks.
    sent: u64,
    done: u64,
    /// A frame before this one was refused after it had been posted, and so came back before others: each is looked for.
    refused: u64,
}

impl Turns {
    /// Where the next frame comes.
    #[inline(always)]
    pub(crate) const fn next(&self) -> Place {
        Place::to_come(self.came)
    }

    /// The next frame came; what its buffer is for now.
    #[inline(always)]
    pub(crate) const fn take(&mut self) -> Place {
        let again = Place::to_come(self.came + RECEIVE);
        self.came += 1;
        again
    }

    /// Where a frame can be written now, if there is a buffer; `is_back` says whether one was sent.
    #[inline(always)]
    pub(crate) fn free(&mut self, is_back: impl Fn(Place) -> bool) -> Option<Place> {
        // Half of the buffers may be on their way before anybody looks.
        if self.sent - self.done >= TRANSMIT / 2 {
            self.look(is_back);
        }
        (self.sent - self.done < TRANSMIT).then(|| Place::to_send(self.sent))
    }

    /// Takes back a block of buffers, if its last one, and so all of it, was sent.
    fn look(&mut self, is_back: impl Fn(Place) -> bool) {
        let end = self.done + BLOCK;
        let careful = self.done < self.refused;
        let first = if careful { self.done } else { end - 1 };
        if (first..end).rev().all(|frame| is_back(Place::to_send(frame))) {
            self.done = end;
        }
    }

    /// The buffer that [`Turns::free`] gave was posted.
    #[inline(always)]
    pub(crate) const fn send(&mut self) {
        self.sent += 1;
    }

    /// All buffers came back, whatever was going on: rounds begin whose marks nobody gave yet. The buffers for frames to come.
    #[cold]
    pub(crate) fn restart(&mut self) -> impl Iterator<Item = Place> + use<> {
        let came = (self.came / RECEIVE + 2) * RECEIVE;
        let sent = (self.sent / TRANSMIT + 2) * TRANSMIT;
        *self = Self { came, sent, done: sent, refused: 0 };
        (came..came + RECEIVE).map(Place::to_come)
    }

    /// What a buffer was posted for that was refused then.
    #[cold]
    pub(crate) const fn refuse(&mut self, buffer: u64) -> Place {
        if buffer < RECEIVE {
            // The first from the next one on that has this buffer.
            Place::to_come(self.came + (buffer + RECEIVE - self.came % RECEIVE) % RECEIVE)
        } else {
            self.refused = self.sent;
            Place::to_send(self.done + (buffer - self.done % TRANSMIT) % TRANSMIT)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// A card and its kernel: what was posted, in order, and what stands in the headers.
    struct Kernel {
        posted: VecDeque<Place>,
        marks: Vec<u64>,
    }

    impl Kernel {
        fn new() -> Self {
            Self { posted: VecDeque::new(), marks: vec![0; (RECEIVE + TRANSMIT) as usize] }
        }

        fn is_back(&self, place: Place) -> bool {
            self.marks[place.buffer as usize] == place.mark
        }

        fn post(&mut self, place: Place) {
            assert!(
                self.posted.iter().all(|other| other.buffer != place.buffer),
                "it is on its way: {place:?}"
            );
            assert!(!self.is_back(place), "a mark of an earlier round: {place:?}");
            self.posted.push_back(place);
        }

        fn give_back(&mut self, place: Place) {
            self.marks[place.buffer as usize] = place.mark;
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Post,
        GiveBack(usize),
        /// Of those that are posted, this one is refused.
        Refuse(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            40 => Just(Step::Post),
            4 => (1..40_usize).prop_map(Step::GiveBack),
            1 => (0..200_usize).prop_map(Step::Refuse),
        ];
        prop::collection::vec(step, 0..2_000)
    }

    proptest! {
        #[test]
        fn no_buffer_is_written_while_it_is_sent_and_none_is_lost(steps in steps(), start in 0..3_u64) {
            let mut kernel = Kernel::new();
            // Near the end of the marks, too.
            let first = [0, TRANSMIT * (buffer_op::MARK - 1), 7 * BLOCK][start as usize];
            let mut turns = Turns { sent: first, done: first, ..Turns::default() };
            if first != 0 {
                (first.saturating_sub(TRANSMIT)..first).map(Place::to_send).for_each(|place| kernel.give_back(place));
            }
            for step in steps {
                match step {
                    Step::Post => {
                        if let Some(place) = turns.free(|place| kernel.is_back(place)) {
                            kernel.post(place);
                            turns.send();
                        }
                    }
                    Step::GiveBack(count) => {
                        for _ in 0..count {
                            let Some(place) = kernel.posted.pop_front() else { break };
                            kernel.give_back(place);
                        }
                    }
                    Step::Refuse(at) => {
                        if let Some(place) = kernel.posted.remove(at) {
                            prop_assert_eq!(turns.refuse(place.buffer), place);
                            kernel.give_back(place);
                        }
                    }
                }
            }
            while let Some(place) = kernel.posted.pop_front() {
                kernel.give_back(place);
            }
            // All but a block's rest can be used again.
            for _ in 0..TRANSMIT / 2 {
                let place = turns.free(|place| kernel.is_back(place));
                prop_assert!(place.is_some());
                kernel.post(place.unwrap());
                turns.send();
            }
        }

        #[test]
        fn after_a_reset_no_mark_is_an_old_one(sent in 0..1_000_u64, came in 0..1_000_u64) {
            let mut kernel = Kernel::new();
            (0..=sent).map(Place::to_send).for_each(|place| kernel.give_back(place));
            (0..came + RECEIVE).map(Place::to_come).for_each(|place| kernel.give_back(place));
            let mut turns = Turns { came, sent, done: sent / BLOCK * BLOCK, refused: 0 };
            turns.restart().for_each(|place| kernel.post(place));
            prop_assert!(!kernel.is_back(turns.next()));
            for _ in 0..TRANSMIT {
                let place = turns.free(|place| kernel.is_back(place));
                kernel.post(place.unwrap());
                turns.send();
            }
        }

        #[test]
        fn a_frame_that_came_or_was_refused_comes_round_again(refused in prop::collection::vec(0..1_000_u64, 0..50)) {
            let mut kernel = Kernel::new();
            let mut turns = Turns::default();
            (0..RECEIVE).for_each(|frame| kernel.post(Place::to_come(frame)));
            for frame in 0..1_000 {
                for _ in refused.iter().filter(|at| **at == frame) {
                    if let Some(place) = kernel.posted.remove((frame % 100) as usize) {
                        prop_assert_eq!(turns.refuse(place.buffer), place);
                        kernel.give_back(place);
                    }
                }
                while !kernel.is_back(turns.next()) {
                    let place = kernel.posted.pop_front();
                    prop_assert!(place.is_some(), "none is on its way, and it waits");
                    kernel.give_back(place.unwrap());
                }
                kernel.post(turns.take());
            }
        }
    }
}
