//! The controllers that this driver knows (§5.2).

use core::fmt;

/// Intel's vendor number.
const INTEL: u16 = 0x8086;

/// A controller that this driver drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// 82540EM, copper: QEMU's `e1000`, and many desktop boards'.
    I82540em,
    /// 82545EM, copper: QEMU's `e1000-82545em`, and VMware's.
    I82545em,
}

/// Vendor, device, and what that is.
const MODELS: [(u16, u16, Model); 2] = [(INTEL, 0x100e, Model::I82540em), (INTEL, 0x100f, Model::I82545em)];

/// The model of PCI function `vendor`:`device`; `None` if this driver does not know it.
#[must_use]
pub fn supported(vendor: u16, device: u16) -> Option<Model> {
    MODELS.iter().find(|row| (row.0, row.1) == (vendor, device)).map(|row| row.2)
}

impl fmt::Display for Model {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::I82540em => "Intel 82540EM",
            Self::I82545em => "Intel 82545EM",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_controllers_are_known_and_others_are_not() {
        assert_eq!(supported(0x8086, 0x100e).map(|m| m.to_string()), Some("Intel 82540EM".to_owned()));
        assert_eq!(supported(0x8086, 0x100f), Some(Model::I82545em));
        assert_eq!(supported(0x8086, 0x10d3), None, "82574L");
        assert_eq!(supported(0x1af4, 0x100e), None, "another vendor's");
    }
}
