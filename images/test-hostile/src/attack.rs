//! Random calls with random words on every core at once; then the books must balance.

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    Error, Home, Id, Kinds, MapFlags, Name, ObjRef, PAGE_BYTES, ShareCalls, SyscallInfo, number,
};
use corey_libos_rt::sys::{address, raw, segment, sys};
use corey_libos_rt::vm::{Ended, interior};
use corey_libos_rt::{Process, halt};
use corey_libos_test::{Fixture, Suite};

/// Words worth trying: identifiers of real objects and addresses, filled by the test.
static WORDS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];
const ROUNDS: u64 = 1500;
/// The last answer that the call's page does not name: call and error code.
static UNNAMED: AtomicU64 = AtomicU64::new(0);

/// Whether a call's page names an error.
pub(crate) fn is_named(call: u64, error: Error) -> bool {
    match SyscallInfo::of(call) {
        Some(row) => row.errors().any(|named| named == error),
        None => error == Error::BadSyscall,
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number, an identifier, an address, an edge: whatever a confused or malicious program passes.
    fn word(&mut self) -> u64 {
        let random = self.next();
        match random % 10 {
            0 => random,
            1 => random % 8,
            2 => 1 << ((random >> 8) % 64),
            3 => u64::MAX - random % 5000,
            4 => (random >> 8) % 64 * PAGE_BYTES,
            5 => 0x7fff_ffff_f000 + random % 0x2000,
            _ => WORDS[(random >> 8) as usize % WORDS.len()].load(Ordering::Relaxed),
        }
    }
}

/// Calls the kernel with whatever comes. Only ending the machine, and oneself, is left out.
fn attack(random: &mut Random, rounds: u64, spared: Option<Id>) {
    for _ in 0..rounds {
        let call = match random.next() % 4 {
            0 => random.next() % 0x120,
            n => {
                [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x100][random.next() as usize % 7]
                    + random.next() % (4 + n)
            }
        };
        if matches!(
            call,
            number::machine_control
                | number::pcore_halt
                | number::pcore_run
                | number::self_drop
                | number::audit
        ) {
            continue;
        }
        let mut args: [u64; 6] = core::array::from_fn(|_| random.word());
        // Who holds the boot share could end its own program: its objects have small numbers.
        if spared.is_some_and(|boot| boot.0 == args[0]) {
            args[0] = WORDS[0].load(Ordering::Relaxed);
        }
        if let Err(error) = core::hint::black_box(raw(call, args))
            && !is_named(call, error)
        {
            UNNAMED.store(call << 8 | error as u64, Ordering::Relaxed);
        }
    }
}

extern "C" fn attacker(seed: u64) -> ! {
    attack(&mut Random(seed | 1), ROUNDS, None);
    halt(0)
}

/// All cores attack a share that all hold; this one holds the boot share, too.
pub(crate) fn together(suite: &mut Suite, process: &mut Process, fixture: &Fixture) {
    let name = Name::new("prey");
    let prey = sys().share_alloc(process.boot, Kinds::all(), 20_000, 500, Home::Any, address(&name));
    let Some(prey) = suite.works("a share to fight over", prey) else { return };
    let Some(page) = suite.works("a segment in it", segment(prey, 16 * PAGE_BYTES, "prey")) else {
        return;
    };
    let Some(tree) = suite.works("a tree in it", interior(prey, "prey")) else { return };
    let Some(scratch) = suite.works("scratch memory", segment(process.program, 4 * PAGE_BYTES, "scratch"))
    else {
        return;
    };
    let Some((va, _)) = suite.works("mapped", process.space.map(scratch, 4, MapFlags::WRITE)) else {
        return;
    };
    let words = [
        prey.0,
        page.object.0,
        tree.object.0,
        va,
        va + PAGE_BYTES - 8,
        prey.0,
        page.object.0,
        0,
        4096,
        1,
        0xffff,
        va + 64,
        30,
        prey.0,
        prey.0,
        2,
    ];
    WORDS.iter().zip(words).for_each(|(to, from)| to.store(from, Ordering::Relaxed));
    let others = process.info.header.cores.min(64) as u16 - 1;
    let mut remotes = [None; 64];
    for core in 1..=others {
        let entry = attacker as extern "C" fn(u64) -> ! as usize as u64;
        let seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(core) + 1);
        remotes[usize::from(core)] =
            fixture.start_with(process, core, entry, seed, &[prey], &mut |_| Ok(())).ok();
    }
    // This core attacks too, holding the boot share: more is within its reach.
    attack(&mut Random(0x1234_5677), ROUNDS, Some(process.boot));
    let mut ended = 0;
    for remote in remotes.iter().flatten() {
        // A thread may lose its ground when another deletes it: any end is good, none is not.
        ended += u16::from(remote.wait().is_some_and(|e| e != Ended::Halted(1)));
        remote.core.release();
    }
    suite.check(
        "every core came through",
        ended == others,
        format_args!("{ended} of {others}, {ROUNDS} calls each"),
    );
    let unnamed = UNNAMED.load(Ordering::Relaxed);
    suite.check("every error is one that the manual names", unnamed == 0, format_args!("{unnamed:#x}"));
    suite.audit("the books balance after the attack");
    let _ = sys().share_delobj(ObjRef { share: process.boot, object: prey });
    let _ = sys().self_drop(prey);
}
