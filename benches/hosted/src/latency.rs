//! How long a read takes of a line that another processor wrote last.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::host::Host;
use crate::rounds::on_all;

/// Lines of a round: they fit in every first-level cache.
pub(crate) const LINES: usize = 128;

/// A word alone on its line and on its neighbour.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// Lines that form one ring, in an order no prefetcher guesses.
struct Ring(Vec<Line>);

impl Ring {
    fn new() -> Self {
        let mut order: Vec<usize> = (0..LINES).collect();
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for last in (1..LINES).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.swap(last, (seed >> 33) as usize % (last + 1));
        }
        let lines: Vec<Line> = (0..LINES).map(|_| Line::default()).collect();
        for (at, next) in order.iter().zip(order.iter().cycle().skip(1)) {
            lines[*at].0.store(*next as u64, Ordering::Relaxed);
        }
        Self(lines)
    }

    /// Writes every line, and leaves it as it was.
    fn write(&self) {
        for line in &self.0 {
            line.0.store(line.0.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Nanoseconds of one read, each waiting for the one before.
    fn read(&self) -> f64 {
        let start = Instant::now();
        let mut at = 0;
        for _ in 0..LINES {
            at = self.0[at].0.load(Ordering::Relaxed) as usize;
        }
        std::hint::black_box(at);
        start.elapsed().as_nanos() as f64 / LINES as f64
    }
}

/// Lines this processor wrote itself.
pub(crate) fn own(host: &Host, rounds: u64) -> Result<Vec<f64>, String> {
    let ring = Ring::new();
    on_all(host, 1, |_| {
        let round = |_| {
            ring.write();
            ring.read()
        };
        (0..rounds).map(round).collect()
    })
}

/// Lines that `writer` wrote, read by `reader`.
pub(crate) fn between(host: &Host, reader: u32, writer: u32, rounds: u64) -> Result<Vec<f64>, String> {
    let (ring, turn) = (Ring::new(), AtomicU32::new(0));
    let wait = |even: u32| {
        while turn.load(Ordering::Acquire) % 2 != even {
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let bound = host.bind(writer);
            for _ in 0..rounds {
                wait(0);
                ring.write();
                turn.fetch_add(1, Ordering::Release);
            }
            bound
        });
        let reading = scope.spawn(|| {
            let bound = host.bind(reader);
            let round = |_| {
                wait(1);
                let time = ring.read();
                turn.fetch_add(1, Ordering::Release);
                time
            };
            let times = (0..rounds).map(round).collect();
            bound.map(|()| times)
        });
        writing.join().map_err(|_| "the writer panicked".to_owned())??;
        reading.join().map_err(|_| "the reader panicked".to_owned())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_passes_every_line_once() {
        let ring = Ring::new();
        ring.write();
        let (mut seen, mut at) = (vec![false; LINES], 0);
        for _ in 0..LINES {
            assert!(!std::mem::replace(&mut seen[at], true));
            at = ring.0[at].0.load(Ordering::Relaxed) as usize;
        }
        assert_eq!(at, 0);
    }
}
