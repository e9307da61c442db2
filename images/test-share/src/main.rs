//! Shares: references, lifetimes, who may name what.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    Error, Home, Id, Kinds, MachineCalls, MachineInfo, MapFlags, Name, ObjRef, PAGE_BYTES, PcoreCalls, Plain,
    SegmentCalls, ShareCalls,
};
use corey_libos_rt::sys::{address, address_mut, pause, segment, sys};
use corey_libos_rt::vm::Ended;
use corey_libos_rt::{Process, Status, entry, halt};
use corey_libos_test::{Fixture, Suite};

entry!(main);

/// Where the thread reads, how often it did, and when it shall see the page gone.
static VICTIM: AtomicU64 = AtomicU64::new(0);
static TURNS: AtomicU64 = AtomicU64::new(0);

fn share(parent: Id, pages: u64, objects: u64) -> Result<Id, Error> {
    let name = Name::new("test");
    sys().share_alloc(parent, Kinds::all(), pages, objects, Home::Any, address(&name))
}

fn end(parent: Id, share: Id) -> Result<(), Error> {
    sys().share_delobj(ObjRef { share: parent, object: share })?;
    sys().self_drop(share)
}

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "share");
    references(&mut suite, &process);
    children(&mut suite, &process);
    many(&mut suite, &process);
    dies_while_read(&mut suite, &mut process);
    races(&mut suite, &mut process);
    memory_passes(&mut suite, &mut process);
    suite.finish()
}

fn references(suite: &mut Suite, process: &Process) {
    let boot = process.boot;
    let (Ok(a), Ok(b)) = (share(boot, 100, 10), share(boot, 100, 10)) else {
        return suite.check("two shares", false, "");
    };
    let Some(in_a) = suite.works("an object in one share", segment(a, 8192, "x")) else { return };
    let in_b = ObjRef { share: b, object: in_a.object };
    suite.refused("the other share does not name it", sys().segment_get_nbytes(in_b), Error::NotFound);
    suite.works("named there too", sys().share_addobj(b, in_a));
    suite.refused("but not twice", sys().share_addobj(b, in_a), Error::Exists);
    suite.equal("now it is found there", sys().segment_get_nbytes(in_b), Ok(8192));
    suite.refused(
        "an object of two shares cannot become dearer",
        sys().segment_set_nbytes(in_a, 1 << 17),
        Error::Busy,
    );
    suite.works("taken out of the first", sys().share_delobj(in_a));
    suite.refused("and not found there", sys().segment_get_nbytes(in_a), Error::NotFound);
    suite.equal("alive in the second", sys().segment_get_nbytes(in_b), Ok(8192));
    suite.refused(
        "a share cannot be added to a share",
        sys().share_addobj(a, ObjRef { share: boot, object: b }),
        Error::NotPermitted,
    );
    suite.works("the last reference goes", sys().share_delobj(in_b));
    suite.refused("and the object with it", sys().segment_get_nbytes(in_b), Error::NotFound);
    suite.works("the first share ends", end(boot, a));
    suite.works("the second share ends", end(boot, b));
    suite.refused(
        "an ended share is not found",
        sys().segment_get_nbytes(ObjRef { share: a, object: a }),
        Error::NotFound,
    );
}

fn children(suite: &mut Suite, process: &Process) {
    let Some(parent) = suite.works("a parent", share(process.boot, 100, 10)) else { return };
    let Some(child) = suite.works("a child", share(parent, 60, 5)) else { return };
    suite.refused("the rest is 40 pages", segment(parent, 40 * PAGE_BYTES, "x"), Error::QuotaExceeded);
    suite.works("the child has 60", segment(child, 50 * PAGE_BYTES, "x"));
    suite.works("the child ends, with what it names", end(parent, child));
    suite.works("its quota is back", segment(parent, 90 * PAGE_BYTES, "x"));
    let Some(orphan) = suite.works("another child", share(parent, 1, 1)) else { return };
    suite.works("the parent ends first", end(process.boot, parent));
    suite.works("the child lives while it is held", segment(orphan, 0, "x"));
    suite.works("and ends", sys().self_drop(orphan));
    suite.audit("parent and child are gone");
}

