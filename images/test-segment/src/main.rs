//! Segments: first touch, copies, sizes.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    Error, Home, LARGE_PAGE_BYTES, MachineCalls, MapFlags, Name, ObjRef, PAGE_BYTES, SegmentCalls,
    ShareCalls, copy_mode, counter, segment_flag,
};
use corey_libos_rt::sys::{address, pause, segment, sys};
use corey_libos_rt::vm::{Ended, interior, map_in};
use corey_libos_rt::{Process, Status, entry, halt};
use corey_libos_test::{Fixture, Suite};

entry!(main);

static AT: AtomicU64 = AtomicU64::new(0);
static TURNS: AtomicU64 = AtomicU64::new(0);

fn peek(at: u64) -> u64 {
    // SAFETY: the tests pass addresses they mapped.
    unsafe { (at as *const u64).read_volatile() }
}

fn poke(at: u64, value: u64) {
    // SAFETY: the tests pass addresses they mapped writable.
    unsafe { (at as *mut u64).write_volatile(value) };
}

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "segment");
    touch(&mut suite, &mut process);
    copies(&mut suite, &mut process);
    sizes(&mut suite, &mut process);
    large_pages(&mut suite, &mut process);
    large(&mut suite, &mut process);
    same_page(&mut suite, &mut process);
    shrinks_under_a_reader(&mut suite, &mut process);
    suite.finish()
}

fn touch(suite: &mut Suite, process: &mut Process) {
    const PAGES: u64 = 700;
    let Some(object) = suite.works("700 pages", segment(process.program, PAGES * PAGE_BYTES, "touch")) else {
        return;
    };
    suite.equal("as many bytes", sys().segment_get_nbytes(object), Ok(PAGES * PAGE_BYTES));
    let Some((va, slot)) = suite.works("mapped", process.space.map(object, PAGES, MapFlags::WRITE)) else {
        return;
    };
    let words = || (0..PAGES).flat_map(|p| (0..512).step_by(73).map(move |w| va + p * PAGE_BYTES + w * 8));
    suite.equal("every page reads zero at first", words().filter(|at| peek(*at) != 0).count(), 0);
    words().for_each(|at| poke(at, at));
    suite.equal("and keeps what is written", words().filter(|at| peek(*at) != *at).count(), 0);
    suite.works("unmapped", process.space.unmap(slot));
    let Some((again, slot)) =
        suite.works("mapped elsewhere", process.space.map(object, PAGES, MapFlags::empty()))
    else {
        return;
    };
    suite.equal("the pages are the segment's", peek(again + 699 * PAGE_BYTES), va + 699 * PAGE_BYTES);
    suite.works("unmapped", process.space.unmap(slot));
    suite.works("gone", sys().share_delobj(object));
    let Some(fresh) = suite.works("another one", segment(process.program, PAGES * PAGE_BYTES, "fresh"))
    else {
        return;
    };
    let Some((va, slot)) = suite.works("mapped", process.space.map(fresh, PAGES, MapFlags::WRITE)) else {
        return;
    };
    let dirty = (0..PAGES).filter(|p| (0..512).any(|w| peek(va + p * PAGE_BYTES + w * 8) != 0)).count();
    suite.equal("recycled pages are zero, every word", dirty, 0);
    suite.works("unmapped", process.space.unmap(slot));
    suite.works("gone", sys().share_delobj(fresh));
}

