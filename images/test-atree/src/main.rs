//! Address trees: roots, interior trees, what overlaps, and shootdown that is really seen.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    AddressTreeCalls, Error, Home, MapFlags, Mapping, Name, ObjRef, PAGE_BYTES, ShareCalls, TreeTable,
    UserPtr, grain, mapping_kind,
};
use corey_libos_rt::sys::{address, address_mut, pause, segment, sys};
use corey_libos_rt::vm::{Ended, interior, map_in};
use corey_libos_rt::{Process, Status, entry, halt};
use corey_libos_test::{Fixture, Suite};

entry!(main);

const GIB: u64 = 1 << 30;

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "atree");
    mappings(&mut suite, &mut process);
    tables(&mut suite, &mut process);
    interiors(&mut suite, &mut process);
    shootdown(&mut suite, &mut process);
    fills_for_all(&mut suite, &mut process);
    suite.finish()
}

fn mapping(object: ObjRef, va: u64, npages: u64, flags: MapFlags) -> Mapping {
    Mapping { kind: mapping_kind::SEGMENT, flags: flags.bits(), object, va, npages, ..Mapping::default() }
}

fn set(tree: ObjRef, slot: u64, mapping: &Mapping) -> Result<(), Error> {
    sys().at_set_slot(tree, slot, address(mapping))
}

fn mappings(suite: &mut Suite, process: &mut Process) {
    let tree = process.space.tree;
    let Some(object) = suite.works("a segment", segment(process.program, 16 * PAGE_BYTES, "map")) else {
        return;
    };
    let va = process.space.reserve(GIB);
    let good = mapping(object, va, 4, MapFlags::WRITE);
    suite.works("mapped", set(tree, 300, &good));
    for (name, map, error) in [
        ("the same range in another slot", good, Error::Busy),
        (
            "a range that overlaps its end",
            mapping(object, va + 3 * PAGE_BYTES, 2, MapFlags::WRITE),
            Error::Busy,
        ),
        (
            "an address inside a page",
            mapping(object, va + 0x20_0000 + 8, 1, MapFlags::WRITE),
            Error::Misaligned,
        ),
        ("no page", mapping(object, va + 0x20_0000, 0, MapFlags::WRITE), Error::OutOfRange),
        (
            "writable and executable",
            mapping(object, va + 0x20_0000, 1, MapFlags::WRITE | MapFlags::EXECUTE),
            Error::NotPermitted,
        ),
        ("the kernel's half", mapping(object, 0xffff_8000_0000_0000, 1, MapFlags::WRITE), Error::OutOfRange),
        (
            "across the end of the user half",
            mapping(object, (1 << 47) - PAGE_BYTES, 2, MapFlags::WRITE),
            Error::OutOfRange,
        ),
        (
            "the last page of the user half",
            mapping(object, (1 << 47) - PAGE_BYTES, 1, MapFlags::EXECUTE),
            Error::OutOfRange,
        ),
        ("an address that wraps", mapping(object, u64::MAX - 0xfff, 2, MapFlags::WRITE), Error::OutOfRange),
        ("page 0", mapping(object, 0, 1, MapFlags::WRITE), Error::OutOfRange),
        (
            "a page count that wraps",
            mapping(object, va + 0x20_0000, u64::MAX, MapFlags::WRITE),
            Error::OutOfRange,
        ),
        (
            "an object that is none",
            mapping(ObjRef::default(), va + 0x20_0000, 1, MapFlags::WRITE),
            Error::NotFound,
        ),
        ("a pcore", mapping(process.pcore, va + 0x20_0000, 1, MapFlags::WRITE), Error::WrongKind),
        ("an unknown kind", Mapping { kind: 9, ..good }, Error::BadArgument),
        ("an unknown flag", Mapping { flags: 1 << 20, ..good }, Error::BadArgument),
    ] {
        suite.refused(name, set(tree, 301, &map), error);
    }
    suite.refused("a slot beyond the table", set(tree, 512, &good), Error::Full);
    suite.refused("a slot far beyond", set(tree, u64::MAX, &good), Error::Full);
    // SAFETY: mapped writable above.
    unsafe { (va as *mut u64).write_volatile(3) };
    suite
        .works("replaced by a read-only mapping", set(tree, 300, &mapping(object, va, 4, MapFlags::empty())));
    // SAFETY: mapped readable.
    suite.equal("same page", unsafe { (va as *const u64).read_volatile() }, 3);
    suite.works("cleared", set(tree, 300, &Mapping::default()));
    suite.works("cleared twice", set(tree, 300, &Mapping::default()));
    suite.works("gone", sys().share_delobj(object));
}

