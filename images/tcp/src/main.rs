//! `tcp`: every core serves the client of its own card, by itself, or with a kernel core that has the card, or all cores together
//! the client of one card (benches/tcp).
#![no_std]
#![no_main]
#![allow(
    unsafe_code,
    reason = "the entry point has a fixed name; what one core made is another's by address"
)]

extern crate alloc;

mod bulk;
mod echo;
mod server;
mod shared;
mod short;

use core::cell::RefCell;
use corey_abi::{Error, NetworkStat};
use corey_lib_bench::region::{MACHINE_BEGIN as BEGIN, MACHINE_END as END};
use corey_lib_bench::served::{Load, Served, server as address};
use corey_lib_bench::table::{
    TCP_BULK_IN, TCP_BULK_OUT, TCP_ECHO, TCP_KERNELCORE, TCP_SHARED, TCP_STACK, id, names,
};
use corey_libos_bench::{Worker, program};
use corey_libos_card::{ByRing, Card, Way, cards};
use corey_libos_kernel_core::{Calls, KernelCore};
use corey_libos_net::Config;
use corey_libos_rt::sys::{marker, rdtsc};
use corey_libos_rt::{Process, Status, entry, println};
use server::{Clock, Server, Service};
use short::Short;

entry!(main);

/// Slots of a ring: the most there can be, as all buffers of a card are given to it at the start.
const SLOTS: u32 = 256;
/// Pages of a share that has a card: its packets and their tables.
const PAGES: u64 = 512;

fn main(process: Process) -> Status {
    program(process, "tcp", |_, _, _| (PAGES, PAGES), |worker| worker.with_heap(work))
}

/// The marker id of what is measured.
fn measured(worker: &Worker) -> u32 {
    id(5, worker.variant)
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    match measured(worker) {
        TCP_KERNELCORE => with_kernel_core(worker),
        TCP_SHARED => shared::work(worker),
        TCP_ECHO => alone::<TCP_ECHO, _>(worker, echo::Echo::default()),
        TCP_BULK_IN => alone::<TCP_BULK_IN, _>(worker, bulk::In::default()),
        TCP_BULK_OUT => alone::<TCP_BULK_OUT, _>(worker, bulk::Out::default()),
        _ => alone::<TCP_STACK, _>(worker, Short::default()),
    }
}

/// The kernel's number of card `index`.
fn card_number(index: u32) -> Result<u64, Error> {
    let number = cards()?.get(index as usize).copied();
    if number.is_none() {
        println!("tcp: there is no network card {index}: give the machine {}", index + 1);
    }
    number.ok_or(Error::NotFound)
}

/// The core polls its card itself.
fn alone<const ID: u32, S: Service>(worker: &mut Worker, service: S) -> Result<(), Error> {
    let number = card_number(worker.index)?;
    let card = Card::open(&mut worker.space, worker.share, number)?;
    serve::<ID, _, _>(worker, card, service)?.close(&mut worker.space).map(|_| ())
}

/// The card is a kernel core's, which this core feeds by ring.
fn with_kernel_core(worker: &mut Worker) -> Result<(), Error> {
    let number = card_number(worker.index)?;
    let (target, _) = worker.target.ok_or(Error::NotFound)?;
    let core = KernelCore::of(target);
    let calls = Calls::open(&mut worker.space, worker.share, &[worker.share], SLOTS, 0)?;
    core.poll_device(calls.device())?;
    core.run()?;
    let card = Card::open_by(&mut worker.space, worker.share, number, |card| {
        core.poll_device(card)?;
        Ok(ByRing::new(calls))
    })?;
    let way = serve::<TCP_KERNELCORE, _, _>(worker, card, Short::default())?.close(&mut worker.space)?;
    core.halt()?;
    way.into_calls().close(&mut worker.space)
}

/// What a stack on card `nic` is made with.
fn config(nic: u8, load: Load) -> Config {
    // Only the client is on its wire: what it could guess, it may.
    let mut config = Config::at(address(nic), 24, [rdtsc(), u64::from(nic)]);
    // Full before the region begins.
    config.time_wait_entries = load.warm() as usize;
    config
}

/// Serves as many operations as are asked for. Gives the card back.
fn serve<const ID: u32, S: Service, W: Way>(
    worker: &mut Worker,
    card: Card<W>,
    service: S,
) -> Result<Card<W>, Error> {
    let nic = u8::try_from(worker.index).map_err(|_| Error::OutOfRange)?;
    let clock = Clock::new(worker.process()?.info.header.tsc_hz);
    let mut server = Server::new(card, &config(nic, S::LOAD), clock).ok_or(Error::Busy)?;
    println!("{}", Served { card: nic, load: S::LOAD, operations: S::LOAD.operations(worker.iters) });
    let (warm, mut service) = (S::LOAD.warm(), RefCell::new(service));
    server.until_checked(service.get_mut(), warm);
    let before = server.card().stat()?;
    // What a stack and its kernel core do together is counted machine-wide, where nobody else does anything.
    let pair = ID == TCP_KERNELCORE && worker.cores == 1;
    let operation = |index| {
        if pair {
            marker::<TCP_KERNELCORE, BEGIN>();
        }
        server.until(&mut *service.borrow_mut(), warm + index + 1);
        if pair {
            marker::<TCP_KERNELCORE, END>();
        }
    };
    worker.region_between::<ID>(operation, |_| service.borrow_mut().check())?;
    let after = server.card().stat()?;
    let service = service.get_mut();
    server.until_checked(service, warm + worker.iters + S::LOAD.cool());
    server.drain(service);
    tell(worker, worker.iters, &before, &after);
    match service.wrong() {
        None => Ok(server.end()),
        Some(wrong) => {
            println!("tcp: card {nic}: {wrong}");
            Err(Error::DeviceFailed)
        }
    }
}

/// Prints what the worker's card did during `ops` operations.
fn tell(worker: &Worker, ops: u64, before: &NetworkStat, after: &NetworkStat) {
    let (_, variant) = names(measured(worker)).unwrap_or_default();
    println!(
        "{{\"record\":\"card\",\"bench\":\"tcp\",\"variant\":\"{variant}\",\"cores\":{},\"nic\":{},\"ops\":{ops},\
         \"doorbells\":{},\"received\":{},\"sent\":{},\"missed\":{}}}",
        worker.cores,
        worker.index,
        after.doorbells - before.doorbells,
        after.received - before.received,
        after.sent - before.sent,
        after.missed - before.missed,
    );
}
