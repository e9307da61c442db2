//! `netserver`: a server on every network card, until the machine is turned off.
//!
//! `init=netserver [ip=dhcp|ADDRESS/LEN[,GATEWAY]] [cores=N] [kernel=on] [report=SECONDS]`. TCP: 128 bytes on port 7000, echo on 7, discard on 9,
//! characters without end on 19 (RFC 862, 863, 864). UDP: echo on 7. Each card has a stack of its own; with a fixed
//! address card `n` has the `n`-th behind it. When a card's stack has an address it prints
//! `{"record":"net","nic":n,"ip":"…","ready":true}`.
//!
//! `N` cores serve, card `n` the core `n` modulo `N`; without the word each card has a core, as far as there are cores. A
//! core's cards, their packets and their stacks are named by a share that no other core holds. With `kernel=on` each card also has a
//! kernel core, which polls it, and which its stack's core feeds by ring. With `report=` each core prints every so many seconds what
//! its stacks have in use, as `stack` records, and card 0's then audits the machine: an `audit` record has the bytes that are free.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

extern crate alloc;

mod core_server;
mod reports;
mod server;
mod words;

use core_server::{CARD_PAGES, Cards, KernelCores, serve};
use corey_abi::{Error, Home, Id, Kinds, Name, ShareCalls};
use corey_libos_card::cards;
use corey_libos_cores::{Failure, Here};
use corey_libos_rt::sys::{address, sys};
use corey_libos_rt::{Process, Status, entry, exit, println};
use words::Wanted;

entry!(main);

/// Pages of a serving core's share beside those of its cards: its stack and its tables.
const OWN_PAGES: u64 = 512;
/// Objects of a serving core's share.
const OBJECTS: u64 = 256;

fn main(process: Process) -> Status {
    let wanted = match Wanted::parse(process.info.command_line()) {
        Ok(wanted) => wanted,
        Err(bad) => {
            println!("{bad}");
            return Status::BadCommandLine;
        }
    };
    let numbers = match cards() {
        Ok(numbers) if !numbers.is_empty() => numbers,
        Ok(_) => {
            println!("no network card that this system has a driver for (QEMU: -device e1000)");
            return Status::Failed;
        }
        Err(error) => {
            println!("the list of devices: {error:?}");
            return Status::Failed;
        }
    };
    let all: Cards = (0..).zip(numbers).collect();
    match spread(&mut Here::first(process), wanted, &all) {
        Ok(status) => status,
        Err(failure) => {
            println!("{failure}");
            Status::Failed
        }
    }
}

/// Starts a thread on every core that serves, and serves here. Returns when that is not possible.
fn spread(here: &mut Here, wanted: Wanted, all: &Cards) -> Result<Status, Failure> {
    here.set_quota(OWN_PAGES + CARD_PAGES * all.len() as u64, OBJECTS);
    let boot = here.process().boot;
    here.scope(|scope| {
        let free: heapless::Vec<u16, 256> = scope.free().collect();
        let kernel_cores = if wanted.kernel { all.len() } else { 0 };
        let count = match wanted.cores(all.len(), (1 + free.len()).saturating_sub(kernel_cores)) {
            Ok(count) => count,
            Err(bad) => {
                println!("{bad}");
                return Ok(Status::BadCommandLine);
            }
        };
        let kernel: KernelCores = free.iter().copied().skip(count - 1).take(kernel_cores).collect();
        let part = |core: usize| all.iter().copied().skip(core).step_by(count).collect::<Cards>();
        for (position, core) in (1..count).zip(free) {
            let (mine, kernel) = (part(position), kernel.clone());
            // It never returns.
            let _ = scope.spawn(core, move |here| {
                let process = here.process();
                let own = process.program;
                fail(serve(process, own, &mine, wanted, &kernel))
            })?;
        }
        // The program's own share is known to every thread.
        match private_share(boot, all) {
            Ok(own) => scope.with_process(|process| fail(serve(process, own, &part(0), wanted, &kernel))),
            Err(error) => println!("a share for the cards of core 0: {error:?}"),
        }
        Ok(Status::Failed)
    })
}

/// Says why a core does not serve, and ends the run.
fn fail((nic, error): (u32, Error)) {
    println!("network card {nic}: {error:?}");
    exit(Status::Failed);
}

fn private_share(boot: Id, all: &Cards) -> Result<Id, Error> {
    let pages = CARD_PAGES * all.len() as u64;
    sys().share_alloc(boot, Kinds::all(), pages, OBJECTS, Home::Any, address(&Name::new("cards")))
}
