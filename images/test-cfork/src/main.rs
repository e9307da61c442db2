//! cfork: what a child has, what it shares, how it ends, and that a failed one leaves nothing behind.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

extern crate alloc;

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    AuditReport, Error, MachineCalls, MapFlags, Mapping, ObjRef, PAGE_BYTES, SegmentCalls, ShareCalls,
    mapping_kind,
};
use corey_libos_cfork::{Cfork, CforkError, Child, Forked};
use corey_libos_rt::heaps::private;
use corey_libos_rt::sys::{address_mut, pause, segment, sys};
use corey_libos_rt::vm::{Ended, interior, map_in};
use corey_libos_rt::{Process, Status, entry, halt, shared};
use corey_libos_test::Suite;

entry!(main);

/// In the program's data: each copy of the program has its own.
static COUNT: AtomicU64 = AtomicU64::new(1);

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "cfork");
    let Some(cfork) = suite.works("a page for ends", Cfork::new(&mut process)) else { return suite.finish() };
    refused(&mut suite, &mut process, &cfork);
    if process.info.header.cores < 2 {
        suite.check("a child on another core", true, "one core: there is none");
        return suite.finish();
    }
    memory(&mut suite, &mut process, &cfork);
    trees(&mut suite, &mut process, &cfork);
    ends(&mut suite, &mut process, &cfork);
    generations(&mut suite, &mut process, &cfork);
    many(&mut suite, &mut process, &cfork);
    heaps(&mut suite, &mut process, &cfork);
    suite.finish()
}

/// Frees what a look at the books needs: pages that nobody has.
fn free_pages(process: &Process) -> u64 {
    let mut report = AuditReport::default();
    // The first audit lets the other cores free what they keep, the second what waited for them.
    for _ in 0..3 {
        if sys().audit(process.boot, address_mut(&mut report)).is_err() {
            return 0;
        }
    }
    // What is used, but for the slots of objects and the tables of shares, which grow where names of long life and short
    // are hashed together: those stay.
    report.frames - (report.owned - report.slots - report.tables)
}

/// Forks; the child runs `work` and halts with its value.
fn child(
    process: &mut Process,
    cfork: &Cfork,
    core: u16,
    shares: &[corey_abi::Id],
    work: impl FnOnce(&mut Process) -> u32,
) -> Result<Child, CforkError> {
    match cfork.cfork(process, core, shares)? {
        Forked::Parent(child) => Ok(child),
        Forked::Child(mut own) => halt(work(&mut own)),
    }
}

fn refused(suite: &mut Suite, process: &mut Process, cfork: &Cfork) {
    // Frames of object slots stay: the first one makes them.
    let _ = child(process, cfork, 0, &[], |_| 0);
    let before = free_pages(process);
    let mut fork = |cfork: &Cfork, core| child(process, cfork, core, &[], |_| 0).err();
    let taken = fork(cfork, 0);
    suite.equal("a taken core", taken, Some(CforkError::CoreTaken(0)));
    let none = fork(cfork, 4000);
    suite.equal("a core that does not exist", none, Some(CforkError::NoSuchCore(4000)));
    let rich = cfork.with_spare(1 << 40, 1);
    // The quota is looked at before the core.
    let poor = fork(&rich, 0);
    let wanted = CforkError::Call("the child's share", Error::QuotaExceeded);
    suite.equal("a quota nobody has", poor, Some(wanted));
    suite.equal("nothing stays of them", free_pages(process), before);
    let messages = [
        (taken, "core 0 is taken"),
        (none, "there is no core 4000"),
        (poor, "the child's share: the parent's share cannot pay for it (pages or objects)"),
        (Some(CforkError::TooManyMappings), "more than 64 mappings"),
        (Some(CforkError::Call("a step", Error::NoMemory)), "a step: no memory is left"),
        (Some(CforkError::Call("a step", Error::Full)), "a step: Full"),
    ];
    for (error, text) in messages {
        match error {
            Some(error) => suite.says("an error says what and where", &error, format_args!("{text}")),
            None => suite.check("an error says what and where", false, text),
        }
    }
}