fn many(suite: &mut Suite, process: &Process) {
    const COUNT: usize = 600;
    let Some(share) = suite.works("a large share", share(process.boot, 4096, 1000)) else { return };
    let mut objects = [Id::NULL; COUNT];
    for (n, object) in objects.iter_mut().enumerate() {
        *object = segment(share, (n as u64 % 3) * PAGE_BYTES, "many").map_or(Id::NULL, |o| o.object);
    }
    let found = |n: usize, object: Id| {
        sys().segment_get_nbytes(ObjRef { share, object }) == Ok((n as u64 % 3) * PAGE_BYTES)
    };
    let good = objects.iter().enumerate().filter(|(n, o)| found(*n, **o)).count();
    suite.equal("six hundred objects are found", good, COUNT);
    let mut gone = 0;
    for object in objects.iter().step_by(2) {
        gone += usize::from(sys().share_delobj(ObjRef { share, object: *object }).is_ok());
    }
    suite.equal("every other one goes", gone, COUNT / 2);
    let left = objects.iter().enumerate().filter(|(n, o)| found(*n, **o)).count();
    suite.equal("the others stay", left, COUNT / 2);
    suite.works("all end with the share", end(process.boot, share));
}

extern "C" fn reader(_: u64) -> ! {
    loop {
        let at = VICTIM.load(Ordering::Acquire) as *const u64;
        // SAFETY: mapped readable until the test takes it away, and then the fault is what is tested.
        let value = unsafe { at.read_volatile() };
        if value != 7 {
            halt(1);
        }
        TURNS.fetch_add(1, Ordering::Release);
    }
}

fn dies_while_read(suite: &mut Suite, process: &mut Process) {
    let name = "an object that dies under a reader: fault, never old data";
    if process.info.header.cores < 2 {
        return suite.check(name, true, "one core: nobody else to read");
    }
    let Ok(fixture) = Fixture::new(process) else { return suite.check(name, false, "no fixture") };
    let Ok(page) = segment(process.program, PAGE_BYTES, "victim") else {
        return suite.check(name, false, "no segment");
    };
    let Ok((va, slot)) = process.space.map(page, 1, MapFlags::WRITE) else {
        return suite.check(name, false, "no mapping");
    };
    // SAFETY: just mapped writable.
    unsafe { (va as *mut u64).write_volatile(7) };
    VICTIM.store(va, Ordering::Release);
    let remote = match fixture.start(process, 1, reader, 0) {
        Ok(remote) => remote,
        Err(error) => return suite.check(name, false, format_args!("{error:?}")),
    };
    while TURNS.load(Ordering::Acquire) < 100 {
        pause();
    }
    suite.works("its last reference goes", sys().share_delobj(page));
    let ended = remote.wait();
    suite.check(name, ended == Some(Ended::Fault(14, va)), format_args!("{ended:?}"));
    remote.core.release();
    suite.works("the dead mapping's slot is free again", process.space.unmap(slot));
}

static STOP: AtomicU64 = AtomicU64::new(0);
static SHARE: AtomicU64 = AtomicU64::new(0);
static OBJECT: AtomicU64 = AtomicU64::new(0);

/// Looks an object up that others remove, until told to stop; halts with 1 on an answer that is neither.
extern "C" fn looker(_: u64) -> ! {
    while STOP.load(Ordering::Acquire) == 0 {
        let object =
            ObjRef { share: Id(SHARE.load(Ordering::Acquire)), object: Id(OBJECT.load(Ordering::Acquire)) };
        match sys().segment_get_nbytes(object) {
            Ok(PAGE_BYTES) | Err(Error::NotFound) => {}
            _ => halt(1),
        }
    }
    halt(0)
}

