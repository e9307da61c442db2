//! `pwrite`: every core writes a block or a part of one, of one file or of its own (benches/pwrite).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::Error;
use corey_lib_bench::files::{BLOCK, FIRST, Name, PART, SAME, WARM, fill, part, written};
use corey_lib_bench::table::{PWRITE_FULL_OWN, PWRITE_FULL_SAME, PWRITE_PART_OWN, PWRITE_PART_SAME};
use corey_libos_bench::files::{Files, failed, file_pages, files};
use corey_libos_bench::{Worker, program};
use corey_libos_mount::fs::{Descriptor, Options};
use corey_libos_rt::{Process, Status, entry};

entry!(main);

fn main(process: Process) -> Status {
    program(process, "pwrite", |_, cores, _| (64, file_pages(cores)), work)
}

#[inline(always)]
fn whole(fs: &mut Files, file: Descriptor, block: &[u8; BLOCK]) -> bool {
    fs.pwrite(file, FIRST * BLOCK as u64, block) == Ok(BLOCK)
}

#[inline(always)]
fn some(fs: &mut Files, file: Descriptor, block: &[u8; BLOCK], number: u64) -> bool {
    let at = part(number);
    let bytes = block.get(at as usize..at as usize + PART).unwrap_or_default();
    fs.pwrite(file, FIRST * BLOCK as u64 + at, bytes) == Ok(PART)
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let mut fs = files(worker)?;
    let number = if worker.variant.is_multiple_of(2) { worker.index } else { SAME };
    let file = fs.open(Name::new(number).as_str(), Options::WRITE).map_err(failed)?;
    let mut block = [0; BLOCK];
    fill(number, written(worker.index), &mut block);
    let mut good = true;
    for number in 0..WARM {
        good &= if worker.variant < 2 {
            whole(&mut fs, file, &block)
        } else {
            some(&mut fs, file, &block, number)
        };
    }
    match worker.variant {
        0 => worker.region::<PWRITE_FULL_OWN>(|_| good &= whole(&mut fs, file, &block))?,
        1 => worker.region::<PWRITE_FULL_SAME>(|_| good &= whole(&mut fs, file, &block))?,
        2 => worker.region::<PWRITE_PART_OWN>(|at| good &= some(&mut fs, file, &block, at))?,
        _ => worker.region::<PWRITE_PART_SAME>(|at| good &= some(&mut fs, file, &block, at))?,
    }
    if good { Ok(()) } else { Err(Error::BadAddress) }
}
