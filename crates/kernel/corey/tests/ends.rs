//! Segments that end while their mappings are changed, and slots whose segment ended.

mod common;

use common::*;
use corey_abi::{Error, PcoreCalls, ShareCalls};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A segment is mapped by two slots of an interior tree, and ends while another core gives the first of them to
/// another segment:
///
/// ```text
/// core 0   ends it ── walks its list: slot 0, slot 1, takes their pages
/// core 1         slot 0 := another segment, on that one's list
/// ```
///
/// Whichever comes first, no page is left in slot 1.
#[test]
fn a_slot_that_is_changed_while_its_segment_ends_hides_no_other() {
    const ROUNDS: u64 = 3_000;
    let booted = boot(2);
    let (tree, other, made) = booted.on(0, |user| {
        let first = start(user);
        let tree = interior(user, first.boot).unwrap();
        link(user, first.tree, 20, tree, VA + GIB).unwrap();
        let handlers = segment(user, first.boot, 3).unwrap();
        map(user, first.tree, 21, handlers, VA, 3).unwrap();
        let table = segment(user, first.boot, 1).unwrap();
        map(user, first.tree, 22, table, VA + 3 * GIB, 1).unwrap();
        set_handler(user, first.tree, (VA + 3 * GIB, 32));
        let other = segment(user, first.boot, 1).unwrap();
        let made = thread(user, first.boot, 1).unwrap();
        run(user, made, &[first.boot]).unwrap();
        (tree, other, made)
    });
    let go = Arc::new(AtomicU64::new(0));
    let waits = Arc::clone(&go);
    let changer = booted.start(1, move |user| {
        for round in 1..=ROUNDS {
            while waits.load(Ordering::Acquire) < round {
                user.interrupts();
                std::hint::spin_loop();
            }
            for _ in 0..round % 61 * 8 {
                std::hint::spin_loop();
            }
            while map(user, tree, 0, other, 0, 1) == Err(Error::Busy) {}
        }
    });
    booted.on(0, move |user| {
        let boot = start(user).boot;
        let back = (user.context().entry, user.context().stack);
        for round in 1..=ROUNDS {
            let ends = segment(user, boot, 1).unwrap();
            map(user, tree, 1, ends, 4096, 1).unwrap();
            // The last is the first on the list.
            while map(user, tree, 0, ends, 0, 1) == Err(Error::Busy) {}
            user.write(VA + GIB + 4096, round).unwrap();
            go.store(round, Ordering::Release);
            for _ in 0..round % 67 * 8 {
                std::hint::spin_loop();
            }
            user.sys().share_delobj(ends).unwrap();
            assert!(
                user.read(VA + GIB + 4096).is_err(),
                "round {round}: a page of a segment that is no more"
            );
            assert_eq!(user.follow_upcall(back).0, HANDLER);
            user.write(VA + 4096, 0).unwrap();
        }
    });
    booted.wait(&changer);
    booted.on(0, move |user| user.sys().pcore_halt(made.pcore, 0).unwrap());
    audit(&booted);
}

/// A slot counts as empty when its object is no more: its addresses are free for other slots, in an interior tree, in
/// one's own root, and in one that another core runs.
#[test]
fn the_addresses_of_a_dead_object_are_free() {
    let booted = boot(2);
    booted.on(0, |user| {
        let first = start(user);
        let made = thread(user, first.boot, 1).unwrap();
        let inner = interior(user, first.boot).unwrap();
        link(user, first.tree, 99, inner, VA + 8 * GIB).unwrap();
        run(user, made, &[]).unwrap();
        for (tree, va) in [(first.tree, VA), (inner, 0), (made.tree, VA)] {
            let [ends, stays] = [(); 2].map(|()| segment(user, first.boot, 4).unwrap());
            map(user, tree, 110, ends, va, 2).unwrap();
            map(user, tree, 111, ends, va + 2 * 4096, 2).unwrap();
            assert_eq!(map(user, tree, 112, stays, va, 4), Err(Error::Busy), "they are taken");
            user.sys().share_delobj(ends).unwrap();
            map(user, tree, 112, stays, va, 4).unwrap();
            assert_eq!(map(user, tree, 113, stays, va, 1), Err(Error::Busy), "and these, too");
            clear(user, tree, 110).unwrap();
            clear(user, tree, 112).unwrap();
            if tree != inner {
                let gone = interior(user, first.boot).unwrap();
                link(user, tree, 110, gone, va).unwrap();
                user.sys().share_delobj(gone).unwrap();
                map(user, tree, 112, stays, va + 5 * 4096, 4).unwrap();
            }
        }
        user.sys().pcore_halt(made.pcore, 0).unwrap();
    });
    audit(&booted);
}
