//! `netserver`: a server on every network card, until the machine is turned off.
//!
//! `init=netserver [ip=dhcp|ADDRESS/LEN[,GATEWAY]]`. TCP: 128 bytes on port 7000, echo on 7, discard on 9, characters without
//! end on 19 (RFC 862, 863, 864). UDP: echo on 7. Each card has a stack of its own; with a fixed address card `n` has the `n`-th
//! behind it. When a card's stack has an address it prints `{"record":"net","nic":n,"ip":"…","ready":true}`.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

extern crate alloc;

mod server;
mod words;

use alloc::vec::Vec;
use corey_abi::{MachineCalls, ObjRef};
use corey_libos_card::{Card, cards};
use corey_libos_net::{Addressing, Config, Instant};
use corey_libos_rt::sys::{rdtsc, sys};
use corey_libos_rt::{Process, Status, entry, println};
use server::Server;
use words::addressing;

entry!(main);

/// Turns without a frame before the core sleeps.
const TURNS: u32 = 2000;
/// Longest sleep: cards do not interrupt, so this is how long a frame may wait.
const SLEEP: u64 = 500;

/// Microseconds since power-on.
struct Clock {
    ticks: u64,
}

impl Clock {
    fn now(&self) -> Instant {
        Instant::from_micros(rdtsc() / self.ticks)
    }
}

fn main(mut process: Process) -> Status {
    let words = process.info.command_line();
    let wanted = match addressing(words) {
        Ok(addressing) => addressing,
        Err(word) => {
            println!("ip={word}: wanted ip=dhcp or ip=ADDRESS/LEN[,GATEWAY], as in ip=10.0.2.15/24,10.0.2.2");
            return Status::BadCommandLine;
        }
    };
    let clock = Clock { ticks: (process.info.header.tsc_hz / 1_000_000).max(1) };
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
    let mut servers = Vec::new();
    let mut packets = ObjRef::default();
    for (at, number) in (0..).zip(numbers) {
        let card = match Card::open(&mut process.space, process.program, number) {
            Ok(card) => card,
            Err(error) => {
                println!("network card {at}: {error:?}");
                return Status::Failed;
            }
        };
        (packets, _) = card.objects();
        let config = Config::new(wanted.of(at), [rdtsc() ^ number, entropy()]);
        servers.push(Server::new(at, card, &config, clock.now()));
    }
    let mut idle = 0;
    loop {
        let mut next = Instant::NEVER;
        let mut useful = false;
        for server in &mut servers {
            let now = clock.now();
            let (wants, did) = server.turn(now);
            next = next.min(wants);
            useful |= did;
        }
        idle = if useful { 0 } else { idle + 1 };
        if idle > TURNS {
            let micros = next.since(clock.now()).min(SLEEP);
            // A word that nobody changes: the time ends it.
            let _ = sys().core_wait(packets, 0, 0, micros * 1000);
        }
    }
}

/// Bits that the time alone does not give.
fn entropy() -> u64 {
    let mut mixed = 0;
    for turn in 0..64 {
        let from = rdtsc();
        // How long a call takes differs from turn to turn.
        let _ = sys().counter_read(turn % 4);
        mixed = u64::rotate_left(mixed, 5) ^ (rdtsc() - from) ^ from;
    }
    mixed
}

/// An address for each card.
#[derive(Clone, Copy)]
struct Wanted(Addressing);

impl Wanted {
    fn of(self, card: u32) -> Addressing {
        match self.0 {
            Addressing::Static { address, prefix, gateway } => {
                let address = (u32::from(address).wrapping_add(card)).into();
                Addressing::Static { address, prefix, gateway }
            }
            Addressing::Dhcp => Addressing::Dhcp,
        }
    }
}