fn tables(suite: &mut Suite, process: &mut Process) {
    let name = Name::new("other");
    let alloc = |kind, grain| sys().at_alloc(process.program, kind, grain, Home::Any, address(&name));
    suite.refused("no third kind of tree", alloc(2, 0), Error::BadArgument);
    for grain in [grain::MIB2, grain::GIB1, grain::GIB512] {
        let Some(object) = suite.works("an interior tree of each grain", alloc(1, grain)) else { return };
        let tree = ObjRef { share: process.program, object };
        let at = 1 << grain;
        let outer = Mapping {
            kind: mapping_kind::INTERIOR,
            object: tree,
            va: 16 * at.max(1 << 30),
            ..Mapping::default()
        };
        suite.works("linked", set(process.space.tree, 300, &outer));
        let page = Mapping { va: outer.va + at / 2, ..outer };
        suite.refused("not in the middle of a grain", set(process.space.tree, 301, &page), Error::Misaligned);
        suite.works("unlinked", set(process.space.tree, 300, &Mapping::default()));
        suite.works("gone", sys().share_delobj(tree));
    }
    suite.refused("no other grain", alloc(1, 25), Error::BadArgument);
    let Some(object) = suite.works("another root", alloc(0, 0)) else { return };
    let other = ObjRef { share: process.program, object };
    let Some(pages) = suite.works("a segment", segment(process.program, 8 * PAGE_BYTES, "table")) else {
        return;
    };
    let mut wanted = [Mapping::default(); 3];
    for (n, map) in wanted.iter_mut().enumerate() {
        *map = mapping(pages, GIB + n as u64 * 0x40_0000, 2, MapFlags::WRITE);
        map.start_page = n as u64;
    }
    let mut table = TreeTable { mappings: wanted.as_ptr() as u64, count: 3, ..TreeTable::default() };
    suite.works("a whole table", sys().at_set(other, address_mut(&mut table)));
    let mut got = [Mapping::default(); 3];
    let mut table = TreeTable { mappings: got.as_mut_ptr() as u64, count: 3, ..TreeTable::default() };
    suite.works("comes back", sys().at_get(other, address_mut(&mut table)));
    // And with it what the segment costs: its pages, and at most a frame for their slots.
    let price = got[0].price;
    suite.check("with its price", got.iter().all(|m| m.price == price) && (8..=9).contains(&price), price);
    got.iter_mut().for_each(|mapping| mapping.price = 0);
    suite.equal("as it went", (table.count, got), (3, wanted));
    table.count = 2;
    suite.refused("room for all is needed", sys().at_get(other, address_mut(&mut table)), Error::OutOfRange);
    let Some(object) = suite.works("an interior tree", alloc(1, grain::GIB1)) else { return };
    let inner = ObjRef { share: process.program, object };
    let mut handled = TreeTable { handler: 0x1000, stack: 0x2000, ..TreeTable::default() };
    let set_handler = sys().at_set(inner, address_mut(&mut handled));
    suite.refused("interior trees have no handlers", set_handler, Error::NotPermitted);
    suite.works("gone", sys().share_delobj(inner));
    suite.refused(
        "a table of hostile size",
        {
            let mut table = TreeTable { mappings: 0, count: u64::MAX, ..TreeTable::default() };
            sys().at_set(other, address_mut(&mut table))
        },
        Error::Full,
    );
    suite.refused(
        "a table at a hostile address",
        {
            let mut table = TreeTable { mappings: u64::MAX - 8, count: 3, ..TreeTable::default() };
            sys().at_set(other, address_mut(&mut table))
        },
        Error::BadAddress,
    );
    suite.refused("a table nowhere", sys().at_set(other, UserPtr(8)), Error::BadAddress);
    suite.works("the tree goes with its mappings", sys().share_delobj(other));
    suite.works("the segment goes", sys().share_delobj(pages));
}

