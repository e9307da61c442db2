//! [`Fate`]: whether a core still works, and [`Losses`]: whether any was lost.
//!
//! Written once, when a core is found to have stopped; before that, reading it moves no line.

use corey_lib_sync::atomic::{AtomicU64, Ordering};

const GONE: u64 = 1;
const PARKED: u64 = 2;
const INSIDE: u64 = 4;

/// How a core that is gone was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It said that it has stopped.
    Parked,
    /// It said nothing.
    Lost,
}

/// Whether a core still works.
#[derive(Debug, Default)]
pub struct Fate(AtomicU64);

impl Fate {
    /// Whether it runs no more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        // Whoever finds it gone, and takes what it had, has seen what was seen of it before.
        self.0.load(Ordering::SeqCst) != 0
    }

    /// How it was found; `None` while it works.
    #[must_use]
    pub fn gone(&self) -> Option<Gone> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            word if word & PARKED != 0 => Some(Gone::Parked),
            _ => Some(Gone::Lost),
        }
    }

    /// Whether it stopped in the kernel, in the middle of something.
    #[must_use]
    pub fn stopped_inside(&self) -> bool {
        self.0.load(Ordering::SeqCst) & INSIDE != 0
    }

    /// Says that it is gone. True for the one who said it first: that is the one who sees to what is left.
    #[must_use]
    pub(crate) fn end(&self, how: Gone, inside: bool) -> bool {
        let word = GONE | if how == Gone::Parked { PARKED } else { 0 } | if inside { INSIDE } else { 0 };
        self.0.compare_exchange(0, word, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// What was lost with cores, of the whole machine.
#[derive(Debug, Default)]
pub struct Losses {
    /// Cores that stopped in the middle of something.
    inside: AtomicU64,
}

impl Losses {
    /// Whether something may be half changed: a core stopped inside the kernel.
    #[must_use]
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.inside.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn add_core(&self) {
        self.inside.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_found_once() {
        let fate = Fate::default();
        assert_eq!((fate.gone(), fate.is_gone()), (None, false));
        assert!(fate.end(Gone::Parked, true) && !fate.end(Gone::Lost, false));
        assert_eq!((fate.gone(), fate.stopped_inside()), (Some(Gone::Parked), true));
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models {
    use super::*;
    use crate::mailbox::models::mailbox;
    use corey_lib_sync::explore::{self, Bounds};
    use std::sync::Arc;

    /// Two threads: there is one starter, and one finder.
    const TWO: Bounds = Bounds { loom: &[(2, None, None)], shuttle: 2 };

    /// A core is found gone while another one starts something there: exactly one of starter and finder has it to undo,
    /// and the finder only what is whole. `early`: the starter looks before it rings.
    fn a_run_meets_the_end_of_its_core(early: bool) {
        let (owner, fate) = (mailbox(1), Arc::new(Fate::default()));
        let starter = {
            let (owner, fate) = (owner.clone(), fate.clone());
            explore::spawn(move || {
                if !owner.run_place().claim() {
                    return (false, false);
                }
                owner.run_place().put(3, [], &[7, 8]);
                let before = fate.is_gone();
                let _ = owner.ring();
                let gone = if early { before } else { fate.is_gone() };
                (true, gone && owner.unring())
            })
        };
        assert!(fate.end(Gone::Lost, false));
        let place = owner.run_place();
        let found = place.abandon(|| owner.unring());
        if found {
            assert_eq!((place.note(), place.word(0), place.word(1)), (3, 7, 8));
        }
        let (started, undone) = starter.join().unwrap();
        assert_eq!(started, found || undone, "nobody sees to it");
        assert!(!(found && undone), "both do");
    }

    #[test]
    fn a_run_that_meets_the_end_of_its_core_is_undone_once() {
        explore::check_within(TWO, |_| a_run_meets_the_end_of_its_core(false));
    }

    #[test]
    #[should_panic(expected = "nobody sees to it")]
    fn a_starter_that_looks_before_it_rings_is_caught() {
        explore::check_within(TWO, |_| a_run_meets_the_end_of_its_core(true));
    }
}