fn races(suite: &mut Suite, process: &mut Process) {
    let name = "look-ups race with removal on every other core";
    let Ok(fixture) = Fixture::new(process) else { return suite.check(name, false, "no fixture") };
    let Ok(common) = share(process.boot, 4096, 100) else { return suite.check(name, false, "no share") };
    SHARE.store(common.0, Ordering::Release);
    STOP.store(0, Ordering::Release);
    let others = process.info.header.cores.min(64) as u16;
    let shares = [process.boot, process.console, common];
    let entry = looker as extern "C" fn(u64) -> ! as usize as u64;
    let mut started = 0;
    let mut remotes = [None; 64];
    for core in 1..others {
        let remote = fixture.start_with(process, core, entry, 0, &shares, &mut |_| Ok(()));
        started += u16::from(remote.is_ok());
        remotes[usize::from(core)] = remote.ok();
    }
    let mut made = 0;
    for _ in 0..300 {
        let Ok(object) = segment(common, PAGE_BYTES, "race") else { continue };
        OBJECT.store(object.object.0, Ordering::Release);
        made += u32::from(sys().share_delobj(object).is_ok());
    }
    STOP.store(1, Ordering::Release);
    let good = remotes.iter().flatten().filter(|r| r.wait() == Some(Ended::Halted(0))).count();
    remotes.iter().flatten().for_each(|r| r.core.release());
    let ok = made == 300 && good == usize::from(others - 1) && started == others - 1;
    suite.check(name, ok, format_args!("{made} objects, {good} of {} threads well", others - 1));
    suite.works("the share ends", end(process.boot, common));
}

/// Never enters the kernel again.
extern "C" fn spinner(_: u64) -> ! {
    TURNS.fetch_add(1, Ordering::Release);
    loop {
        pause();
    }
}

/// Looks up what comes and goes, until it is halted.
extern "C" fn looks_up(common: u64) -> ! {
    TURNS.fetch_add(1, Ordering::Release);
    loop {
        let object = Id(VICTIM.load(Ordering::Acquire));
        match sys().segment_get_nbytes(ObjRef { share: Id(common), object }) {
            Ok(_) | Err(Error::NotFound) => {}
            Err(_) => halt(1),
        }
    }
}

/// Three times the machine's memory passes through a share that two other cores hold: one stays in user mode for
/// ever, one looks up what comes and goes.
fn memory_passes(suite: &mut Suite, process: &mut Process) {
    let name = "memory comes back while a core spins in user mode and another looks up";
    if process.info.header.cores < 2 {
        return suite.check(name, true, "one core: nobody to spin");
    }
    let outcome = passes(process);
    suite.check(name, outcome == Ok((true, 0)), format_args!("{outcome:?}"));
}

fn machine_pages() -> Result<u64, Error> {
    let mut bytes = [0_u64; MachineInfo::BYTES / 8];
    sys().machine_info(address_mut(&mut bytes))?;
    let bytes = bytes.map(u64::to_le_bytes);
    MachineInfo::from_bytes(bytes.as_flattened()).map(|info| info.pages).ok_or(Error::BadArgument)
}

fn passes(process: &mut Process) -> Result<(bool, usize), Error> {
    const PAGES: u64 = 2048;
    let rounds = 3 * machine_pages()? / PAGES;
    let fixture = Fixture::new(process)?;
    let common = share(process.boot, PAGES + 64, 8)?;
    TURNS.store(0, Ordering::Release);
    // One of each kind: the emulator divides its time among processors. All of them: `kernel/corey/tests/limbo.rs`.
    let others = (process.info.header.cores as u16 - 1).min(2);
    let shares = [process.boot, process.console, common];
    let mut remotes = [None; 4];
    for core in 1..=others {
        let entry = if core == 1 { spinner } else { looks_up } as extern "C" fn(u64) -> !;
        let started =
            fixture.start_with(process, core, entry as usize as u64, common.0, &shares, &mut |_| Ok(()))?;
        remotes[usize::from(core)] = Some(started);
    }
    while TURNS.load(Ordering::Acquire) < u64::from(others) {
        pause();
    }
    let mut whole = true;
    for round in 0..rounds {
        let object = segment(common, PAGES * PAGE_BYTES, "passes")?;
        VICTIM.store(object.object.0, Ordering::Release);
        let (va, slot) = process.space.map(object, PAGES, MapFlags::WRITE)?;
        for page in 0..PAGES {
            let at = (va + page * PAGE_BYTES) as *mut u64;
            // SAFETY: just mapped writable.
            whole &= unsafe { at.read_volatile() } == 0;
            // SAFETY: as above.
            unsafe { at.write_volatile(round + 1) };
        }
        sys().share_delobj(object)?;
        process.space.unmap(slot)?;
    }
    let mut wrong = 0;
    for remote in remotes.iter().flatten() {
        sys().pcore_halt(remote.core.pcore, 4)?;
        wrong += usize::from(remote.wait() != Some(Ended::HaltedByOther(4)));
        remote.core.release();
    }
    end(process.boot, common)?;
    Ok((whole, wrong))
}
