//! One core's cards, served in turn.

use alloc::vec::Vec;
use corey_abi::{Error, Id, MachineCalls, ObjRef};
use corey_libos_card::{ByRing, Card, Way};
use corey_libos_kernel_core::{Calls, KernelCore};
use corey_libos_net::{Config, Instant};
use corey_libos_rt::sys::{rdtsc, sys};
use corey_libos_rt::{Process, vm::Space};

use crate::reports::Reports;
use crate::server::Server;
use crate::words::Wanted;

/// Pages of a share for each card: its packets and their tables.
pub(crate) const CARD_PAGES: u64 = 320;
/// Turns without a frame before the core sleeps.
const TURNS: u32 = 2000;
/// The first sleep and the longest one, in microseconds: each is twice the one before. Cards interrupt no program, so this is
/// how long a frame may wait.
const SLEEP: (u64, u64) = (500, 4000);

/// Slots of a ring: the most there can be, as all buffers of a card are given to it at the start.
const SLOTS: u32 = 256;

/// The cards of a core.
pub(crate) type Cards = heapless::Vec<Numbers, 16>;
/// The kernel core of each card of the machine; none without kernel cores.
pub(crate) type KernelCores = heapless::Vec<u16, 16>;

/// Microseconds since power-on.
struct Clock {
    ticks: u64,
}

impl Clock {
    fn now(&self) -> Instant {
        Instant::from_micros(rdtsc() / self.ticks)
    }
}

/// A card: number on this machine from 0, and the kernel's number.
type Numbers = (u32, u64);

/// Serves `cards` on this core, which takes them into `share`; with kernel cores, by `kernel` for each card: the kernel core
/// has the card then, and this core feeds it by ring. Returns only the card that cannot be taken, and why.
pub(crate) fn serve(
    process: &mut Process,
    share: Id,
    cards: &Cards,
    wanted: Wanted,
    kernel: &KernelCores,
) -> (u32, Error) {
    if kernel.is_empty() {
        return serve_by(process, cards, wanted, |space, (_, number)| Card::open(space, share, number));
    }
    let boot = process.boot;
    serve_by(process, cards, wanted, |space, (nic, number)| {
        let core = *kernel.get(nic as usize).ok_or(Error::NotFound)?;
        let core = KernelCore::take(boot, core)?;
        let calls = Calls::open(space, share, &[share], SLOTS, 0)?;
        core.poll_device(calls.device())?;
        core.run()?;
        Card::open_by(space, share, number, |card| {
            core.poll_device(card)?;
            Ok(ByRing::new(calls))
        })
    })
}

fn serve_by<W: Way>(
    process: &mut Process,
    cards: &Cards,
    wanted: Wanted,
    mut open: impl FnMut(&mut Space, Numbers) -> Result<Card<W>, Error>,
) -> (u32, Error) {
    let clock = Clock { ticks: (process.info.header.tsc_hz / 1_000_000).max(1) };
    let mut servers = Vec::new();
    let mut packets = ObjRef::default();
    for (nic, number) in cards {
        match open(&mut process.space, (*nic, *number)) {
            Ok(card) => {
                (packets, _) = card.objects();
                let config = Config::new(wanted.address(*nic), [rdtsc() ^ number, entropy()]);
                servers.push(Server::new(*nic, card, &config, clock.now()));
            }
            Err(error) => return (*nic, error),
        }
    }
    turn_for_ever(&clock, &mut servers, packets, Reports::new(wanted.report, process.boot))
}

/// Serves in turn. What nobody changes in `packets` is waited for where nothing is to do: the time ends it.
fn turn_for_ever<W: Way>(
    clock: &Clock,
    servers: &mut [Server<W>],
    packets: ObjRef,
    mut reports: Reports,
) -> ! {
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
        reports.turn(clock.now(), servers);
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
