//! What is counted: the card's counters (§13.7), and what the driver refused.

use corey_kernel_hal::{Dma, Mmio};

use crate::driver::E1000;
use crate::registers::STATUS;
use crate::status::Gone;

/// Frames and bytes since the driver was made. They only grow, over starts too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Good frames that the card accepted (GPRC).
    pub received: u64,
    /// Their bytes, CRC included (GORC).
    pub received_bytes: u64,
    /// Of these, broadcasts (BPRC).
    pub broadcasts: u64,
    /// Of these, to groups (MPRC).
    pub multicasts: u64,
    /// Frames sent (GPTC).
    pub sent: u64,
    /// Their bytes, CRC and padding included (GOTC).
    pub sent_bytes: u64,
    /// Frames lost because the card's own memory was full (MPC).
    pub missed: u64,
    /// Frames that found no receive buffer posted, and waited in the card or were missed (RNBC).
    pub no_buffer: u64,
    /// Frames with a bad CRC (CRCERRS).
    pub crc_errors: u64,
    /// Frames in which the PHY saw an error (RXERRC).
    pub receive_errors: u64,
    /// Frames of a bad length (RLEC): too short or too long, good CRC or not.
    pub length_errors: u64,
    /// Frames given up after 16 collisions (ECOL).
    pub excessive_collisions: u64,
    /// Collisions after the first 64 bytes (LATECOL).
    pub late_collisions: u64,
    /// Receive buffers that came back with [`crate::Damage`]: counted by the driver.
    pub damaged: u64,
}

/// Where a counter is added.
type Place = fn(&mut Statistics) -> &mut u64;

/// Counters of 32 bits. Reading one clears it; at its maximum it stops.
const COUNTERS: [(u32, Place); 11] = [
    (0x4000, |s| &mut s.crc_errors),
    (0x400c, |s| &mut s.receive_errors),
    (0x4010, |s| &mut s.missed),
    (0x4018, |s| &mut s.excessive_collisions),
    (0x4020, |s| &mut s.late_collisions),
    (0x4040, |s| &mut s.length_errors),
    (0x4074, |s| &mut s.received),
    (0x4078, |s| &mut s.broadcasts),
    (0x407c, |s| &mut s.multicasts),
    (0x4080, |s| &mut s.sent),
    (0x40a0, |s| &mut s.no_buffer),
];

/// Counters of 64 bits: the low half first; reading the high half clears both.
const WIDE_COUNTERS: [(u32, Place); 2] =
    [(0x4088, |s| &mut s.received_bytes), (0x4090, |s| &mut s.sent_bytes)];

impl Statistics {
    /// Nothing yet.
    pub(crate) const NONE: Self = Self {
        received: 0,
        received_bytes: 0,
        broadcasts: 0,
        multicasts: 0,
        sent: 0,
        sent_bytes: 0,
        missed: 0,
        no_buffer: 0,
        crc_errors: 0,
        receive_errors: 0,
        length_errors: 0,
        excessive_collisions: 0,
        late_collisions: 0,
        damaged: 0,
    };
}

impl<M: Mmio, D: Dma, const N: usize> E1000<M, D, N> {
    /// What was counted so far. The card's frame counters stop at 2³² − 1, so this is to be called at least once
    /// in 45 minutes at full rate.
    ///
    /// # Errors
    ///
    /// The card is gone; what it said since the last call is not counted.
    ///
    /// # Cost
    ///
    /// 17 register reads.
    pub fn statistics(&mut self) -> Result<Statistics, Gone> {
        self.read(STATUS)?;
        let mut sum = self.statistics;
        for (offset, place) in COUNTERS {
            add(place(&mut sum), u64::from(self.mmio.read(offset)));
        }
        for (offset, place) in WIDE_COUNTERS {
            let low = u64::from(self.mmio.read(offset));
            let high = u64::from(self.mmio.read(offset + 4));
            add(place(&mut sum), high << 32 | low);
        }
        // It may have gone meanwhile, and then some of this was no count.
        self.read(STATUS)?;
        self.statistics = sum;
        Ok(Statistics { damaged: self.receive.damaged, ..sum })
    }

    /// Forgets what the card has counted until now.
    pub(crate) fn clear_counters(&self) {
        for (offset, _) in COUNTERS {
            self.mmio.read(offset);
        }
        for (offset, _) in WIDE_COUNTERS {
            self.mmio.read(offset);
            self.mmio.read(offset + 4);
        }
    }
}

fn add(to: &mut u64, count: u64) {
    *to = to.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A card whose every counter says its own offset, and no memory.
    #[derive(Clone, Copy)]
    struct Offsets;

    impl Mmio for Offsets {
        fn read(&self, offset: u32) -> u32 {
            offset
        }
        fn write(&self, _: u32, _: u32) {}
    }

    impl Dma for Offsets {
        fn address(&self) -> u64 {
            0
        }
        fn words(&self) -> usize {
            0
        }
        fn load(&self, _: usize) -> u64 {
            0
        }
        fn store(&self, _: usize, _: u64) {}
    }

    #[test]
    fn each_counter_is_added_where_the_manual_has_it() {
        let mut nic = E1000::<_, _, 8>::new(Offsets, Offsets, Offsets);
        for times in 1..3 {
            let seen = nic.statistics().expect("it answers");
            assert_eq!(seen.received_bytes, times * 0x408c_0000_4088, "both halves");
            assert_eq!(seen.sent_bytes, times * 0x4094_0000_4090);
            assert_eq!(
                (seen.received, seen.broadcasts, seen.multicasts),
                (times * 0x4074, times * 0x4078, times * 0x407c)
            );
            assert_eq!(
                (seen.sent, seen.missed, seen.no_buffer),
                (times * 0x4080, times * 0x4010, times * 0x40a0)
            );
            assert_eq!((seen.crc_errors, seen.receive_errors), (times * 0x4000, times * 0x400c));
            assert_eq!((seen.length_errors, seen.damaged), (times * 0x4040, 0));
            assert_eq!((seen.excessive_collisions, seen.late_collisions), (times * 0x4018, times * 0x4020));
        }
    }
}
