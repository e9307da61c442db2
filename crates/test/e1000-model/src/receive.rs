//! Frames from the wire to memory (§3.2).

use crate::fault::Fault;
use crate::filter::target;
use crate::registers::{icr, rctl};
use crate::state::{Delivery, State};

/// Bytes of the receive FIFO (PBA's initial value).
const FIFO: usize = 48 << 10;
/// Bytes of a frame without its CRC, as the card accepts it: up to 1522 with a VLAN tag and the CRC, or 16384 if it is told so.
const SHORTEST: usize = 60;
const LONGEST: usize = 1518;
const LONGEST_JUMBO: usize = 16380;

/// Status and errors of a descriptor (§3.2.3.1, §3.2.3.2).
const DD: u64 = 1 << 32;
const EOP: u64 = 1 << 33;
const ERRORS_SHIFT: u64 = 40;

impl State {
    /// A frame comes in, without its CRC.
    pub(crate) fn deliver(&mut self, frame: &[u8]) -> Delivery {
        if self.fault == Some(Fault::Gone) || !self.receiving || !self.link_up() {
            return Delivery::Deaf;
        }
        if frame.len() < SHORTEST {
            self.statistics.undersize();
            return Delivery::Length;
        }
        if !self.filter.accepts(frame, self.receive_control) {
            return Delivery::Filtered;
        }
        let longest = if self.receive_control & rctl::LPE == 0 { LONGEST } else { LONGEST_JUMBO };
        if frame.len() > longest {
            self.statistics.oversize();
            return Delivery::Length;
        }
        if self.fifo_bytes + frame.len() > FIFO {
            self.statistics.missed();
            self.raise(icr::RXO);
            return Delivery::Missed;
        }
        if self.receive_ring.is_empty() {
            self.statistics.no_buffer();
        }
        self.statistics.received(target(frame), frame.len());
        self.fifo_bytes += frame.len();
        self.fifo.push_back(frame.to_vec());
        Delivery::Accepted
    }

    /// Bytes of a buffer, as RCTL says.
    fn buffer(&self) -> usize {
        let size = 2048 >> (self.receive_control >> rctl::BUFFER_SHIFT & 3);
        if self.receive_control & rctl::BSEX == 0 { size } else { size * 16 }
    }

    /// Moves one frame to memory, if there are a frame and buffers for all of it.
    pub(crate) fn step_receive(&mut self) -> bool {
        if self.fault == Some(Fault::Gone) || !self.receiving {
            return false;
        }
        let size = self.buffer();
        let Some(bytes) = self.fifo.front().map(Vec::len) else { return false };
        let pieces = bytes.div_ceil(size);
        if self.receive_ring.owned() < pieces {
            return false;
        }
        let frame = self.fifo.pop_front().expect("seen above");
        self.fifo_bytes -= bytes;
        for (at, piece) in frame.chunks(size).enumerate() {
            let [address, _] = self.receive_ring.next().expect("counted above");
            assert!(address != 0, "receive ring: a null buffer");
            self.memory.write(address, piece);
            let word = self.report(piece.len(), at + 1 == pieces);
            self.receive_ring.give_back(word, self.memory.as_ref());
        }
        self.raise(icr::RXT0);
        true
    }

    /// A descriptor's second word.
    fn report(&self, length: usize, last: bool) -> Option<u64> {
        let word = |length: u64| length | DD | if last { EOP } else { 0 };
        let length = length as u64;
        match self.fault {
            Some(Fault::Silent) => None,
            Some(Fault::Garbage(word)) => Some(word),
            Some(Fault::Length(length)) => Some(word(u64::from(length))),
            Some(Fault::Errors(errors)) => Some(word(length) | u64::from(errors) << ERRORS_SHIFT),
            Some(Fault::NoEnd) => Some(length | DD),
            _ => Some(word(length)),
        }
    }
}
