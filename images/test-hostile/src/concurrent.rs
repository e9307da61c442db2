//! Memory that changes while a call reads it: another core writes bad words into the records, and another one takes the
//! pages away and gives them back.

use crate::matrix::{Row, report};
use crate::subject::{CARD_ROWS, Subject};
use crate::values::{self, words};
use crate::world::{Ground, World};
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{AddressTreeCalls, Error, Id, MapFlags, Mapping, ObjRef, SYSCALLS, mapping_kind};
use corey_libos_rt::sys::{address, pause, sys};
use corey_libos_rt::{Process, halt};
use corey_libos_test::{Fixture, Suite};

/// Times that each call is made while memory changes.
const ROUNDS: u32 = 60;

static STOP: AtomicU64 = AtomicU64::new(0);
static TURNS: AtomicU64 = AtomicU64::new(0);
/// What the flipper writes and where: address, words, and bad values. The unmapper: tree, segment, slot, address.
static PLACE: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
static BAD: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

fn place(at: usize) -> u64 {
    PLACE.get(at).map_or(0, |word| word.load(Ordering::Acquire))
}

/// Writes a bad value over one word after the other, and puts back what was there.
extern "C" fn flip(seed: u64) -> ! {
    let mut random = seed;
    while STOP.load(Ordering::Acquire) == 0 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = (place(0) + (random >> 33) % place(1) * 8) as *mut u64;
        let bad = BAD.get((random >> 40) as usize % BAD.len()).map_or(0, |word| word.load(Ordering::Relaxed));
        // SAFETY: inside the buffer, which every core of this program has mapped; its readers copy bytes.
        let good = unsafe { at.read_volatile() };
        // SAFETY: as above.
        unsafe { at.write_volatile(bad) };
        (0..(random >> 50) % 32).for_each(|_| pause());
        // SAFETY: as above.
        unsafe { at.write_volatile(good) };
        TURNS.fetch_add(1, Ordering::Relaxed);
    }
    halt(0)
}

/// Takes the buffer out of the first core's address space and puts it back.
extern "C" fn unmap(boot: u64) -> ! {
    let object = |at| ObjRef { share: Id(boot), object: Id(place(at)) };
    let mapping = Mapping {
        kind: mapping_kind::SEGMENT,
        flags: MapFlags::WRITE.bits(),
        object: object(1),
        va: place(3),
        npages: World::BUFFER_PAGES,
        ..Mapping::default()
    };
    loop {
        let stop = STOP.load(Ordering::Acquire) != 0;
        let _ = sys().at_set_slot(object(0), place(2), address(&Mapping::default()));
        (0..20).for_each(|_| pause());
        while sys().at_set_slot(object(0), place(2), address(&mapping)) == Err(Error::Busy) {
            pause();
        }
        TURNS.fetch_add(1, Ordering::Relaxed);
        if stop {
            halt(0)
        }
        (0..200).for_each(|_| pause());
    }
}

/// Makes every call that has a pointer among its arguments, over and over.
fn calls(suite: &mut Suite, process: &Process, ground: &Ground, title: &str) {
    let (mut ended, mut allowed) = (0, 0);
    let all = SYSCALLS.iter().map(|call| (call, Subject::Console));
    let card = CARD_ROWS
        .iter()
        .filter_map(|(name, subject)| Some((SYSCALLS.iter().find(|call| call.name == *name)?, *subject)));
    for (call, subject) in all.chain(card) {
        let pointers = call.args.iter().any(|arg| arg.ends_with("UserPtr") || call.name == "device_buf");
        // A run would have to be waited for, by a status that changes, too.
        if !pointers || call.name == "pcore_run" {
            continue;
        }
        let ground = ground.about(subject);
        let Some(mut row) = suite.works(title, Row::new(call, &ground)) else { return };
        // A world with a card takes milliseconds.
        let rounds = if matches!(subject, Subject::Console) { ROUNDS } else { ROUNDS / 4 };
        for _ in 0..rounds {
            let args = row.good();
            // Where one thread emulates all cores, the other one gets its turn here.
            pause();
            allowed += u32::from(row.call(args).is_ok());
            ended += 1;
        }
        row.end();
    }
    let turns = TURNS.load(Ordering::Relaxed);
    suite.check(
        title,
        turns > 2 && allowed > 0,
        format_args!("{ended} calls, {allowed} of them allowed, {turns} changes"),
    );
    let sound = report(process).is_some_and(|report| report.is_sound());
    suite.check(title, sound, "the books balance");
}

/// Both.
pub(crate) fn run(suite: &mut Suite, process: &Process, ground: &Ground, fixture: &Fixture) {
    if process.info.header.cores < 3 {
        return suite.check("memory that changes under a call", true, "needs three cores");
    }
    let Some(world) = suite.works("bad values", World::new(ground)) else { return };
    let (_, kind) = words("UserPtr").first().copied().unwrap_or(("", values::Word::Pointer));
    let pointers = values::of(kind, &world);
    let numbers = values::of(values::Word::Number, &world);
    let bad = pointers.iter().chain(numbers.iter()).step_by(2).map(|(_, value)| *value);
    BAD.iter().zip(bad).for_each(|(to, from)| to.store(from, Ordering::Relaxed));
    world.fill();
    let flipped = [world.buffer, World::RECORD_WORDS, 0, 0];
    let unmapped = [process.space.tree.object.0, ground.memory.object.0, ground.slot, world.buffer];
    for (title, entry, words) in [
        ("records that change under a call", flip as extern "C" fn(u64) -> !, flipped),
        ("pages that go and come back under a call", unmap, unmapped),
    ] {
        PLACE.iter().zip(words).for_each(|(to, from)| to.store(from, Ordering::Release));
        STOP.store(0, Ordering::Release);
        TURNS.store(0, Ordering::Release);
        let argument = if words == flipped { 0x1234_5679 } else { process.boot.0 };
        let Some(remote) = suite.works(title, fixture.start(process, 2, entry, argument)) else { continue };
        while TURNS.load(Ordering::Acquire) == 0 {
            pause();
        }
        calls(suite, process, ground, title);
        STOP.store(1, Ordering::Release);
        let ended = remote.wait();
        suite.check(title, ended.is_some(), format_args!("{ended:?}"));
        remote.core.release();
    }
    world.end();
}
