//! [`Error`].

use crate::backing::Fault;
use core::fmt;

/// Why an operation was not done. Nothing was changed, but where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Every block is in use and none can be evicted.
    Full,
    /// Every file slot is in use.
    TooManyFiles,
    /// The file was removed.
    NotFound,
    /// The end lies behind [`crate::LARGEST`].
    TooLarge,
    /// Offset and length overflow.
    OutOfRange,
    /// Another client holds the file, or one of another cache.
    NotHeld,
    /// The backing failed.
    Backing(Fault),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "every block of the cache is in use, and none can be evicted"),
            Self::TooManyFiles => write!(f, "the cache has no slot for another file"),
            Self::NotFound => write!(f, "the file was removed"),
            Self::TooLarge => write!(f, "a file has at most {} bytes", crate::LARGEST),
            Self::OutOfRange => write!(f, "offset and length overflow 64 bits"),
            Self::NotHeld => write!(f, "another client holds the file"),
            Self::Backing(fault) => write!(f, "the backing failed: {fault:?}"),
        }
    }
}
