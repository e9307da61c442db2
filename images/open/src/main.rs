//! `open`: every core opens and closes a file of its own (benches/open).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::Error;
use corey_lib_bench::files::{Name, WARM};
use corey_lib_bench::table::OPEN_OWN;
use corey_libos_bench::files::{Files, file_pages, files};
use corey_libos_bench::{Worker, program};
use corey_libos_mount::fs::Options;
use corey_libos_rt::{Process, Status, entry};

entry!(main);

fn main(process: Process) -> Status {
    program(process, "open", |_, cores, _| (64, file_pages(cores)), work)
}

#[inline(always)]
fn once(fs: &mut Files, path: &str) -> bool {
    fs.open(path, Options::READ).and_then(|file| fs.close(file)).is_ok()
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let mut fs = files(worker)?;
    let name = Name::new(worker.index);
    let path = name.as_str();
    let mut good = true;
    (0..WARM).for_each(|_| good &= once(&mut fs, path));
    worker.region::<OPEN_OWN>(|_| good &= once(&mut fs, path))?;
    if good { Ok(()) } else { Err(Error::NotFound) }
}
