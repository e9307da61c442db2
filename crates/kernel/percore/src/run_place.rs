//! [`RunPlace`]: what a core is asked to run, and whether it runs something.
//!
//! ```text
//! starter   IDLE → STARTING ─ words ─ ring …
//! owner                                    … found beside the summary ─ reads the words ─ RUNNING … IDLE
//! reaper    IDLE → DEAD (the pcore ended) … IDLE again with the next pcore of this core
//! ```
//!
//! Whoever changes IDLE to something else has the place to itself, so the words need no lock. The state, the first
//! words and the summary of the owner's mailbox are one line: a run moves that line, and one more for what does not fit.

use crate::words::ObjectWords;
use corey_abi::RUN_SHARES;
use corey_lib_sync::atomic::{AtomicU64, Ordering};

const IDLE: u64 = 0;
const STARTING: u64 = 1;
const RUNNING: u64 = 2;
const DEAD: u64 = 3;

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

    /// Claims it for a run.
    #[must_use]
    pub fn claim(&self) -> bool {
        self.change(IDLE, STARTING)
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

    /// Ends the pcore, if it does not run: no run begins until [`RunPlace::renew`].
    #[must_use]
    pub fn kill(&self) -> bool {
        self.change(IDLE, DEAD)
    }

    /// A new pcore has the core.
    pub fn renew(&self) {
        self.state.store(IDLE, Ordering::SeqCst);
    }

    /// Whether a run goes on or is about to.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.state.load(Ordering::SeqCst), STARTING | RUNNING)
    }

    /// Starter's side, after [`RunPlace::claim`]: writes a run. What is beyond [`RUN_LINKS`] and [`RUN_WORDS`] is cut.
    pub fn put(&self, note: u32, links: impl IntoIterator<Item = ObjectWords>, words: &[u64]) {
        let words = words.get(..RUN_WORDS).unwrap_or(words);
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
        self.head.store(u64::from(note) | counts, Ordering::Relaxed);
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
}