fn memory(suite: &mut Suite, process: &mut Process, cfork: &Cfork) {
    let Some(object) = suite.works("a private page", segment(process.program, 2 * PAGE_BYTES, "private"))
    else {
        return;
    };
    let Some((private, _)) = suite.works("mapped", process.space.map(object, 2, MapFlags::WRITE)) else {
        return;
    };
    let Some(common) = suite.works("a page to share", segment(process.program, PAGE_BYTES, "common")) else {
        return;
    };
    let flags = MapFlags::WRITE | MapFlags::SHARED;
    let Some((va, _)) = suite.works("mapped as shared", process.space.map(common, 1, flags)) else { return };
    // SAFETY: mapped above, for good, and used as atomics only.
    let private: &[AtomicU64; 512] = unsafe { shared(private) };
    // SAFETY: as above.
    let common: &[AtomicU64; 512] = unsafe { shared(va) };
    private[0].store(11, Ordering::Relaxed);
    COUNT.store(5, Ordering::Relaxed);
    let mut on_stack = [7_u64; 16];
    let started = child(process, cfork, 1, &[], |own| {
        // What the parent had; the parent writes meanwhile, or has written.
        let had = private[0].load(Ordering::Relaxed) == 11
            && COUNT.load(Ordering::Relaxed) == 5
            && on_stack.iter().all(|word| *word == 7);
        private[0].store(99, Ordering::Relaxed);
        COUNT.store(99, Ordering::Relaxed);
        on_stack = [99; 16];
        core::hint::black_box(&mut on_stack);
        common[1].store(1 + u64::from(had), Ordering::Release);
        while common[0].load(Ordering::Acquire) == 0 {
            pause();
        }
        let kept = private[0].load(Ordering::Relaxed) == 99 && COUNT.load(Ordering::Relaxed) == 99;
        let fresh = segment(own.program, PAGE_BYTES, "of the child's own");
        corey_libos_rt::println!("the child prints with its own buffer");
        if kept && fresh.is_ok() { 33 } else { 34 }
    });
    let Some(child) = suite.works("a child", started.map_err(|_| Error::Busy)) else { return };
    while common[1].load(Ordering::Acquire) == 0 {
        pause();
    }
    suite.equal("it has what the parent had", common[1].load(Ordering::Relaxed), 2);
    let mine = (private[0].load(Ordering::Relaxed), COUNT.load(Ordering::Relaxed), on_stack[3]);
    suite.equal("what it writes stays with it", mine, (11, 5, 7));
    private[0].store(12, Ordering::Relaxed);
    COUNT.store(6, Ordering::Relaxed);
    common[0].store(1, Ordering::Release);
    suite.equal("and what the parent writes with the parent", child.join(), Ended::Halted(33));
    suite.equal("the parent goes on", sys().segment_get_nbytes(object), Ok(2 * PAGE_BYTES));
}

fn trees(suite: &mut Suite, process: &mut Process, cfork: &Cfork) {
    let name = corey_abi::Name::new("common");
    let made = sys().share_alloc(
        process.program,
        corey_abi::Kinds::all(),
        64,
        8,
        corey_abi::Home::Any,
        corey_libos_rt::sys::address(&name),
    );
    let Some(share) = suite.works("a share", made) else { return };
    let Some(tree) = suite.works("an interior tree in it", interior(share, "tree")) else { return };
    let Some(pages) = suite.works("two pages", segment(share, 2 * PAGE_BYTES, "pages")) else { return };
    suite.works("mapped in it", map_in(tree, 0, pages, 0, 2, MapFlags::WRITE));
    let va = process.space.reserve(1 << 30);
    let Some(slot) = suite.works("linked", process.space.link(tree, va)) else { return };
    // SAFETY: mapped; used as atomics only.
    let words: &[AtomicU64; 512] = unsafe { shared(va) };
    let before = free_pages(process);
    let alone = child(process, cfork, 1, &[], |_| 0);
    suite.equal("a private interior tree", alone.err(), Some(CforkError::PrivateInterior(va, tree)));
    let (object, held) = (tree.object.0, share.0);
    suite.says(
        "it says which, where, and what to do",
        &CforkError::PrivateInterior(va, tree),
        format_args!(
            "the interior tree {object:#x} at {va:#x} is in share {held:#x}, which the child does not get: pass that \
             share, or map the tree with MapFlags::SHARED"
        ),
    );
    suite.equal("nothing stays of it", free_pages(process), before);
    let write = |value| move |_: &mut Process| words[0].swap(value, Ordering::AcqRel) as u32;
    words[0].store(40, Ordering::Release);
    let ended = child(process, cfork, 1, &[share], write(41)).map(Child::join);
    suite.equal(
        "with its share it is shared",
        (ended, words[0].load(Ordering::Acquire)),
        (Ok(Ended::Halted(40)), 41),
    );
    suite.works("unlinked", process.space.unmap(slot));
    let mapping = Mapping {
        kind: mapping_kind::INTERIOR,
        flags: MapFlags::SHARED.bits(),
        object: tree,
        va,
        ..Mapping::default()
    };
    let Some(slot) = suite.works("linked as shared", process.space.put(mapping)) else { return };
    let ended = child(process, cfork, 1, &[], write(42)).map(Child::join);
    suite.equal(
        "marked, it is shared too",
        (ended, words[0].load(Ordering::Acquire)),
        (Ok(Ended::Halted(41)), 42),
    );
    suite.works("unlinked", process.space.unmap(slot));
    suite.works("gone", sys().share_delobj(ObjRef { share: process.program, object: share }));
    suite.works("dropped", sys().self_drop(share));
}

fn ends(suite: &mut Suite, process: &mut Process, cfork: &Cfork) {
    let ended = child(process, cfork, 1, &[], |_| 7).map(Child::join);
    suite.equal("a value", ended, Ok(Ended::Halted(7)));
    let ended = child(process, cfork, 1, &[], |_| {
        // SAFETY: the fault is what is tested.
        unsafe { (0x30 as *const u8).read_volatile() }.into()
    });
    suite.equal("a fault", ended.map(Child::join), Ok(Ended::Fault(14, 0x30)));
    // A child has no key to the machine, and the share it was made in is not its own.
    let ended = child(process, cfork, 1, &[], |own| {
        let control = sys().machine_control(own.boot, 2, 3);
        u32::from(control == Err(Error::NotFound))
    });
    suite.equal("it does not hold the boot share", ended.map(Child::join), Ok(Ended::Halted(1)));
}

