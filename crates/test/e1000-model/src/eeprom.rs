//! The EEPROM, and the register that reads it (§5.3.1, §13.4.4).

/// Microseconds for a word.
const WORD: u64 = 40;

/// 64 words.
pub(crate) struct Eeprom {
    words: [u16; 64],
    /// The word that is being read, and when that is done.
    reading: Option<(u32, u64)>,
}

impl Eeprom {
    pub(crate) fn new(address: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = address;
        let mut words = [0; 64];
        words[..3].copy_from_slice(&[
            u16::from_le_bytes([a, b]),
            u16::from_le_bytes([c, d]),
            u16::from_le_bytes([e, f]),
        ]);
        // §5.6.35: all words add up to this.
        words[63] = words.iter().fold(0xbaba_u16, |sum, word| sum.wrapping_sub(*word));
        Self { words, reading: None }
    }

    /// What the card loads into its first receive address after a reset.
    pub(crate) fn pair(&self) -> [u32; 2] {
        let word = |at: usize| u32::from(self.words[at]);
        [word(0) | word(1) << 16, word(2) | 1 << 31]
    }

    pub(crate) fn write(&mut self, value: u32, now: u64) {
        if value & 1 == 1 {
            self.reading = Some((value >> 8 & 0xff, now + WORD));
        }
    }

    pub(crate) fn read(&self, now: u64) -> u32 {
        match self.reading {
            Some((at, done)) if now >= done => {
                let word = self.words.get(at as usize).copied().unwrap_or(0xffff);
                u32::from(word) << 16 | at << 8 | 1 << 4
            }
            Some((at, _)) => at << 8,
            None => 0,
        }
    }
}
