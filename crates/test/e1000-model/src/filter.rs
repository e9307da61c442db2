//! Which frames the card accepts (§3.2.1, §13.5).

use crate::registers::rctl;

/// Receive addresses and the multicast table.
pub(crate) struct Filter {
    /// RAL and RAH.
    pub(crate) pairs: [[u32; 2]; 16],
    /// MTA.
    pub(crate) table: [u32; 128],
}

/// Whom a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Station,
    Group,
    Everybody,
}

pub(crate) fn target(frame: &[u8]) -> Target {
    match frame {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => Target::Everybody,
        [first, ..] if first & 1 == 1 => Target::Group,
        _ => Target::Station,
    }
}

impl Filter {
    pub(crate) fn new() -> Self {
        // What they hold at power-on is anybody's guess, and no reset clears it.
        Self { pairs: [[0xa4a5_a5a4, 1 << 31 | 0xa5a5]; 16], table: [0xa5a5_a5a5; 128] }
    }

    pub(crate) fn accepts(&self, frame: &[u8], control: u32) -> bool {
        let exact = || {
            self.pairs.iter().any(|[low, high]| {
                high >> 31 == 1
                    && frame[..4] == low.to_le_bytes()
                    && frame[4..6] == (*high as u16).to_le_bytes()
            })
        };
        match target(frame) {
            Target::Everybody => {
                control & rctl::BAM != 0 || control & rctl::MPE != 0 && self.hashed(frame, control)
            }
            Target::Group => control & rctl::MPE != 0 || exact() || self.hashed(frame, control),
            Target::Station => control & rctl::UPE != 0 || exact(),
        }
    }

    /// Twelve of the address's upper bits, which of them RCTL.MO says, choose a bit of the table.
    fn hashed(&self, frame: &[u8], control: u32) -> bool {
        let upper = u32::from(u16::from_le_bytes([frame[4], frame[5]]));
        let shift = match control >> rctl::MULTICAST_OFFSET_SHIFT & 3 {
            0 => 4,
            1 => 3,
            2 => 2,
            _ => 0,
        };
        let bit = upper >> shift & 0xfff;
        self.table[(bit >> 5) as usize] >> (bit & 31) & 1 == 1
    }
}
