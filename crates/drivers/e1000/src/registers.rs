//! Register offsets and bits (§13.4 to §13.7). What is not used is not here.

/// Device control (§13.4.1).
pub(crate) const CTRL: u32 = 0x0000;
/// Set link up: the MAC looks at what the PHY negotiated.
pub(crate) const CTRL_SLU: u32 = 1 << 6;
/// What would keep it from that: LRST, ASDE, ILOS, FRCSPD, FRCDPX; and VLAN mode and the PHY's reset.
pub(crate) const CTRL_FORCED: u32 = 1 << 3 | 1 << 5 | 1 << 7 | 1 << 11 | 1 << 12 | 1 << 30 | 1 << 31;
/// Reset of everything but the PCI configuration; clears itself.
pub(crate) const CTRL_RST: u32 = 1 << 26;

/// Device status (§13.4.2). Most bits are reserved: a card that answers never says all ones.
pub(crate) const STATUS: u32 = 0x0008;
pub(crate) const STATUS_FD: u32 = 1 << 0;
pub(crate) const STATUS_LU: u32 = 1 << 1;
pub(crate) const STATUS_SPEED_SHIFT: u32 = 6;

/// EEPROM read (§13.4.4): address in bits 15:8, data in bits 31:16.
pub(crate) const EERD: u32 = 0x0014;
pub(crate) const EERD_START: u32 = 1 << 0;
pub(crate) const EERD_DONE: u32 = 1 << 4;
pub(crate) const EERD_ADDRESS_SHIFT: u32 = 8;
pub(crate) const EERD_DATA_SHIFT: u32 = 16;

/// Interrupt causes; reading clears them (§13.4.17). The same bits in IMS (sets the mask) and IMC (clears it).
pub(crate) const ICR: u32 = 0x00c0;
/// Sets causes, as if they had happened (§13.4.19).
pub(crate) const ICS: u32 = 0x00c8;
pub(crate) const IMS: u32 = 0x00d0;
pub(crate) const IMC: u32 = 0x00d8;
/// A descriptor with RS was written back.
pub(crate) const ICR_TXDW: u32 = 1 << 0;
/// The transmit ring is empty.
pub(crate) const ICR_TXQE: u32 = 1 << 1;
/// The link changed.
pub(crate) const ICR_LSC: u32 = 1 << 2;
/// Few receive descriptors are left.
pub(crate) const ICR_RXDMT0: u32 = 1 << 4;
/// Frames were lost for want of descriptors or bus bandwidth.
pub(crate) const ICR_RXO: u32 = 1 << 6;
/// A frame is in memory.
pub(crate) const ICR_RXT0: u32 = 1 << 7;

/// Receive control (§13.4.22). Buffer size 2048 is BSIZE 0 with BSEX 0; LPE 0 refuses frames over 1522 bytes; SBP 0 those
/// with a bad CRC.
pub(crate) const RCTL: u32 = 0x0100;
pub(crate) const RCTL_EN: u32 = 1 << 1;
/// Every unicast address.
pub(crate) const RCTL_UPE: u32 = 1 << 3;
/// Every multicast address.
pub(crate) const RCTL_MPE: u32 = 1 << 4;
/// Broadcast.
pub(crate) const RCTL_BAM: u32 = 1 << 15;
/// The CRC does not go to memory.
pub(crate) const RCTL_SECRC: u32 = 1 << 26;

/// Transmit control (§13.4.33).
pub(crate) const TCTL: u32 = 0x0400;
pub(crate) const TCTL_EN: u32 = 1 << 1;
/// Short frames are padded to 64 bytes with the CRC.
pub(crate) const TCTL_PSP: u32 = 1 << 3;
/// Collision threshold 15, as recommended.
pub(crate) const TCTL_CT: u32 = 15 << 4;
/// Collision distance: 64 byte times, for full duplex, and for 10 and 100 Mb/s.
pub(crate) const TCTL_COLD: u32 = 64 << 12;

/// Gaps between frames (§13.4.34): IPGT 10, IPGR1 8, IPGR2 6, the values of IEEE 802.3 for copper.
pub(crate) const TIPG: u32 = 0x0410;
pub(crate) const TIPG_COPPER: u32 = 10 | 8 << 10 | 6 << 20;

/// The receive ring (§13.4.25 to §13.4.29).
pub(crate) const RECEIVE: RingRegisters =
    RingRegisters { low: 0x2800, high: 0x2804, length: 0x2808, head: 0x2810, tail: 0x2818 };

/// The transmit ring (§13.4.36 to §13.4.40).
pub(crate) const TRANSMIT: RingRegisters =
    RingRegisters { low: 0x3800, high: 0x3804, length: 0x3808, head: 0x3810, tail: 0x3818 };

/// Registers of one ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingRegisters {
    /// Low half of the ring's bus address.
    pub(crate) low: u32,
    /// High half.
    pub(crate) high: u32,
    /// Bytes.
    pub(crate) length: u32,
    /// The card's next descriptor.
    pub(crate) head: u32,
    /// The first descriptor that is not the card's.
    pub(crate) tail: u32,
}

/// Multicast table (§13.5.1): 128 words.
pub(crate) const MTA: u32 = 0x5200;
pub(crate) const MTA_WORDS: u32 = 128;

/// Receive addresses (§13.5.2, §13.5.3): 16 pairs.
pub(crate) const RAL: u32 = 0x5400;
pub(crate) const RAH: u32 = 0x5404;
pub(crate) const RA_PAIRS: u32 = 16;
/// The pair is used.
pub(crate) const RAH_AV: u32 = 1 << 31;
