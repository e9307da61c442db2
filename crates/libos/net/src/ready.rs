//! What became possible.

use core::ops::{BitOr, BitOrAssign};

/// What became possible on a connection since it was last said; a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready(u8);

impl Ready {
    pub(crate) const NONE: Self = Self(0);
    /// The handshake is complete.
    pub const CONNECTED: Self = Self(1);
    /// Data or its end arrived: read until [`crate::Error::WouldBlock`], 0 or another error.
    pub const READABLE: Self = Self(2);
    /// There is room after a write that found too little.
    pub const WRITABLE: Self = Self(4);
    /// The connection is over; reading says why.
    pub const CLOSED: Self = Self(8);

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Ready {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Ready {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