fn copies(suite: &mut Suite, process: &mut Process) {
    let with_page = |mode: u64, page: u64| mode | copy_mode::PAGE_NOW | (page * PAGE_BYTES);
    let modes = [
        (copy_mode::NOW, "now"),
        (copy_mode::ON_WRITE, "on write"),
        (copy_mode::ON_REFERENCE, "on reference"),
        (with_page(copy_mode::ON_WRITE, 0), "on write, the first page now"),
        (with_page(copy_mode::ON_WRITE, 1), "on write, a page now that is not there"),
        (with_page(copy_mode::ON_REFERENCE, 3), "on reference, the last page now"),
    ];
    for (mode, what) in modes {
        copies_in(suite, process, mode, what);
    }
    let name = Name::new("to");
    let Some(from) = suite.works("a source", segment(process.program, PAGE_BYTES, "from")) else { return };
    let copy = |mode| sys().segment_copy(from, process.program, mode, Home::Any, address(&name));
    suite.refused("there is no fourth mode", copy(3), Error::BadArgument);
    suite.refused(
        "with a page now that is beyond the end",
        copy(with_page(copy_mode::ON_WRITE, 1)),
        Error::OutOfRange,
    );
    suite.refused("and no page now where all are", copy(copy_mode::PAGE_NOW), Error::BadArgument);
    suite.refused("nor an offset alone", copy(copy_mode::ON_WRITE | PAGE_BYTES), Error::BadArgument);
    suite.works("gone", sys().share_delobj(from));
}

fn copies_in(suite: &mut Suite, process: &mut Process, mode: u64, what: &str) {
    let Some(from) = suite.works("a source", segment(process.program, 4 * PAGE_BYTES, "from")) else {
        return;
    };
    let Some((va, slot)) = suite.works("mapped", process.space.map(from, 4, MapFlags::WRITE)) else { return };
    poke(va, 11);
    poke(va + 2 * PAGE_BYTES, 33);
    poke(va + 3 * PAGE_BYTES, 44);
    let name = Name::new("to");
    let copied = sys().segment_copy(from, process.program, mode, Home::Any, address(&name));
    let Some(object) = suite.works(what, copied) else { return };
    let to = ObjRef { share: process.program, object };
    poke(va, 12);
    let Some((other, second)) = suite.works("mapped", process.space.map(to, 4, MapFlags::WRITE)) else {
        return;
    };
    suite.equal(
        "it has what the source had",
        (peek(other), peek(other + PAGE_BYTES), peek(other + 2 * PAGE_BYTES)),
        (11, 0, 33),
    );
    poke(other + 2 * PAGE_BYTES, 34);
    suite.equal("and goes its own way", (peek(va), peek(va + 2 * PAGE_BYTES)), (12, 33));
    poke(other + 3 * PAGE_BYTES, 45);
    suite.equal("also where it was not read before", peek(va + 3 * PAGE_BYTES), 44);
    // A copy of the copy outlives both.
    let again = sys().segment_copy(to, process.program, mode, Home::Any, address(&name));
    let Some(third) = suite.works("a copy of it", again) else { return };
    let third = ObjRef { share: process.program, object: third };
    for slot in [slot, second] {
        suite.works("unmapped", process.space.unmap(slot));
    }
    for object in [from, to] {
        suite.works("gone", sys().share_delobj(object));
    }
    let Some((last, slot)) = suite.works("mapped", process.space.map(third, 4, MapFlags::empty())) else {
        return;
    };
    let words = [0, 1, 2, 3].map(|page| peek(last + page * PAGE_BYTES));
    suite.equal("it has what that had", words, [11, 0, 34, 45]);
    suite.works("unmapped", process.space.unmap(slot));
    suite.works("gone", sys().share_delobj(third));
}

