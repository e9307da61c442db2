//! [`Fs`]: one core's file system.

use crate::bucket::Bucket;
use crate::directory::KIND;
use crate::error::Error;
use core::fmt;
use core::ops::BitOr;
use corey_libos_cache::{Backing, Client, Env, FileId, Held};

/// Files that one core can have open.
pub const DESCRIPTORS: usize = u64::BITS as usize;

/// The root.
pub(crate) const ROOT: FileId = FileId::FIRST;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    File,
    /// Names.
    Directory,
}

impl Kind {
    pub(crate) const FILE: u8 = 1;
    pub(crate) const DIRECTORY: u8 = 2;

    pub(crate) fn of(byte: u8) -> Self {
        if byte == Self::DIRECTORY { Self::Directory } else { Self::File }
    }
}

/// An open file of one core. Another core's number means nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(u32);

/// How a file is opened: `Options::READ | Options::WRITE | …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options(u8);

impl Options {
    /// For [`Fs::pread`].
    pub const READ: Self = Self(1);
    /// For [`Fs::pwrite`], [`Fs::append`] and [`Fs::truncate`].
    pub const WRITE: Self = Self(2);
    /// Makes the file when there is none.
    pub const CREATE: Self = Self(4);
    /// With [`Options::CREATE`]: fails when there is one.
    pub const EXCLUSIVE: Self = Self(8);
    /// Empties it.
    pub const TRUNCATE: Self = Self(16);

    #[inline(always)]
    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Options {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What is known of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which it is.
    pub kind: Kind,
    /// Its number: no other one ever has it.
    pub id: FileId,
    /// Bytes; of a directory names.
    pub size: u64,
    /// When it was last changed, by the clock of [`Env::now`].
    pub changed: u64,
}

#[derive(Debug)]
struct Open<'a> {
    held: Held<'a>,
    options: Options,
}

/// Open files by place, each with the count of those that were open there before.
type Table<'a> = [(u32, Option<Open<'a>>); DESCRIPTORS];

/// One core's file system: its way into the cache, and its open files.
pub struct Fs<'a, E: Env, B: Backing> {
    pub(crate) client: Client<'a, E, B>,
    open: Table<'a>,
    /// A bit for each that is open.
    used: u64,
    pub(crate) bucket: Bucket,
}

impl<'a, E: Env, B: Backing> Fs<'a, E, B> {
    /// Makes a file system in an empty cache.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] when there is one in it, or was.
    pub fn format(client: Client<'a, E, B>) -> Result<Self, Error> {
        let mut fs = Self::over(client);
        let notes = [u64::from(Kind::DIRECTORY), 0, ROOT.0, 0];
        let root = fs.client.create_in(0, 0, 0, notes).map_err(|_| Error::Exists)?;
        let id = root.id();
        fs.client.release(root)?;
        if id == ROOT {
            return Ok(fs);
        }
        fs.client.remove(id)?;
        Err(Error::Exists)
    }

    /// The file system that another client made.
    ///
    /// # Errors
    ///
    /// [`Error::NoFileSystem`].
    pub fn mount(client: Client<'a, E, B>) -> Result<Self, Error> {
        let mut fs = Self::over(client);
        let root = fs.client.hold(ROOT).map_err(|_| Error::NoFileSystem)?;
        let kind = root.note(KIND);
        fs.client.release(root)?;
        if kind == u64::from(Kind::DIRECTORY) { Ok(fs) } else { Err(Error::NoFileSystem) }
    }

    fn over(client: Client<'a, E, B>) -> Self {
        Self { client, open: [const { (0, None) }; DESCRIPTORS], used: 0, bucket: Bucket::new() }
    }

