//! A value and the band it lies in.

/// A point between a low and a high value, none of them negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// The lowest value.
    pub low: f64,
    /// The value itself.
    pub point: f64,
    /// The highest value.
    pub high: f64,
}

impl Span {
    /// Nothing, for sure.
    pub const ZERO: Self = Self::exactly(0.0);

    /// Returns a value without a band.
    pub const fn exactly(value: f64) -> Self {
        Self { low: value, point: value, high: value }
    }

    /// Returns a value with a band.
    pub const fn new(low: f64, point: f64, high: f64) -> Self {
        Self { low, point, high }
    }

    /// Widens the band to `value`.
    #[must_use]
    pub fn with(self, value: f64) -> Self {
        Self { low: self.low.min(value), high: self.high.max(value), ..self }
    }

    /// Multiplies each of the three by `factor`.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self::new(self.low * factor, self.point * factor, self.high * factor)
    }

    /// Says whether `value` lies in the band, its ends included.
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Says whether the point lies in the band and nothing is negative or infinite.
    pub fn is_sound(self) -> bool {
        0.0 <= self.low && self.low <= self.point && self.point <= self.high && self.high.is_finite()
    }
}

impl core::ops::Add for Span {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::new(self.low + other.low, self.point + other.point, self.high + other.high)
    }
}

impl core::ops::Mul for Span {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self::new(self.low * other.low, self.point * other.point, self.high * other.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_products_of_sound_spans_are_sound() {
        let (a, b) = (Span::new(1.0, 2.0, 4.0), Span::new(0.0, 0.5, 3.0));
        assert!((a + b).is_sound() && (a * b).is_sound() && a.scaled(0.1).is_sound());
        assert_eq!(a * b, Span::new(0.0, 1.0, 12.0));
        assert!(a.contains(4.0) && !a.contains(4.1));
        assert!(!Span::new(2.0, 1.0, 3.0).is_sound());
    }
}
