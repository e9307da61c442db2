//! What is compared with what.

use crate::Case;

/// First marker id of parts.
const FIRST: u32 = 0xbf0;

/// A part of the run. Its marker id is in the report of each of its measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Two cores, each on objects of its own.
    Private,
    /// Two cores, on objects of a share that both hold.
    Shared,
    /// The same case on all cores, each on objects of its own.
    Alone,
    /// Two cores on one shared object, reported as if it were private: what must be found.
    Planted,
    /// Two cores, each on objects of its own, by a ring of its own that a kernel core of its own serves.
    Ring,
    /// Two such rings on one shared object, reported as if it were private: what must be found.
    PlantedRing,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 6] =
        [Self::Private, Self::Shared, Self::Alone, Self::Planted, Self::Ring, Self::PlantedRing];

    /// Its name on command lines and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Shared => "shared",
            Self::Alone => "alone",
            Self::Planted => "planted",
            Self::Ring => "ring",
            Self::PlantedRing => "planted-ring",
        }
    }

    /// Whether its calls are made by ring.
    #[must_use]
    pub const fn is_by_ring(self) -> bool {
        matches!(self, Self::Ring | Self::PlantedRing)
    }

    /// Whether its operations are on objects that both cores can reach.
    #[must_use]
    pub const fn is_on_both(self) -> bool {
        matches!(self, Self::Shared | Self::Planted | Self::PlantedRing)
    }

    /// The id in the marker of its reports.
    #[must_use]
    pub const fn id(self) -> u32 {
        FIRST + self as u32
    }

    /// The part with this marker id.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.id() == id)
    }

    /// The part with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// Whether the pair belongs to the tenth of all pairs that `seed` names: each pair is in one of ten, and the seeds
/// 0 … 9 name them all.
fn chosen(seed: u64, first: Case, second: Case) -> bool {
    // Neighbours in either direction fall into different tenths.
    let place = u64::from(first.number()) * 3 + u64::from(second.number()) * 7;
    place % 10 == seed % 10
}

/// Workers up to which heavy cases are measured alone.
const HEAVY_UP_TO: u32 = 16;
/// Workers of the parts by ring: a pair.
pub const PAIR: u32 = 2;

/// How far above a worker's core its kernel core is, in the parts by ring: behind the conductor, the pair, a target for
/// each, and one for both.
pub const KERNEL_CORE: u32 = 2 * PAIR + 1;

/// Processors for so many workers: the conductor, the workers, a target for each, one for both; and by ring a kernel core
/// for each.
#[must_use]
pub const fn cores(workers: u32, by_ring: bool) -> u32 {
    2 * workers + 2 + if by_ring { workers } else { 0 }
}

/// Network cards that a machine has at most.
const CARDS: u32 = 16;

/// Network cards for so many workers: one for each, and where there is room one that they share. None where there are not
/// enough.
#[must_use]
pub const fn cards(workers: u32) -> u32 {
    if workers < CARDS {
        workers + 1
    } else if workers == CARDS {
        CARDS
    } else {
        0
    }
}

/// The measurements of a part with so many workers, in the order in which they are made. With a `seed` only a tenth of
/// the shared ones and of those by ring; with `only` those that this case takes part in.
pub fn plan(
    part: Part,
    workers: u32,
    seed: Option<u64>,
    only: Option<Case>,
) -> impl Iterator<Item = (Case, Case)> {
    let all = Case::ALL.iter().flat_map(|a| Case::ALL.iter().map(move |b| (*a, *b)));
    all.filter(move |(a, b)| {
        let wanted = only.is_none_or(|only| only == *a || only == *b);
        match part {
            Part::Private => wanted,
            Part::Shared => wanted && seed.is_none_or(|seed| chosen(seed, *a, *b)),
            Part::Alone => {
                let heavy = a.is_heavy() && workers > HEAVY_UP_TO;
                wanted && a == b && !heavy && (cards(workers) > 0 || !a.has_card())
            }
            Part::Ring => {
                wanted
                    && a.why_not_by_ring().is_none()
                    && b.why_not_by_ring().is_none()
                    && seed.is_none_or(|seed| chosen(seed, *a, *b))
            }
            // Both set the size of one segment.
            Part::Planted | Part::PlantedRing => *a == Case::SegmentGrow && a == b,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seeds_name_every_pair_once_and_each_about_a_tenth() {
        let pairs = || Case::ALL.iter().flat_map(|a| Case::ALL.iter().map(move |b| (*a, *b)));
        for (a, b) in pairs() {
            assert_eq!((0..10).filter(|seed| chosen(*seed, a, b)).count(), 1);
        }
        let by_ring = |seed| plan(Part::Ring, PAIR, seed, None).count();
        assert_eq!((0..10).map(|seed| by_ring(Some(seed))).sum::<usize>(), by_ring(None));
        let all = pairs().count();
        for seed in 0..10 {
            let some = pairs().filter(|(a, b)| chosen(seed, *a, *b)).count();
            assert!((all / 12..all / 8).contains(&some), "{some} of {all}");
        }
    }

    #[test]
    fn parts_have_ids_of_their_own() {
        for part in Part::ALL {
            assert_eq!(Part::from_id(part.id()), Some(part));
            assert_eq!(Part::by_name(part.name()), Some(part));
            assert_eq!(Case::from_id(part.id()), None);
        }
    }
}
