//! The first program: reads the command line, runs the benchmarks it names.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_libos_bench::{next, request};
use corey_libos_rt::{Process, Status, entry};

entry!(main);

fn main(mut process: Process) -> Status {
    match request(&process) {
        Ok(request) => next(&mut process, &request, 0),
        Err(status) => status,
    }
}
