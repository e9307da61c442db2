//! The retransmission timeout (RFC 6298), in microseconds.

use crate::time::SECOND;

/// Before anything was measured, unless the least is longer.
const FIRST: u64 = SECOND;
/// RFC 6298 (2.5): at least 60 seconds.
const LONGEST: u64 = 60 * SECOND;

pub(crate) struct Rtt {
    /// 0: nothing measured yet.
    smoothed: u32,
    variation: u32,
    timeout: u32,
}

impl Rtt {
    pub(crate) fn new(least: u64) -> Self {
        let mut new = Self { smoothed: 0, variation: 0, timeout: 0 };
        new.settle(least);
        new
    }

    pub(crate) const fn timeout(&self) -> u64 {
        self.timeout as u64
    }

    /// Counts one measured round trip.
    pub(crate) fn sample(&mut self, micros: u64, least: u64) {
        let round = micros.clamp(1, LONGEST) as u32;
        if self.smoothed == 0 {
            self.smoothed = round;
            self.variation = round / 2;
        } else {
            let error = self.smoothed.abs_diff(round);
            self.variation = self.variation - self.variation / 4 + error / 4;
            self.smoothed = (self.smoothed - self.smoothed / 8 + round / 8).max(1);
        }
        self.settle(least);
    }

    /// What the measurements say, without what timeouts added.
    pub(crate) fn settle(&mut self, least: u64) {
        if self.smoothed == 0 {
            self.timeout = least.clamp(FIRST, LONGEST) as u32;
            return;
        }
        let timeout = u64::from(self.smoothed) + u64::from(self.variation.saturating_mul(4)).max(1024);
        self.timeout = timeout.clamp(least.min(LONGEST), LONGEST) as u32;
    }

    /// A timeout passed: the next is twice as long.
    pub(crate) fn back_off(&mut self) {
        self.timeout = (self.timeout.saturating_mul(2)).min(LONGEST as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_rfc_6298_step_by_step() {
        let mut rtt = Rtt::new(200_000);
        assert_eq!(rtt.timeout(), SECOND, "(2.1)");
        rtt.sample(400_000, 0);
        assert_eq!(rtt.timeout(), 400_000 + 4 * 200_000, "(2.2)");
        rtt.sample(800_000, 0);
        // Variation 3/4 · 200 + 1/4 · 400, then the mean 7/8 · 400 + 1/8 · 800.
        assert_eq!(rtt.timeout(), 450_000 + 4 * 250_000, "(2.3)");
        rtt.back_off();
        assert_eq!(rtt.timeout(), 2_900_000, "(5.5)");
        (0..9).for_each(|_| rtt.back_off());
        assert_eq!(rtt.timeout(), LONGEST, "(2.5)");
        rtt.settle(0);
        assert_eq!(rtt.timeout(), 1_450_000);
        (0..99).for_each(|_| rtt.sample(10, 300_000));
        assert_eq!(rtt.timeout(), 300_000, "(2.4)");
    }
}