fn generations(suite: &mut Suite, process: &mut Process, cfork: &Cfork) {
    if process.info.header.cores < 3 {
        return suite.check("a child of a child", true, "needs three cores");
    }
    let rich = cfork.with_spare(4096, 128);
    let mut two = || {
        let outer = child(process, &rich, 1, &[], |own| {
            COUNT.fetch_add(10, Ordering::Relaxed);
            let Ok(mine) = Cfork::new(own) else { return 1 };
            let inner = child(own, &mine, 2, &[], |_| COUNT.load(Ordering::Relaxed) as u32);
            match inner.map(Child::join) {
                Ok(Ended::Halted(value)) => value,
                _ => 2,
            }
        });
        (outer.map(Child::join), free_pages(process))
    };
    let (_, before) = two();
    let (ended, after) = two();
    let wanted = COUNT.load(Ordering::Relaxed) as u32 + 10;
    suite.equal("a child of a child", ended, Ok(Ended::Halted(wanted)));
    // Nodes of shares' tables may have been added.
    let lost = before.saturating_sub(after);
    suite.check("both leave nothing behind", lost <= 4, format_args!("{lost}"));
}

/// A child of a program without heaps makes its own; a private heap it has a copy of; those in interior trees it
/// cannot have.
fn heaps(suite: &mut Suite, process: &mut Process, cfork: &Cfork) {
    let rich = cfork.with_spare(4096, 64);
    let sum = |_: &mut Process| {
        let numbers: alloc::vec::Vec<u32> = (0..10_000).collect();
        numbers.iter().sum::<u32>() / 1000
    };
    let ended = child(process, &rich, 1, &[], sum).map(Child::join);
    suite.equal("a child makes a heap of its own", ended, Ok(Ended::Halted(49_995)));
    let Some(mut heap) = suite.works("a private heap", private(process)) else { return };
    let layout = core::alloc::Layout::new::<[u64; 512]>();
    let Some(block) = suite.works("a block of it", heap.take(layout).ok_or(Error::NoMemory)) else { return };
    // SAFETY: the block is this program's, and each copy of it the copy's.
    let words: &[AtomicU64; 512] = unsafe { block.cast().as_ref() };
    words[7].store(70, Ordering::Relaxed);
    let ended = child(process, &rich, 1, &[], |own| {
        heap.source().follow(own);
        let had = words[7].swap(71, Ordering::Relaxed);
        // More than there was: the child's own share pays.
        let more = (0..3).filter_map(|_| heap.take(core::alloc::Layout::new::<[u64; 8192]>())).count();
        // SAFETY: taken with this layout, by the original; this is the copy.
        unsafe { heap.give(block, layout) };
        heap.trim();
        had as u32 + more as u32
    });
    suite.equal(
        "a child has a copy of a private heap, and goes on with it",
        ended.map(Child::join),
        Ok(Ended::Halted(73)),
    );
    suite.equal("the parent's is as it was", words[7].load(Ordering::Relaxed), 70);
    // SAFETY: taken with this layout; `words` is not used any more.
    unsafe { heap.give(block, layout) };
    heap.trim();
    let own = alloc::boxed::Box::new(5);
    let error = child(process, &rich, 1, &[], sum).err();
    let clear = matches!(error, Some(CforkError::PrivateInterior(..)));
    suite.check("a parent with a heap cannot give it away", clear && *own == 5, format_args!("{error:?}"));
    // It gets the trees when it is given the share, and has no heap then: what is there is the parent's.
    let share = process.program;
    let ended = child(process, &rich, 1, &[share], |_| {
        // SAFETY: the layout is not empty.
        let block = core::hint::black_box(unsafe { alloc::alloc::alloc(core::alloc::Layout::new::<u64>()) });
        **core::hint::black_box(&own) + u32::from(block.is_null())
    });
    suite.equal(
        "with its share the child reads it, and allocates nothing",
        ended.map(Child::join),
        Ok(Ended::Halted(6)),
    );
}

fn many(suite: &mut Suite, process: &mut Process, cfork: &Cfork) {
    let cores = process.info.header.cores as u16;
    let mut before = 0;
    for round in 0..10 {
        if round == 2 {
            before = free_pages(process);
        }
        let mut children = heapless::Vec::<Child, 64>::new();
        for core in 1..cores.min(64) {
            match child(process, cfork, core, &[], |_| u32::from(core)) {
                // As many as there is room for.
                Ok(child) => drop(children.push(child)),
                Err(error) => suite.check("a child on every core", false, error),
            }
        }
        let wrong = children.iter().filter(|c| c.join() != Ended::Halted(u32::from(c.core))).count();
        suite.equal("a child on every core, each with its value", wrong, 0);
    }
    suite.equal("they leave nothing behind", before.saturating_sub(free_pages(process)), 0);
}
