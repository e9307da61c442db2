//! Files and directories over the buffer cache.
//!
//! **Paper.** §4.2 has the cache; §5 says that its contents came from memory and that a file system was still to be made. This
//! one is the smallest that a Unix programmer finds their way in.
//!
//! **Invariants.**
//! 1. A directory is a file whose blocks are buckets of a linear hash table; a bucket is replaced at once, so whoever looks a
//!    name up sees it as it was or as it is.
//! 2. A name leads to a file that was not removed, or that is being removed.
//! 3. A directory that was removed is empty, and stays so: who adds a name looks at that under the directory's lock.
//! 4. Who needs the locks of two directories has the file system's order lock first.
//!
//! **Sharing.** Descriptors belong to one core's [`Fs`]. Opening a file writes lines of the core's own only: its lines in the
//! directories on the way, and in the file. Changing a name takes its directory's lock; renaming and removing directories also
//! take the order lock.
//!
//! **Testing.** Against a plain model; every error; a cache that is full at every step; cores that rename, list and remove at once
//! (`images/test-cache`).
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod bucket;
mod directory;
mod error;
mod fs;
mod names;
mod path;

pub use error::{BadName, Error};
pub use fs::{DESCRIPTORS, Descriptor, Fs, Kind, Options, Stat};
pub use path::{NAME_MAX, PATH_MAX};
