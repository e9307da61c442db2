//! What the card says of itself: link, interrupt causes, and that it is gone; and what it listens to.

use corey_kernel_hal::Filter;

use crate::registers::{
    ICR_LSC, ICR_RXDMT0, ICR_RXO, ICR_RXT0, ICR_TXDW, ICR_TXQE, RCTL_MPE, RCTL_UPE, STATUS_FD, STATUS_LU,
    STATUS_SPEED_SHIFT,
};

/// The card does not answer: registers read all ones. Nothing that it says counts any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// How bits go both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplex {
    /// At the same time.
    Full,
    /// One way at a time.
    Half,
}

/// The state of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// No partner. What is posted for transmission waits.
    Down,
    /// Frames go.
    Up {
        /// Megabits per second: 10, 100 or 1000.
        speed: u16,
        /// Which was negotiated.
        duplex: Duplex,
    },
}

impl Link {
    /// From STATUS (§13.4.2).
    pub(crate) fn from_status(status: u32) -> Self {
        if status & STATUS_LU == 0 {
            return Self::Down;
        }
        let speed = match status >> STATUS_SPEED_SHIFT & 3 {
            0 => 10,
            1 => 100,
            _ => 1000,
        };
        Self::Up { speed, duplex: if status & STATUS_FD == 0 { Duplex::Half } else { Duplex::Full } }
    }
}

/// Whether the card interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupts {
    /// When a frame has arrived, when a batch was sent, and when the link changes.
    On,
    /// Never.
    Off,
}

/// Bits of ICR that the driver has on.
pub(crate) const WANTED: u32 = ICR_RXT0 | ICR_RXO | ICR_TXDW | ICR_LSC;

/// What happened since somebody asked last, whether interrupts were on or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Frames arrived, or were lost for want of buffers.
    pub receive: bool,
    /// Frames were sent.
    pub transmit: bool,
    /// The link came or went.
    pub link: bool,
}

impl Cause {
    /// From ICR (§13.4.17).
    pub(crate) fn from_icr(icr: u32) -> Self {
        Self {
            receive: icr & (ICR_RXT0 | ICR_RXO | ICR_RXDMT0) != 0,
            transmit: icr & (ICR_TXDW | ICR_TXQE) != 0,
            link: icr & ICR_LSC != 0,
        }
    }

    /// Whether the interrupt was this card's. Another device may share its line.
    #[must_use]
    pub fn any(self) -> bool {
        self.receive || self.transmit || self.link
    }
}

/// Bits of RCTL.
pub(crate) fn filter_bits(filter: Filter) -> u32 {
    match filter {
        Filter::Own => 0,
        Filter::Groups => RCTL_MPE,
        Filter::Promiscuous => RCTL_MPE | RCTL_UPE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_and_duplex_are_read_only_of_a_link_that_is_up() {
        assert_eq!(Link::from_status(0x81), Link::Down);
        assert_eq!(Link::from_status(0x02), Link::Up { speed: 10, duplex: Duplex::Half });
        assert_eq!(Link::from_status(0x43), Link::Up { speed: 100, duplex: Duplex::Full });
        assert_eq!(Link::from_status(0x83), Link::Up { speed: 1000, duplex: Duplex::Full });
        assert_eq!(Link::from_status(0xc3), Link::Up { speed: 1000, duplex: Duplex::Full });
    }
}
