//! A spin lock, taken and given back.

use std::time::Instant;

use corey_lib_bench::{Barrier, Lock};

use crate::host::Host;
use crate::rounds::on_all;

/// Operations of a round and processor.
pub(crate) const OPERATIONS: u64 = 1000;

fn round(lock: &Lock) -> f64 {
    let start = Instant::now();
    for _ in 0..OPERATIONS {
        lock.lock(std::hint::spin_loop);
        lock.unlock();
    }
    start.elapsed().as_nanos() as f64 / OPERATIONS as f64
}

/// Every processor has a lock of its own.
pub(crate) fn uncontended(host: &Host, cores: u32, rounds: u64) -> Result<Vec<f64>, String> {
    on_all(host, cores, |_| {
        let lock = Lock::default();
        (0..rounds).map(|_| round(&lock)).collect()
    })
}

/// All processors want one lock. Times are of the first one.
pub(crate) fn contended(host: &Host, cores: u32, rounds: u64) -> Result<Vec<f64>, String> {
    let (lock, barrier) = (Lock::default(), Barrier::default());
    on_all(host, cores, |_| {
        let together = |_| {
            barrier.wait(cores, std::hint::spin_loop);
            round(&lock)
        };
        (0..rounds).map(together).collect()
    })
}
