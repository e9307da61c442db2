//! Waits that last too long: is there a core that does not work any more?
//!
//! ```text
//! waiter   a turn … turn … (a period without an end) ─ NMI to all ─ (a period) ─ looks at what they noted ─ NMI …
//! others                                                └ handler: one answer more, where it was, its own turns
//! ```
//!
//! Who answered from elsewhere than before goes on, and so does who waits itself: it counts its own turns. Who was at
//! the same instruction three times, or has answered nothing six times, is ordered to stop, and a period later is
//! gone: parked, if it says that it has stopped, else lost. One that comes back finds the order in its NMI handler, and
//! that NMI is delivered before anything else it does.
//!
//! Nothing of this runs, and no line moves, before a wait has lasted a period.

use crate::fate::{Gone, Losses};
use crate::local::Local;
use corey_kernel_hal::{CoreId, Platform, Sign};
use corey_lib_sync::atomic::{AtomicU64, Ordering};

/// Turns of a wait between two looks at the clock.
const LOOK: u32 = 64;
/// Looks that a period has at least: a core that is itself kept from running, as an emulated one may be, is no judge of
/// others that are, too.
const LOOKS: u32 = 4;
/// Times that a core may be found at the same instruction.
const STUCK: u64 = 3;
/// Questions that a core may leave unanswered. More: it costs time and nothing else, and one that is late would be lost.
const SILENT: u64 = 6;

/// A core's waits within one kernel entry.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    turns: u32,
    /// Ticks of the time-stamp counter that a core may be silent; 0 for ever.
    period: u64,
    /// The entry, and when its next period is over.
    entry: u64,
    next: u64,
    /// Looks in this period.
    looks: u32,
    asked: bool,
    hopeless: bool,
}

/// What a core remembers of another one that it asks. Only its own core reads or writes it.
#[derive(Debug, Default)]
pub struct Watched {
    answers: AtomicU64,
    place: AtomicU64,
    turns: AtomicU64,
    /// Times without an answer, and at the same place.
    silent: AtomicU64,
    stuck: AtomicU64,
    ordered: AtomicU64,
}

/// What comes of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Ask again.
    Ask,
    /// Order it to stop.
    Stop,
    /// It is gone.
    Gone(Gone),
}

fn get(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

fn set(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Relaxed);
}

impl Watched {
    fn note(&self, sign: Sign) {
        set(&self.answers, sign.answers);
        set(&self.place, sign.place);
        set(&self.turns, sign.turns);
    }

    /// Before the first question of a wait.
    fn begin(&self, sign: Sign) {
        self.note(Sign { place: 0, ..sign });
        for word in [&self.silent, &self.stuck, &self.ordered] {
            set(word, 0);
        }
    }

    /// A period after a question.
    fn look(&self, sign: Sign) -> Verdict {
        if sign.stopped {
            return Verdict::Gone(Gone::Parked);
        }
        if get(&self.ordered) != 0 {
            return Verdict::Gone(Gone::Lost);
        }
        let silent = sign.answers == get(&self.answers);
        let here = sign.place != 0 && sign.place == get(&self.place) && sign.turns == get(&self.turns);
        let strikes = match (silent, here) {
            (true, _) => get(&self.silent) + 1,
            (false, _) => 0,
        };
        let stuck = match (silent, here) {
            (true, _) => get(&self.stuck),
            (false, true) => get(&self.stuck) + 1,
            (false, false) => u64::from(sign.place != 0),
        };
        set(&self.silent, strikes);
        set(&self.stuck, stuck);
        self.note(sign);
        if strikes < SILENT && stuck < STUCK {
            return Verdict::Ask;
        }
        set(&self.ordered, 1);
        Verdict::Stop
    }
}

impl<P: Platform> Local<P> {
    /// How long a core may be silent, in ticks of the time-stamp counter; 0 for ever.
    pub fn set_patience(&mut self, ticks: u64) {
        self.vigil.period = ticks;
    }

    /// Whether `core` is gone.
    #[must_use]
    pub fn has_lost(&self, core: CoreId) -> bool {
        self.cores.get(core.index()).is_some_and(|per_core| per_core.fate.is_gone())
    }

