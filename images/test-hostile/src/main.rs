//! Hostile calls: every argument of every call with every kind of bad value, memory that changes under a call, and
//! random calls from all cores at once. Each is an error, or harmless and listed as such; then the books balance.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

mod attack;
mod concurrent;
mod harmless;
mod matrix;
mod records;
mod subject;
mod values;
mod world;

use corey_libos_rt::{Process, Status, entry};
use corey_libos_test::{Fixture, Suite};
use world::Ground;

entry!(main);

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "hostile");
    let Some(fixture) = suite.works("a status page", Fixture::new(&mut process)) else {
        return suite.finish();
    };
    if let Some(ground) = suite.works("ground to stand on", Ground::new(&mut process, &fixture)) {
        matrix::run(&mut suite, &process, &ground);
        records::run(&mut suite, &process, &ground);
        concurrent::run(&mut suite, &process, &ground, &fixture);
        ground.end();
    }
    attack::together(&mut suite, &mut process, &fixture);
    suite.finish()
}
