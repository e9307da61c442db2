//! One stack over one card, for all cores.

use alloc::boxed::Box;
use corey_abi::{Error, ShareCalls};
use corey_lib_bench::locks::Pausing;
use corey_lib_bench::served::{Load, Served};
use corey_lib_bench::table::TCP_SHARED;
use corey_lib_sync::Shared;
use corey_libos_bench::Worker;
use corey_libos_card::Card;
use corey_libos_net::{Listener, Stack};
use corey_libos_rt::println;
use corey_libos_rt::sys::{pause, sys};

use crate::server::{Clock, listening};
use crate::short::serve;
use crate::{card_number, config, tell};

/// What all cores reach: in the first one's heap, whose addresses all have.
struct One {
    stack: Shared<Stack<Card>>,
    listener: Listener,
}

/// A core's part of so many operations.
fn part(all: u64, worker: &Worker) -> u64 {
    all.div_ceil(u64::from(worker.cores))
}

pub(crate) fn work(worker: &mut Worker) -> Result<(), Error> {
    meet_above(worker);
    if worker.index == 0 {
        let at = open(worker)?;
        worker.tell(at as u64);
    }
    worker.meet();
    let at = worker.told(0) as *mut One;
    // SAFETY: the first worker has just made it, and takes it back when all have met for the last time.
    let one = unsafe { &*at };
    if worker.index != 0 {
        lock(one).link().map_in(&mut worker.space)?;
    }
    worker.meet();
    let (load, clock) = (Load::Short, Clock::new(worker.process()?.info.header.tsc_hz));
    let (warm, cool) = (part(load.warm(), worker), part(load.cool(), worker));
    let operations = u64::from(worker.cores) * (warm + worker.iters + cool);
    if worker.index == 0 {
        println!("{}", Served { card: 0, load, operations });
    }
    let mut served = 0;
    let mut until = |count| {
        while served < count {
            served += turn(one, clock);
        }
    };
    until(warm);
    let before = lock(one).link().stat()?;
    worker.region::<TCP_SHARED>(|index| until(warm + index + 1))?;
    let after = lock(one).link().stat()?;
    until(warm + worker.iters + cool);
    worker.meet();
    if worker.index != 0 {
        return Ok(());
    }
    while lock(one).in_use().connections != 0 {
        turn(one, clock);
    }
    tell(worker, u64::from(worker.cores) * worker.iters, &before, &after);
    let (packets, device) = lock(one).link().objects();
    // SAFETY: from `open`; all have met, and the reference ends here.
    drop(unsafe { Box::from_raw(at) });
    sys().share_delobj(device)?;
    sys().share_delobj(packets)
}

/// Has all cores hand out no address below the highest that one of them might: what is mapped next has the same in all.
fn meet_above(worker: &mut Worker) {
    worker.tell(worker.space.free());
    worker.meet();
    let highest = (0..worker.cores).map(|index| worker.told(index)).max().unwrap_or(0);
    worker.meet();
    worker.space.leave(highest);
}

/// The card and its packets are named by the share that all cores hold.
fn open(worker: &mut Worker) -> Result<*mut One, Error> {
    let card = Card::open(&mut worker.space, worker.team, card_number(worker.index)?)?;
    let clock = Clock::new(worker.process()?.info.header.tsc_hz);
    let (stack, listener) = listening(card, &config(0, Load::Short), clock).ok_or(Error::Busy)?;
    let stack = Shared::new(0, "stack", stack);
    Ok(Box::into_raw(Box::new(One { stack, listener })))
}

fn lock(one: &One) -> corey_lib_sync::Guard<'_, Stack<Card>> {
    one.stack.lock(&mut Pausing(pause))
}

/// A core's turn with the stack: a connection that waits, or else what the card has and what it is to send. Returns how many
/// connections were served.
#[inline(always)]
fn turn(one: &One, clock: Clock) -> u64 {
    let mut stack = lock(one);
    let accepted = stack.accept(one.listener);
    match accepted {
        Ok(connection) => serve(&mut stack, connection),
        Err(_) => {
            stack.poll(clock.now());
            // Who gets them is chance: each core asks for connections itself.
            while stack.event().is_some() {}
        }
    }
    drop(stack);
    // The next one's turn.
    pause();
    accepted.is_ok().into()
}
