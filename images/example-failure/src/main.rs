//! `example-failure`: threads that fail, and what their parent learns.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_libos_cores::{Failure, Here};
use corey_libos_rt::{Process, Status, entry, halt, println};

entry!(main);

fn main(process: Process) -> Status {
    let mut here = Here::first(process);
    let works: [fn(&mut Here) -> u64; 3] =
        [|here| u64::from(here.core()) * 100, |here| panic!("core {} gives up", here.core()), |_| halt(7)];
    for work in works {
        match elsewhere(&mut here, work) {
            Ok(Some(value)) => println!("the thread returned {value}"),
            Ok(None) => println!("no core is free"),
            Err(failure) => println!("{failure}"),
        }
    }
    Status::Success
}

/// Runs `work` on the nearest free core, if there is one.
fn elsewhere(here: &mut Here, work: fn(&mut Here) -> u64) -> Result<Option<u64>, Failure> {
    here.scope(|scope| {
        let Some(core) = scope.free().next() else { return Ok(None) };
        scope.spawn(core, work)?.join().map(Some)
    })
}
