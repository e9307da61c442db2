//! One core's cards, served in turn.

use alloc::vec::Vec;
use corey_abi::{Error, Id, MachineCalls, ObjRef};
use corey_libos_card::Card;
use corey_libos_net::{Config, Instant};
use corey_libos_rt::sys::{rdtsc, sys};
use corey_libos_rt::{Process, vm::Space};

use crate::server::Server;
use crate::words::Wanted;

/// Pages of a share for each card: its packets and their tables.
pub(crate) const CARD_PAGES: u64 = 320;
/// Turns without a frame before the core sleeps.
const TURNS: u32 = 2000;
/// The first sleep and the longest one, in microseconds: each is twice the one before. Cards do not interrupt, so this is
/// how long a frame may wait.
const SLEEP: (u64, u64) = (500, 4000);

/// Cards: number on this machine from 0, and the kernel's number.
pub(crate) type Cards = heapless::Vec<(u32, u64), 16>;

/// Microseconds since power-on.
struct Clock {
    ticks: u64,
}

impl Clock {
    fn now(&self) -> Instant {
        Instant::from_micros(rdtsc() / self.ticks)
    }
}

/// Serves `cards` on this core, which takes them into `share`. Returns only the card that cannot be taken, and why.
pub(crate) fn serve(process: &mut Process, share: Id, cards: &Cards, wanted: Wanted) -> (u32, Error) {
    let clock = Clock { ticks: (process.info.header.tsc_hz / 1_000_000).max(1) };
    let mut servers = Vec::new();
    let mut packets = ObjRef::default();
    for (nic, number) in cards {
        match open(&mut process.space, share, (*nic, *number), wanted, clock.now()) {
            Ok((server, own)) => {
                servers.push(server);
                packets = own;
            }
            Err(error) => return (*nic, error),
        }
    }
    turn_for_ever(&clock, &mut servers, packets)
}

fn open(
    space: &mut Space,
    share: Id,
    (nic, number): (u32, u64),
    wanted: Wanted,
    now: Instant,
) -> Result<(Server, ObjRef), Error> {
    let card = Card::open(space, share, number)?;
    let (packets, _) = card.objects();
    let config = Config::new(wanted.address(nic), [rdtsc() ^ number, entropy()]);
    Ok((Server::new(nic, card, &config, now), packets))
}

/// Serves in turn. What nobody changes in `packets` is waited for where nothing is to do: the time ends it.
fn turn_for_ever(clock: &Clock, servers: &mut [Server], packets: ObjRef) -> ! {
    let (shortest, longest) = SLEEP;
    let (mut idle, mut sleep) = (0, shortest);
    loop {
        let mut next = Instant::NEVER;
        let mut useful = false;
        for server in &mut *servers {
            let now = clock.now();
            let (wants, did) = server.turn(now);
            next = next.min(wants);
            useful |= did;
        }
        if useful {
            (idle, sleep) = (0, shortest);
            continue;
        }
        idle += 1;
        if idle > TURNS {
            let micros = next.since(clock.now()).min(sleep);
            let _ = sys().core_wait(packets, 0, 0, micros * 1000);
            sleep = (2 * sleep).min(longest);
            // A look after each sleep is enough.
            idle = TURNS;
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
