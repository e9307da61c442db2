//! The card's counters (§13.7): 32 bits that stick at their maximum, and clear when read.

use crate::filter::Target;

/// Offsets from 0x4000, divided by 4.
const MISSED: usize = 0x10 / 4;
const LENGTH_ERRORS: usize = 0x40 / 4;
const GOOD_RECEIVED: usize = 0x74 / 4;
const BROADCASTS: usize = 0x78 / 4;
const MULTICASTS: usize = 0x7c / 4;
const GOOD_SENT: usize = 0x80 / 4;
const BYTES_RECEIVED: usize = 0x88 / 4;
const BYTES_SENT: usize = 0x90 / 4;
const NO_BUFFER: usize = 0xa0 / 4;
const UNDERSIZE: usize = 0xa4 / 4;
const OVERSIZE: usize = 0xac / 4;
const ALL_BYTES_RECEIVED: usize = 0xc0 / 4;
const ALL_BYTES_SENT: usize = 0xc8 / 4;
const ALL_RECEIVED: usize = 0xd0 / 4;
const ALL_SENT: usize = 0xd4 / 4;

/// Bytes of the CRC, which counts.
const CRC: u64 = 4;

/// All counters, by register.
pub(crate) struct Statistics([u32; 64]);

impl Statistics {
    pub(crate) fn new() -> Self {
        // What they hold at power-on is anybody's guess.
        Self([0x0a5a_5a5a; 64])
    }

    /// Reads the counter at `offset` from the first. The high half of a pair clears both.
    pub(crate) fn read(&mut self, offset: u32) -> u32 {
        let at = offset as usize / 4;
        let value = self.0[at];
        if let Some(low) = [BYTES_RECEIVED, BYTES_SENT, ALL_BYTES_RECEIVED, ALL_BYTES_SENT]
            .into_iter()
            .find(|low| at == *low || at == low + 1)
        {
            if at == low + 1 {
                self.0[low..=at].fill(0);
            }
        } else {
            self.0[at] = 0;
        }
        value
    }

    pub(crate) fn received(&mut self, target: Target, length: usize) {
        self.one(GOOD_RECEIVED);
        self.one(ALL_RECEIVED);
        self.bytes(BYTES_RECEIVED, length);
        self.bytes(ALL_BYTES_RECEIVED, length);
        match target {
            Target::Everybody => self.one(BROADCASTS),
            Target::Group => self.one(MULTICASTS),
            Target::Station => {}
        }
    }

    pub(crate) fn sent(&mut self, length: usize) {
        self.one(GOOD_SENT);
        self.one(ALL_SENT);
        self.bytes(BYTES_SENT, length);
        self.bytes(ALL_BYTES_SENT, length);
    }

    pub(crate) fn missed(&mut self) {
        self.one(MISSED);
    }

    pub(crate) fn no_buffer(&mut self) {
        self.one(NO_BUFFER);
    }

    pub(crate) fn undersize(&mut self) {
        self.one(UNDERSIZE);
        self.one(LENGTH_ERRORS);
    }

    pub(crate) fn oversize(&mut self) {
        self.one(OVERSIZE);
        self.one(LENGTH_ERRORS);
    }

    fn one(&mut self, at: usize) {
        self.0[at] = self.0[at].saturating_add(1);
    }

    fn bytes(&mut self, low: usize, length: usize) {
        let before = u64::from(self.0[low + 1]) << 32 | u64::from(self.0[low]);
        let after = before.saturating_add(length as u64 + CRC);
        (self.0[low], self.0[low + 1]) = (after as u32, (after >> 32) as u32);
    }
}
