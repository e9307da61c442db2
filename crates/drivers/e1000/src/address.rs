//! Ethernet addresses.

use core::fmt;

/// A MAC address, first byte on the wire first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether a station can have it: not a group's (IEEE 802, bit 0 of the first byte) and not zero.
    #[must_use]
    pub fn is_station(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 0 && self.0 != [0; 6]
    }

    /// From a pair of receive address registers (§13.5.2).
    pub(crate) fn from_registers(low: u32, high: u32) -> Self {
        let [a, b, c, d] = low.to_le_bytes();
        let [e, f, ..] = high.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    /// As a pair of receive address registers, without the valid bit.
    pub(crate) fn to_registers(self) -> (u32, u32) {
        let [a, b, c, d, e, f] = self.0;
        (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(to, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_by_registers_and_printed_as_usual() {
        let address = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x5f]);
        let (low, high) = address.to_registers();
        assert_eq!((low, high), (0x1200_5452, 0x5f34));
        assert_eq!(MacAddress::from_registers(low, high | 1 << 31), address);
        assert_eq!(address.to_string(), "52:54:00:12:34:5f");
    }

    #[test]
    fn groups_and_zero_are_no_station() {
        assert!(MacAddress([2, 0, 0, 0, 0, 0]).is_station());
        assert!(!MacAddress([0; 6]).is_station());
        assert!(!MacAddress([0xff; 6]).is_station());
        assert!(!MacAddress([1, 0, 0x5e, 0, 0, 1]).is_station());
    }
}
