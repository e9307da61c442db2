//! [`Error`].

use core::fmt;
use corey_libos_cache as cache;

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    /// The path is empty, or has two slashes in a row, or one at its end.
    Empty,
    /// It begins with a slash: paths begin at the root and say so with nothing.
    Absolute,
    /// `.` or `..`.
    Dotted,
    /// It has a zero byte.
    Zero,
    /// It is not UTF-8.
    NotUtf8,
    /// It has more than [`crate::NAME_MAX`] bytes.
    TooLong,
    /// The path has more than [`crate::PATH_MAX`] bytes.
    PathTooLong,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The name cannot be one.
    BadName(BadName),
    /// There is no such name, or its directory was removed.
    NotFound,
    /// There is such a name.
    Exists,
    /// A name on the way is a file's.
    NotDirectory,
    /// The name is a directory's.
    IsDirectory,
    /// The directory has names in it.
    NotEmpty,
    /// A directory cannot go into itself.
    Inside,
    /// This core has no descriptor left.
    TooManyOpen,
    /// No such descriptor is open.
    BadDescriptor,
    /// The descriptor was not opened for this.
    NotPermitted,
    /// The directory has as many names as one can have.
    DirectoryFull,
    /// There is no file system here.
    NoFileSystem,
    /// The cache could not do it.
    Cache(cache::Error),
}

impl From<cache::Error> for Error {
    fn from(error: cache::Error) -> Self {
        match error {
            cache::Error::NotFound => Self::NotFound,
            error => Self::Cache(error),
        }
    }
}

impl From<BadName> for Error {
    fn from(bad: BadName) -> Self {
        Self::BadName(bad)
    }
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a name is empty; names are separated by one slash each"),
            Self::Absolute => {
                write!(f, "the path begins with a slash; it has to begin with a name of the root")
            }
            Self::Dotted => write!(f, "`.` and `..` are no names here"),
            Self::Zero => write!(f, "a name has a zero byte"),
            Self::NotUtf8 => write!(f, "a name is not UTF-8"),
            Self::TooLong => write!(f, "a name has more than {} bytes", crate::NAME_MAX),
            Self::PathTooLong => write!(f, "the path has more than {} bytes", crate::PATH_MAX),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(bad) => bad.fmt(f),
            Self::NotFound => write!(f, "no such file or directory"),
            Self::Exists => write!(f, "the name exists"),
            Self::NotDirectory => write!(f, "a name on the way is not a directory's"),
            Self::IsDirectory => write!(f, "the name is a directory's"),
            Self::NotEmpty => write!(f, "the directory is not empty"),
            Self::Inside => write!(f, "a directory cannot go into itself"),
            Self::TooManyOpen => write!(f, "{} files are open on this core", crate::DESCRIPTORS),
            Self::BadDescriptor => write!(f, "no such descriptor is open"),
            Self::NotPermitted => write!(f, "the descriptor was not opened for this"),
            Self::DirectoryFull => write!(f, "the directory has no room for another name"),
            Self::NoFileSystem => write!(f, "the cache holds no file system"),
            Self::Cache(error) => error.fmt(f),
        }
    }
}
