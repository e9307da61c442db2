//! The immediates of the marker instruction `0f 1f 80 imm32`.

/// First 16 bits of every marker: "CR".
pub const MAGIC: u32 = 0x4352_0000;

/// What a marker says to the instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// This core's operations count from here.
    TrackOn = 1,
    /// This core's operations no longer count.
    TrackOff = 2,
    /// One operation begins.
    Begin = 3,
    /// The operation ends.
    End = 4,
    /// Every core's figures are reported and set to zero.
    Report = 5,
    /// An operation that spans cores begins.
    MachineBegin = 6,
    /// The operation that spans cores ends.
    MachineEnd = 7,
    /// The directory of cache lines is forgotten.
    Forget = 8,
    /// One operation begins that its core does not return from: it ends when the processor halts (`hlt`).
    BeginLast = 9,
    /// A kernel core makes this core's calls, up to the report: the core whose number is the id above this one's.
    Served = 10,
}

impl Kind {
    /// Returns the kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::TrackOn,
            2 => Self::TrackOff,
            3 => Self::Begin,
            4 => Self::End,
            5 => Self::Report,
            6 => Self::MachineBegin,
            7 => Self::MachineEnd,
            8 => Self::Forget,
            9 => Self::BeginLast,
            10 => Self::Served,
            _ => return None,
        })
    }
}

/// Returns the 32-bit immediate of the marker `kind` of benchmark variant `id`.
pub const fn immediate(id: u32, kind: Kind) -> u32 {
    MAGIC | (id << 4) | kind as u32
}

/// Splits an immediate into benchmark variant and kind; `None` when it is not a marker.
pub const fn decode(immediate: u32) -> Option<(u32, Kind)> {
    if immediate & 0xffff_0000 != MAGIC {
        return None;
    }
    match Kind::from_number(immediate & 0xf) {
        Some(kind) => Some(((immediate >> 4) & 0xfff, kind)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_immediate_is_magic_then_id_then_kind() {
        assert_eq!(immediate(0x21, Kind::Begin), 0x4352_0213);
        assert_eq!(decode(0x4352_0213), Some((0x21, Kind::Begin)));
    }

    #[test]
    fn other_long_nops_are_not_markers() {
        assert_eq!(decode(0), None);
        assert_eq!(decode(0x4352_0210), None);
        assert_eq!(decode(0x4352_021f), None);
        assert_eq!(decode(0x4353_0211), None);
    }
}
