//! The calls on the machine that are not in the paper's table: what they do, and every way to be refused.
//!
//! It ends by a reset instead of by power-off: QEMU ends with that, too, and with nothing else if it does not come.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; words in mapped memory")]

mod beside;

use corey_abi::{
    AuditReport, CORE_BY_NUMBER, Error, Home, Id, Kind, Kinds, MachineCalls, MachineInfo, Name, ObjRef,
    PAGE_BYTES, Plain, ShareCalls, ShareEntry, UserPtr, control, core_mode, counter,
};
use corey_libos_rt::sys::{address, address_mut, segment, sys};
use corey_libos_rt::{Process, Status, entry};
use corey_libos_test::Suite;

entry!(main);

/// A share that nobody holds.
const NOBODYS: Id = Id(77);
/// Where a list does not fit below the end of the user's half, nor below the end of all addresses.
const ENDS: [UserPtr; 2] = [UserPtr((1 << 47) - 8), UserPtr(u64::MAX - 7)];

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "machine");
    lists(&mut suite, &process);
    waits(&mut suite, &process);
    figures(&mut suite, &process);
    stats(&mut suite, &process);
    fences(&mut suite, &process);
    audits(&mut suite, &process);
    controls(&mut suite, &process);
    beside::all(&mut suite, &mut process);
    let boot = process.boot;
    let status = suite.finish();
    if status == Status::Success {
        // It does not return.
        let _ = sys().machine_control(boot, control::REBOOT, 0);
        return Status::Failed;
    }
    status
}

/// Where the program may not write: its own text.
fn text() -> UserPtr {
    UserPtr(main as fn(Process) -> Status as usize as u64)
}

/// A share that is held, and is not the key to the machine.
fn share(process: &Process) -> Result<Id, Error> {
    let name = Name::new("another");
    sys().share_alloc(process.boot, Kinds::all(), 100, 50, Home::Any, address(&name))
}

fn end(suite: &mut Suite, process: &Process, share: Id) {
    suite.works("the share is unnamed", sys().share_delobj(ObjRef { share: process.boot, object: share }));
    suite.works("and dropped", sys().self_drop(share));
}

fn lists(suite: &mut Suite, process: &Process) {
    const COUNT: usize = 20;
    let Some(own) = suite.works("a share of its own", share(process)) else { return };
    let objects: [Id; COUNT] =
        core::array::from_fn(|_| segment(own, 0, "listed").map_or(Id::NULL, |o| o.object));
    let nothing = ShareEntry { id: NOBODYS, kind: 99 };
    let mut list = [nothing; COUNT + 2];
    let mut take = |share, start, count| {
        list = [nothing; COUNT + 2];
        let all = sys().share_list(share, start, address_mut(&mut list), count);
        let written = list.iter().filter(|entry| **entry != nothing).count();
        (all, written, list)
    };
    let (all, written, whole) = take(own, 0, COUNT as u64 + 2);
    suite.equal("share_list tells all", (all, written), (Ok(COUNT as u64), COUNT));
    let found = |object: &&Id| whole.contains(&ShareEntry { id: **object, kind: Kind::Segment as u64 });
    suite.equal("what the share names, and of what kind", objects.iter().filter(found).count(), COUNT);
    let (all, written, part) = take(own, 17, 2);
    suite.equal("a window of two", (all, written), (Ok(COUNT as u64), 2));
    suite.equal("of those from there on", part.get(..2), whole.get(17..19));
    let (all, written, _) = take(own, 17, u64::MAX);
    suite.equal("the last three", (all, written), (Ok(COUNT as u64), 3));
    for start in [COUNT as u64, u64::MAX] {
        let (all, written, _) = take(own, start, u64::MAX);
        suite.equal("nothing beyond the last", (all, written), (Ok(COUNT as u64), 0));
    }
    let (all, _, held) = take(Id::NULL, 0, COUNT as u64);
    let wanted = [process.boot, own].map(|id| ShareEntry { id, kind: Kind::Share as u64 });
    suite.check("the shares held", wanted.iter().all(|share| held.contains(share)), format_args!("{all:?}"));
    suite.equal("a count without a list", sys().share_list(own, 0, UserPtr(0), 0), Ok(COUNT as u64));
    suite.refused(
        "the list of a share that is not held",
        sys().share_list(NOBODYS, 0, text(), 0),
        Error::NotFound,
    );
    suite.refused(
        "the list of what is no share",
        sys().share_list(objects[0], 0, text(), 0),
        Error::NotFound,
    );
    suite.refused(
        "a list to where nothing is mapped",
        sys().share_list(own, 0, UserPtr(8), 1),
        Error::BadAddress,
    );
    suite.refused(
        "a list to where the program may not write",
        sys().share_list(own, 0, text(), 1),
        Error::BadAddress,
    );
    for at in ENDS {
        suite.refused("a list across an end of memory", sys().share_list(own, 0, at, 2), Error::BadAddress);
    }
    end(suite, process, own);
}

