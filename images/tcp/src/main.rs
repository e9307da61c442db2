//! `tcp`: every core accepts connections of its own card, writes 128 bytes, closes; by itself, or with a kernel core that has the
//! card (benches/tcp).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

mod server;

use corey_abi::{Error, NetworkStat};
use corey_lib_bench::region::{MACHINE_BEGIN as BEGIN, MACHINE_END as END};
use corey_lib_bench::served::{COOL, Served, WARM, connections, server as address};
use corey_lib_bench::table::{TCP_KERNELCORE, TCP_STACK};
use corey_libos_bench::{Worker, program};
use corey_libos_card::{ByRing, Card, Way, cards};
use corey_libos_kernel_core::{Calls, KernelCore};
use corey_libos_net::Config;
use corey_libos_rt::sys::{marker, rdtsc};
use corey_libos_rt::{Process, Status, entry, println};
use server::Server;

entry!(main);

/// Slots of a ring: the most there can be, as all buffers of a card are given to it at the start.
const SLOTS: u32 = 256;
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
    if worker.variant == 0 {
        return with_kernel_core(worker, number, nic);
    }
    let card = Card::open(&mut worker.space, worker.share, number)?;
    serve::<TCP_STACK, _>(worker, card, nic)?.close(&mut worker.space).map(|_| ())
}

/// The card is a kernel core's, which this core feeds by ring.
fn with_kernel_core(worker: &mut Worker, number: u64, nic: u8) -> Result<(), Error> {
    let (target, _) = worker.target.ok_or(Error::NotFound)?;
    let core = KernelCore::of(target);
    let calls = Calls::open(&mut worker.space, worker.share, &[worker.share], SLOTS, 0)?;
    core.poll_device(calls.device())?;
    core.run()?;
    let card = Card::open_by(&mut worker.space, worker.share, number, |card| {
        core.poll_device(card)?;
        Ok(ByRing::new(calls))
    })?;
    let way = serve::<TCP_KERNELCORE, _>(worker, card, nic)?.close(&mut worker.space)?;
    core.halt()?;
    way.into_calls().close(&mut worker.space)
}

/// Serves as many connections as are asked for. Gives the card back.
fn serve<const ID: u32, W: Way>(worker: &mut Worker, card: Card<W>, nic: u8) -> Result<Card<W>, Error> {
    // Only the client is on its wire: what it could guess, it may.
    let mut config = Config::at(address(nic), 24, [rdtsc(), u64::from(nic)]);
    // Full before the region begins.
    config.time_wait_entries = WARM as usize;
    let process = worker.process()?;
    let mut server = Server::new(card, &config, process.info.header.tsc_hz).ok_or(Error::Busy)?;
    println!("{}", Served { card: nic, connections: connections(worker.iters) });
    server.until(WARM);
    let before = server.card().stat()?;
    // What a stack and its kernel core do together is counted machine-wide, where nobody else does anything.
    let pair = ID == TCP_KERNELCORE && worker.cores == 1;
    worker.region::<ID>(|index| {
        if pair {
            marker::<TCP_KERNELCORE, BEGIN>();
        }
        server.until(WARM + index + 1);
        if pair {
            marker::<TCP_KERNELCORE, END>();
        }
    })?;
    let after = server.card().stat()?;
    server.until(WARM + worker.iters + COOL);
    server.drain();
    tell(worker, &before, &after);
    Ok(server.end())
}

/// Prints what the card did meanwhile.
fn tell(worker: &Worker, before: &NetworkStat, after: &NetworkStat) {
    println!(
        "{{\"record\":\"card\",\"bench\":\"tcp\",\"variant\":\"{}\",\"cores\":{},\"nic\":{},\"ops\":{},\"doorbells\":{},\
         \"received\":{},\"sent\":{},\"missed\":{}}}",
        if worker.variant == 0 { "kernelcore" } else { "stack" },
        worker.cores,
        worker.index,
        worker.iters,
        after.doorbells - before.doorbells,
        after.received - before.received,
        after.sent - before.sent,
        after.missed - before.missed,
    );
}
