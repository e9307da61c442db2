//! Memory, pages and objects run out under what the library operating system does in several calls: the answer is an
//! error, nothing is lost, and with more it works.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; a heap is made by hand")]

extern crate alloc;

use core::alloc::Layout;
use core::cell::Cell;
use core::fmt::Debug;
use corey_abi::{Error, Home, Id, Kinds, Name, ObjRef, ShareCalls};
use corey_libos_cfork::{Cfork, CforkError, Forked};
use corey_libos_cores::{Failure, Here, How};
use corey_libos_rt::heaps::Team;
use corey_libos_rt::sys::{address, segment, sys};
use corey_libos_rt::vm::{Core, Ended, stack};
use corey_libos_rt::{Process, Status, entry, halt};
use corey_libos_test::{Ballast, Suite, counts};

entry!(main);

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "exhaustion");
    heaps(&mut suite, &mut process);
    forks(&mut suite, &mut process);
    let made = Ballast::new(&mut process);
    let Some(ballast) = suite.works("all memory is used", made) else { return suite.finish() };
    spaces(&mut suite, &process, &ballast);
    fork_without_memory(&mut suite, &mut process, &ballast);
    let mut here = Here::first(process);
    spawns(&mut suite, &mut here, &ballast);
    ballast.end();
    suite.finish()
}

/// A share of `pages` and `objects`.
fn share(parent: Id, pages: u64, objects: u64) -> Result<Id, Error> {
    let name = Name::new("little");
    sys().share_alloc(parent, Kinds::all(), pages, objects, Home::Any, address(&name))
}

fn drop_share(parent: Id, share: Id) {
    // An error would mean that it is gone.
    let _ = sys().share_delobj(ObjRef { share: parent, object: share });
    let _ = sys().self_drop(share);
}

/// Leaves 0, 1, 2 … frames until `attempt` works. Each failure is `wanted`, and leaves frames and objects as they were.
fn frames<T: Debug, E: Debug>(
    suite: &mut Suite,
    ballast: &Ballast,
    name: &str,
    most: u64,
    attempt: &mut dyn FnMut() -> Result<T, E>,
    wanted: &dyn Fn(&E) -> bool,
) {
    let (mut failed, mut works, mut wrong) = (0, None, None);
    for left in 0..most {
        let (before, slots) = ballast.counts();
        ballast.release(left);
        let got = attempt();
        let (after, more) = ballast.counts();
        let back = ballast.refill();
        match got {
            Ok(value) => {
                works = Some((left, value));
                break;
            }
            Err(error) => {
                failed += 1;
                let same = after.same(&before, left, back, more - slots);
                if wrong.is_none() && !(same && wanted(&error)) {
                    wrong = Some((left, back, error, before, after));
                }
            }
        }
    }
    let good = wrong.is_none() && failed > 0 && works.is_some();
    suite.check(name, good, format_args!("{failed} failed, works with {works:?}, wrong {wrong:?}"));
}

/// A core with an address space and a stack, taken step by step.
fn spaces(suite: &mut Suite, process: &Process, ballast: &Ballast) {
    if process.info.header.cores < 2 {
        return suite.check("a core is taken without memory", true, "one core: there is none");
    }
    let boot = process.boot;
    let mut take = || {
        let mut core = Core::take(boot, 1, 200, 1 << 40)?;
        let made = stack(&mut core.space, core.share, 4).and_then(|_| {
            let object = segment(core.share, 4096, "one")?;
            core.space.map(object, 1, corey_abi::MapFlags::WRITE).map(|_| ())
        });
        core.release();
        made
    };
    frames(suite, ballast, "a core is taken without memory", 60, &mut take, &|e| *e == Error::NoMemory);
}

