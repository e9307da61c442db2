//! What the benchmark `heap` allocates, on both systems.

use core::alloc::Layout;

/// Sizes of blocks: small and mixed.
const SIZES: [usize; 8] = [16, 24, 32, 48, 64, 96, 128, 256];
/// Blocks of `local` that are live at any time.
pub const LIVE: usize = 64;
/// Slots of `larson`, per core.
pub const SLOTS: usize = 256;
/// Operations before the region, so that it begins in the steady state.
pub const WARM: u64 = 4096;

/// The block of operation `number`.
#[inline(always)]
pub const fn layout(number: u64) -> Layout {
    let size = SIZES[(number % SIZES.len() as u64) as usize];
    match Layout::from_size_align(size, 8) {
        Ok(layout) => layout,
        Err(_) => Layout::new::<u64>(),
    }
}

/// The slot that operation `number` of core `core` exchanges, of `slots`.
#[inline(always)]
pub const fn slot(core: u32, number: u64, slots: usize) -> usize {
    let mixed = (number + ((core as u64) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize % slots
}
