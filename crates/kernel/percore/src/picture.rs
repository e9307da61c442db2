//! [`Picture`]: what a core tells of itself when it is asked.

use crate::local::Counters;
use crate::words::ObjectWords;
use corey_abi::RUN_SHARES;
use corey_lib_sync::atomic::{AtomicU64, Ordering};

/// Numbers of a picture.
const NUMBERS: usize = 12;

/// A core by itself, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// One of [`corey_abi::core_mode`].
    pub mode: u64,
    /// The time-stamp counter.
    pub tsc: u64,
    /// ID of the running root tree.
    pub tree: u64,
    /// What happened on the core.
    pub counters: Counters,
}

/// Written by its core when a message asks for it, read by whoever asked. Two who ask at once may find a
/// mixture of two pictures that are as good as one.
#[derive(Debug, Default)]
pub struct Picture {
    numbers: [AtomicU64; NUMBERS],
    shares: [[AtomicU64; 2]; RUN_SHARES],
}

impl Picture {
    /// Writes it.
    pub fn store(&self, from: Numbers, shares: &[ObjectWords]) {
        let Numbers { mode, tsc, tree, counters } = from;
        let Counters { faults, ipis, shootdowns, syscalls, turns, useful, ring_calls, interrupts } = counters;
        let numbers = [
            shares.len() as u64,
            mode,
            tsc,
            tree,
            faults,
            ipis,
            shootdowns,
            syscalls,
            turns,
            useful,
            ring_calls,
            interrupts,
        ];
        for (to, from) in self.numbers.iter().zip(numbers) {
            to.store(from, Ordering::Relaxed);
        }
        for ([address, id], share) in self.shares.iter().zip(shares) {
            address.store(share.address(), Ordering::Relaxed);
            id.store(share.id(), Ordering::Release);
        }
    }

    /// Reads the numbers.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let [_, mode, tsc, tree, faults, ipis, shootdowns, syscalls, turns, useful, ring_calls, interrupts]: [u64;
            NUMBERS] = core::array::from_fn(|at| self.number(at));
        let counters = Counters { faults, ipis, shootdowns, syscalls, turns, useful, ring_calls, interrupts };
        Numbers { mode, tsc, tree, counters }
    }

    fn number(&self, at: usize) -> u64 {
        self.numbers.get(at).map_or(0, |number| number.load(Ordering::Relaxed))
    }

    /// The shares held. A reading that mixes two pictures names nothing: address and ID do not match.
    pub fn shares(&self) -> impl Iterator<Item = ObjectWords> + '_ {
        let count = self.number(0) as usize;
        self.shares.iter().take(count).map(|[address, id]| {
            let id = id.load(Ordering::Acquire);
            // SAFETY: `store` wrote the words of an `ObjectWords`.
            unsafe { ObjectWords::new(address.load(Ordering::Relaxed), id) }
        })
    }
}
