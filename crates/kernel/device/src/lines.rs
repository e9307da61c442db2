//! Interrupt lines of cards: which cores sleep for one, and which of them it wakes.
//!
//! A kernel core takes interrupts only while it sleeps, and lines are level-triggered: they interrupt for as long as any card on them
//! pulls. So nothing that happened before the sleep is missed:
//!
//! ```text
//! core     card: arm ── line: open ── look once more ─ nothing ── sleep ─ woken ── card: disarm ── line: close ─ end ─ polls
//! frame        │ before: seen by the look        │ after: the card pulls, the line waits, the sleep ends at once
//! ```
//!
//! Several cores may sleep for a line, each for cards of its own; it wakes one, the last that came. A core that is woken lets its own
//! cards go first, then closes the line, ends the interrupt, and opens it for another that sleeps: if that one's card still
//! pulls, it is woken, too. Each is woken once at most for another's card, and sleeps again only after it has polled for a while, so
//! there is no storm.

use core::fmt;
use corey_kernel_hal::{CoreId, Machine, Platform};
use corey_kernel_percore::CoreSet;
use corey_lib_sync::Quarantine;

/// Most lines: as many as the machine has cards.
const MOST: usize = 16;

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// Who sleeps for it, or is about to.
    armed: CoreSet,
    /// Whom it interrupts.
    open: Option<CoreId>,
}

/// All lines of the machine, and the use of its interrupt controllers.
pub(crate) struct Lines {
    machine: &'static dyn Machine,
    all: [Line; MOST],
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.all)
    }
}

impl Quarantine for Lines {
    fn quarantine(&mut self) {
        // Whoever sleeps for a line that was half changed has it opened by the next that arms.
    }
}

impl Lines {
    pub(crate) fn new(machine: &'static dyn Machine) -> Self {
        Self { machine, all: [Line::default(); MOST] }
    }

    /// `core` is about to sleep for line `number`. False when there is no such line.
    pub(crate) fn arm(&mut self, core: CoreId, number: u8) -> bool {
        let Some(line) = self.all.get_mut(usize::from(number)) else { return false };
        line.armed.insert(core);
        line.open = Some(core);
        self.machine.open_line(number, core);
        true
    }

    /// The core of `platform` sleeps no more; its cards have let go. Whether a card's interrupt had come.
    pub(crate) fn leave<P: Platform>(&mut self, platform: &P) -> bool {
        self.leave_as(platform.core(), || platform.end_card_interrupt())
    }

    /// `end` ends the interrupt: its lines are closed then.
    fn leave_as(&mut self, core: CoreId, end: impl FnOnce() -> bool) -> bool {
        let mine = |line: &Line| line.open == Some(core);
        for (number, line) in (0..).zip(&mut self.all) {
            line.armed.remove(core);
            if mine(line) {
                self.machine.close_line(number);
            }
        }
        let came = end();
        for (number, line) in (0..).zip(&mut self.all).filter(|(_, line)| mine(line)) {
            line.open = line.armed.iter().next();
            if let Some(next) = line.open {
                self.machine.open_line(number, next);
            }
        }
        came
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corey_kernel_hal::Exit;
    use std::sync::Mutex;

    /// What was done with lines: whom one was opened to, or that it was closed.
    struct Board(Mutex<Vec<(u8, Option<u16>)>>);

    impl Board {
        fn new() -> &'static Self {
            Box::leak(Box::new(Self(Mutex::new(Vec::new()))))
        }
        fn done(&self) -> Vec<(u8, Option<u16>)> {
            std::mem::take(&mut self.0.lock().expect("no test goes on after it has failed"))
        }
        fn note(&self, line: u8, core: Option<u16>) {
            self.0.lock().expect("no test goes on after it has failed").push((line, core));
        }
    }

    impl Machine for Board {
        fn console_write(&self, _: &[u8]) {}
        fn exit(&self, _: Exit) -> ! {
            panic!("no test ends the machine")
        }
        fn open_line(&self, line: u8, core: CoreId) {
            self.note(line, Some(core.0));
        }
        fn close_line(&self, line: u8) {
            self.note(line, None);
        }
    }

    #[test]
    fn a_line_is_handed_to_another_that_sleeps_when_its_core_wakes() {
        let board = Board::new();
        let mut lines = Lines::new(board);
        for core in [1, 2] {
            assert!(lines.arm(CoreId(core), 3));
        }
        assert_eq!(board.done(), [(3, Some(1)), (3, Some(2))], "to the last");
        let mut ended = 0;
        let mut leave = |core| {
            lines.leave_as(CoreId(core), || {
                ended += 1;
                board.note(99, None);
                true
            })
        };
        assert!(leave(2));
        assert_eq!(board.done(), [(3, None), (99, None), (3, Some(1))], "closed, ended, handed on");
        leave(2);
        assert_eq!(board.done(), [(99, None)], "it has none");
        leave(1);
        assert_eq!(board.done(), [(3, None), (99, None)], "nobody sleeps any more");
        assert_eq!(ended, 3);
    }

    #[test]
    fn a_core_that_does_not_have_the_line_leaves_it_to_who_has() {
        let board = Board::new();
        let mut lines = Lines::new(board);
        assert!(lines.arm(CoreId(1), 0) && lines.arm(CoreId(2), 0));
        assert!(!lines.arm(CoreId(1), MOST as u8), "no such line");
        board.done();
        lines.leave_as(CoreId(1), || false);
        assert_eq!(board.done(), [], "it is the other's");
        lines.leave_as(CoreId(2), || false);
        assert_eq!(board.done(), [(0, None)], "and not handed to who is awake");
    }
}
