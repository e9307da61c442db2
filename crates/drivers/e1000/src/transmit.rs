//! The transmit ring: which descriptors the card reports, and what a report means.

use corey_kernel_hal::{Dma, Mmio};

use crate::driver::{Completion, Refused};
use crate::registers::TRANSMIT;
use crate::ring::{DD, Ring};

/// Bytes of a page, which a buffer does not leave.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// Bytes of the longest frame that is sent, without its CRC.
pub const FRAME_BYTES: u16 = 1514;

/// Bytes of the shortest frame that is sent, without its CRC. The card pads what is shorter than 60 (TCTL.PSP). §3.3.3 asks for
/// 48 bytes before padding, more than an ARP message has (42); Intel's drivers count on padding from 17 bytes on.
pub const SHORTEST_BYTES: u16 = 17;

/// Commands of a legacy descriptor (§3.3.3.1): end of packet, insert the CRC, report status. The card writes
/// back those with the last.
const EOP: u64 = 1 << 24;
const IFCS: u64 = 1 << 25;
const RS: u64 = 1 << 27;

/// Most descriptors with one report.
///
/// Reports are written in order, so one says that everything before it was read, too (§3.3.3.2). With one for each doorbell the
/// card writes one descriptor, and the driver reads one, where reports everywhere would move every line of the ring back and forth.
/// The last descriptor before a doorbell has one always, so nobody waits for a frame that is not posted yet; in between every 32nd has
/// one, so that room comes back while a long batch is still being sent.
const BATCH: usize = 32;

/// The transmit ring.
pub(crate) struct Transmit<D, const N: usize> {
    pub(crate) ring: Ring<D, N>,
    /// For the first slot of each batch, how many descriptors it has; the last of them reports.
    batches: [u8; N],
    /// Where the batch begins that is not closed. A doorbell closes it.
    open: usize,
    /// Where the first batch begins that is not known to be sent.
    sent: usize,
}

impl<D: Dma, const N: usize> Transmit<D, N> {
    pub(crate) const fn new(memory: D) -> Self {
        Self { ring: Ring::new(memory), batches: [0; N], open: 0, sent: 0 }
    }

    /// Begins anew, with an empty ring.
    pub(crate) fn begin(&mut self, mmio: &impl Mmio) {
        self.ring.open(mmio, TRANSMIT);
        (self.open, self.sent) = (0, 0);
    }

    /// Gives every cookie back that has not come back. The card has stopped.
    pub(crate) fn drain(&mut self, each: &mut dyn FnMut(u64)) {
        self.ring.drain(each);
        self.open = self.ring.posted();
        self.sent = self.open;
    }

    #[inline(always)]
    pub(crate) fn post(&mut self, address: u64, length: u16, cookie: u64) -> Result<(), Refused> {
        if !(SHORTEST_BYTES..=FRAME_BYTES).contains(&length) {
            return Err(Refused::Length);
        }
        // A null address would make the card send nothing (§3.3.3).
        if address == 0 || address % PAGE_BYTES + u64::from(length) > PAGE_BYTES {
            return Err(Refused::Address);
        }
        if self.ring.room() == 0 {
            return Err(Refused::Full);
        }
        self.ring.post(address, u64::from(length) | EOP | IFCS, cookie);
        if self.ring.posted().wrapping_sub(self.open) == BATCH {
            self.close_batch();
        }
        Ok(())
    }

    /// Has the last descriptor that was posted report the open batch, if there is one.
    #[inline(always)]
    pub(crate) fn close_batch(&mut self) {
        let posted = self.ring.posted();
        let count = posted.wrapping_sub(self.open);
        if count == 0 {
            return;
        }
        self.ring.add_bits(posted.wrapping_sub(1), RS);
        if let Some(place) = self.batches.get_mut(self.open % N) {
            *place = count as u8;
        }
        self.open = posted;
    }

    #[inline(always)]
    pub(crate) fn poll(&mut self, budget: usize, each: &mut impl FnMut(Completion)) -> usize {
        let mut found = 0;
        while found < budget {
            if self.ring.back() == self.sent && !self.next_batch() {
                break;
            }
            let cookie = self.ring.take();
            found += 1;
            each(Completion::Sent { cookie });
        }
        found
    }

    /// Whether one more batch has been sent. Published batches are closed, and have at least one descriptor.
    #[inline(always)]
    fn next_batch(&mut self) -> bool {
        if self.sent == self.ring.published() {
            return false;
        }
        let count = usize::from(self.batches.get(self.sent % N).copied().unwrap_or(1));
        let end = self.sent.wrapping_add(count);
        let done = self.ring.word(end.wrapping_sub(1)) & DD != 0;
        if done {
            self.sent = end;
        }
        done
    }
}
