//! What both rings have in common: slots, cookies, and who is where.

use corey_kernel_hal::{Dma, Mmio};

use crate::registers::RingRegisters;

/// Bytes of a descriptor.
const DESCRIPTOR_BYTES: usize = 16;

/// Descriptor done, in both kinds' second word (§3.2.3.1, §3.3.3.2). Written as 0 with the rest of the word.
pub(crate) const DD: u64 = 1 << 32;

/// A ring of `N` descriptors and the cookies of what is posted. Positions are counts that wrap; a slot is a position modulo `N`.
///
/// ```text
///    back ≤ … published ≤ … posted ≤ back + N − 1
///      └ the card's ┘  └ no doorbell yet
/// ```
pub(crate) struct Ring<D, const N: usize> {
    memory: D,
    cookies: [u64; N],
    /// Next to post.
    posted: usize,
    /// First that the card does not know of.
    published: usize,
    /// Next to give back.
    back: usize,
    /// Most that may be posted: N − 1 (a full ring would look empty to the card), or 0 while the card is stopped.
    limit: usize,
}

impl<D: Dma, const N: usize> Ring<D, N> {
    /// §13.4.27 and §13.4.38 (RDLEN, TDLEN): a multiple of 128 bytes. A power of two, for slots by a mask.
    const SHAPE: () =
        assert!(N.is_power_of_two() && N >= 8 && N <= 4096, "a ring of 8, 16 … 4096 descriptors");

    pub(crate) const fn new(memory: D) -> Self {
        let () = Self::SHAPE;
        Self { memory, cookies: [0; N], posted: 0, published: 0, back: 0, limit: 0 }
    }

    /// Whether the memory is as long as the ring, and lies as the card can use it (§13.4.25: 16-byte units).
    pub(crate) fn fits(&self) -> bool {
        let start = self.memory.address();
        self.memory.words() == 2 * N
            && start.is_multiple_of(DESCRIPTOR_BYTES as u64)
            && start.checked_add((N * DESCRIPTOR_BYTES) as u64).is_some()
    }

    /// Tells the card, which is stopped, where the ring is. It is empty, and takes buffers from now on.
    pub(crate) fn open(&mut self, mmio: &impl Mmio, registers: RingRegisters) {
        let start = self.memory.address();
        mmio.write(registers.low, start as u32);
        mmio.write(registers.high, (start >> 32) as u32);
        mmio.write(registers.length, (N * DESCRIPTOR_BYTES) as u32);
        mmio.write(registers.head, 0);
        mmio.write(registers.tail, 0);
        (self.posted, self.published, self.back) = (0, 0, 0);
        self.limit = N - 1;
    }

    /// Whether it takes buffers, if there is room.
    pub(crate) fn is_open(&self) -> bool {
        self.limit != 0
    }

    /// Takes no more buffers.
    pub(crate) fn close(&mut self) {
        self.limit = 0;
    }

    /// Buffers that can be posted now.
    #[inline(always)]
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.outstanding())
    }

    /// Buffers that have not come back.
    #[inline(always)]
    pub(crate) fn outstanding(&self) -> usize {
        self.posted.wrapping_sub(self.back)
    }

    /// Where the next descriptor is posted.
    #[inline(always)]
    pub(crate) fn posted(&self) -> usize {
        self.posted
    }

    /// The first descriptor that the card does not know of.
    #[inline(always)]
    pub(crate) fn published(&self) -> usize {
        self.published
    }

    /// The oldest descriptor that has not come back.
    #[inline(always)]
    pub(crate) fn back(&self) -> usize {
        self.back
    }

    /// Writes the next descriptor, for which there is room. The card may not look at it before the doorbell, so the order of
    /// the two stores is of no importance; both precede the doorbell's, as [`Mmio`] promises.
    #[inline(always)]
    pub(crate) fn post(&mut self, address: u64, word: u64, cookie: u64) {
        let slot = self.posted % N;
        self.memory.store(2 * slot, address);
        self.memory.store(2 * slot + 1, word);
        if let Some(place) = self.cookies.get_mut(slot) {
            *place = cookie;
        }
        self.posted = self.posted.wrapping_add(1);
    }

    /// The second word of the descriptor at `position`. What the card wrote before it, data included, is seen after it.
    #[inline(always)]
    pub(crate) fn word(&self, position: usize) -> u64 {
        self.memory.load(2 * (position % N) + 1)
    }

    /// Sets bits in the second word of a descriptor that is not published.
    #[inline(always)]
    pub(crate) fn add_bits(&mut self, position: usize, bits: u64) {
        self.memory.store(2 * (position % N) + 1, self.word(position) | bits);
    }

    /// Gives the card everything that was posted; true when that took a write. The descriptors are in memory before the card
    /// sees the new tail ([`Mmio::write`]); otherwise it would fetch what lay there before.
    #[inline(always)]
    pub(crate) fn publish(&mut self, mmio: &impl Mmio, registers: RingRegisters) -> bool {
        let news = self.published != self.posted;
        if news {
            self.published = self.posted;
            mmio.write(registers.tail, (self.posted % N) as u32);
        }
        news
    }

    /// Takes the oldest cookie back; there is one.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> u64 {
        let cookie = self.cookies.get(self.back % N).copied().unwrap_or_default();
        self.back = self.back.wrapping_add(1);
        cookie
    }

    /// Gives every cookie back that has not come back, also if the card never heard of it. The card has stopped.
    pub(crate) fn drain(&mut self, each: &mut dyn FnMut(u64)) {
        while self.outstanding() > 0 {
            each(self.take());
        }
        self.published = self.posted;
    }
}
