//! `tcp`: every core accepts connections of its own card, writes 128 bytes, closes (benches/tcp).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

mod server;

use corey_abi::{Error, NetworkStat};
use corey_lib_bench::served::{COOL, Served, WARM, connections, server as address};
use corey_lib_bench::table::TCP_STACK;
use corey_libos_bench::{Worker, program};
use corey_libos_card::{Card, cards};
use corey_libos_net::Config;
use corey_libos_rt::sys::rdtsc;
use corey_libos_rt::{Process, Status, entry, println};
use server::Server;

entry!(main);

/// Pages of a worker's share: its card's packets and their tables.
const PAGES: u64 = 512;

fn main(process: Process) -> Status {
    program(process, "tcp", |_, _, _| (PAGES, 64), |worker| worker.with_heap(work))
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let number = cards()?.get(worker.index as usize).copied();
    let Some(number) = number else {
        println!("tcp: core {0} has no network card: give the machine {1}", worker.index, worker.cores);
        return Err(Error::NotFound);
    };
    let nic = u8::try_from(worker.index).map_err(|_| Error::OutOfRange)?;
    let card = Card::open(&mut worker.space, worker.share, number)?;
    // Only the client is on its wire: what it could guess, it may.
    let mut config = Config::at(address(nic), 24, [rdtsc(), u64::from(nic)]);
    // Full before the region begins.
    config.time_wait_entries = WARM as usize;
    let process = worker.process()?;
    let mut server = Server::new(card, &config, process.info.header.tsc_hz).ok_or(Error::Busy)?;
    println!("{}", Served { card: nic, connections: connections(worker.iters) });
    server.until(WARM);
    let before = server.card().stat()?;
    worker.region::<TCP_STACK>(|index| server.until(WARM + index + 1))?;
    let after = server.card().stat()?;
    server.until(WARM + worker.iters + COOL);
    server.drain();
    tell(worker, &before, &after);
    server.end().close(&mut worker.space)
}

/// Prints what the card did meanwhile.
fn tell(worker: &Worker, before: &NetworkStat, after: &NetworkStat) {
    println!(
        "{{\"record\":\"card\",\"bench\":\"tcp\",\"variant\":\"stack\",\"cores\":{},\"nic\":{},\"ops\":{},\"doorbells\":{},\
         \"received\":{},\"sent\":{},\"missed\":{}}}",
        worker.cores,
        worker.index,
        worker.iters,
        after.doorbells - before.doorbells,
        after.received - before.received,
        after.sent - before.sent,
        after.missed - before.missed,
    );
}
