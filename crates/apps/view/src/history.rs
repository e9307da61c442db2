//! What was there before: rates, and which shares are new.

use corey_abi::{CoreStat, Id, RUN_SHARES};

/// Events per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Page faults from user code.
    pub faults: u64,
    /// Interrupts sent to other cores.
    pub ipis: u64,
    /// System calls, by trap and by ring.
    pub calls: u64,
    /// Turns over its devices, as a kernel core.
    pub turns: u64,
    /// Those that found something to do.
    pub useful: u64,
}

/// What is counted, in the order of [`Rates`].
fn counts(of: &CoreStat) -> [u64; 5] {
    [of.faults, of.ipis, of.syscalls + of.ring_calls, of.turns, of.useful]
}

/// One core as it was.
#[derive(Clone, Debug)]
pub struct History {
    /// Before the first picture: nothing is known.
    seen: bool,
    tsc: u64,
    counts: [u64; 5],
    shares: [Id; RUN_SHARES],
}

impl History {
    /// A core that was not seen yet.
    pub const NONE: Self = Self { seen: false, tsc: 0, counts: [0; 5], shares: [Id::NULL; RUN_SHARES] };

    /// Rates since the last picture; none with the first. `hz` is the frequency of the time stamps.
    #[must_use]
    pub fn rates(&self, now: &CoreStat, hz: u64) -> Option<Rates> {
        let ticks = now.tsc.checked_sub(self.tsc).filter(|ticks| *ticks > 0 && self.seen)?;
        let rate = |(now, before): (u64, u64)| {
            let scaled = u128::from(now.saturating_sub(before)) * u128::from(hz);
            ((scaled + u128::from(ticks) / 2) / u128::from(ticks)) as u64
        };
        let ([a, b, c, d, e], [f, g, h, i, j]) = (counts(now), self.counts);
        let [faults, ipis, calls, turns, useful] = [(a, f), (b, g), (c, h), (d, i), (e, j)].map(rate);
        Some(Rates { faults, ipis, calls, turns, useful })
    }

    /// Whether the core did not hold `share` in the last picture.
    #[must_use]
    pub fn is_new(&self, share: Id) -> bool {
        self.seen && !self.shares.contains(&share)
    }

    /// Remembers a picture.
    pub fn remember(&mut self, now: &CoreStat) {
        self.seen = true;
        self.tsc = now.tsc;
        self.counts = counts(now);
        self.shares = [Id::NULL; RUN_SHARES];
        let held = now.shares.iter().take(now.nshares as usize);
        self.shares.iter_mut().zip(held).for_each(|(to, share)| *to = share.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::stat;

    #[test]
    fn rates_are_differences_over_time_on_the_core_s_own_clock() {
        let mut history = History::NONE;
        let mut now = stat(0, &[]);
        (now.tsc, now.faults, now.ipis, now.syscalls) = (5_000, 100, 7, 1_000);
        assert_eq!(history.rates(&now, 1_000), None, "the first picture says nothing of rates");
        history.remember(&now);
        (now.tsc, now.faults, now.ipis, now.syscalls) = (5_500, 350, 7, 1_001);
        assert_eq!(history.rates(&now, 1_000), Some(Rates { faults: 500, calls: 2, ..Rates::default() }));
        history.remember(&now);
        assert_eq!(history.rates(&now, 1_000), None, "no time has passed");
        now.tsc += 1 << 50;
        now.syscalls += 1 << 50;
        assert_eq!(history.rates(&now, 1 << 31).unwrap().calls, 1 << 31, "nothing overflows");
    }

    #[test]
    fn a_share_is_new_in_one_picture() {
        let mut history = History::NONE;
        let now = stat(0, &[("a", 1, 1)]);
        let share = now.shares[0].id;
        assert!(!history.is_new(share), "in the first picture nothing is");
        history.remember(&stat(0, &[]));
        assert!(history.is_new(share));
        history.remember(&now);
        assert!(!history.is_new(share));
    }
}
