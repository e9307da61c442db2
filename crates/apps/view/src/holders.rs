//! Sets of cores, in few letters.

use core::fmt;

/// Cores as ranges: `0-3,7`.
pub(crate) struct Holders<'a>(pub(crate) &'a [u64]);

impl Holders<'_> {
    fn has(&self, core: usize) -> bool {
        self.0.get(core / 64).is_some_and(|word| word >> (core % 64) & 1 == 1)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

impl fmt::Display for Holders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = self.0.len() * 64;
        let (mut first, mut core) = (true, 0);
        while core < cores {
            let end = (core..cores).find(|core| !self.has(*core)).unwrap_or(cores);
            if end > core {
                write!(f, "{}{core}", if first { "" } else { "," })?;
                match end - core {
                    1 => {}
                    2 => write!(f, ",{}", end - 1)?,
                    _ => write!(f, "-{}", end - 1)?,
                }
                first = false;
            }
            core = end + 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Holders;

    #[test]
    fn neighbours_are_a_range() {
        let text = |words: &[u64]| Holders(words).to_string();
        assert_eq!(text(&[0]), "");
        assert_eq!(text(&[0b1]), "0");
        assert_eq!(text(&[0b1011_0111]), "0-2,4,5,7");
        assert_eq!(text(&[1 << 63, 0b11]), "63-65");
        assert_eq!(text(&[0, u64::MAX]), "64-127");
        assert_eq!(Holders(&[0b1011, 1]).count(), 4);
    }
}
