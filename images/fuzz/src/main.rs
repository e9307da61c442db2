//! Random calls from all cores, in sequences: each begins with a share to fight over and ends with nothing left of it.
//!
//! ```text
//! sequence   seed printed ─ prey made ─ a thread on every other core ─ all call, half knowing what they do, half wild
//!            ─ threads end or are halted ─ prey ended ─ audit: sound, and as many frames in use as before
//! ```
//!
//! Words: `seed=N` (the first sequence's), `calls=N` (in all), `each=N` (in a sequence), `hold` (does not end the machine:
//! whoever looks at its memory ends it). Exempt are calls that end the machine, and what would end this program itself.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; mapped memory by address")]

mod caller;
mod pool;
mod records;
mod rings;
mod sequence;

use corey_abi::{
    CORE_BY_NUMBER, CoreStat, HeldShare, Id, MachineCalls, Name, ObjRef, Plain, SYSCALLS, control,
};
use corey_libos_rt::sys::{address_mut, pause, sys};
use corey_libos_rt::{Process, Status, entry, println};
use corey_libos_test::{Fixture, Random};
use sequence::Arena;

entry!(main);

/// Sequences that are not counted.
const WARM: u64 = 4;

/// What every core does and holds, after a sequence that failed.
fn tell(process: &Process) {
    for core in 0..process.info.header.cores {
        let mut bytes = [0; CoreStat::BYTES];
        let named = ObjRef { share: process.boot, object: Id(CORE_BY_NUMBER | core) };
        let told = sys().core_stat(named, address_mut(&mut bytes));
        let Some(CoreStat { mode, tree, nshares, shares, .. }) = CoreStat::from_bytes(&bytes) else {
            continue;
        };
        println!("core {core}: {told:?}, mode {mode}, tree {:#x}, {nshares} shares", tree.0);
        for HeldShare { id, name, holders } in shares.iter().take(nshares as usize) {
            println!("  {:#x} \"{}\" held by {:#x}", id.0, Name(*name).as_str(), holders[0]);
        }
    }
}

fn main(mut process: Process) -> Status {
    let calls = process.info.number("calls=").unwrap_or(100_000);
    let each = process.info.number("each=").unwrap_or(20_000);
    let mut seed = process.info.number("seed=").unwrap_or(1);
    let arena = Fixture::new(&mut process).and_then(|fixture| Arena::new(&mut process, fixture));
    let mut arena = match arena {
        Ok(arena) => arena,
        Err(error) => {
            println!("{{\"record\":\"fuzz\",\"failed\":\"no arena: {error:?}\"}}");
            return Status::Failed;
        }
    };
    // What grows once: caches of every core, this program's own pages.
    for seed in 0..WARM {
        let _ = arena.run(&mut process, seed, each.min(4_000));
    }
    println!("{{\"record\":\"fuzz-begin\",\"seed\":{seed},\"calls\":{calls},\"each\":{each}}}");
    println!("{:?}", arena.report);
    arena.begin(&process);
    let (mut made, mut sequences, mut failed) = (0, 0, 0);
    while made < calls {
        let result = arena.run(&mut process, seed, each);
        let (done, wrong) = match result {
            Ok(sequence) => (sequence.calls, sequence.wrong),
            Err(error) => (each, Some(error)),
        };
        made += done;
        sequences += 1;
        failed += u64::from(wrong.is_some());
        let said = wrong.unwrap_or("");
        println!(
            "{{\"record\":\"fuzz\",\"seed\":{seed},\"calls\":{done},\"made\":{made},\"failed\":\"{said}\"}}"
        );
        if let Some(report) = arena.report.filter(|_| wrong.is_some()) {
            println!("{report:?}, {} frames in use at the start", arena.before);
        }
        if wrong.is_some() {
            // What is left over would be blamed on the next one.
            tell(&process);
            break;
        }
        seed = Random::new(seed).next() >> 1;
    }
    let reached = SYSCALLS.iter().filter(|call| arena.allowed(call.number) > 0).count();
    for (index, call) in SYSCALLS.iter().enumerate() {
        let answers = caller::ANSWERS.get(index);
        let answers = core::array::from_fn::<u64, 18, _>(|code| {
            answers
                .and_then(|row| row.get(code))
                .map_or(0, |count| count.load(core::sync::atomic::Ordering::Relaxed))
        });
        let (tried, allowed) = (arena.tried(call.number), arena.allowed(call.number));
        println!(
            "{{\"record\":\"fuzz-call\",\"name\":\"{}\",\"calls\":{tried},\"allowed\":{allowed},\"answers\":{answers:?}}}",
            call.name
        );
    }
    println!(
        "{{\"record\":\"fuzz-sum\",\"calls\":{made},\"sequences\":{sequences},\"failed\":{failed},\"reached\":{reached},\"of\":{},\"by_ring\":{}}}",
        SYSCALLS.len(),
        rings::ANSWERED.load(core::sync::atomic::Ordering::Relaxed)
    );
    if process.info.has_word("hold") {
        // Once, as it prints much: what no random call is to do.
        let _ = sys().machine_control(process.boot, control::PRINT_OBJECTS, 0);
        println!("{{\"record\":\"fuzz-held\"}}");
        loop {
            pause();
        }
    }
    if failed == 0 { Status::Success } else { Status::Failed }
}