fn interiors(suite: &mut Suite, process: &mut Process) {
    let Some(tree) = suite.works("an interior tree", interior(process.program, "interior")) else { return };
    let Some(object) = suite.works("a segment", segment(process.program, 8 * PAGE_BYTES, "in")) else {
        return;
    };
    suite.works("mapped in it", map_in(tree, 0, object, 0x1000, 4, MapFlags::WRITE));
    suite.refused(
        "beyond its grain",
        map_in(tree, 1, object, GIB - PAGE_BYTES, 2, MapFlags::WRITE),
        Error::OutOfRange,
    );
    let link = Mapping { kind: mapping_kind::INTERIOR, object: tree, va: 0, ..Mapping::default() };
    suite.refused("an interior tree in an interior tree", set(tree, 2, &link), Error::NotPermitted);
    let root = Mapping { object: process.space.tree, va: process.space.reserve(GIB), ..link };
    suite.refused("a root in a root", set(process.space.tree, 310, &root), Error::NotPermitted);
    let va = process.space.reserve(GIB);
    suite.refused(
        "linked off its grain",
        set(process.space.tree, 310, &Mapping { va: va + 0x20_0000, ..link }),
        Error::Misaligned,
    );
    let Some(slot) = suite.works("linked", process.space.link(tree, va)) else { return };
    // SAFETY: linked and mapped writable.
    unsafe { ((va + 0x1000) as *mut u64).write_volatile(21) };
    let other = process.space.reserve(GIB);
    let Some(second) = suite.works("linked twice", process.space.link(tree, other)) else { return };
    // SAFETY: linked and mapped.
    suite.equal(
        "the same page at both places",
        unsafe { ((other + 0x1000) as *const u64).read_volatile() },
        21,
    );
    suite.works("one link goes", process.space.unmap(slot));
    // SAFETY: still linked here.
    suite.equal("the other stays", unsafe { ((other + 0x1000) as *const u64).read_volatile() }, 21);
    suite.works("the tree dies while linked", sys().share_delobj(tree));
    suite.works("its slot is cleared", process.space.unmap(second));
    suite.works("the segment goes", sys().share_delobj(object));
}

static AT: AtomicU64 = AtomicU64::new(0);
static TURNS: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Reads until the mapping is gone; halts with 1 on any value but 7.
extern "C" fn reader(core: u64) -> ! {
    loop {
        // SAFETY: mapped until the test takes it away, and then the fault is what is tested.
        if unsafe { (AT.load(Ordering::Acquire) as *const u64).read_volatile() } != 7 {
            halt(1);
        }
        TURNS[core as usize % 64].fetch_add(1, Ordering::Release);
    }
}

fn shootdown(suite: &mut Suite, process: &mut Process) {
    let name = "unmapping from an interior tree reaches every core that reads";
    let others = process.info.header.cores.min(64) as u16 - 1;
    let outcome = unmap_under_readers(process, others);
    let at = AT.load(Ordering::Acquire);
    let good = outcome.as_ref().is_ok_and(|(ended, _)| {
        ended.iter().take(usize::from(others)).all(|e| *e == Some(Ended::Fault(14, at)))
    });
    match outcome {
        Ok(_) => suite.check(name, good, format_args!("{others} readers")),
        Err(error) => suite.check(name, false, format_args!("{error:?}")),
    }
}

