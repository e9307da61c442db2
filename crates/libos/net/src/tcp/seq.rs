//! Sequence numbers: modulo 2³², compared by the sign of their distance (RFC 9293 §3.4).

/// A sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seq(pub(crate) u32);

impl Seq {
    #[inline(always)]
    pub(crate) const fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    #[inline(always)]
    pub(crate) const fn minus(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }

    /// How far `self` lies behind `earlier`; negative when before it.
    #[inline(always)]
    pub(crate) const fn from(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// How many numbers from `earlier` to here; 0 when here is before it.
    #[inline(always)]
    pub(crate) fn since(self, earlier: Self) -> u32 {
        self.from(earlier).max(0) as u32
    }

    #[inline(always)]
    pub(crate) const fn is_before(self, other: Self) -> bool {
        self.from(other) < 0
    }

    #[inline(always)]
    pub(crate) const fn is_after(self, other: Self) -> bool {
        self.from(other) > 0
    }

    pub(crate) fn latest(self, other: Self) -> Self {
        if other.is_after(self) { other } else { self }
    }
}
