//! Bytes of ACPI tables: numbers, and lists of entries that begin with their type and their length.

/// The number at `at`, little endian; `None` beyond the end. At most 8 bytes.
pub(crate) fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// An entry is shorter than its head, or longer than what is left of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadLength;

/// Entries: the type, and all bytes of the entry. Ends after a bad one.
#[derive(Clone, Debug)]
pub(crate) struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    /// The entries of `table` from byte `at` on.
    pub(crate) fn new(table: &'a [u8], at: usize) -> Self {
        Self(table.get(at..).unwrap_or(&[]))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(u8, &'a [u8]), BadLength>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = core::mem::take(&mut self.0);
        let kind = *rest.first()?;
        let length = rest.get(1).map_or(0, |length| usize::from(*length));
        match rest.split_at_checked(length) {
            Some((entry, rest)) if length >= 2 => {
                self.0 = rest;
                Some(Ok((kind, entry)))
            }
            _ => Some(Err(BadLength)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Result<(u8, &[u8]), BadLength>> {
        Entries::new(bytes, 1).take(10).collect()
    }

    #[test]
    fn entries_follow_each_other() {
        assert_eq!(all(&[9, 1, 2, 2, 4, 0, 0]), [Ok((1, &[1, 2][..])), Ok((2, &[2, 4, 0, 0][..]))]);
        assert_eq!(all(&[9]), []);
        assert_eq!(all(&[]), []);
    }

    #[test]
    fn a_bad_length_ends_the_list() {
        for bad in [&[9, 1, 2, 2, 0, 3, 2][..], &[9, 1, 2, 2, 1, 3, 2], &[9, 1, 2, 2, 5, 0, 0], &[9, 1, 2, 2]]
        {
            assert_eq!(all(bad), [Ok((1, &[1, 2][..])), Err(BadLength)], "{bad:?}");
        }
    }

    #[test]
    fn numbers_beyond_the_end_are_none() {
        assert_eq!(number(&[0, 1, 2, 3], 1, 2), Some(0x0201));
        assert_eq!(number(&[0, 1, 2, 3], 3, 2), None);
        assert_eq!(number(&[0; 4], usize::MAX, 2), None);
    }
}