/// Threads: every step of a spawn, and of the scope around it.
fn spawns(suite: &mut Suite, here: &mut Here, ballast: &Ballast) {
    if here.process().info.header.cores < 2 {
        return suite.check("a thread is spawned without memory", true, "one core: there is none");
    }
    // What this thread's own stack needs is there.
    ballast.release(300);
    let warm = here.scope(|scope| scope.spawn(1, |_| 1)?.join());
    suite.equal("with memory it works", warm, Ok(1));
    ballast.refill();
    let mut spawn = || {
        here.scope(|scope| {
            let thread = scope.spawn(1, |_| 5)?;
            // It has memory of its own to touch: it may fault.
            Ok(thread.join())
        })
    };
    let wanted = |failure: &Failure| failure.how == How::NotStarted(Error::NoMemory);
    frames(suite, ballast, "a thread is spawned without memory", 200, &mut spawn, &wanted);
}

/// Forks the program onto core 1; the child ends at once.
fn fork(process: &mut Process, cfork: &Cfork) -> Result<Ended, CforkError> {
    match cfork.cfork(process, 1, &[])? {
        Forked::Parent(child) => Ok(child.join()),
        Forked::Child(_) => halt(9),
    }
}

/// The parent's share cannot pay: page by page and object by object near the price, in steps below.
fn forks(suite: &mut Suite, process: &mut Process) {
    let name = "a fork that its share cannot pay for";
    if process.info.header.cores < 2 {
        return suite.check(name, true, "one core: there is none");
    }
    let Some(cfork) = suite.works("a page for ends", Cfork::new(process)) else { return };
    let (boot, program) = (process.boot, process.program);
    suite.equal("a child", fork(process, &cfork), Ok(Ended::Halted(9)));
    let mut price = [0; 2];
    for (what, most) in [(0, 4000), (1, 200)] {
        let (mut low, mut high) = (0, most);
        let (failed, wrong) = (Cell::new(0), Cell::new(None));
        let mut attempt = |pages, objects| {
            let Ok(little) = share(boot, pages, objects) else { return None };
            process.program = little;
            let before = counts(boot).0;
            let got = fork(process, &cfork);
            let after = counts(boot).0;
            process.program = program;
            drop_share(boot, little);
            if let Err(error) = got {
                failed.set(failed.get() + 1);
                let clear = matches!(error, CforkError::Call("the child's share", Error::QuotaExceeded));
                if !clear || after != before {
                    wrong.set(Some((pages, objects, error, before, after)));
                }
            }
            Some(got.is_ok())
        };
        // The price, then all below it that a fork could take for enough.
        while high - low > 1 {
            let middle = (low + high) / 2;
            let (pages, objects) = if what == 0 { (middle, 200) } else { (4000, middle) };
            if attempt(pages, objects) == Some(true) { high = middle } else { low = middle }
        }
        price[what] = high;
        for left in (0..high).rev().step_by(if what == 0 { 41 } else { 1 }) {
            let (pages, objects) = if what == 0 { (left, 200) } else { (4000, left) };
            if attempt(pages, objects) != Some(false) {
                suite.check(name, false, format_args!("{pages} pages and {objects} objects are enough"));
            }
        }
        let (failed, wrong) = (failed.get(), wrong.get());
        let detail = format_args!("ran {failed} of {high}, price {price:?}, wrong {wrong:?}");
        suite.check(name, wrong.is_none() && failed > 0 && high < most, detail);
    }
}

/// No memory for the first steps of a fork. Later ones mark pages of this very stack copy-on-write, and who then writes
/// it without memory faults, fork or no fork.
fn fork_without_memory(suite: &mut Suite, process: &mut Process, ballast: &Ballast) {
    let name = "a fork without memory";
    if process.info.header.cores < 2 {
        return suite.check(name, true, "one core: there is none");
    }
    ballast.release(300);
    let Some(cfork) = suite.works("a page for ends", Cfork::new(process)) else { return };
    let warm = fork(process, &cfork);
    suite.equal("with memory it works", warm, Ok(Ended::Halted(9)));
    ballast.refill();
    let (mut failed, mut wrong) = (0, None);
    for left in 0..3 {
        let (before, slots) = ballast.counts();
        ballast.release(left);
        let got = fork(process, &cfork);
        let (after, more) = ballast.counts();
        let back = ballast.refill();
        let clear = matches!(got, Err(CforkError::Call(_, Error::NoMemory)));
        let same = after.same(&before, left, back, more - slots);
        failed += 1;
        if !clear || !same {
            wrong = Some((left, back, got, before, after));
        }
    }
    suite.check(name, wrong.is_none(), format_args!("{failed} failed, wrong {wrong:?}"));
    ballast.release(300);
    suite.equal("and with memory it works again", fork(process, &cfork), Ok(Ended::Halted(9)));
    ballast.refill();
}

