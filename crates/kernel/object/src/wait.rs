//! Who waits on which word.

use crate::link::Link;
use corey_kernel_hal::{CoreId, MAX_CORES};
use corey_kernel_percore::CoreSet;
use corey_lib_sync::Quarantine;

/// A core that waits on the word at `offset` of a segment.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    segment: Link,
    offset: u64,
    core: CoreId,
}

/// The cores that wait on words of segments at home on one core. A core waits on one word at a time, so there
/// is room for all.
#[derive(Debug, Default)]
pub struct WaitList(heapless::Vec<Waiter, MAX_CORES>);

impl Quarantine for WaitList {
    fn quarantine(&mut self) {
        // Whoever takes it over wakes everybody ([`corey_kernel_percore::Local::took_over`]).
        self.0.clear();
    }
}

impl WaitList {
    /// Adds `core`.
    pub fn add(&mut self, segment: Link, offset: u64, core: CoreId) {
        self.remove(core);
        // One per core, and there are at most MAX_CORES.
        let _ = self.0.push(Waiter { segment, offset, core });
    }

    /// Takes `core` out, if it is in.
    pub fn remove(&mut self, core: CoreId) {
        self.0.retain(|waiter| waiter.core != core);
    }

    /// Takes out those that wait on `segment`, at `offset` or (`None`) anywhere.
    pub fn take(&mut self, segment: Link, offset: Option<u64>) -> CoreSet {
        let mut taken = CoreSet::EMPTY;
        self.0.retain(|waiter| {
            let goes = waiter.segment == segment && offset.is_none_or(|at| at == waiter.offset);
            if goes {
                taken.insert(waiter.core);
            }
            !goes
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_wait_on_the_word_are_taken() {
        let mut list = WaitList::default();
        let segment = Link::NULL;
        for core in 0..MAX_CORES as u16 {
            list.add(segment, u64::from(core % 2) * 8, CoreId(core));
        }
        list.add(segment, 16, CoreId(3));
        assert_eq!(list.take(segment, Some(8)).iter().count(), MAX_CORES / 2 - 1);
        assert_eq!(list.take(segment, Some(16)), CoreSet::only(CoreId(3)));
        list.remove(CoreId(0));
        assert_eq!(list.take(segment, None).iter().count(), MAX_CORES / 2 - 1);
        assert!(list.take(segment, None).is_empty());
    }
}
