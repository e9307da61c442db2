//! Numbers that an outsider cannot guess: SipHash as a keyed function, and in counter mode as a generator.

/// A secret key.
#[derive(Clone, Copy)]
pub(crate) struct Key(u64, u64);

struct Sip([u64; 4]);

impl Sip {
    #[inline(always)]
    fn new(key: Key) -> Self {
        Self([
            key.0 ^ 0x736f_6d65_7073_6575,
            key.1 ^ 0x646f_7261_6e64_6f6d,
            key.0 ^ 0x6c79_6765_6e65_7261,
            key.1 ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline(always)]
    fn rounds<const N: usize>(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        for _ in 0..N {
            a = a.wrapping_add(b);
            c = c.wrapping_add(d);
            b = b.rotate_left(13) ^ a;
            d = d.rotate_left(16) ^ c;
            a = a.rotate_left(32);
            c = c.wrapping_add(b);
            a = a.wrapping_add(d);
            b = b.rotate_left(17) ^ c;
            d = d.rotate_left(21) ^ a;
            c = c.rotate_left(32);
        }
        self.0 = [a, b, c, d];
    }
}

/// SipHash with `C` rounds for each word and `D` at the end, over whole words. The message has one fixed length for each
/// key, so the length is not part of it.
#[inline(always)]
pub(crate) fn sip<const C: usize, const D: usize>(key: Key, words: &[u64]) -> u64 {
    let mut state = Sip::new(key);
    for &word in words {
        state.0[3] ^= word;
        state.rounds::<C>();
        state.0[0] ^= word;
    }
    state.0[2] ^= 0xff;
    state.rounds::<D>();
    let [a, b, c, d] = state.0;
    a ^ b ^ c ^ d
}

/// A generator: SipHash-2-4 of a counter.
pub(crate) struct Random {
    key: Key,
    counter: u64,
}

impl Random {
    pub(crate) fn new(seed: [u64; 2]) -> Self {
        Self { key: Key(seed[0], seed[1]), counter: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        sip::<2, 4>(self.key, &[self.counter])
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        // The high half of a product is as even as the numbers are; no division.
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u32
    }

    pub(crate) fn key(&mut self) -> Key {
        Key(self.next(), self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_2_4_is_that_of_its_authors_for_a_message_of_whole_words() {
        // Their test vector for the 8 bytes 0..8 under the key 0..16; the last word holds the length.
        let key = Key(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(sip::<2, 4>(key, &[0x0706_0504_0302_0100, 8 << 56]), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn another_seed_gives_other_numbers_and_below_stays_below() {
        let (mut a, mut b) = (Random::new([1, 2]), Random::new([1, 3]));
        assert_ne!(a.next(), b.next());
        assert!((0..1000).all(|_| a.below(7) < 7));
    }
}