fn unmap_under_readers(process: &mut Process, others: u16) -> Result<([Option<Ended>; 64], u64), Error> {
    let fixture = Fixture::new(process)?;
    let tree = interior(process.program, "shootdown")?;
    let object = segment(process.program, PAGE_BYTES, "shootdown")?;
    map_in(tree, 0, object, 0, 1, MapFlags::WRITE)?;
    let va = process.space.reserve(GIB);
    let slot = process.space.link(tree, va)?;
    // SAFETY: linked and mapped writable.
    unsafe { (va as *mut u64).write_volatile(7) };
    AT.store(va, Ordering::Release);
    let mut remotes = [None; 64];
    for core in 1..=others {
        remotes[usize::from(core)] = Some(fixture.start(process, core, reader, u64::from(core))?);
    }
    for core in 1..=others {
        while TURNS[usize::from(core)].load(Ordering::Acquire) < 20 {
            pause();
        }
    }
    set(tree, 0, &Mapping::default())?;
    // Every core's translation is gone: what the page holds next is nobody's business there.
    sys().share_delobj(object)?;
    let mut ended = [None; 64];
    for core in 1..=others {
        if let Some(remote) = remotes[usize::from(core)] {
            ended[usize::from(core) - 1] = remote.wait();
            remote.core.release();
        }
    }
    process.space.unmap(slot)?;
    sys().share_delobj(tree)?;
    Ok((ended, va))
}

static FAULTS: AtomicU64 = AtomicU64::new(0);

/// Reads 64 pages that core 0 touched before, and says how many faults that took.
extern "C" fn walker(_: u64) -> ! {
    use corey_abi::{MachineCalls, counter};
    let at = AT.load(Ordering::Acquire);
    let faults = || sys().counter_read(counter::FAULTS).unwrap_or(0);
    let mut count = 0;
    // Twice by the same code: first over one word of its own, so that the code's own pages are there.
    for (from, stride) in core::hint::black_box([(&raw const at as u64, 0), (at, PAGE_BYTES)]) {
        let before = faults();
        for page in 0..64 {
            // SAFETY: linked and mapped by the test, or `at` itself.
            unsafe { ((from + page * stride) as *const u64).read_volatile() };
        }
        count = faults() - before;
    }
    FAULTS.fetch_add(count, Ordering::AcqRel);
    halt(0)
}

fn fills_for_all(suite: &mut Suite, process: &mut Process) {
    let name = "a page that one core touched in an interior tree faults on no other";
    if process.info.header.cores < 2 {
        return suite.check(name, true, "one core: nobody else");
    }
    let outcome = (|| {
        let fixture = Fixture::new(process)?;
        let tree = interior(process.program, "fill")?;
        let object = segment(process.program, 64 * PAGE_BYTES, "fill")?;
        map_in(tree, 0, object, 0, 64, MapFlags::WRITE)?;
        let va = process.space.reserve(GIB);
        let slot = process.space.link(tree, va)?;
        AT.store(va, Ordering::Release);
        for page in 0..64 {
            // SAFETY: linked and mapped writable.
            unsafe { ((va + page * PAGE_BYTES) as *mut u64).write_volatile(1) };
        }
        let remote = fixture.start(process, 1, walker, 0)?;
        let ended = remote.wait();
        remote.core.release();
        process.space.unmap(slot)?;
        sys().share_delobj(tree)?;
        sys().share_delobj(object)?;
        Ok::<_, Error>(ended)
    })();
    let faults = FAULTS.load(Ordering::Acquire);
    suite.check(
        name,
        outcome == Ok(Some(Ended::Halted(0))) && faults == 0,
        format_args!("{outcome:?}, {faults} faults"),
    );
}
