//! Files of one cache that all workers map: one for each, and one for all.

use core::fmt::Write;
use corey_abi::{Error, Id, ObjRef};
use corey_libos_cache::{BLOCK, Nothing, Shape};
use corey_libos_mount::fs::{self, Descriptor, Fs, Options};
use corey_libos_mount::{Machine, Volume};
use corey_libos_rt::Process;
use corey_libos_rt::vm::Space;

type Name = heapless::String<16>;
pub(crate) type System = Fs<'static, Machine, Nothing>;

fn failed(error: fs::Error) -> Error {
    corey_libos_rt::println!("sharing: files: {error}");
    Error::BadArgument
}

fn own(index: u32) -> Name {
    let mut name = Name::new();
    // It fits.
    let _ = write!(name, "data/own {index}");
    name
}

const BOTH: &str = "data/both";

/// Makes the cache, with a file of one block for each of `workers` and one for all. Returns its tree, in the boot share.
pub(crate) fn make(process: &mut Process, workers: u32) -> Result<Id, Error> {
    let shape = Shape { clients: workers + 1, files: workers + 8, blocks: 128 * (workers + 2) };
    // What both can reach says so in its name.
    let (volume, cache) = Volume::make_named(&mut process.space, process.boot, 0, shape, "both files")?;
    let mut fs = System::format(volume.client(cache, workers, &Nothing)?).map_err(failed)?;
    (0..workers).try_for_each(|index| fs.fill(own(index), &[1; BLOCK])).map_err(failed)?;
    fs.fill(BOTH, &[1; BLOCK]).map_err(failed)?;
    Ok(volume.tree.object)
}

/// A file that is open.
#[derive(Debug)]
pub(crate) struct Place {
    file: Descriptor,
    path: Name,
}

/// One worker's way to its file and to that of all.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) system: System,
    pub(crate) own: Place,
    pub(crate) both: Place,
}

impl Files {
    pub(crate) fn open(space: &mut Space, tree: ObjRef, index: u32) -> Result<Self, Error> {
        let (volume, cache) = Volume::join(space, tree, 0)?;
        let client = volume.client(cache, index, &Nothing)?;
        let mut system = System::mount(client).map_err(failed)?;
        let mut open = |path: Name| {
            let file = system.open(&path, Options::READ | Options::WRITE).map_err(failed)?;
            Ok::<_, Error>(Place { file, path })
        };
        let (own, both) = (open(own(index))?, open(Name::try_from(BOTH).unwrap_or_default())?);
        Ok(Self { system, own, both })
    }
}

/// One operation on a file, with what it needs.
pub(crate) struct Operation<'f> {
    system: &'f mut System,
    place: &'f Place,
    block: [u8; BLOCK],
}

impl<'f> Operation<'f> {
    pub(crate) fn new(system: &'f mut System, place: &'f Place) -> Self {
        Self { system, place, block: [2; BLOCK] }
    }

    #[inline(always)]
    pub(crate) fn read(&mut self) -> Result<usize, fs::Error> {
        self.system.pread(self.place.file, 0, &mut self.block)
    }

    #[inline(always)]
    pub(crate) fn write(&mut self) -> Result<usize, fs::Error> {
        self.system.pwrite(self.place.file, 0, &self.block)
    }

    #[inline(always)]
    pub(crate) fn write_part(&mut self) -> Result<usize, fs::Error> {
        self.system.pwrite(self.place.file, 512, self.block.get(..512).unwrap_or_default())
    }

    #[inline(always)]
    pub(crate) fn open_and_close(&mut self) -> Result<(), fs::Error> {
        let file = self.system.open(&self.place.path, Options::READ)?;
        self.system.close(file)
    }
}

/// What a file operation gave, as that of a call.
pub(crate) fn done<T>(result: Result<T, fs::Error>) -> Result<(), Error> {
    result.map(|_| ()).map_err(failed)
}