/// A heap grows until its share cannot pay: at every number of chunks, and one page below.
fn heaps(suite: &mut Suite, process: &mut Process) {
    const CHUNK_PAGES: u64 = 256;
    let boot = process.boot;
    let team = Team::new(Team::BASE + (8 << 39), 1);
    let mut price = None;
    let (mut ran, mut wrong) = (0, None);
    for pages in (0..40).chain((1..6).flat_map(|n| [n * (CHUNK_PAGES + 1), n * (CHUNK_PAGES + 1) + 39])) {
        let (before, _) = counts(boot);
        let Ok(little) = share(boot, pages, 40) else { return suite.check("a share", false, pages) };
        let tree = team.tree(little);
        let linked = tree.and_then(|tree| process.space.link(tree, team.address(0)));
        let made = tree.and_then(|tree| {
            linked?;
            team.open(tree, little)?;
            // SAFETY: the tree was just made and linked where the team has its first heap, and opened; there is no
            // other.
            unsafe { team.heap::<false>(tree, little, 0) }
        });
        match made {
            // Even the heap itself costs more.
            Err(error) if error != Error::QuotaExceeded => wrong = Some((pages, 0, Some(error))),
            Err(_) => {}
            Ok(mut heap) => {
                price.get_or_insert(pages);
                // SAFETY: this thread alone knows it.
                let got = grow(unsafe { heap.as_mut() });
                // A chunk, its slots, and the tables and slots that map it. A large block may need less.
                let room = pages.saturating_sub(price.unwrap_or(0)) >= CHUNK_PAGES + 8;
                if room && got == 0 {
                    wrong = Some((pages, got, None));
                }
            }
        }
        if linked.is_ok_and(|slot| process.space.unmap(slot).is_err()) {
            wrong = Some((pages, 0, None));
        }
        drop_share(boot, little);
        let (after, _) = counts(boot);
        ran += 1;
        // Tables of this program's root stay.
        let kept = after.used.saturating_sub(before.used);
        if !after.sound || after.objects != before.objects || kept > 3 {
            wrong = Some((pages, kept as usize, None));
        }
    }
    let detail = format_args!("ran {ran}, a heap from {price:?} pages on, wrong {wrong:?}");
    suite.check(
        "a heap whose share cannot pay gives nothing, and takes nothing",
        wrong.is_none() && price.is_some(),
        detail,
    );
}

/// Takes blocks of several sizes until there is none; all are good, and freeing needs nothing. Says how many bytes.
fn grow(heap: &mut corey_libos_rt::heaps::ProgramHeap) -> usize {
    let layouts = [40, 3000, 60_000, 300_000].map(|size| Layout::from_size_align(size, 16).ok());
    let mut blocks = heapless::Vec::<_, 512>::new();
    let mut bytes = 0;
    'full: loop {
        let mut any = false;
        for layout in layouts.into_iter().flatten() {
            let Some(block) = heap.take(layout) else { continue };
            any = true;
            bytes += layout.size();
            // SAFETY: it has as many bytes.
            unsafe { block.write_bytes(7, layout.size()) };
            if blocks.push((block, layout)).is_err() {
                break 'full;
            }
        }
        if !any {
            break;
        }
    }
    for (block, layout) in blocks {
        // SAFETY: taken with this layout above.
        unsafe { heap.give(block, layout) };
    }
    // An inbox is looked at in between.
    (0..3).for_each(|_| heap.trim());
    bytes
}
