//! A barrier and a turn that work in memory shared between processes.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The most cores that can meet.
pub const MAX_CORES: usize = 256;

/// One value alone on its line and on the line an adjacent-line prefetcher would take with it.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Alone<T>(pub(crate) T);

/// A sense-reversing barrier whose sense is a generation number; all-zero is valid.
///
/// ```text
/// core A: read generation g · arrivals 0→1 · wait for generation ≠ g ………… leaves
/// core B: read generation g · arrivals 1→2 = cores: arrivals := 0, generation := g+1 · leaves
/// ```
/// Arrivals are reset before the generation moves, so a core that runs ahead into the next use
/// finds zero.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Barrier {
    arrivals: Alone<AtomicU32>,
    generation: Alone<AtomicU32>,
}

impl Barrier {
    /// Waits until `cores` cores have called this; calls `pause` while waiting.
    pub fn wait(&self, cores: u32, pause: impl Fn()) {
        let generation = self.generation.0.load(Ordering::Acquire);
        if self.arrivals.0.fetch_add(1, Ordering::AcqRel) + 1 == cores {
            self.arrivals.0.store(0, Ordering::Relaxed);
            self.generation.0.store(generation.wrapping_add(1), Ordering::Release);
        } else {
            while self.generation.0.load(Ordering::Acquire) == generation {
                pause();
            }
        }
    }
}

/// Lets cores act in the order 0, 1, … last, 0, 1, …; all-zero is valid.
///
/// Word `c` counts the operations core `c` was allowed by its neighbour; core 0's first needs no
/// permission. One line per core: a pass disturbs only the core it is meant for.
#[derive(Debug)]
#[repr(C)]
pub struct Turns {
    allowed: [Alone<AtomicU64>; MAX_CORES],
}

impl Default for Turns {
    fn default() -> Self {
        Self { allowed: core::array::from_fn(|_| Alone::default()) }
    }
}

impl Turns {
    fn word(&self, core: u32) -> &AtomicU64 {
        &self.allowed[core as usize % MAX_CORES].0
    }

    /// Takes back what core `core` was allowed; between two uses, before a barrier.
    pub fn reset(&self, core: u32) {
        self.word(core).store(0, Ordering::Relaxed);
    }

    /// Waits until operation `index` (from 0) of core `core` may run.
    #[inline]
    pub fn wait(&self, core: u32, index: u64, pause: impl Fn()) {
        let needed = if core == 0 { index } else { index + 1 };
        while self.word(core).load(Ordering::Acquire) < needed {
            pause();
        }
    }

    /// Lets the next core go after operation `index` of core `core`.
    #[inline]
    pub fn pass(&self, core: u32, cores: u32, index: u64) {
        let next = if core + 1 == cores { 0 } else { core + 1 };
        self.word(next).store(index + 1, Ordering::Release);
    }
}

/// The plain spin lock that `fig1` measures, alone on its lines; all-zero is open.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Lock(Alone<AtomicU32>);

impl Lock {
    /// Takes the lock; calls `pause` while another core has it.
    #[inline(always)]
    pub fn lock(&self, pause: impl Fn()) {
        while self.0.0.swap(1, Ordering::Acquire) != 0 {
            while self.0.0.load(Ordering::Relaxed) != 0 {
                pause();
            }
        }
    }

    /// Gives the lock back.
    #[inline(always)]
    pub fn unlock(&self) {
        self.0.0.store(0, Ordering::Release);
    }
}

/// What the cores of one benchmark share; all-zero is valid.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Meeting {
    /// Where they wait for each other.
    pub barrier: Barrier,
    /// Whose turn it is.
    pub turns: Turns,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn nobody_passes_the_barrier_early() {
        let (barrier, arrived) = (Barrier::default(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 1..=200 {
                        arrived.fetch_add(1, Ordering::SeqCst);
                        barrier.wait(4, std::thread::yield_now);
                        assert!(arrived.load(Ordering::SeqCst) >= 4 * round);
                        barrier.wait(4, std::thread::yield_now);
                    }
                });
            }
        });
    }

    #[test]
    fn the_lock_excludes() {
        let (lock, inside, total) = (Lock::default(), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        lock.lock(std::thread::yield_now);
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        let before = total.load(Ordering::Relaxed);
                        std::thread::yield_now();
                        total.store(before + 1, Ordering::Relaxed);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        lock.unlock();
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 2000);
    }

    #[test]
    fn turns_go_round() {
        let (turns, order) = (Turns::default(), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for core in 0..3 {
                let (turns, order) = (&turns, &order);
                scope.spawn(move || {
                    for index in 0..50 {
                        turns.wait(core, index, std::thread::yield_now);
                        order.lock().unwrap().push(core);
                        turns.pass(core, 3, index);
                    }
                });
            }
        });
        let order = order.into_inner().unwrap();
        assert_eq!(order, (0..150).map(|n| n % 3).collect::<Vec<u32>>());
    }
}
