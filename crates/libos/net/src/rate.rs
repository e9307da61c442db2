//! At most so many in a second, and so many at once.

use crate::time::{Instant, SECOND};

/// A bucket of tokens.
pub(crate) struct Bucket {
    tokens: u64,
    burst: u64,
    interval: u64,
    filled: Instant,
}

impl Bucket {
    pub(crate) const fn new(burst: u64, per_second: u64) -> Self {
        Self { tokens: burst, burst, interval: SECOND / per_second, filled: Instant::from_micros(0) }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let more = now.since(self.filled) / self.interval;
        if more > 0 {
            self.tokens = self.tokens.saturating_add(more).min(self.burst);
            self.filled = now;
        }
        let any = self.tokens > 0;
        self.tokens -= u64::from(any);
        any
    }
}
