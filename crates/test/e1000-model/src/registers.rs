//! Register offsets and bits (§13.4 to §13.7): the card's own list, written down apart from the driver's.

pub(crate) const CTRL: u32 = 0x0000;
pub(crate) const STATUS: u32 = 0x0008;
pub(crate) const EERD: u32 = 0x0014;
pub(crate) const ICR: u32 = 0x00c0;
pub(crate) const ICS: u32 = 0x00c8;
pub(crate) const IMS: u32 = 0x00d0;
pub(crate) const IMC: u32 = 0x00d8;
pub(crate) const RCTL: u32 = 0x0100;
pub(crate) const TCTL: u32 = 0x0400;
pub(crate) const TIPG: u32 = 0x0410;
pub(crate) const RECEIVE_RING: u32 = 0x2800;
pub(crate) const TRANSMIT_RING: u32 = 0x3800;
pub(crate) const STATISTICS: std::ops::Range<u32> = 0x4000..0x4100;
pub(crate) const MTA: std::ops::Range<u32> = 0x5200..0x5400;
pub(crate) const RA: std::ops::Range<u32> = 0x5400..0x5480;

/// Registers that hold what was written, and of which the model makes no use: CTRL_EXT, FCAL, FCAH, FCT, ITR, FCTTV, PBA,
/// FCRTL, FCRTH, RDTR, RXDCTL, RADV, RSRPD, TIDV, TXDCTL, TADV, RXCSUM.
pub(crate) const STORED: [u32; 17] = [
    0x0018, 0x0028, 0x002c, 0x0030, 0x00c4, 0x0170, 0x1000, 0x2160, 0x2168, 0x2820, 0x2828, 0x282c, 0x2c00,
    0x3820, 0x3828, 0x382c, 0x5000,
];

/// Offsets within a ring's block.
pub(crate) mod ring {
    pub(crate) const LOW: u32 = 0x00;
    pub(crate) const HIGH: u32 = 0x04;
    pub(crate) const LENGTH: u32 = 0x08;
    pub(crate) const HEAD: u32 = 0x10;
    pub(crate) const TAIL: u32 = 0x18;
}

/// Bits of CTRL.
pub(crate) mod ctrl {
    pub(crate) const SLU: u32 = 1 << 6;
    pub(crate) const RST: u32 = 1 << 26;
    /// VLAN mode: not modelled.
    pub(crate) const VME: u32 = 1 << 30;
}

/// Bits of RCTL.
pub(crate) mod rctl {
    pub(crate) const EN: u32 = 1 << 1;
    pub(crate) const UPE: u32 = 1 << 3;
    pub(crate) const MPE: u32 = 1 << 4;
    pub(crate) const LPE: u32 = 1 << 5;
    pub(crate) const LOOPBACK: u32 = 3 << 6;
    pub(crate) const MULTICAST_OFFSET_SHIFT: u32 = 12;
    pub(crate) const BAM: u32 = 1 << 15;
    pub(crate) const BUFFER_SHIFT: u32 = 16;
    pub(crate) const VFE: u32 = 1 << 18;
    pub(crate) const BSEX: u32 = 1 << 25;
    pub(crate) const SECRC: u32 = 1 << 26;
}

/// Bits of TCTL.
pub(crate) mod tctl {
    pub(crate) const EN: u32 = 1 << 1;
    pub(crate) const PSP: u32 = 1 << 3;
}

/// Bits of ICR, IMS, IMC and ICS.
pub(crate) mod icr {
    pub(crate) const TXDW: u32 = 1 << 0;
    pub(crate) const TXQE: u32 = 1 << 1;
    pub(crate) const LSC: u32 = 1 << 2;
    pub(crate) const RXO: u32 = 1 << 6;
    pub(crate) const RXT0: u32 = 1 << 7;
    /// All that this controller has.
    pub(crate) const ALL: u32 = 0x1_ffff;
}