/// What `core_wait` and `core_wake` refuse; how they work together is in `test-upcall`, and below.
fn waits(suite: &mut Suite, process: &Process) {
    let Some(page) = suite.works("a page", segment(process.program, PAGE_BYTES, "word")) else { return };
    let nothing = ObjRef { share: process.program, object: NOBODYS };
    for (name, segment, offset, error) in [
        ("of a segment that is not there", nothing, 0, Error::NotFound),
        ("through a share that is not held", ObjRef { share: NOBODYS, ..page }, 0, Error::NotFound),
        ("of what is no segment", process.space.tree, 0, Error::WrongKind),
        ("across two words", page, 4, Error::Misaligned),
        ("beyond the end", page, PAGE_BYTES, Error::OutOfRange),
        ("far beyond the end", page, u64::MAX - 7, Error::OutOfRange),
    ] {
        let waited = sys().core_wait(segment, offset, 0, 0);
        suite.check("core_wait refuses a word", waited == Err(error), format_args!("{name}: {waited:?}"));
        let woken = sys().core_wake(segment, offset);
        suite.check("core_wake refuses a word", woken == Err(error), format_args!("{name}: {woken:?}"));
    }
    suite.refused("a wait that nobody ends", sys().core_wait(page, 8, 0, 1_000_000), Error::TimedOut);
    suite.equal("a word that differs already", sys().core_wait(page, 8, 1, u64::MAX), Ok(()));
    suite.equal("nobody to wake", sys().core_wake(page, 8), Ok(0));
    suite.works("the page goes", sys().share_delobj(page));
}

fn figures(suite: &mut Suite, process: &Process) {
    let mut bytes = [0; MachineInfo::BYTES];
    suite.works("machine_info", sys().machine_info(UserPtr(bytes.as_mut_ptr() as u64)));
    if let Some(info) = MachineInfo::from_bytes(&bytes) {
        let header = &process.info.header;
        suite.equal(
            "cores and clock of the boot information",
            [info.cores, info.tsc_hz],
            [header.cores, header.tsc_hz],
        );
        let line = info.command_line.get(..info.command_line_bytes as usize);
        suite.check(
            "the command line",
            line == Some(process.info.command_line().as_bytes()),
            info.command_line_bytes,
        );
        let cpu = process.info.cpu().as_bytes();
        suite.check("the processor's name", info.cpu.starts_with(cpu) && !cpu.is_empty(), process.info.cpu());
        suite.check("RAM", info.pages > 64 * 256, info.pages);
        suite.check("a plausible clock", (10_000_000..100_000_000_000).contains(&info.tsc_hz), info.tsc_hz);
    }
    suite.refused(
        "machine_info to where nothing is mapped",
        sys().machine_info(UserPtr(8)),
        Error::BadAddress,
    );
    suite.refused(
        "machine_info to where the program may not write",
        sys().machine_info(text()),
        Error::BadAddress,
    );
    for at in ENDS {
        suite.refused("machine_info across an end of memory", sys().machine_info(at), Error::BadAddress);
    }
    let calls = || sys().counter_read(counter::SYSCALLS).unwrap_or(0);
    let before = calls();
    suite.equal("the second of two calls counts one more", calls() - before, 1);
    for which in [counter::SYSCALLS + 1, 1 << 32, u64::MAX] {
        suite.refused("a counter that does not exist", sys().counter_read(which), Error::BadArgument);
    }
}

