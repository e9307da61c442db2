//! Kernel cores with cards: they sleep when nothing comes, and a frame wakes them. Needs two cores, and five cards on a hub, of which
//! the first and the last pull the same line; with three cores those two have a kernel core each.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::{CoreStat, Error, Id, Kinds, MachineCalls, Name, ObjRef, ShareCalls};
use corey_libos_card::{ByRing, Card, Way, cards};
use corey_libos_kernel_core::{Calls, KernelCore};
use corey_libos_rt::sys::{address, address_mut, pause, rdtsc, sys};
use corey_libos_rt::{Process, Status, entry};
use corey_libos_test::Suite;

entry!(main);

/// Frames that find their kernel core asleep.
const ROUNDS: u64 = 40;
/// Parts of a second that a kernel core needs to fall asleep, with some room.
const REST: u64 = 500;

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "wake");
    let cores = process.info.header.cores;
    if cores < 2 {
        suite.refused("one core has none for the kernel", KernelCore::take(process.boot, 0), Error::Busy);
        return suite.finish();
    }
    let Some(all) = suite.works("a list of cards", cards()) else { return suite.finish() };
    suite.equal("five cards", all.len(), 5);
    if let [first, sender, .., last] = *all.as_slice() {
        let sender = Card::open(&mut process.space, process.program, sender);
        let Some(mut sender) = suite.works("a card that sends", sender) else { return suite.finish() };
        for _ in 0..2 {
            let one = suite.works("a kernel core with a card", Asleep::begin(&mut process, 1, first));
            let Some(mut one) = one else { break };
            let mut two = None;
            if cores > 2 {
                let made = Asleep::begin(&mut process, 2, last);
                two = suite.works("one more, on the same line", made);
            }
            sleeps(&mut suite, &process, &one);
            let other = two.as_ref().is_none_or(|two| linked(&process, &two.card));
            let up = other && linked(&process, &sender) && linked(&process, &one.card);
            suite.equal("their links are up", up, true);
            // QEMU's card takes no frame for a second after its receiver is turned on.
            rest(&process, 1);
            if let Some(two) = &mut two {
                wakes(&mut suite, &process, &mut sender, two);
            }
            wakes(&mut suite, &process, &mut sender, &mut one);
            if let Some(two) = two.take() {
                suite.works("the other ends", two.end(&mut process));
                wakes(&mut suite, &process, &mut sender, &mut one);
            }
            suite.works("it ends", one.end(&mut process));
        }
        suite.works("the sender is given back", sender.close(&mut process.space));
    }
    suite.audit("nothing is lost");
    suite.finish()
}

/// A kernel core with a card.
struct Asleep {
    core: KernelCore,
    share: Id,
    card: Card<ByRing>,
}

impl Asleep {
    fn begin(process: &mut Process, number: u16, card: u64) -> Result<Self, Error> {
        let name = Name::new("by ring");
        let share =
            sys().share_alloc(process.boot, Kinds::all(), 600, 50, corey_abi::Home::Any, address(&name))?;
        let core = KernelCore::take(process.boot, number)?;
        let calls = Calls::open(&mut process.space, process.program, &[share], 256, 0)?;
        core.poll_device(calls.device())?;
        core.run()?;
        let card = Card::open_by(&mut process.space, share, card, |card| {
            core.poll_device(card)?;
            Ok(ByRing::new(calls))
        })?;
        Ok(Self { core, share, card })
    }

    fn end(self, process: &mut Process) -> Result<(), Error> {
        let Self { core, share, card } = self;
        core.halt()?;
        card.close(&mut process.space)?.into_calls().close(&mut process.space)?;
        core.release();
        sys().share_delobj(ObjRef { share: process.boot, object: share })?;
        sys().self_drop(share)
    }

    /// Its turns and its interrupts. To ask wakes it.
    fn stat(&self) -> Result<[u64; 2], Error> {
        let mut place = core::mem::MaybeUninit::<CoreStat>::zeroed();
        // SAFETY: all numbers: any bytes are valid.
        let stat = unsafe { place.assume_init_mut() };
        sys().core_stat(self.core.pcore(), address_mut(stat))?;
        Ok([stat.turns, stat.interrupts])
    }

    /// Takes what came; how many frames.
    fn take(&mut self) -> Result<u64, Error> {
        let mut count = 0;
        while self.card.receive(|_| ())?.is_some() {
            count += 1;
        }
        if count != 0 {
            self.card.poll()?;
        }
        Ok(count)
    }
}

fn rest(process: &Process, part: u64) {
    let until = rdtsc() + process.info.header.tsc_hz / part;
    while rdtsc() < until {
        pause();
    }
}

/// Waits until a card's link is up: before, frames wait for that.
fn linked<W: Way>(process: &Process, card: &Card<W>) -> bool {
    let until = rdtsc() + 5 * process.info.header.tsc_hz;
    while rdtsc() < until {
        if card.stat().is_ok_and(|stat| stat.speed != 0) {
            return true;
        }
        rest(process, REST);
    }
    false
}

/// Nothing to do: it is awake twice, when it is asked.
fn sleeps(suite: &mut Suite, process: &Process, one: &Asleep) {
    rest(process, REST);
    let before = one.stat();
    rest(process, 2);
    let after = one.stat();
    if let (Ok([before, _]), Ok([after, _])) = (before, after) {
        let turns = after - before;
        // A look every 4 ms would be 125 times 50 µs of turns.
        suite.check(
            "with nothing to do it sleeps",
            turns < 2_000,
            format_args!("{turns} turns in half a second"),
        );
    }
}

/// Frames come one by one to a kernel core that sleeps.
fn wakes(suite: &mut Suite, process: &Process, sender: &mut Card, one: &mut Asleep) {
    let _ = one.take();
    rest(process, REST);
    let Some([_, before]) = suite.works("what it did before", one.stat()) else { return };
    let (mut came, mut longest) = (0, 0);
    for _ in 0..ROUNDS {
        rest(process, REST);
        let sent = sender.send(|frame| {
            frame.iter_mut().take(60).for_each(|byte| *byte = 0xff);
            60
        });
        if sent.and_then(|()| sender.poll()).is_err() {
            continue;
        }
        let (start, mut seen) = (rdtsc(), 0);
        // All that it has: it is not called, so nothing else can wake it.
        while seen == 0 && rdtsc() - start < 5 * process.info.header.tsc_hz {
            seen = one.take().unwrap_or(0);
            pause();
        }
        longest = longest.max(rdtsc() - start);
        came += seen.min(1);
        while let Ok(Some(())) = sender.receive(|_| ()) {}
    }
    let after = one.stat().map_or(before, |[_, after]| after);
    let (interrupts, longest) = (after - before, longest / (process.info.header.tsc_hz / 1_000_000).max(1));
    suite.equal("each frame wakes it", came, ROUNDS);
    // Where one thread has all processors, some frames find it awake still.
    suite.check(
        "by an interrupt each, and few more",
        interrupts > 0 && interrupts <= 3 * ROUNDS,
        format_args!("{interrupts} interrupts, at most {longest} µs"),
    );
}
