//! Size classes: steps of 16 to 128 bytes, then four per doubling to 256 KiB.

use core::alloc::Layout;

/// Bytes of the largest block that always lies in a chunk with others of its class.
pub const LARGEST: usize = 32 << 10;
/// The same when the source has little room for chunks of one block.
pub(crate) const LARGEST_SHARED: usize = 256 << 10;
/// How many classes there are.
pub const CLASSES: usize = 8 + 11 * 4;
/// Every block is a multiple of this.
pub(crate) const UNIT: usize = 16;

/// The class of `size` bytes, at most [`LARGEST_SHARED`].
#[inline(always)]
pub(crate) const fn of_size(size: usize) -> usize {
    if size <= 128 {
        return (size.saturating_sub(1)) / UNIT;
    }
    let top = size - 1;
    let log = top.ilog2();
    8 + (log as usize - 7) * 4 + ((top >> (log - 2)) & 3)
}

/// The class of `layout`; `None` when it needs a chunk of its own.
#[inline(always)]
pub(crate) fn class(layout: Layout) -> Option<usize> {
    let mut size = layout.size();
    if layout.align() > UNIT {
        // Blocks of a power of two are aligned to their size.
        size = size.max(layout.align()).checked_next_power_of_two()?;
    }
    (size <= LARGEST_SHARED).then(|| of_size(size))
}

/// Bytes of a block of `class`.
pub(crate) const fn bytes(class: usize) -> usize {
    if class < 8 {
        return (class + 1) * UNIT;
    }
    let step = class - 8;
    (4 + step % 4 + 1) << (step / 4 + 5)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_the_smallest_that_fits() {
        for size in 1..=LARGEST_SHARED {
            let class = class(Layout::from_size_align(size, 1).unwrap()).unwrap();
            assert!(bytes(class) >= size, "{size} in {class}");
            assert!(class == 0 || bytes(class - 1) < size, "{size} in {class}");
            assert!(size < 128 || bytes(class) * 4 <= size * 5 + 4, "{size} wastes more than a quarter");
        }
        assert_eq!(bytes(CLASSES - 1), LARGEST_SHARED);
    }

    #[test]
    fn blocks_for_alignments_are_powers_of_two() {
        for align in (5..15).map(|log| 1 << log) {
            for size in [0, 1, 33, align - 1, align, align + 1] {
                let layout = Layout::from_size_align(size, align).unwrap();
                if let Some(class) = class(layout) {
                    assert!(bytes(class).is_power_of_two() && bytes(class) >= align.max(size));
                }
            }
        }
    }
}