fn stats(suite: &mut Suite, process: &Process) {
    let cores = process.info.header.cores;
    let (own, calls) = (beside::stat(process.pcore), sys().counter_read(counter::SYSCALLS));
    if let Some(own) = suite.works("core_stat of oneself", own) {
        suite.equal("runs user code on core 0", (own.core, own.mode), (0, core_mode::USER));
        suite.equal("its root tree", own.tree, process.space.tree.object);
        suite.check("holds the boot share", own.shares.iter().any(|s| s.id == process.boot), own.nshares);
        suite.equal("counts system calls", Ok(own.syscalls + 1), calls);
    }
    let by_number = |share, core| ObjRef { share, object: Id(CORE_BY_NUMBER | core) };
    let nothing = ObjRef { share: process.boot, object: NOBODYS };
    let at = UserPtr(8);
    for (name, pcore, error) in [
        ("of a pcore that is not there", nothing, Error::NotFound),
        ("through a share that is not held", ObjRef { share: NOBODYS, ..process.pcore }, Error::NotFound),
        ("of what is no pcore", process.space.tree, Error::WrongKind),
        ("of a core beyond the last", by_number(process.boot, cores), Error::NotFound),
        ("of a core with too large a number", by_number(process.boot, 1 << 40), Error::NotFound),
        ("by number through a share that is not the key", by_number(NOBODYS, 0), Error::NotFound),
        ("to where nothing is mapped", process.pcore, Error::BadAddress),
    ] {
        let got = sys().core_stat(pcore, at);
        suite.check("core_stat refuses", got == Err(error), format_args!("{name}: {got:?}"));
    }
    suite.works("a core by its number", beside::stat(by_number(process.boot, 0)));
    suite.refused(
        "core_stat to where the program may not write",
        sys().core_stat(process.pcore, text()),
        Error::BadAddress,
    );
    for at in ENDS {
        suite.refused(
            "core_stat across an end of memory",
            sys().core_stat(process.pcore, at),
            Error::BadAddress,
        );
    }
    if let Some(own) = suite.works("another share", share(process)) {
        suite.refused("it shows no core by number", sys().core_stat(by_number(own, 0), at), Error::NotFound);
        end(suite, process, own);
    }
}

fn fences(suite: &mut Suite, process: &Process) {
    suite.works("a fence on the holders of the boot share", sys().core_fence(process.boot));
    suite.refused("a fence for a share that is not held", sys().core_fence(NOBODYS), Error::NotFound);
    suite.refused("a fence for what is no share", sys().core_fence(process.pcore.object), Error::NotFound);
}

fn audits(suite: &mut Suite, process: &Process) {
    suite.audit("the books balance");
    let mut report = AuditReport::default();
    let at = address_mut(&mut report);
    suite.refused("an audit with a share that is not held", sys().audit(NOBODYS, at), Error::NotFound);
    if let Some(own) = suite.works("another share", share(process)) {
        suite.refused("an audit without the key", sys().audit(own, at), Error::NotPermitted);
        end(suite, process, own);
    }
    suite.refused(
        "an audit to where nothing is mapped",
        sys().audit(process.boot, UserPtr(8)),
        Error::BadAddress,
    );
    suite.refused(
        "an audit to where the program may not write",
        sys().audit(process.boot, text()),
        Error::BadAddress,
    );
    for at in ENDS {
        suite.refused("an audit across an end of memory", sys().audit(process.boot, at), Error::BadAddress);
    }
    suite.equal("a refused audit reports nothing", report, AuditReport::default());
}

fn controls(suite: &mut Suite, process: &Process) {
    let boot = process.boot;
    for level in (0..=5).chain([3]) {
        suite.works("a log level", sys().machine_control(boot, control::LOG_LEVEL, level));
    }
    suite.works("the map of objects", sys().machine_control(boot, control::PRINT_OBJECTS, 0));
    for (name, operation, value) in [
        ("an operation that does not exist", 4, 0),
        ("the largest operation", u64::MAX, 0),
        ("an exit status that does not exist", control::EXIT, 4),
        ("the largest exit status", control::EXIT, u64::MAX),
        ("a log level that does not exist", control::LOG_LEVEL, 6),
    ] {
        let got = sys().machine_control(boot, operation, value);
        suite.check(
            "machine_control refuses",
            got == Err(Error::BadArgument),
            format_args!("{name}: {got:?}"),
        );
    }
    for operation in [control::EXIT, control::REBOOT, control::LOG_LEVEL, control::PRINT_OBJECTS] {
        let got = sys().machine_control(NOBODYS, operation, 0);
        suite.refused("control with a share that is not held", got, Error::NotFound);
    }
    if let Some(own) = suite.works("another share", share(process)) {
        for operation in [control::EXIT, control::REBOOT, control::LOG_LEVEL, control::PRINT_OBJECTS] {
            suite.refused(
                "control without the key",
                sys().machine_control(own, operation, 0),
                Error::NotPermitted,
            );
        }
        end(suite, process, own);
    }
}
