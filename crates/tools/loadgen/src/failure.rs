//! How a connection fails, and how often each happened.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};

/// Why a connection is not a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nobody listens.
    Refused,
    /// The other side gave it up in the middle.
    Reset,
    /// It ended before all bytes came.
    Short,
    /// More bytes came than there are.
    Long,
    /// A byte is not the one it should be.
    Wrong,
    /// Nothing came until the deadline.
    Silent,
    /// This machine could not do it: no port, no descriptor, no route.
    Local,
}

impl Failure {
    /// Its name in tables and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Short => "short",
            Self::Long => "long",
            Self::Wrong => "wrong",
            Self::Silent => "silent",
            Self::Local => "local",
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected => Self::Reset,
            // A read's time-out is the first one on Linux.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Silent,
            ErrorKind::UnexpectedEof => Self::Short,
            _ => Self::Local,
        }
    }
}

/// How often each kind happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Failure, u64>);

impl Tally {
    /// Counts one.
    pub fn count(&mut self, failure: Failure) {
        *self.0.entry(failure).or_default() += 1;
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(kind, count)| *self.0.entry(*kind).or_default() += count);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The kinds that happened, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Failure, u64)> + '_ {
        self.0.iter().map(|(kind, count)| (*kind, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_apart_and_together() {
        let (mut all, mut other) = (Tally::default(), Tally::default());
        all.count(Failure::Short);
        other.count(Failure::Short);
        other.count(Error::from(ErrorKind::ConnectionReset).into());
        all.add(&other);
        assert_eq!(all.iter().collect::<Vec<_>>(), [(Failure::Reset, 1), (Failure::Short, 2)]);
        assert_eq!(all.total(), 3);
    }
}
