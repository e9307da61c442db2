//! Names in a directory: a linear hash table whose buckets are the directory's blocks.
//!
//! A table of `n` buckets grows by one: the names of bucket `n − 2^k` that belong to the new one are written there first, then
//! the count says so, then they go from the old one:
//!
//! ```text
//! who adds     bucket n written ─── count = n + 1 ─── old bucket without them
//! who looks    count ── its bucket ── found? else count still the same? else again
//! ```
//!
//! Whoever saw the old count and the new bucket finds nothing, sees that the count changed, and looks again. A split that fails
//! half-way leaves names where nobody looks for them; they go when that bucket is next written.

use crate::bucket::{Bucket, Record};
use crate::error::Error;
use crate::path::Name;
use corey_libos_cache::{self as cache, BLOCK, Backing, Client, Env, FileId, Held};

/// Note of a file that says what it is.
pub(crate) const KIND: usize = 0;
/// Note of a directory: its buckets.
const BUCKETS: usize = 1;
/// Note of a directory: where it is.
pub(crate) const PARENT: usize = 2;
/// Note of a directory: its names.
pub(crate) const NAMES: usize = 3;

/// Most buckets.
const MOST: u64 = 1 << 20;

/// The bucket of a hash among `count`, at least 1.
fn bucket_of(hash: u32, count: u64) -> u64 {
    let hash = u64::from(hash);
    let level = count.ilog2();
    let wide = hash & ((2 << level) - 1);
    if wide < count { wide } else { hash & ((1 << level) - 1) }
}

/// A directory, what it is reached with, and room for a bucket.
pub(crate) struct Directory<'d, 'a, E, B> {
    pub(crate) client: &'d mut Client<'a, E, B>,
    pub(crate) held: &'d Held<'a>,
    pub(crate) bucket: &'d mut Bucket,
}

impl<E: Env, B: Backing> Directory<'_, '_, E, B> {
    fn read(&mut self, at: u64) -> Result<(), Error> {
        let count = self.client.read(self.held, at * BLOCK as u64, &mut self.bucket.0)?;
        // A bucket that was never written.
        self.bucket.0.iter_mut().skip(count).for_each(|byte| *byte = 0);
        Ok(())
    }

    fn write_own(&mut self, at: u64) -> Result<(), Error> {
        // One block: all of it or nothing.
        self.client.write(self.held, at * BLOCK as u64, &self.bucket.0)?;
        Ok(())
    }

    /// Writes a bucket that was there before: in its place when no block is free, so that names can go from a full cache.
    fn rewrite(&mut self, at: u64) -> Result<(), Error> {
        match self.write_own(at) {
            Err(Error::Cache(cache::Error::Full)) => {
                Ok(self.client.write_in_place(self.held, at * BLOCK as u64, &self.bucket.0)?)
            }
            done => done,
        }
    }

    /// What a name leads to, and what kind that is.
    #[inline]
    pub(crate) fn find(&mut self, name: &Name<'_>) -> Result<Option<(FileId, u8)>, Error> {
        loop {
            let count = self.held.note(BUCKETS);
            if count == 0 {
                return Ok(None);
            }
            let at = bucket_of(name.hash, count);
            if let Some(found) = self.client.look(self.held, at, name)?.flatten() {
                return Ok(Some(found));
            }
            if self.held.note(BUCKETS) == count {
                return Ok(None);
            }
        }
    }

    /// Adds a name that is not there. The caller has the directory's lock.
    pub(crate) fn add(&mut self, name: &Name<'_>, kind: u8, file: FileId) -> Result<(), Error> {
        loop {
            let count = self.held.note(BUCKETS);
            let at = bucket_of(name.hash, count.max(1));
            self.read(at)?;
            if !self.bucket.add(name, kind, file) {
                // Names that belong to another bucket since a split that failed take room, too.
                self.bucket.retain(|record| bucket_of(record.hash, count) == at);
            } else {
                self.write_own(at)?;
                self.held.set_note(BUCKETS, count.max(1));
                self.held.set_note(NAMES, self.held.note(NAMES) + 1);
                return Ok(());
            }
            if self.bucket.add(name, kind, file) {
                self.write_own(at)?;
                self.held.set_note(NAMES, self.held.note(NAMES) + 1);
                return Ok(());
            }
            self.split(count)?;
        }
    }

    /// Not inlined: what it has on the stack is a block, and most names need none.
    #[inline(never)]
    fn split(&mut self, count: u64) -> Result<(), Error> {
        if count == MOST {
            return Err(Error::DirectoryFull);
        }
        let from = count - (1 << count.ilog2());
        self.read(from)?;
        self.bucket.retain(|record| bucket_of(record.hash, count + 1) == count);
        self.write_own(count)?;
        self.held.set_note(BUCKETS, count + 1);
        self.read(from)?;
        self.bucket.retain(|record| bucket_of(record.hash, count + 1) == from);
        self.write_own(from)
    }

    /// Has a name that is there lead to another file. The caller has the directory's lock.
    pub(crate) fn replace(&mut self, name: &Name<'_>, kind: u8, file: FileId) -> Result<(), Error> {
        let at = bucket_of(name.hash, self.held.note(BUCKETS).max(1));
        self.read(at)?;
        self.bucket.replace(name, kind, file);
        self.rewrite(at)
    }

    /// Takes a name away. The caller has the directory's lock.
    pub(crate) fn remove(&mut self, name: &Name<'_>) -> Result<(), Error> {
        let count = self.held.note(BUCKETS).max(1);
        let at = bucket_of(name.hash, count);
        self.read(at)?;
        self.bucket.retain(|record| record.name != name.bytes && bucket_of(record.hash, count) == at);
        self.rewrite(at)?;
        self.held.set_note(NAMES, self.held.note(NAMES).saturating_sub(1));
        Ok(())
    }

    /// Calls `each` with every name. The caller has the directory's lock.
    pub(crate) fn each(&mut self, each: &mut dyn FnMut(&Record<'_>)) -> Result<(), Error> {
        let count = self.held.note(BUCKETS);
        for at in 0..count {
            self.read(at)?;
            self.bucket
                .records()
                .filter(|record| bucket_of(record.hash, count) == at)
                .for_each(|record| each(&record));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_grows_moves_names_of_one_bucket_only() {
        for count in 1..200_u64 {
            let from = count - (1 << count.ilog2());
            for hash in 0..2000 {
                let (before, after) = (bucket_of(hash, count), bucket_of(hash, count + 1));
                assert!(after < count + 1 && (before == after || (before == from && after == count)));
            }
        }
    }
}