/// 2 MiB pages, in a machine that may have too few.
fn large_pages(suite: &mut Suite, process: &mut Process) {
    let name = Name::new("2 MiB");
    let bytes = 2 * LARGE_PAGE_BYTES;
    let made =
        sys().segment_alloc(process.program, bytes - 1, Home::Any, segment_flag::LARGE, address(&name));
    let Some(object) = suite.works("two pages of 2 MiB", made) else { return };
    let object = ObjRef { share: process.program, object };
    suite.equal("the size is rounded up", sys().segment_get_nbytes(object), Ok(bytes));
    let Some((va, slot)) = suite.works("mapped", process.space.map(object, 1024, MapFlags::WRITE)) else {
        return;
    };
    let before = sys().counter_read(counter::FAULTS).unwrap_or(0);
    let dirty = (0..bytes / 64).filter(|at| peek(va + at * 64) != 0).count();
    suite.equal("they read zero", dirty, 0);
    suite.equal("two faults", sys().counter_read(counter::FAULTS).unwrap_or(0) - before, 2);
    poke(va + bytes - 8, 7);
    suite.works("cut", sys().segment_set_nbytes(object, LARGE_PAGE_BYTES));
    suite.works("grown", sys().segment_set_nbytes(object, bytes));
    suite.equal("cut pages come back as zero", peek(va + bytes - 8), 0);
    suite.works("unmapped", process.space.unmap(slot));
    suite.works("gone", sys().share_delobj(object));
}

fn sizes(suite: &mut Suite, process: &mut Process) {
    let Some(object) = suite.works("two pages", segment(process.program, 2 * PAGE_BYTES, "sizes")) else {
        return;
    };
    let Some((va, slot)) = suite.works("eight are mapped", process.space.map(object, 8, MapFlags::WRITE))
    else {
        return;
    };
    poke(va + PAGE_BYTES, 5);
    suite.works("grown while mapped", sys().segment_set_nbytes(object, 8 * PAGE_BYTES));
    poke(va + 7 * PAGE_BYTES, 7);
    suite.equal("old and new pages are there", (peek(va + PAGE_BYTES), peek(va + 7 * PAGE_BYTES)), (5, 7));
    suite.works("shrunk", sys().segment_set_nbytes(object, PAGE_BYTES));
    suite.works("grown again", sys().segment_set_nbytes(object, 8 * PAGE_BYTES));
    suite.equal("cut pages come back as zero", (peek(va + PAGE_BYTES), peek(va + 7 * PAGE_BYTES)), (0, 0));
    suite.works("to nothing", sys().segment_set_nbytes(object, 0));
    suite.equal("nothing", sys().segment_get_nbytes(object), Ok(0));
    suite.works("unmapped", process.space.unmap(slot));
    suite.works("gone", sys().share_delobj(object));
}

fn large(suite: &mut Suite, process: &mut Process) {
    let pages = (1 << 30) / PAGE_BYTES + 10;
    let name = Name::new("large");
    // More than one upper level of slots: metadata only, no page is touched but two.
    let quota = pages + 4096;
    let Ok(share) =
        sys().share_alloc(process.boot, corey_abi::Kinds::all(), quota, 4, Home::Any, address(&name))
    else {
        return suite.check(
            "a segment above 1 GiB",
            true,
            "this machine's memory is too small for the quota",
        );
    };
    if let Some(object) = suite.works("a segment above 1 GiB", segment(share, pages * PAGE_BYTES, "large")) {
        let mapped = process.space.map_at(object, 1 << 40, pages - 4, 4, MapFlags::WRITE);
        if let Some(slot) = suite.works("its end is mapped", mapped) {
            poke(1 << 40, 9);
            suite.equal("and works", peek(1 << 40), 9);
            suite.works("unmapped", process.space.unmap(slot));
        }
    }
    suite.works(
        "gone",
        sys()
            .share_delobj(ObjRef { share: process.boot, object: share })
            .and_then(|()| sys().self_drop(share)),
    );
}

static READY: AtomicU64 = AtomicU64::new(0);
static GO: AtomicU64 = AtomicU64::new(0);

/// Adds 1 to a word on each of the pages, all cores at once.
extern "C" fn adder(pages: u64) -> ! {
    READY.fetch_add(1, Ordering::AcqRel);
    while GO.load(Ordering::Acquire) == 0 {
        pause();
    }
    for page in 0..pages {
        let at = AT.load(Ordering::Relaxed) + page * PAGE_BYTES;
        // SAFETY: mapped by the test on every core.
        unsafe { &*(at as *const AtomicU64) }.fetch_add(1, Ordering::AcqRel);
    }
    halt(0)
}

