//! The paper's two machines: clocks, Figure 1's memory references, and who is how far from whom.

use crate::span::Span;

/// Cores the paper's machines have. Beyond them the model adds chips as far away as the farthest of Figure 1.
pub const REAL_CORES: u32 = 16;

/// Cores of one chip: four, on both machines (§2).
const CHIP: u32 = 4;

/// How chips and cores are joined (§2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joined {
    /// Four chips at the corners of a square: two neighbours, and one that is two hops away.
    Square,
    /// Chips of two dies with two cores each, on one bus.
    Bus,
}

/// A machine of Figure 1. Latencies are in cycles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Its name in tables.
    pub name: &'static str,
    /// Cycles a second.
    pub clock: f64,
    /// `L1 access`.
    pub l1: f64,
    /// `L2 access`.
    pub l2: f64,
    /// `L3 access`, where there is an L3.
    pub l3: Option<f64>,
    /// `RAM`.
    pub ram: f64,
    /// `Remote RAM`, at one hop and two, where memory has places.
    pub remote_ram: Option<[f64; 2]>,
    /// `L1 same die`, where dies have two cores.
    pub same_die: Option<f64>,
    /// `Local cache`: another core of the same processor.
    pub local_cache: f64,
    /// `Remote cache`, at one hop.
    pub remote_near: f64,
    /// `Remote cache`, at two hops; the same as at one where there is one distance.
    pub remote_far: f64,
    joined: Joined,
}

/// The AMD machine: four quad-core Opterons.
pub const AMD: Machine = Machine {
    name: "AMD",
    clock: 1.9e9,
    l1: 3.0,
    l2: 14.0,
    l3: Some(75.0),
    ram: 258.0,
    remote_ram: Some([280.0, 336.0]),
    same_die: None,
    local_cache: 127.0,
    remote_near: 205.0,
    remote_far: 285.0,
    joined: Joined::Square,
};

/// The Intel machine: four quad-core Xeons.
pub const INTEL: Machine = Machine {
    name: "Intel",
    clock: 1.6e9,
    l1: 3.0,
    l2: 14.0,
    l3: None,
    ram: 111.0,
    remote_ram: None,
    same_die: Some(67.0),
    local_cache: 63.0,
    remote_near: 110.0,
    remote_far: 110.0,
    joined: Joined::Bus,
};

/// Both.
pub const MACHINES: [Machine; 2] = [AMD, INTEL];

impl Machine {
    /// Returns the cycles that a line takes from core `from` to core `to`; cores are numbered chip by chip.
    pub fn distance(&self, from: u32, to: u32) -> f64 {
        let (a, b) = (from / CHIP, to / CHIP);
        match self.joined {
            Joined::Bus if from / 2 == to / 2 => self.same_die.unwrap_or(self.local_cache),
            _ if a == b => self.local_cache,
            Joined::Square if a.max(b) < 4 && a.abs_diff(b) != 2 => self.remote_near,
            _ => self.remote_far,
        }
    }

    /// Returns what a line costs that moves between two of the first `cores` cores: nearest, mean over all pairs, farthest.
    /// One core alone has a partner beside it.
    pub fn transfer(&self, cores: u32) -> Span {
        let cores = cores.max(2);
        let pairs = (0..cores).flat_map(|a| (0..a).map(move |b| self.distance(a, b)));
        let (mut low, mut sum, mut high, mut number) = (f64::INFINITY, 0.0, 0.0_f64, 0.0);
        for cycles in pairs {
            (low, sum, high, number) = (low.min(cycles), sum + cycles, high.max(cycles), number + 1.0);
        }
        Span::new(low, sum / number, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_of_sixteen_has_the_neighbours_the_paper_describes() {
        let count = |machine: &Machine, cycles: f64| {
            (1..16).filter(|core| (machine.distance(0, *core) - cycles).abs() < 0.1).count()
        };
        assert_eq!([127.0, 205.0, 285.0].map(|cycles| count(&AMD, cycles)), [3, 8, 4]);
        assert_eq!([67.0, 63.0, 110.0].map(|cycles| count(&INTEL, cycles)), [1, 2, 12]);
    }

    #[test]
    fn lines_take_longer_among_more_cores() {
        for machine in MACHINES {
            let means = [4, 8, 16, 32, 64].map(|cores| machine.transfer(cores).point);
            assert!(means.is_sorted(), "{means:?}");
            assert!((1..=64).all(|cores| machine.transfer(cores).is_sound()));
        }
        assert!((AMD.transfer(16).point - 3161.0 / 15.0).abs() < 1e-9);
        assert!((INTEL.transfer(16).point - 1513.0 / 15.0).abs() < 1e-9);
    }
}
