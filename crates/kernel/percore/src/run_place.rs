//! [`RunPlace`]: what a core is asked to run, and whether it runs something.
//!
//! ```text
//! starter   IDLE → STARTING ─ words ─ ring …
//! owner                                    … found beside the summary ─ reads the words ─ RUNNING … (UNTOLD …) IDLE
//! reaper    IDLE → DEAD (the pcore ended) … IDLE again with the next pcore of this core
//! heir      any → LOST (the owner is gone), for good
//! ```
//!
//! Whoever changes IDLE to something else has the place to itself, so the words need no lock. The state, the first
//! words and the summary of the owner's mailbox are one line: a run moves that line, and one more for what does not fit.

use crate::words::ObjectWords;
use corey_abi::RUN_SHARES;
use corey_lib_sync::atomic::{AtomicU64, Ordering, fence};

const IDLE: u64 = 0;
const STARTING: u64 = 1;
const RUNNING: u64 = 2;
const DEAD: u64 = 3;
const LOST: u64 = 4;
const UNTOLD: u64 = 5;

/// Objects a run names at most: its shares, a tree, a segment.
pub const RUN_LINKS: usize = RUN_SHARES + 2;
/// Other words of a run at most.
pub const RUN_WORDS: usize = 9;

/// The place of one core. Objects come first, then other words; only what is there is written and read.
#[derive(Debug)]
#[repr(C)]
pub struct RunPlace {
    state: AtomicU64,
    /// A note in the low half, then how many objects and words follow.
    head: AtomicU64,
    body: [AtomicU64; 2 * RUN_LINKS + RUN_WORDS],
}

impl Default for RunPlace {
    fn default() -> Self {
        Self {
            state: AtomicU64::new(IDLE),
            head: AtomicU64::new(0),
            body: [(); 2 * RUN_LINKS + RUN_WORDS].map(|()| AtomicU64::new(0)),
        }
    }
}

