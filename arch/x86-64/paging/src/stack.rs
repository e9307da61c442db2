//! Where kernel stacks appear: each above an unmapped page, so that one that overflows faults.

use crate::STACK_WINDOW;

/// Bytes of a core's kernel stack.
const BYTES: u64 = 64 * 1024;
/// Bytes of each stack for NMI, double fault and machine check.
const URGENT_BYTES: u64 = 16 * 1024;
/// The unmapped page below each.
const GUARD: u64 = 4096;
/// Distance between two cores' stacks.
const STEP: u64 = 256 * 1024;

/// A kernel stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Its lowest address; below it nothing is mapped.
    pub bottom: u64,
    /// First address above it.
    pub top: u64,
}

impl Stack {
    /// Stack `number` of core `core`: 0 the kernel's, then the urgent ones.
    #[must_use]
    pub fn of(core: usize, number: usize) -> Self {
        let first = STACK_WINDOW + core as u64 * STEP + GUARD;
        if number == 0 {
            return Self { bottom: first, top: first + BYTES };
        }
        let bottom = first + BYTES + GUARD + (number as u64 - 1) * (GUARD + URGENT_BYTES);
        Self { bottom, top: bottom + URGENT_BYTES }
    }

    /// The core on one of whose stacks, or between them, `address` lies.
    #[must_use]
    pub fn core_of(address: u64) -> Option<usize> {
        let core = (address.checked_sub(STACK_WINDOW)? / STEP) as usize;
        (core < corey_kernel_hal::MAX_CORES).then_some(core)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.top - self.bottom
    }

    /// Whether a stack pointer points into it.
    #[must_use]
    pub fn holds(self, pointer: u64) -> bool {
        self.bottom < pointer && pointer <= self.top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lies_between_any_two_stacks() {
        let all: Vec<Stack> = (0..3).flat_map(|core| (0..4).map(move |n| Stack::of(core, n))).collect();
        assert!(all.windows(2).all(|two| two[0].top + GUARD <= two[1].bottom), "{all:x?}");
        assert_eq!(all[0].bottom, STACK_WINDOW + GUARD);
        for (number, stack) in all.iter().enumerate() {
            let ends = [Stack::core_of(stack.bottom), Stack::core_of(stack.top - 1)];
            assert_eq!(ends, [Some(number / 4); 2]);
        }
        let beyond = Stack::of(corey_kernel_hal::MAX_CORES, 0).bottom;
        assert_eq!([STACK_WINDOW - 1, beyond, 0, u64::MAX].map(Stack::core_of), [None; 4]);
    }
}
