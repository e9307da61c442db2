//! A file system that all workers share, with a file for each.

use crate::Worker;
use corey_abi::Error;
use corey_lib_bench::files::{BLOCK, FIRST, Name, fill};
use corey_libos_cache::{Nothing, Shape};
use corey_libos_mount::fs::{self, Fs, Options};
use corey_libos_mount::{Machine, Volume};

/// A worker's way into it.
pub type Files = Fs<'static, Machine, Nothing>;

/// Blocks: one for each core, and for each what is being written and what waits to go home.
const fn shape(cores: u32) -> Shape {
    Shape { clients: cores, files: cores + 8, blocks: 128 + 128 * cores }
}

/// Pages of the team's share that it takes on so many cores.
#[must_use]
pub fn file_pages(cores: u32) -> u64 {
    shape(cores).bytes().map_or(0, |bytes| bytes as u64 / BLOCK as u64) + 64
}

/// Blocks of its own that a worker touches, so that none is new while others hold its blocks.
const TOUCHED: u64 = 100;

fn warm(fs: &mut Files, name: &str, block: &[u8; BLOCK]) -> Result<(), fs::Error> {
    let file = fs.open(name, Options::WRITE)?;
    (1..TOUCHED).try_for_each(|at| fs.pwrite(file, at * BLOCK as u64, block).map(|_| ()))?;
    fs.truncate(file, BLOCK as u64)?;
    fs.close(file)
}

/// A file system's error as a worker's: it is printed, and the run ends.
pub fn failed(error: fs::Error) -> Error {
    corey_libos_rt::println!("files: {error}");
    Error::BadArgument
}

/// Makes a file system that all workers map, with a file of one block for each, which it wrote itself. All workers call it.
///
/// # Errors
///
/// As the calls; and what [`failed`] printed.
#[inline(never)]
pub fn files(worker: &mut Worker) -> Result<Files, Error> {
    let (volume, cache) = if worker.index == 0 {
        let made = Volume::make(&mut worker.space, worker.team, 0, shape(worker.cores))?;
        worker.offer(made.0.tree);
        worker.meet();
        made
    } else {
        worker.meet();
        let tree = worker.offered(0);
        Volume::join(&mut worker.space, tree, 0)?
    };
    let client = volume.client(cache, worker.index, &Nothing)?;
    let mut fs = if worker.index == 0 {
        let mut fs = Fs::format(client).map_err(failed)?;
        fs.create_directory("data").map_err(failed)?;
        worker.meet();
        fs
    } else {
        worker.meet();
        Fs::mount(client).map_err(failed)?
    };
    let mut block = [0; BLOCK];
    fill(worker.index, FIRST, &mut block);
    let name = Name::new(worker.index);
    fs.fill(name.as_str(), &block).map_err(failed)?;
    warm(&mut fs, name.as_str(), &block).map_err(failed)?;
    worker.meet();
    Ok(fs)
}
