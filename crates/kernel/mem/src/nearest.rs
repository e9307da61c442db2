//! Whose memory a core turns to when it has none left.

use corey_kernel_hal::{CoreId, Place};

/// Puts all cores into `order`, nearest first: `own`, then by `distance` of their memory, then those that share a
/// physical core, a cache (the lower the better) or the package with it, then by number from `own` on, round and round.
pub(crate) fn order(own: usize, places: &[Place], distance: impl Fn(usize) -> u8, order: &mut [CoreId]) {
    order.iter_mut().zip(0..).for_each(|(core, number)| *core = CoreId(number));
    let Some(here) = places.get(own) else { return };
    order.sort_unstable_by_key(|core| {
        let core = core.index();
        let apart = places.get(core).map_or(u8::MAX, |place| here.position.apart(&place.position));
        (core != own, distance(core), apart, (core + places.len() - own) % places.len())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use corey_test_hal_host::topology::{flat, packages};

    fn nearest(own: usize, places: &[Place], distance: impl Fn(usize) -> u8) -> Vec<u16> {
        let mut all = vec![CoreId(0); places.len()];
        order(own, places, distance, &mut all);
        all.iter().map(|core| core.0).collect()
    }

    #[test]
    fn equally_near_cores_come_by_number_from_ones_own_on() {
        assert_eq!(nearest(2, flat(5).places, |_| 10), [2, 3, 4, 0, 1]);
        assert_eq!(nearest(0, flat(1).places, |_| 10), [0]);
    }

    #[test]
    fn what_cores_share_decides_between_equal_distances() {
        // Packages of 8, a cache for 4, two threads each.
        let all = packages(flat(16), 8, 2, 4);
        assert_eq!(nearest(5, all.places, |_| 10), [5, 4, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn distance_comes_first_and_ones_own_before_all() {
        let all = packages(flat(4), 2, 2, 2);
        // Its own memory lies far away.
        assert_eq!(nearest(1, all.places, |core| [30, 40, 20, 10][core]), [1, 3, 2, 0]);
    }
}
