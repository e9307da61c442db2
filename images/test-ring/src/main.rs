//! Kernel cores: calls by ring, asleep and awake, from several cores at once, and their end. Needs two cores.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::{
    CoreStat, DeviceCalls, Error, Home, Id, Kinds, MachineCalls, Name, ObjRef, ObjectCalls, PAGE_BYTES,
    PcoreCalls, SYSCALLS, SegmentCalls, ShareCalls, SyscallInfo, Transport, buffer_op, core_mode, number,
};
use corey_libos_kernel_core::{Calls, KernelCore};
use corey_libos_rt::sys::{address, address_mut, pause, raw, rdtsc, segment, sys};
use corey_libos_rt::{Process, Status, entry};
use corey_libos_test::Suite;

entry!(main);

const SLOTS: u32 = 64;
/// Bytes of a page of arguments.
const ROOM: u64 = PAGE_BYTES;

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "ring");
    if process.info.header.cores < 2 {
        suite.refused("one core has none for the kernel", KernelCore::take(process.boot, 0), Error::Busy);
        return suite.finish();
    }
    for round in 0..2 {
        let made = suite.works("a kernel core with a ring", begin(&mut process));
        let Some((core, mut calls, share)) = made else { break };
        if round == 0 {
            all_kinds(&mut suite, &mut calls, share);
            refuses(&mut suite, &mut calls, &process, core, share);
            as_by_trap(&mut suite, &mut calls, share);
            many(&mut suite, &mut calls, share);
            sleeps(&mut suite, &mut calls, core, process.info.header.tsc_hz);
        }
        ends(&mut suite, &mut process, core, calls, share);
    }
    suite.audit("nothing is lost");
    suite.finish()
}

/// A kernel core on core 1, and a ring in the name of a share of its own.
fn begin(process: &mut Process) -> Result<(KernelCore, Calls, Id), Error> {
    let name = Name::new("by ring");
    let share = sys().share_alloc(process.boot, Kinds::all(), 200, 50, Home::Any, address(&name))?;
    let core = KernelCore::take(process.boot, 1)?;
    let calls = Calls::open(&mut process.space, process.program, &[share], SLOTS, ROOM / PAGE_BYTES)?;
    core.poll_device(calls.device())?;
    core.run()?;
    Ok((core, calls, share))
}

/// Calls on every kind of object.
fn all_kinds(suite: &mut Suite, calls: &mut Calls, share: Id) {
    let name = calls.put(ROOM - 32, &Name::new("a name at the end").0).unwrap_or_default();
    let made = calls.sys().segment_alloc(share, 3 * PAGE_BYTES, Home::Any, 0, name);
    let Some(object) = suite.works("a segment is made", made) else { return };
    let segment = ObjRef { share, object };
    suite.equal("it has its size", calls.sys().segment_get_nbytes(segment), Ok(3 * PAGE_BYTES));
    suite.equal("it is resized", calls.sys().segment_set_nbytes(segment, PAGE_BYTES), Ok(()));
    let to = calls.argument(64);
    suite.equal("its name is read", calls.sys().obj_get_name(segment, to), Ok(()));
    suite.equal("as it was given", calls.take::<[u8; 32]>(64), Some(Name::new("a name at the end").0));
    let held = calls.sys().share_list(Id::NULL, 0, to, 10);
    suite.equal("one share is held", (held, calls.take::<u64>(64)), (Ok(1), Some(share.0)));
    let copy = calls.sys().segment_copy(segment, share, 1, Home::Any, name);
    if let Some(copy) = suite.works("it is copied", copy) {
        let copy = ObjRef { share, object: copy };
        suite.equal("and the copy deleted", calls.sys().share_delobj(copy), Ok(()));
    }
    let inner = calls.sys().share_alloc(share, Kinds::all(), 10, 5, Home::Any, name);
    if let Some(inner) = suite.works("a share is made", inner) {
        suite.equal("the segment is named there", calls.sys().share_addobj(inner, segment), Ok(()));
        let inside = ObjRef { share: inner, object };
        suite.equal("and found", calls.sys().segment_get_nbytes(inside), Ok(PAGE_BYTES));
        suite.equal("the share is dropped", calls.sys().self_drop(inner), Ok(()));
        suite.refused("and not the ring's any more", calls.sys().segment_get_nbytes(inside), Error::NotFound);
    }
    suite.equal("the segment is deleted", calls.sys().share_delobj(segment), Ok(()));
}

/// What a ring cannot do.
fn refuses(suite: &mut Suite, calls: &mut Calls, process: &Process, core: KernelCore, share: Id) {
    let outside = calls.sys().segment_get_nbytes(ObjRef { share: process.program, object: share });
    suite.refused("a share of the program's is not the ring's", outside, Error::NotFound);
    let own = address(&Name::new("on the stack"));
    let made = calls.sys().segment_alloc(share, PAGE_BYTES, Home::Any, 0, own);
    suite.refused("an address of the program's", made, Error::BadAddress);
    let end = calls.argument(ROOM - 31);
    let made = calls.sys().segment_alloc(share, PAGE_BYTES, Home::Any, 0, end);
    suite.refused("an argument that ends behind the segment", made, Error::BadAddress);
    let by_trap = sys().segment_alloc(process.program, PAGE_BYTES, Home::Any, 0, calls.argument(0));
    suite.refused("an argument of a ring's, by trap", by_trap, Error::BadAddress);
    let none = ObjRef::default();
    suite.refused("a wait", calls.sys().core_wait(none, 0, 0, 0), Error::Unsupported);
    if suite.works("its pcore is named", sys().share_addobj(share, core.pcore())).is_some() {
        let pcore = ObjRef { share, object: core.pcore().object };
        suite.refused("its own end", calls.sys().pcore_halt(pcore, 0), Error::NotPermitted);
        let own = calls.sys().pcore_current().map(|own| own.object);
        suite.equal("who it is", own, Ok(core.pcore().object));
        // Only one of them: the kernel core's own share stays the one that its end goes by.
        suite.works("and forgotten", sys().share_delobj(pcore));
    }
}

