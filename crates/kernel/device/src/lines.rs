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
        let core = platform.core();
        let mine = |line: &Line| line.open == Some(core);
        for (number, line) in (0..).zip(&mut self.all) {
            line.armed.remove(core);
            if mine(line) {
                self.machine.close_line(number);
            }
        }
        let came = platform.end_card_interrupt();
        for (number, line) in (0..).zip(&mut self.all).filter(|(_, line)| mine(line)) {
            line.open = line.armed.iter().next();
            if let Some(next) = line.open {
                self.machine.open_line(number, next);
            }
        }
        came
    }
}
