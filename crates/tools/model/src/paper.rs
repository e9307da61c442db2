//! What the paper gives beside Figure 1's memory references: one point for each system as an input, the rest held back.

use crate::machine::{INTEL, Machine};
use crate::span::Span;

/// Operations a second of a system on one core, and how far the figure was rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// `corey` or `linux`, as in records.
    pub system: &'static str,
    /// Reads of 4 KiB a second.
    pub rate: f64,
    /// Half of its last digit.
    pub rounding: f64,
    /// Where it was measured.
    pub machine: &'static Machine,
}

/// The declared points: reads of a 4 KiB file by `pread` on one core (§7.3).
pub static POINTS: [Point; 2] = [
    Point { system: "corey", rate: 1.7e6, rounding: 0.05e6, machine: &INTEL },
    Point { system: "linux", rate: 1.2e6, rounding: 0.05e6, machine: &INTEL },
];

impl Point {
    /// Returns the point of `system`.
    pub fn of(system: &str) -> Option<&'static Self> {
        POINTS.iter().find(|point| point.system == system)
    }

    /// Returns the cycles of one operation.
    pub fn cycles(&self) -> Span {
        let of = |rate: f64| self.machine.clock / rate;
        Span::new(of(self.rate + self.rounding), of(self.rate), of(self.rate - self.rounding))
    }
}

/// Iterations of eight bytes in a read's copy of 4 KiB.
pub const READ_REP: f64 = 512.0;

/// Remote cache misses of a Linux read, "approximately ten" (§7.3, from a profile at 16 cores).
pub const LINUX_READ_EVENTS: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_so_many_cycles() {
        let cycles = Point::of("corey").unwrap().cycles();
        assert!(cycles.is_sound() && (cycles.point - 941.2).abs() < 0.1, "{cycles:?}");
        assert!((Point::of("linux").unwrap().cycles().point - 1333.3).abs() < 0.1);
        assert!(Point::of("windows").is_none());
    }
}