/// Words that are no good argument of any call, whichever way it comes.
const BAD: [u64; 11] = [
    0,
    7,
    4096,
    1 << 20,
    1 << 32,
    (1 << 47) - 4096,
    1 << 48,
    1 << 55,
    1 << 63,
    0xffff_8000_0010_0000,
    u64::MAX,
];

/// Bad words in all places of every call, and the ring's share in the first, but where it would be dropped: the same answer by
/// ring as by trap.
fn as_by_trap(suite: &mut Suite, calls: &mut Calls, share: Id) {
    let (mut compared, mut refused) = (0_u32, 0_u32);
    for call in SYSCALLS.iter().filter(|call| SyscallInfo::is_for_rings(call.number)) {
        let mut other = None;
        for bad in BAD {
            // Core 0 is the caller's, and out of the ring's reach.
            let good = if call.number == number::self_drop || bad == 0 { bad } else { share.0 };
            for first in [bad, good] {
                let args = [first, bad, bad, bad, bad, bad];
                let by_trap = raw(call.number, args).map(|_| ());
                let by_ring = (&mut calls.submitter()).call::<6>(call.number, args).map(|_| ());
                compared += 1;
                refused += u32::from(by_trap.is_err());
                if by_trap != by_ring {
                    other = Some((args, by_trap, by_ring));
                }
            }
        }
        suite.equal(call.name, other, None);
    }
    let number = SYSCALLS.iter().map(|call| call.number).max().unwrap_or(0) + 1;
    let none = (&mut calls.submitter()).call::<6>(number, [0; 6]);
    suite.refused("a call that there is not", none, Error::BadSyscall);
    suite.check("most are refused", refused > compared / 2, format_args!("{refused} of {compared}"));
}

/// All that fit in flight, several times over.
fn many(suite: &mut Suite, calls: &mut Calls, share: Id) {
    let made = segment(share, 5 * PAGE_BYTES, "looked at");
    let Some(segment) = suite.works("a segment to look at", made) else { return };
    let args = [segment.share.0, segment.object.0, 0, 0, 0, 0];
    let (mut answered, mut right, mut submitted) = (0, 0, 0);
    while answered < 20_000 {
        while submitted < 20_000 && calls.submit::<2>(number::segment_get_nbytes, args).is_ok() {
            submitted += 1;
        }
        calls.flush();
        while let Some((_, result)) = calls.poll() {
            answered += 1;
            right += u64::from(result == Ok([5 * PAGE_BYTES, 0]));
        }
        pause();
    }
    suite.equal("20,000 calls, as many as fit in flight", right, 20_000);
    suite.equal("none is left", calls.in_flight(), 0);
    suite.works("the segment goes", sys().share_delobj(segment));
}

fn stat(core: KernelCore) -> Result<(u64, u64, u64, u64), Error> {
    let mut place = core::mem::MaybeUninit::<CoreStat>::zeroed();
    // SAFETY: all numbers: any bytes are valid.
    let stat = unsafe { place.assume_init_mut() };
    sys().core_stat(core.pcore(), address_mut(stat))?;
    Ok((stat.mode, stat.turns, stat.useful, stat.ring_calls))
}

/// Left alone it sleeps; a call wakes it.
fn sleeps(suite: &mut Suite, calls: &mut Calls, core: KernelCore, tsc_hz: u64) {
    let Some((mode, ..)) = suite.works("what it does", stat(core)) else { return };
    suite.equal("it polls", mode, core_mode::KERNEL_CORE);
    let rest = || {
        let until = rdtsc() + tsc_hz / 100;
        while rdtsc() < until {
            pause();
        }
    };
    rest();
    let before = stat(core);
    rest();
    let after = stat(core);
    if let (Ok((_, before, ..)), Ok((_, after, ..))) = (before, after) {
        // To ask wakes it, too: some turns each.
        suite.check("idle, it sleeps", after - before < 10_000, format_args!("{} turns", after - before));
    }
    let mut woken = 0;
    for _ in 0..50 {
        let until = rdtsc() + tsc_hz / 5_000;
        while rdtsc() < until {
            pause();
        }
        woken += u64::from(calls.sys().pcore_current().is_ok());
    }
    suite.equal("50 calls that wake it", woken, 50);
    if let Some((_, turns, useful, made)) = suite.works("what it did", stat(core)) {
        suite.check(
            "it counts",
            made >= 20_000 && turns > useful && useful > 50,
            format_args!("{turns} {useful} {made}"),
        );
    }
}

/// Halted, it answers nothing any more; everything comes back.
fn ends(suite: &mut Suite, process: &mut Process, core: KernelCore, mut calls: Calls, share: Id) {
    suite.works("it is halted", core.halt());
    suite.refused("calls fail then", calls.sys().pcore_current(), Error::DeviceFailed);
    let bell = sys().device_buf(calls.device(), buffer_op::POLL, ObjRef::default(), 0);
    suite.equal("nobody is woken", bell, Ok(()));
    suite.works("the ring goes", calls.close(&mut process.space));
    core.release();
    let parent = process.boot;
    suite.works("and its share", sys().share_delobj(ObjRef { share: parent, object: share }));
    suite.works("for good", sys().self_drop(share));
}
