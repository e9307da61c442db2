//! Frames from memory to the wire (§3.3, §3.4).

use crate::fault::Fault;
use crate::registers::{icr, tctl};
use crate::state::State;

/// Fields of a legacy descriptor's second word (§3.3.3).
const EOP: u64 = 1 << 24;
const IFCS: u64 = 1 << 25;
const INSERT_CHECKSUM: u64 = 1 << 26;
const RS: u64 = 1 << 27;
const EXTENDED: u64 = 1 << 29;
const VLAN: u64 = 1 << 30;
const DD: u64 = 1 << 32;

/// The most that one frame may have (§3.3.3).
const LONGEST: usize = 16288;
/// What the card pads to, without the CRC.
const PADDED: usize = 60;
/// What the card can pad.
const SHORTEST: usize = 17;

impl State {
    /// Works on one descriptor, if there is one and the link is up.
    pub(crate) fn step_transmit(&mut self) -> bool {
        if self.fault == Some(Fault::Gone) || !self.transmitting || !self.link_up() {
            return false;
        }
        let Some([address, word]) = self.transmit_ring.next() else { return false };
        assert!(word & EXTENDED == 0, "transmit ring: extended descriptors are not modelled");
        assert!(word & (INSERT_CHECKSUM | VLAN) == 0, "transmit ring: checksums and VLANs are not modelled");
        let length = (word & 0xffff) as usize;
        if address != 0 && length != 0 {
            let mut bytes = vec![0; length];
            self.memory.read(address, &mut bytes);
            self.half_sent.append(&mut bytes);
            assert!(self.half_sent.len() <= LONGEST, "transmit ring: a frame of more than {LONGEST} bytes");
        }
        if word & EOP != 0 && !self.half_sent.is_empty() {
            assert!(word & IFCS != 0, "transmit ring: a frame that brings its own CRC is not modelled");
            self.send();
        }
        let reports = word & RS != 0;
        let report = match self.fault {
            Some(Fault::Silent) => None,
            Some(Fault::Garbage(word)) => Some(word),
            _ => Some(word | DD),
        };
        self.transmit_ring.give_back(report.filter(|_| reports), self.memory.as_ref());
        if reports {
            self.raise(icr::TXDW);
        }
        if self.transmit_ring.is_empty() {
            self.raise(icr::TXQE);
        }
        true
    }

    fn send(&mut self) {
        let mut frame = std::mem::take(&mut self.half_sent);
        if frame.len() < PADDED {
            assert!(
                self.transmit_control & tctl::PSP != 0,
                "transmit ring: a short frame, and padding is off"
            );
            assert!(
                frame.len() >= SHORTEST,
                "transmit ring: a frame of {} bytes, too short to pad",
                frame.len()
            );
            frame.resize(PADDED, 0);
        }
        self.statistics.sent(frame.len());
        self.sent.push_back(frame);
    }
}
