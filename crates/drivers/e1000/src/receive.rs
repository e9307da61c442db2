//! The receive ring: what a descriptor says of a frame.

use corey_kernel_hal::{Dma, Mmio};

use crate::driver::{Completion, Refused};
use crate::registers::RECEIVE;
use crate::ring::{DD, Ring};
use crate::transmit::PAGE_BYTES;

/// Bytes that must be free from a receive buffer's address to the end of its page: what the card may write there.
pub const BUFFER_BYTES: u64 = 2048;

/// The longest frame that the card may report: 1522 bytes (a VLAN tag included), less the CRC (§13.4.22, LPE).
const LONGEST: u64 = 1518;

/// End of packet: the frame ends in this buffer.
const EOP: u64 = 1 << 33;

/// The errors byte (§3.2.3.2).
const ERRORS_SHIFT: u64 = 40;
const ERRORS: u64 = 0xff << ERRORS_SHIFT;

/// Why nothing in a buffer is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The card reported these errors (§3.2.3.2: bit 0 CRC or alignment, 1 symbol, 2 sequence, 4 carrier extension,
    /// 5 TCP or UDP checksum, 6 IP checksum, 7 receive data).
    Errors(u8),
    /// The card reported a length of 0, or more than it was told to accept.
    Length(u16),
    /// A piece of a frame that the card spread over several buffers. No frame that it was told to accept needs two.
    Piece,
}

/// The receive ring.
pub(crate) struct Receive<D, const N: usize> {
    pub(crate) ring: Ring<D, N>,
    /// The buffer before was a piece that did not end its frame, so the next one does not begin one.
    within: Within,
    /// Buffers that came back damaged.
    pub(crate) damaged: u64,
}

/// Where a buffer's content lies in its frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Start,
    Middle,
}

impl<D: Dma, const N: usize> Receive<D, N> {
    pub(crate) const fn new(memory: D) -> Self {
        Self { ring: Ring::new(memory), within: Within::Start, damaged: 0 }
    }

    /// Begins anew, with an empty ring.
    pub(crate) fn begin(&mut self, mmio: &impl Mmio) {
        self.within = Within::Start;
        self.ring.open(mmio, RECEIVE);
    }

    #[inline(always)]
    pub(crate) fn post(&mut self, address: u64, cookie: u64) -> Result<(), Refused> {
        // A descriptor with a null address has no buffer; QEMU's card gives it back as if a frame were there.
        if address == 0 || address % PAGE_BYTES > PAGE_BYTES - BUFFER_BYTES {
            return Err(Refused::Address);
        }
        if self.ring.room() == 0 {
            return Err(Refused::Full);
        }
        // The second word's DD bit is cleared, or polling would find the frame that lay here before.
        self.ring.post(address, 0, cookie);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn poll(&mut self, budget: usize, each: &mut impl FnMut(Completion)) -> usize {
        let mut found = 0;
        while found < budget && self.ring.back() != self.ring.published() {
            let word = self.ring.word(self.ring.back());
            if word & DD == 0 {
                break;
            }
            let frame = self.judge(word);
            let cookie = self.ring.take();
            found += 1;
            each(Completion::Received { cookie, frame });
        }
        found
    }

    /// The length of the frame that a descriptor with this second word has.
    #[inline(always)]
    fn judge(&mut self, word: u64) -> Result<u16, Damage> {
        let length = word & 0xffff;
        let whole = word & (ERRORS | EOP) == EOP && self.within == Within::Start;
        if whole && length.wrapping_sub(1) < LONGEST { Ok(length as u16) } else { Err(self.damage(word)) }
    }

    #[cold]
    fn damage(&mut self, word: u64) -> Damage {
        self.damaged = self.damaged.saturating_add(1);
        let before = self.within;
        self.within = if word & EOP == 0 { Within::Middle } else { Within::Start };
        if before == Within::Middle || self.within == Within::Middle {
            return Damage::Piece;
        }
        match (word >> ERRORS_SHIFT) as u8 {
            0 => Damage::Length(word as u16),
            errors => Damage::Errors(errors),
        }
    }
}