    /// What was lost with cores.
    #[must_use]
    #[inline(always)]
    pub fn losses(&self) -> &'static Losses {
        self.own().losses
    }

    /// Whether to give up a wait for what another core claimed: some core stopped in the middle of something, and this
    /// kernel entry has waited for a period since.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.vigil.hopeless && self.vigil.entry == self.own().epoch.count()
    }

    /// One turn of a wait.
    #[inline(always)]
    pub(crate) fn keep_vigil(&mut self) {
        self.vigil.turns = self.vigil.turns.wrapping_add(1);
        if self.vigil.turns.is_multiple_of(LOOK) {
            self.look_around();
        }
    }

    #[cold]
    #[inline(never)]
    fn look_around(&mut self) {
        self.platform.note_turn();
        let Vigil { period, entry, next, .. } = self.vigil;
        if period == 0 {
            return;
        }
        let (now, count) = (self.platform.tsc(), self.own().epoch.count());
        if entry != count {
            self.vigil = Vigil { period, entry: count, next: now.saturating_add(period), ..Vigil::default() };
            return;
        }
        self.vigil.looks += 1;
        if now >= next && self.vigil.looks >= LOOKS {
            self.vigil.looks = 0;
            self.vigil.next = now.saturating_add(period);
            self.vigil.hopeless = self.losses().any();
            self.ask_all();
        }
    }

    /// A period is over: looks at what the others noted, and asks them again.
    fn ask_all(&mut self) {
        let first = !core::mem::replace(&mut self.vigil.asked, true);
        let own = self.own();
        for (number, (per_core, watched)) in (0..).zip(self.cores.iter().zip(own.watched)) {
            let target = CoreId(number);
            if target == self.id || per_core.fate.is_gone() {
                continue;
            }
            let sign = self.platform.sign(target);
            if first {
                watched.begin(sign);
                self.platform.ask(target);
                continue;
            }
            match watched.look(sign) {
                Verdict::Ask => self.platform.ask(target),
                Verdict::Stop => self.platform.order_stop(target),
                Verdict::Gone(how) => {
                    // It runs no more: what it says of itself stays true.
                    let inside = per_core.epoch.is_inside();
                    if per_core.fate.end(how, inside) {
                        if inside {
                            self.losses().add_core();
                        }
                        self.found.insert(target);
                        self.inherit();
                    }
                }
            }
        }
    }

    /// A lock was taken over from a core that is gone.
    #[cold]
    pub(crate) fn note_taken(&mut self, name: &'static str, home: u16) {
        self.taken_over = Some((name, home));
        self.inherit();
    }

    /// Has the kernel exit see to it.
    fn inherit(&mut self) {
        self.inherits = true;
        self.attention = true;
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn sign(answers: u64, place: u64, turns: u64) -> Sign {
        Sign { answers, place, turns, stopped: false }
    }

    fn verdicts(signs: &[Sign]) -> Vec<Verdict> {
        let watched = Watched::default();
        watched.begin(sign(0, 0, 0));
        signs.iter().map(|sign| watched.look(*sign)).collect()
    }

    #[test]
    fn one_that_goes_on_is_only_asked() {
        // From elsewhere; from user mode; waiting itself; late now and then.
        let moves = [sign(1, 8, 0), sign(2, 9, 0), sign(3, 0, 0), sign(4, 0, 0), sign(5, 0, 0)];
        let waits = [sign(1, 8, 1), sign(2, 8, 2), sign(3, 8, 3), sign(4, 8, 4)];
        let late = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2].map(|answers| sign(answers, 0, 0));
        for signs in [&moves[..], &waits, &late] {
            assert!(verdicts(signs).iter().all(|verdict| *verdict == Verdict::Ask), "{signs:?}");
        }
    }

    #[test]
    fn three_times_at_one_instruction_or_six_questions_without_an_answer_are_enough() {
        use Verdict::{Ask, Gone as Ended, Stop};
        let stopped = Sign { stopped: true, ..sign(4, 8, 2) };
        let stuck = [sign(1, 8, 2), sign(2, 8, 2), sign(3, 8, 2), stopped];
        assert_eq!(verdicts(&stuck), [Ask, Ask, Stop, Ended(Gone::Parked)]);
        let silent = [sign(0, 0, 0); 7];
        assert_eq!(verdicts(&silent), [Ask, Ask, Ask, Ask, Ask, Stop, Ended(Gone::Lost)]);
        assert_eq!(verdicts(&[stopped]), [Ended(Gone::Parked)], "it said so by itself");
    }
}
