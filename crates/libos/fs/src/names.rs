//! What is done by name.

use crate::bucket::Bucket;
use crate::directory::{Directory, NAMES, PARENT};
use crate::error::Error;
use crate::fs::{Descriptor, Fs, Kind, Options, ROOT, Stat};
use crate::path::{self, Name};
use corey_libos_cache::{Backing, Client, Env, FileId, Held};

/// A directory's own lock, and the file system's order lock, which is the root's.
const OWN: usize = 0;
const ORDER: usize = 1;

fn directory<'d, 'a, E, B>(
    client: &'d mut Client<'a, E, B>,
    held: &'d Held<'a>,
    bucket: &'d mut Bucket,
) -> Directory<'d, 'a, E, B> {
    Directory { client, held, bucket }
}

/// Whether a name can be added: not to a directory that was removed meanwhile.
fn is_there(held: &Held<'_>) -> Result<(), Error> {
    if held.is_removed() { Err(Error::NotFound) } else { Ok(()) }
}

impl<'a, E: Env, B: Backing> Fs<'a, E, B> {
    /// Holds the directory of a path's last name. Writes lines of this core's own.
    fn walk<'p>(&mut self, path: &'p [u8]) -> Result<(Held<'a>, Name<'p>), Error> {
        path::check(path)?;
        let mut at = self.client.hold(ROOT)?;
        let mut rest = path;
        loop {
            let (name, next) = match path::first(rest) {
                Ok(first) => first,
                Err(bad) => {
                    self.client.release(at)?;
                    return Err(bad.into());
                }
            };
            let Some(next) = next else { return Ok((at, name)) };
            let below = self.step(&at, &name);
            self.client.release(at)?;
            (at, rest) = (below?, next);
        }
    }

    fn step(&mut self, from: &Held<'a>, name: &Name<'_>) -> Result<Held<'a>, Error> {
        let found = directory(&mut self.client, from, &mut self.bucket).find(name)?;
        match found.ok_or(Error::NotFound)? {
            (file, Kind::DIRECTORY) => Ok(self.client.hold(file)?),
            _ => Err(Error::NotDirectory),
        }
    }

    /// Runs `work` with the directory of a path's last name, and lets that go.
    fn at<R>(
        &mut self,
        path: &[u8],
        work: impl FnOnce(&mut Self, &Held<'a>, &Name<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let (held, name) = self.walk(path)?;
        let result = work(self, &held, &name);
        self.client.release(held)?;
        result
    }

    /// Runs `work` with a lock of a file.
    fn locked<R>(&mut self, held: &Held<'a>, number: usize, work: impl FnOnce(&mut Self) -> R) -> R {
        // The lock is the client's to take; what runs under it is the file system's, which owns the client.
        self.client.lock(held, number);
        let result = work(self);
        self.client.unlock(held, number);
        result
    }

    fn find(&mut self, held: &Held<'a>, name: &Name<'_>) -> Result<Option<(FileId, u8)>, Error> {
        directory(&mut self.client, held, &mut self.bucket).find(name)
    }

    /// Opens a file.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] without [`Options::CREATE`], [`Error::Exists`] with [`Options::EXCLUSIVE`], [`Error::IsDirectory`],
    /// [`Error::NotDirectory`], [`Error::BadName`], [`Error::TooManyOpen`], [`Error::Cache`]; nothing was opened.
    ///
    /// # Cost
    ///
    /// Of a file that exists: no lock, and no line that another core writes, while nobody changes the directories on the way.
    pub fn open(&mut self, path: impl AsRef<[u8]>, options: Options) -> Result<Descriptor, Error> {
        self.has_room()?;
        let held = self.at(path.as_ref(), |fs, parent, name| {
            loop {
                match fs.find(parent, name)? {
                    Some(_) if options.has(Options::CREATE | Options::EXCLUSIVE) => {
                        return Err(Error::Exists);
                    }
                    Some((_, Kind::DIRECTORY)) => return Err(Error::IsDirectory),
                    // It may be removed between the two: then it is as if it had been before.
                    Some((file, _)) => match fs.client.hold(file) {
                        Ok(held) => return Ok(held),
                        Err(_) if options.has(Options::CREATE) => {}
                        Err(error) => return Err(error.into()),
                    },
                    None if !options.has(Options::CREATE) => return Err(Error::NotFound),
                    None => match fs.make(parent, name, Kind::FILE, 0, 0) {
                        Err(Error::Exists) if !options.has(Options::EXCLUSIVE) => {}
                        made => return made,
                    },
                }
            }
        })?;
        if options.has(Options::TRUNCATE)
            && held.size() != 0
            && let Err(error) = self.client.truncate(&held, 0)
        {
            self.client.release(held)?;
            return Err(error.into());
        }
        self.install(held, options)
    }

    /// Makes a file or directory and its name.
    fn make(
        &mut self,
        parent: &Held<'a>,
        name: &Name<'_>,
        kind: u8,
        key: u64,
        size: u64,
    ) -> Result<Held<'a>, Error> {
        self.locked(parent, OWN, |fs| {
            is_there(parent)?;
            if fs.find(parent, name)?.is_some() {
                return Err(Error::Exists);
            }
            let made = fs.client.create(key, size, [u64::from(kind), 0, parent.id().0, 0])?;
            match directory(&mut fs.client, parent, &mut fs.bucket).add(name, kind, made.id()) {
                Ok(()) => Ok(made),
                Err(error) => {
                    let id = made.id();
                    fs.client.release(made)?;
                    fs.client.remove(id)?;
                    Err(error)
                }
            }
        })
    }

    /// Makes a directory.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], [`Error::NotFound`], [`Error::NotDirectory`], [`Error::BadName`], [`Error::Cache`].
    pub fn create_directory(&mut self, path: impl AsRef<[u8]>) -> Result<(), Error> {
        self.at(path.as_ref(), |fs, parent, name| {
            let made = fs.make(parent, name, Kind::DIRECTORY, 0, 0)?;
            Ok(fs.client.release(made)?)
        })
    }

    /// Gives a file of the cache's backing a name: `key` is what that knows it by, `size` how many bytes it has.
    ///
    /// # Errors
    ///
    /// As [`Fs::create_directory`].
    pub fn attach(&mut self, path: impl AsRef<[u8]>, key: u64, size: u64) -> Result<(), Error> {
        self.at(path.as_ref(), |fs, parent, name| {
            let made = fs.make(parent, name, Kind::FILE, key, size)?;
            Ok(fs.client.release(made)?)
        })
    }

    /// Takes a file's name away. Who has it open goes on with it; its content goes with the last one.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::IsDirectory`], [`Error::NotDirectory`], [`Error::BadName`], [`Error::Cache`].
    pub fn unlink(&mut self, path: impl AsRef<[u8]>) -> Result<(), Error> {
        self.at(path.as_ref(), |fs, parent, name| {
            let file =
                fs.locked(parent, OWN, |fs| match fs.find(parent, name)?.ok_or(Error::NotFound)? {
                    (_, Kind::DIRECTORY) => Err(Error::IsDirectory),
                    (file, _) => {
                        directory(&mut fs.client, parent, &mut fs.bucket).remove(name)?;
                        Ok(file)
                    }
                })?;
            Ok(fs.client.remove(file)?)
        })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotEmpty`], [`Error::NotDirectory`], and as [`Fs::unlink`].
    pub fn remove_directory(&mut self, path: impl AsRef<[u8]>) -> Result<(), Error> {
        let root = self.client.hold(ROOT)?;
        let result = self.locked(&root, ORDER, |fs| {
            fs.at(path.as_ref(), |fs, parent, name| {
                fs.locked(parent, OWN, |fs| match fs.find(parent, name)?.ok_or(Error::NotFound)? {
                    (file, Kind::DIRECTORY) => fs.end_directory(file, |fs| {
                        directory(&mut fs.client, parent, &mut fs.bucket).remove(name)
                    }),
                    _ => Err(Error::NotDirectory),
                })
            })
        });
        self.client.release(root)?;
        result
    }

    /// Removes an empty directory after `unlink` took its name. The caller has the order lock and the parent's.
    fn end_directory(
        &mut self,
        file: FileId,
        unlink: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let held = self.client.hold(file)?;
        let result = self.locked(&held, OWN, |fs| {
            if held.note(NAMES) != 0 {
                return Err(Error::NotEmpty);
            }
            unlink(fs)?;
            // Under its lock: whoever wants to add a name sees it.
            Ok(fs.client.remove(file)?)
        });
        self.client.release(held)?;
        result
    }

    /// Gives a file or directory another name, in another directory if need be. What had that name is removed, a directory
    /// only if it is empty. The new name leads to one or the other at any time; for a moment both names lead to the file.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::IsDirectory`] and [`Error::NotDirectory`] when one is a directory and the other is not,
    /// [`Error::NotEmpty`], [`Error::Inside`], [`Error::BadName`], [`Error::Cache`]: both names are as they were.
    pub fn rename(&mut self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), Error> {
        let root = self.client.hold(ROOT)?;
        let result = self.locked(&root, ORDER, |fs| {
            fs.at(from.as_ref(), |fs, source, old| {
                fs.at(to.as_ref(), |fs, target, new| {
                    fs.locked(source, OWN, |fs| {
                        if source.id() == target.id() {
                            fs.move_name(source, old, target, new)
                        } else {
                            fs.locked(target, OWN, |fs| fs.move_name(source, old, target, new))
                        }
                    })
                })
            })
        });
        self.client.release(root)?;
        result
    }

    fn move_name(
        &mut self,
        source: &Held<'a>,
        old: &Name<'_>,
        target: &Held<'a>,
        new: &Name<'_>,
    ) -> Result<(), Error> {
        is_there(target)?;
        let (file, kind) = self.find(source, old)?.ok_or(Error::NotFound)?;
        if kind == Kind::DIRECTORY && self.is_inside(target, file)? {
            return Err(Error::Inside);
        }
        match self.find(target, new)? {
            Some((other, _)) if other == file => return Ok(()),
            Some((_, Kind::DIRECTORY)) if kind != Kind::DIRECTORY => return Err(Error::IsDirectory),
            // Its lock is taken, and the old name is in it.
            Some((other, Kind::DIRECTORY)) if other == source.id() => return Err(Error::NotEmpty),
            Some((other, Kind::DIRECTORY)) => self.end_directory(other, |fs| {
                directory(&mut fs.client, target, &mut fs.bucket).replace(new, kind, file)
            })?,
            Some(_) if kind == Kind::DIRECTORY => return Err(Error::NotDirectory),
            Some((other, _)) => {
                directory(&mut self.client, target, &mut self.bucket).replace(new, kind, file)?;
                // A file that its backing does not forget is swept later; its name is gone.
                let _ = self.client.remove(other);
            }
            None => directory(&mut self.client, target, &mut self.bucket).add(new, kind, file)?,
        }
        // This one cannot fail for want of a block.
        directory(&mut self.client, source, &mut self.bucket).remove(old)?;
        if kind == Kind::DIRECTORY && source.id() != target.id() {
            let moved = self.client.hold(file)?;
            moved.set_note(PARENT, target.id().0);
            self.client.release(moved)?;
        }
        Ok(())
    }

    /// Whether `directory` is `file` or lies in it. The caller has the order lock, so nothing moves meanwhile.
    fn is_inside(&mut self, directory: &Held<'a>, file: FileId) -> Result<bool, Error> {
        let mut at = directory.id();
        while at != ROOT {
            if at == file {
                return Ok(true);
            }
            let held = self.client.hold(at)?;
            at = FileId(held.note(PARENT));
            self.client.release(held)?;
        }
        Ok(file == ROOT)
    }

    /// What is known of a name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::BadName`], [`Error::Cache`].
    pub fn stat(&mut self, path: impl AsRef<[u8]>) -> Result<Stat, Error> {
        self.at(path.as_ref(), |fs, parent, name| {
            let (file, _) = fs.find(parent, name)?.ok_or(Error::NotFound)?;
            let held = fs.client.hold(file)?;
            let stat = Self::stat_of(&fs.client, &held);
            fs.client.release(held)?;
            Ok(stat)
        })
    }

    /// Calls `each` with every name in a directory, in no order; an empty path is the root.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::BadName`], [`Error::Cache`].
    pub fn list(&mut self, path: impl AsRef<[u8]>, mut each: impl FnMut(&str, Kind)) -> Result<(), Error> {
        let held = match path.as_ref() {
            [] => self.client.hold(ROOT)?,
            path => self.at(path, |fs, parent, name| fs.step(parent, name))?,
        };
        let result = self.locked(&held, OWN, |fs| {
            directory(&mut fs.client, &held, &mut fs.bucket).each(&mut |record| {
                // Names are checked before they go in.
                if let Ok(name) = core::str::from_utf8(record.name) {
                    each(name, Kind::of(record.kind));
                }
            })
        });
        self.client.release(held)?;
        result
    }

    /// Makes a file with this content, and the directories on the way that are not there.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], and as [`Fs::open`] and [`Fs::pwrite`]; directories that were made stay.
    pub fn fill(&mut self, path: impl AsRef<[u8]>, content: &[u8]) -> Result<(), Error> {
        let path = path.as_ref();
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            match self.create_directory(path.get(..at).unwrap_or_default()) {
                Ok(()) | Err(Error::Exists) => {}
                Err(error) => return Err(error),
            }
        }
        let file = self.open(path, Options::WRITE | Options::CREATE | Options::EXCLUSIVE)?;
        let mut written = 0;
        let result = loop {
            match self.pwrite(file, written as u64, content.get(written..).unwrap_or_default()) {
                Ok(0) => break Ok(()),
                Ok(count) => written += count,
                Err(error) => break Err(error),
            }
        };
        self.close(file)?;
        if result.is_err() {
            self.unlink(path)?;
        }
        result
    }
}