impl RunPlace {
    fn change(&self, from: u64, to: u64) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Takes it while no run goes on, whether the end of the last one was told or is being told meanwhile.
    fn take(&self, to: u64) -> bool {
        let mut from = IDLE;
        loop {
            match self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now @ (IDLE | UNTOLD)) => from = now,
                Err(_) => return false,
            }
        }
    }

    /// Claims it for a run.
    #[must_use]
    pub fn claim(&self) -> bool {
        self.take(STARTING)
    }

    /// Gives a claim up.
    pub fn unclaim(&self) {
        self.change(STARTING, IDLE);
    }

    /// Owner's side: the claimed run begins.
    pub fn begin(&self) {
        // Only the owner ends STARTING once the words are there.
        self.state.store(RUNNING, Ordering::SeqCst);
    }

    /// Owner's side: the run is over.
    pub fn end(&self) {
        self.change(RUNNING, IDLE);
    }

    /// Owner's side: as [`RunPlace::end`], and the end is still to be told, by [`RunPlace::told`] or whoever is left.
    pub fn end_untold(&self) {
        self.change(RUNNING, UNTOLD);
    }

    /// Owner's side: the end of the last run was told.
    pub fn told(&self) {
        self.change(UNTOLD, IDLE);
    }

    /// Ends the pcore, if it does not run: no run begins until [`RunPlace::renew`].
    #[must_use]
    pub fn kill(&self) -> bool {
        self.take(DEAD)
    }

    /// A new pcore has the core.
    pub fn renew(&self) {
        self.change(DEAD, IDLE);
    }

    /// The owner is gone: no run begins any more. Whether there is one to see to: that went on, or that the owner was
    /// told of and nobody else sees to ([`crate::Mailbox::unring`], which `rung` asks).
    #[must_use]
    pub fn abandon(&self, rung: impl FnOnce() -> bool) -> bool {
        match self.state.swap(LOST, Ordering::SeqCst) {
            RUNNING | UNTOLD => true,
            STARTING => rung(),
            _ => false,
        }
    }

    /// Whether what was put is whole: it is not while a core writes it, or if that core stopped meanwhile.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.head.load(Ordering::Acquire) != 0
    }

    /// Whether a run goes on or is about to.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.state.load(Ordering::SeqCst), STARTING | RUNNING)
    }

    /// Starter's side, after [`RunPlace::claim`]: writes a run. What is beyond [`RUN_LINKS`] and [`RUN_WORDS`] is cut.
    #[inline(always)]
    pub fn put(&self, note: u32, links: impl IntoIterator<Item = ObjectWords>, words: &[u64]) {
        let words = words.get(..RUN_WORDS).unwrap_or(words);
        self.head.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        let (pairs, _) = self.body.as_chunks::<2>();
        let mut count = 0;
        for ([address, id], link) in pairs.iter().take(RUN_LINKS).zip(links) {
            address.store(link.address(), Ordering::Relaxed);
            id.store(link.id(), Ordering::Relaxed);
            count += 1;
        }
        for (to, from) in self.body.iter().skip(2 * count).zip(words) {
            to.store(*from, Ordering::Relaxed);
        }
        let counts = (count as u64) << 32 | (words.len() as u64) << 48;
        self.head.store(u64::from(note) | counts, Ordering::Release);
    }

    fn counts(&self) -> (usize, usize) {
        let head = self.head.load(Ordering::Relaxed);
        ((head >> 32) as usize & 0xffff, (head >> 48) as usize)
    }

    /// Owner's side: the note.
    #[must_use]
    pub fn note(&self) -> u32 {
        self.head.load(Ordering::Relaxed) as u32
    }

    /// Owner's side: the objects.
    pub fn links(&self) -> impl Iterator<Item = ObjectWords> + '_ {
        let (pairs, _) = self.body.as_chunks::<2>();
        pairs.iter().take(self.counts().0).map(|[address, id]| {
            // SAFETY: `put` stored the words of that many `ObjectWords` here; the ring and the look order the two.
            unsafe { ObjectWords::new(address.load(Ordering::Relaxed), id.load(Ordering::Relaxed)) }
        })
    }

    /// Owner's side: word `at`; 0 when there are not so many.
    #[must_use]
    pub fn word(&self, at: usize) -> u64 {
        let (links, words) = self.counts();
        let found = (at < words).then(|| self.body.get(2 * links + at)).flatten();
        found.map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_found_and_no_more() {
        let place = RunPlace::default();
        assert!(place.claim() && !place.claim() && !place.kill());
        place.put(9, [ObjectWords::NULL; 3], &[5; RUN_WORDS]);
        assert_eq!((place.note(), place.links().count(), place.word(RUN_WORDS - 1)), (9, 3, 5));
        place.put(1, [ObjectWords::NULL], &[6]);
        assert_eq!((place.links().count(), place.word(0), place.word(1)), (1, 6, 0));
        place.put(0, [ObjectWords::NULL; RUN_LINKS + 1], &[7; RUN_WORDS + 1]);
        assert_eq!((place.links().count(), place.word(RUN_WORDS - 1)), (RUN_LINKS, 7));
        place.begin();
        assert!(place.is_active());
        place.unclaim();
        assert!(place.is_active(), "it runs: there is no claim to give up");
        place.end();
        assert!(place.kill() && !place.claim() && !place.is_active());
        place.renew();
        assert!(place.claim());
    }

    #[test]
    fn an_end_that_was_not_told_is_found_and_holds_up_no_run() {
        let place = RunPlace::default();
        let run = || {
            assert!(place.claim());
            place.begin();
        };
        run();
        place.end_untold();
        assert!(!place.is_active());
        run();
        place.end_untold();
        assert!(place.abandon(|| false) && !place.claim() && !place.is_active());
        place.renew();
        assert!(!place.claim(), "for good");
        let place = RunPlace::default();
        assert!(place.claim());
        place.begin();
        place.end_untold();
        place.told();
        assert!(!place.abandon(|| true), "there is nothing to tell");
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models {
    use super::*;
    use corey_lib_sync::explore::{self, Bounds};
    use std::sync::Arc;

    /// A starter that comes while the end of the last run is told is not refused.
    #[test]
    fn an_end_that_is_told_meanwhile_refuses_nobody() {
        explore::check_within(Bounds { loom: &[(2, None, None)], shuttle: 2 }, |_| {
            let place = Arc::new(RunPlace::default());
            assert!(place.claim());
            place.begin();
            place.end_untold();
            let owner = {
                let place = Arc::clone(&place);
                explore::spawn(move || place.told())
            };
            assert!(place.claim(), "no run goes on");
            owner.join().unwrap();
            assert!(place.is_active(), "the claim stays");
        });
    }
}
