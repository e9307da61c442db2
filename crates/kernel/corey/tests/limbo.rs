//! Memory comes back while a core stays in user mode for ever: it is outside its epoch, and holds nothing back.

mod common;

use common::*;
use corey_abi::{Error, Id, ObjRef, SegmentCalls, ShareCalls};
use corey_test_hal_host::User;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Touches `pages` pages of a new segment in `share` through slot 100 of one's own root, and ends it.
fn use_pages(user: &mut User<'_>, tree: ObjRef, share: Id, pages: u64) {
    use_seen_pages(user, tree, share, pages, &AtomicU64::new(0));
}

/// As [`use_pages`]; `now` says the segment's ID.
fn use_seen_pages(user: &mut User<'_>, tree: ObjRef, share: Id, pages: u64, now: &AtomicU64) {
    let object = again(|| segment(user, share, pages)).expect("the quota suffices");
    now.store(object.object.0, Ordering::Relaxed);
    again(|| map(user, tree, 100, object, VA, pages)).expect("the slot is empty");
    for page in 0..pages {
        user.write(VA + page * 4096, page + 1).expect("there is memory for the quota");
    }
    user.sys().share_delobj(object).expect("it was named");
    clear(user, tree, 100).expect("it was set");
}

/// Repeats a call that found no memory: what there is may have waited for that very call to end.
fn again<R>(mut call: impl FnMut() -> Result<R, Error>) -> Result<R, Error> {
    for _ in 0..1000 {
        match call() {
            Err(Error::NoMemory) => std::thread::yield_now(),
            other => return other,
        }
    }
    Err(Error::NoMemory)
}

#[test]
fn what_a_core_deletes_before_it_spins_for_ever_is_free_for_others() {
    let booted = boot(2);
    let (made, common) = booted.on(0, |user| {
        let first = start(user);
        let common = share(user, first.boot, 3200, 50).unwrap();
        let made = thread(user, first.boot, 1).unwrap();
        run(user, made, &[common]).unwrap();
        (made, common)
    });
    booted.on(1, move |user| {
        // A private share of most of the memory, used up, and ended with all it names.
        let own = share(user, common, 2500, 10).unwrap();
        let object = segment(user, own, 2400).unwrap();
        map(user, made.tree, 1, object, VA, 2400).unwrap();
        (0..2400).for_each(|page| user.write(VA + page * 4096, 1).unwrap());
        end(user, common, own);
    });
    // From here on core 1 makes no call and is not interrupted.
    let before = booted.machine().counts(0).ipis;
    booted.on(0, move |user| {
        let tree = start(user).tree;
        (0..3).for_each(|_| use_pages(user, tree, common, 2400));
    });
    assert_eq!(booted.machine().counts(0).ipis, before, "the spinning core was interrupted");
    audit(&booted);
}

#[test]
fn many_times_all_memory_passes_through_a_share_that_a_spinning_core_holds() {
    const CORES: u16 = 16;
    let booted = boot(usize::from(CORES));
    let (common, threads) = booted.on(0, |user| {
        let first = start(user);
        let common = share(user, first.boot, 1200, 200).unwrap();
        let threads: Vec<_> = (1..CORES)
            .map(|core| {
                let made = small_thread(user, first.boot, core.into());
                run(user, made, &[common]).unwrap();
                made
            })
            .collect();
        (common, threads)
    });
    // Core 1 spins: it could have looked up whatever the share named.
    let workers: Vec<_> = (2..CORES)
        .map(|core| {
            let tree = threads[usize::from(core) - 1].tree;
            // 14 cores × 70 rounds × 64 pages are eight times the machine's memory.
            booted.start(core, move |user| (0..70).for_each(|_| use_pages(user, tree, common, 64)))
        })
        .collect();
    workers.iter().for_each(|worker| booted.wait(worker));
    audit(&booted);
}

/// Who fills a limbo faster than it empties waits at its kernel exit, outside its epoch, while others ask things of it.
#[test]
fn who_waits_for_a_limbo_answers_inside_the_kernel() {
    const CORES: u16 = 4;
    let booted = boot(usize::from(CORES));
    let (common, threads, tree, page) = booted.on(0, |user| {
        let first = start(user);
        let common = share(user, first.boot, 1200, 200).unwrap();
        let tree = interior(user, first.boot).unwrap();
        let page = segment(user, first.boot, 1).unwrap();
        let threads: Vec<_> = (1..CORES)
            .map(|core| {
                let made = small_thread(user, first.boot, core.into());
                link(user, made.tree, 20, tree, VA + 8 * GIB).unwrap();
                run(user, made, &[common]).unwrap();
                made
            })
            .collect();
        (common, threads, tree, page)
    });
    let seen: Arc<Vec<AtomicU64>> = Arc::new((1..CORES).map(|_| AtomicU64::new(0)).collect());
    let over = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (1..CORES)
        .map(|core| {
            let place = usize::from(core) - 1;
            let (root, over, seen) = (threads[place].tree, Arc::clone(&over), Arc::clone(&seen));
            booted.start(core, move |user| {
                (0..100).for_each(|_| use_seen_pages(user, root, common, 380, &seen[place]));
                over.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    booted.on(0, move |user| {
        while over.load(Ordering::Relaxed) < u64::from(CORES) - 1 {
            for id in seen.iter() {
                // It has used what it looks at, so this core is waited for.
                let object = ObjRef { share: common, object: Id(id.load(Ordering::Relaxed)) };
                let _ = user.sys().segment_get_nbytes(object);
            }
            // Each of them is asked to forget a page.
            map(user, tree, 0, page, 0, 1).unwrap();
            clear(user, tree, 0).unwrap();
        }
    });
    workers.iter().for_each(|worker| booted.wait(worker));
    audit(&booted);
}