    /// The way into the cache.
    pub fn client(&mut self) -> &mut Client<'a, E, B> {
        &mut self.client
    }

    pub(crate) fn install(&mut self, held: Held<'a>, options: Options) -> Result<Descriptor, Error> {
        let at = self.used.trailing_ones() as usize;
        let Some((turn, place)) = self.open.get_mut(at) else {
            self.client.release(held)?;
            return Err(Error::TooManyOpen);
        };
        *place = Some(Open { held, options });
        self.used |= 1 << at;
        // Turns begin again after 67 million.
        Ok(Descriptor(*turn * DESCRIPTORS as u32 + at as u32))
    }

    #[inline(always)]
    pub(crate) fn has_room(&self) -> Result<(), Error> {
        if self.used == u64::MAX { Err(Error::TooManyOpen) } else { Ok(()) }
    }

    /// Closes a file.
    ///
    /// # Errors
    ///
    /// [`Error::BadDescriptor`]; [`Error::Cache`]: it is closed, and the backing failed to forget a removed file.
    #[inline]
    pub fn close(&mut self, descriptor: Descriptor) -> Result<(), Error> {
        let at = descriptor.0 as usize % DESCRIPTORS;
        let Some((turn, place)) = self.open.get_mut(at) else { return Err(Error::BadDescriptor) };
        if *turn != descriptor.0 / DESCRIPTORS as u32 {
            return Err(Error::BadDescriptor);
        }
        let Open { held, .. } = place.take().ok_or(Error::BadDescriptor)?;
        self.used &= !(1 << at);
        *turn = (*turn + 1) % (u32::MAX / DESCRIPTORS as u32);
        Ok(self.client.release(held)?)
    }

    /// Reads bytes from `offset` on: as many as there are before the end. A block is read whole, as it was at some time.
    ///
    /// # Errors
    ///
    /// [`Error::BadDescriptor`], [`Error::NotPermitted`], [`Error::Cache`].
    #[inline]
    pub fn pread(&mut self, descriptor: Descriptor, offset: u64, into: &mut [u8]) -> Result<usize, Error> {
        let open = opened(&self.open, descriptor, Options::READ)?;
        Ok(self.client.read(&open.held, offset, into)?)
    }

    /// Writes at `offset`; the file grows as needed. A block is written whole, as others see it.
    ///
    /// # Errors
    ///
    /// As [`Fs::pread`]. When some blocks were written before one that could not be, how many bytes is the result.
    #[inline]
    pub fn pwrite(&mut self, descriptor: Descriptor, offset: u64, from: &[u8]) -> Result<usize, Error> {
        let open = opened(&self.open, descriptor, Options::WRITE)?;
        Ok(self.client.write(&open.held, offset, from)?)
    }

    /// Writes at the end, wherever it is; no other append comes between. Returns where.
    ///
    /// # Errors
    ///
    /// As [`Fs::pwrite`].
    pub fn append(&mut self, descriptor: Descriptor, from: &[u8]) -> Result<(u64, usize), Error> {
        self.on(descriptor, Options::WRITE, |client, held| Ok(client.append(held, from)?))
    }

    /// Sets the size of a file.
    ///
    /// # Errors
    ///
    /// As [`Fs::pwrite`]; then it is as it was.
    pub fn truncate(&mut self, descriptor: Descriptor, size: u64) -> Result<(), Error> {
        self.on(descriptor, Options::WRITE, |client, held| Ok(client.truncate(held, size)?))
    }

    /// Has a file's content in its backing for good.
    ///
    /// # Errors
    ///
    /// As [`Fs::pwrite`].
    pub fn sync(&mut self, descriptor: Descriptor) -> Result<(), Error> {
        self.on(descriptor, Options(0), |client, held| Ok(client.sync(held)?))
    }

    /// What is known of an open file, though its name may be gone.
    ///
    /// # Errors
    ///
    /// [`Error::BadDescriptor`].
    pub fn stat_open(&mut self, descriptor: Descriptor) -> Result<Stat, Error> {
        self.on(descriptor, Options(0), |client, held| Ok(Self::stat_of(client, held)))
    }

    /// What another core opens the same file by, whatever its name is by then ([`Fs::open_shared`]).
    ///
    /// # Errors
    ///
    /// [`Error::BadDescriptor`].
    pub fn share(&mut self, descriptor: Descriptor) -> Result<FileId, Error> {
        self.on(descriptor, Options(0), |_, held| Ok(held.id()))
    }

    /// Opens a file that another core shares.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when its name was taken away, [`Error::IsDirectory`], [`Error::TooManyOpen`].
    pub fn open_shared(&mut self, file: FileId, options: Options) -> Result<Descriptor, Error> {
        self.has_room()?;
        let held = self.client.hold(file)?;
        if held.note(KIND) != u64::from(Kind::FILE) {
            self.client.release(held)?;
            return Err(Error::IsDirectory);
        }
        self.install(held, options)
    }

    fn on<R>(
        &mut self,
        descriptor: Descriptor,
        wanted: Options,
        work: impl FnOnce(&mut Client<'a, E, B>, &Held<'a>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        work(&mut self.client, &opened(&self.open, descriptor, wanted)?.held)
    }

    pub(crate) fn stat_of(client: &Client<'a, E, B>, held: &Held<'a>) -> Stat {
        let kind = Kind::of(held.note(KIND) as u8);
        let size = if kind == Kind::Directory { held.note(crate::directory::NAMES) } else { held.size() };
        Stat { kind, id: held.id(), size, changed: client.changed(held) }
    }
}

/// The open file of a descriptor, if it was opened for `wanted`.
#[inline(always)]
fn opened<'o, 'a>(
    table: &'o Table<'a>,
    descriptor: Descriptor,
    wanted: Options,
) -> Result<&'o Open<'a>, Error> {
    match table.get(descriptor.0 as usize % DESCRIPTORS) {
        Some((turn, Some(open))) if *turn == descriptor.0 / DESCRIPTORS as u32 => {
            if open.options.has(wanted) { Ok(open) } else { Err(Error::NotPermitted) }
        }
        _ => Err(Error::BadDescriptor),
    }
}

impl<E: Env, B: Backing> Drop for Fs<'_, E, B> {
    fn drop(&mut self) {
        for (_, place) in &mut self.open {
            if let Some(Open { held, .. }) = place.take() {
                // What the backing does not forget, a sweep does.
                let _ = self.client.release(held);
            }
        }
    }
}

impl<E: Env, B: Backing> fmt::Debug for Fs<'_, E, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fs({} open)", self.open.iter().filter(|(_, open)| open.is_some()).count())
    }
}