fn same_page(suite: &mut Suite, process: &mut Process) {
    const PAGES: u64 = 64;
    let name = "cores that first touch the same page at once get one page";
    let others = process.info.header.cores.min(64) as u16 - 1;
    let Ok(fixture) = Fixture::new(process) else { return suite.check(name, false, "no fixture") };
    let Ok(object) = segment(process.program, PAGES * PAGE_BYTES, "same") else {
        return suite.check(name, false, "no segment");
    };
    let Ok((va, slot)) = process.space.map(object, PAGES, MapFlags::WRITE) else {
        return suite.check(name, false, "not mapped");
    };
    AT.store(va, Ordering::Release);
    let mut remotes = [None; 64];
    for core in 1..=others {
        remotes[usize::from(core)] = fixture.start(process, core, adder, PAGES).ok();
    }
    while READY.load(Ordering::Acquire) < u64::from(others) {
        pause();
    }
    GO.store(1, Ordering::Release);
    let good = remotes.iter().flatten().filter(|r| r.wait() == Some(Ended::Halted(0))).count();
    let wrong = (0..PAGES).filter(|p| peek(va + p * PAGE_BYTES) != u64::from(others)).count();
    suite.check(
        name,
        good == usize::from(others) && wrong == 0,
        format_args!("{good} cores well, {wrong} pages wrong"),
    );
    remotes.iter().flatten().for_each(|r| r.core.release());
    suite.works("unmapped", process.space.unmap(slot));
    suite.works("gone", sys().share_delobj(object));
}

/// Reads until the page is gone; any value but 7 is old or foreign data.
extern "C" fn reader(_: u64) -> ! {
    loop {
        if peek(AT.load(Ordering::Acquire)) != 7 {
            halt(1);
        }
        TURNS.fetch_add(1, Ordering::Release);
    }
}

fn shrinks_under_a_reader(suite: &mut Suite, process: &mut Process) {
    for through_interior in [false, true] {
        let name = if through_interior {
            "a page cut under a reader through an interior tree: fault, never old data"
        } else {
            "a page cut under a reader through its own root: fault, never old data"
        };
        if process.info.header.cores < 2 {
            suite.check(name, true, "one core: nobody else to read");
            continue;
        }
        let outcome = shrink(process, through_interior);
        let at = AT.load(Ordering::Acquire);
        suite.check(name, outcome == Ok(Some(Ended::Fault(14, at))), format_args!("{outcome:?}"));
    }
}

fn shrink(process: &mut Process, through_interior: bool) -> Result<Option<Ended>, Error> {
    let fixture = Fixture::new(process)?;
    let object = segment(process.program, 4 * PAGE_BYTES, "shrink")?;
    let va = process.space.reserve(1 << 30);
    let (slot, tree) = if through_interior {
        let tree = interior(process.program, "shrink")?;
        map_in(tree, 3, object, 0, 4, MapFlags::WRITE)?;
        (process.space.link(tree, va)?, Some(tree))
    } else {
        (process.space.map_at(object, va, 0, 4, MapFlags::WRITE)?, None)
    };
    let at = va + 2 * PAGE_BYTES;
    poke(at, 7);
    AT.store(at, Ordering::Release);
    TURNS.store(0, Ordering::Release);
    let remote = fixture.start(process, 1, reader, 0)?;
    while TURNS.load(Ordering::Acquire) < 100 {
        pause();
    }
    sys().segment_set_nbytes(object, PAGE_BYTES)?;
    let ended = remote.wait();
    remote.core.release();
    process.space.unmap(slot)?;
    sys().share_delobj(object)?;
    if let Some(tree) = tree {
        sys().share_delobj(tree)?;
    }
    Ok(ended)
}
