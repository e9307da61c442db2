//! `example-places`: which cores to take first.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_libos_cores::{Here, Order};
use corey_libos_rt::{Process, Status, entry, println};
use heapless::Vec;

entry!(main);

fn main(process: Process) -> Status {
    let mut here = Here::first(process);
    for order in [Order::Nearest, Order::PhysicalCores, Order::Spread] {
        let cores = here.scope(|scope| Ok(scope.free_by(order).take(64).collect::<Vec<u16, 64>>()));
        match cores {
            Ok(cores) => println!("{order:?}: {cores:?}"),
            Err(failure) => println!("{failure}"),
        }
    }
    Status::Success
}
