//! `pread`: every core reads a block, of one file or of its own (benches/pread).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::Error;
use corey_lib_bench::files::{BLOCK, FIRST, Name, SAME, WARM, holds};
use corey_lib_bench::table::{PREAD_OWN, PREAD_SAME};
use corey_libos_bench::files::{failed, file_pages, files};
use corey_libos_bench::{Worker, program};
use corey_libos_mount::fs::Options;
use corey_libos_rt::{Process, Status, entry};

entry!(main);

fn main(process: Process) -> Status {
    program(process, "pread", |_, cores, _| (64, file_pages(cores)), work)
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let mut fs = files(worker)?;
    let number = if worker.variant == 0 { SAME } else { worker.index };
    let file = fs.open(Name::new(number).as_str(), Options::READ).map_err(failed)?;
    let mut block = [0; BLOCK];
    let mut bad = false;
    for _ in 0..WARM {
        bad |= fs.pread(file, FIRST * BLOCK as u64, &mut block) != Ok(BLOCK);
    }
    let mut operation = |_| bad |= fs.pread(file, FIRST * BLOCK as u64, &mut block) != Ok(BLOCK);
    match worker.variant {
        0 => worker.region::<PREAD_SAME>(&mut operation)?,
        _ => worker.region::<PREAD_OWN>(&mut operation)?,
    }
    if bad || !holds(number, FIRST, 0, &block) { Err(Error::BadAddress) } else { Ok(()) }
}
