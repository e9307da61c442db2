//! Both sides in one thread, in every order that random numbers think of; and on two threads.

mod hostile;
mod lines;
mod queue;
mod sides;

use crate::shape::AREA;
use crate::{Env, Mapped, Shape};
use corey_lib_sync::Relax;
use corey_lib_sync::atomic::AtomicU64;

/// Memory of a ring.
struct Memory(Vec<AtomicU64>);

impl Memory {
    fn new(shape: Shape) -> Self {
        Self((0..shape.words() + AREA).map(|_| AtomicU64::new(0)).collect())
    }

    fn mapped(&self, shape: Shape) -> Mapped<'_> {
        let first = (0..AREA).find(|n| self.0[*n..].as_ptr().addr().is_multiple_of(128)).unwrap();
        Mapped::new(&self.0[first..], shape).unwrap()
    }
}

/// Counts how often the doorbell was rung.
#[derive(Debug, Default)]
struct Bell(u32);

impl Relax for Bell {
    fn relax(&mut self) {}
}

impl Env for Bell {
    fn ring(&mut self) {
        self.0 += 1;
    }
}

/// Random numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 33) % end
    }

    /// A word of any width.
    fn word(&mut self) -> u64 {
        let bits = self.below(65) as u32;
        self.next().checked_shr(bits).unwrap_or(0)
    }
}
