//! Copies of segments, and 2 MiB pages, on whole kernels with stale TLBs.

mod common;

use common::*;
use corey_abi::{
    AddressTreeCalls, Error, Home, Id, MachineCalls, MapFlags, Mapping, ObjRef, SegmentCalls, ShareCalls,
    copy_mode, counter, grain, mapping_kind, segment_flag, tree_kind,
};
use corey_test_hal_host::User;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const VA: u64 = 0x6000_0000_0000;
const GIB: u64 = 1 << 30;

fn copy(user: &mut User<'_>, from: ObjRef, share: Id, mode: u64) -> Result<ObjRef, Error> {
    let at = name(user, "copy");
    let object = user.sys().segment_copy(from, share, mode, Home::Any, at)?;
    Ok(ObjRef { share, object })
}

/// A segment of `pages` pages, mapped at [`VA`], of which the first `there` are there and say 100 and their number.
fn filled(user: &mut User<'_>, first: &Start, pages: u64, there: u64) -> ObjRef {
    let source = segment(user, first.boot, pages).unwrap();
    map(user, first.tree, 100, source, VA, pages).unwrap();
    for page in 0..there {
        user.write(VA + page * 4096, 100 + page).unwrap();
    }
    source
}

fn faults(user: &mut User<'_>) -> u64 {
    user.sys().counter_read(counter::FAULTS).unwrap()
}

fn large(user: &mut User<'_>, share: Id, bytes: u64) -> Result<ObjRef, Error> {
    let at = name(user, "large");
    let object = user.sys().segment_alloc(share, bytes, Home::Any, segment_flag::LARGE, at)?;
    Ok(ObjRef { share, object })
}

#[test]
fn a_copy_and_its_source_never_see_each_others_writes() {
    for mode in [copy_mode::NOW, copy_mode::ON_WRITE, copy_mode::ON_REFERENCE] {
        let booted = boot(1);
        booted.on(0, move |user| {
            let first = start(user);
            let source = filled(user, &first, 8, 6);
            let copied = copy(user, source, first.boot, mode).unwrap();
            map(user, first.tree, 101, copied, VA + GIB, 8).unwrap();
            // The source is written after the copy was made, the copy before and after it was read.
            user.write(VA, 1).unwrap();
            assert_eq!(user.read(VA + GIB), Ok(100), "mode {mode}: a write went through to the copy");
            user.write(VA + GIB + 4096, 2).unwrap();
            assert_eq!(user.read(VA + 4096), Ok(101), "mode {mode}: a write went through to the source");
            assert_eq!(user.read(VA + GIB + 2 * 4096), Ok(102));
            user.write(VA + GIB + 2 * 4096, 3).unwrap();
            assert_eq!(user.read(VA + 2 * 4096), Ok(102));
            // Pages nobody had touched are zero on both sides, and apart.
            user.write(VA + 7 * 4096, 9).unwrap();
            assert_eq!(user.read(VA + GIB + 7 * 4096), Ok(0));
            assert_eq!(user.read(VA + GIB + 5 * 4096), Ok(105));
        });
        audit(&booted);
    }
}

/// A page that is copied now is each side's own at once: neither is write-protected, neither faults on it; and the others
/// are as ever.
#[test]
fn a_page_may_be_copied_now_and_the_others_later() {
    for mode in [copy_mode::ON_WRITE, copy_mode::ON_REFERENCE] {
        for page in 0..12 {
            let booted = boot(1);
            booted.on(0, move |user| {
                let first = start(user);
                let source = filled(user, &first, 12, 12);
                // An earlier copy: the slots hold shared pages, one its own.
                copy(user, source, first.boot, copy_mode::ON_WRITE).unwrap();
                user.write(VA + page * 4096, 200).unwrap();
                let before = faults(user);
                let copied =
                    copy(user, source, first.boot, mode | copy_mode::PAGE_NOW | (page * 4096)).unwrap();
                map(user, first.tree, 101, copied, VA + GIB, 12).unwrap();
                user.write(VA + page * 4096, 1).unwrap();
                assert_eq!(faults(user), before, "the source's page {page} was taken");
                user.write(VA + GIB + page * 4096 + 8, 2).unwrap();
                assert_eq!(faults(user), before, "the copy's page {page} was mapped with it, for writing");
                assert_eq!(user.read(VA + page * 4096), Ok(1));
                assert_eq!(user.read(VA + GIB + page * 4096), Ok(200));
                assert_eq!(user.read(VA + GIB + page * 4096 + 8), Ok(2));
                for other in (0..12).filter(|other| *other != page) {
                    user.write(VA + GIB + other * 4096, 3).unwrap();
                    assert_eq!(user.read(VA + other * 4096), Ok(100 + other), "page {other} beside {page}");
                }
            });
            audit(&booted);
        }
    }
}

#[test]
fn chains_of_copies_end_in_every_order() {
    // Source, its copy, and the copy's copy: a page stays until the last of them goes.
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for mode in [copy_mode::ON_WRITE, copy_mode::ON_REFERENCE] {
            let booted = boot(1);
            booted.on(0, move |user| {
                let first = start(user);
                let a = segment(user, first.boot, 3).unwrap();
                map(user, first.tree, 100, a, VA, 3).unwrap();
                (0..3).for_each(|page| user.write(VA + page * 4096, 7 + page).unwrap());
                let b = copy(user, a, first.boot, mode).unwrap();
                let c = copy(user, b, first.boot, mode).unwrap();
                map(user, first.tree, 101, b, VA + GIB, 3).unwrap();
                map(user, first.tree, 102, c, VA + 2 * GIB, 3).unwrap();
                user.write(VA + GIB, 1).unwrap();
                user.write(VA + 2 * GIB + 4096, 2).unwrap();
                let all = [a, b, c];
                for (done, which) in order.into_iter().enumerate() {
                    user.sys().share_delobj(all[which]).unwrap();
                    for &left in &order[done + 1..] {
                        let base = VA + left as u64 * GIB;
                        assert_eq!(user.read(base + 8192), Ok(9));
                        assert_eq!(user.read(base), Ok(if left == 1 { 1 } else { 7 }));
                        assert_eq!(user.read(base + 4096), Ok(if left == 2 { 2 } else { 8 }));
                    }
                }
            });
            audit(&booted);
        }
    }
}

#[test]
fn the_last_holder_of_a_page_keeps_it_without_a_copy() {
    let booted = boot(1);
    booted.on(0, |user| {
        let first = start(user);
        let a = segment(user, first.boot, 1).unwrap();
        map(user, first.tree, 100, a, VA, 1).unwrap();
        user.write(VA, 5).unwrap();
        let b = copy(user, a, first.boot, copy_mode::ON_WRITE).unwrap();
        user.sys().share_delobj(b).unwrap();
    });
    booted.on(0, |user| {
        // What died in an earlier entry is freed when the next object is made.
        segment(user, start(user).boot, 1).unwrap();
        let before = user.platform().translation(VA);
        user.write(VA, 6).unwrap();
        assert_eq!(user.platform().translation(VA), before, "a page of one's own was copied");
    });
    audit(&booted);
}

#[test]
fn cut_pages_of_a_copy_leave_the_source_whole() {
    let booted = boot(1);
    booted.on(0, |user| {
        let first = start(user);
        let a = segment(user, first.boot, 4).unwrap();
        map(user, first.tree, 100, a, VA, 4).unwrap();
        (0..4).for_each(|page| user.write(VA + page * 4096, 7).unwrap());
        let b = copy(user, a, first.boot, copy_mode::ON_WRITE).unwrap();
        user.sys().segment_set_nbytes(b, 4096).unwrap();
        user.sys().segment_set_nbytes(b, 4 * 4096).unwrap();
        map(user, first.tree, 101, b, VA + GIB, 4).unwrap();
        assert_eq!((user.read(VA + GIB), user.read(VA + GIB + 4096)), (Ok(7), Ok(0)));
        assert_eq!(user.read(VA + 3 * 4096), Ok(7));
    });
    audit(&booted);
}

/// Cores write source and copy at once, each page from two sides, while copies come and go: every page keeps
/// what its own side wrote.
#[test]
fn sides_that_break_a_page_at_once_part_for_good() {
    const CORES: u16 = 8;
    const PAGES: u64 = 16;
    let booted = boot(usize::from(CORES));
    let rounds = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let (source, tree) = booted.on(0, |user| {
        let first = start(user);
        let source = segment(user, first.boot, PAGES).unwrap();
        let tree = interior(user, first.boot).unwrap();
        map(user, tree, 0, source, 0, PAGES).unwrap();
        link(user, first.tree, 100, tree, VA).unwrap();
        (0..PAGES).for_each(|page| user.write(VA + page * 4096, 1).unwrap());
        for core in 1..CORES {
            let made = thread(user, first.boot, u64::from(core)).unwrap();
            // Half of them through the interior tree, half through their own roots.
            if core % 2 == 0 {
                link(user, made.tree, 1, tree, VA).unwrap();
            } else {
                map(user, made.tree, 1, source, VA, PAGES).unwrap();
            }
            run(user, made, &[]).unwrap();
        }
        (source, tree)
    });
    let writers: Vec<_> = (1..CORES)
        .map(|core| {
            let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
            booted.start(core, move |user| {
                let own = 8 * u64::from(core);
                let mut turns = 0_u64;
                while !stop.load(Ordering::Acquire) {
                    let value = 1000 + rounds.load(Ordering::Acquire);
                    for page in 0..PAGES {
                        let at = VA + page * 4096 + own;
                        user.write(at, value).unwrap();
                        assert_eq!(user.read(at), Ok(value), "core {core} lost its own write");
                    }
                    turns += 1;
                }
                turns
            })
        })
        .collect();
    booted.on(0, move |user| {
        let first = start(user);
        for round in 0..40 {
            rounds.store(round, Ordering::Release);
            let mode = 1 + round % 2;
            let copied = copy(user, source, first.boot, mode).unwrap();
            // The second copy finds pages that are shared, and that the writers are breaking.
            let again = copy(user, source, first.boot, copy_mode::ON_WRITE).unwrap();
            map(user, first.tree, 101, copied, VA + GIB, PAGES).unwrap();
            map(user, first.tree, 102, again, VA + 2 * GIB, PAGES).unwrap();
            for page in 0..PAGES {
                let at = VA + 2 * GIB + page * 4096;
                let read =
                    |user: &mut User<'_>| [0, 1, 2].map(|c: u64| user.read(at + 8 * (c % u64::from(CORES))));
                let before = read(user);
                assert_eq!(
                    (before[0], read(user)),
                    (Ok(1), before),
                    "a second copy changed under its reader"
                );
            }
            user.sys().share_delobj(again).unwrap();
            for page in 0..PAGES {
                let at = VA + GIB + page * 4096;
                assert_eq!(user.read(at), Ok(1), "what nobody writes changed");
                let before: Vec<_> = (1..CORES).map(|c| user.read(at + 8 * u64::from(c)).unwrap()).collect();
                user.write(at, 2).unwrap();
                let after: Vec<_> = (1..CORES).map(|c| user.read(at + 8 * u64::from(c)).unwrap()).collect();
                assert_eq!(before, after, "a copy changed under its reader");
                assert_eq!(user.read(VA + page * 4096), Ok(1), "a write to the copy reached the source");
            }
            user.sys().share_delobj(copied).unwrap();
        }
    });
    stop.store(true, Ordering::Release);
    assert!(writers.iter().map(|writer| booted.wait(writer)).sum::<u64>() > 0);
    audit(&booted);
    booted.on(0, move |user| {
        user.sys().share_delobj(tree).unwrap();
        user.sys().share_delobj(source).unwrap();
    });
    audit(&booted);
}

#[test]
fn large_pages_are_mapped_copied_cut_and_given_back() {
    const LARGE: u64 = 2 << 20;
    let booted = boot(2);
    booted.on(0, |user| {
        let first = start(user);
        let source = large(user, first.boot, LARGE + 1).unwrap();
        assert_eq!(user.sys().segment_get_nbytes(source), Ok(2 * LARGE));
        assert_eq!(map(user, first.tree, 100, source, VA + 4096, 512), Err(Error::Misaligned));
        assert_eq!(map(user, first.tree, 100, source, VA, 511), Err(Error::Misaligned));
        map(user, first.tree, 100, source, VA, 1024).unwrap();
        for at in [0, 4096, LARGE - 8, LARGE, 2 * LARGE - 8] {
            assert_eq!(user.read(VA + at), Ok(0));
            user.write(VA + at, at + 1).unwrap();
        }
        let copied = copy(user, source, first.boot, copy_mode::ON_WRITE).unwrap();
        map(user, first.tree, 101, copied, VA + GIB, 1024).unwrap();
        user.write(VA + LARGE, 3).unwrap();
        assert_eq!(user.read(VA + GIB + LARGE), Ok(LARGE + 1));
        assert_eq!(user.read(VA + GIB + 4096), Ok(4097));
        user.sys().segment_set_nbytes(source, LARGE).unwrap();
        user.sys().segment_set_nbytes(source, 2 * LARGE).unwrap();
        assert_eq!((user.read(VA), user.read(VA + LARGE)), (Ok(1), Ok(0)));
        // In an interior tree of 2 MiB there is no place for a 2 MiB page.
        let at = name(user, "small grain");
        let small = user.sys().at_alloc(first.boot, tree_kind::INTERIOR, grain::MIB2, Home::Any, at).unwrap();
        let small = ObjRef { share: first.boot, object: small };
        assert_eq!(map(user, small, 0, source, 0, 512), Err(Error::NotPermitted));
        user.sys().share_delobj(source).unwrap();
        assert_eq!(user.read(VA + GIB + 2 * LARGE - 8), Ok(2 * LARGE - 7));
    });
    audit(&booted);
    // Memory in 2 MiB pages can be used up, comes back, and can be cut into small pages.
    booted.on(0, |user| {
        let first = start(user);
        let all = large(user, first.boot, 64 << 20).unwrap_err();
        assert_eq!(all, Error::QuotaExceeded);
        for _ in 0..3 {
            let some = large(user, first.boot, 8 << 20).unwrap();
            map(user, first.tree, 102, some, VA + 4 * GIB, 2048).unwrap();
            (0..4).for_each(|page| user.write(VA + 4 * GIB + page * LARGE, 1).unwrap());
            user.sys().share_delobj(some).unwrap();
            clear(user, first.tree, 102).unwrap();
        }
        let small = segment(user, first.boot, 3000).unwrap();
        map(user, first.tree, 103, small, VA + 5 * GIB, 3000).unwrap();
        (0..3000).for_each(|page| user.write(VA + 5 * GIB + page * 4096, 1).unwrap());
        user.sys().share_delobj(small).unwrap();
    });
    audit(&booted);
}

const LARGE: u64 = 2 << 20;

#[test]
fn large_pages_are_copied_in_every_mode_on_both_sides() {
    for mode in [copy_mode::NOW, copy_mode::ON_WRITE, copy_mode::ON_REFERENCE] {
        let booted = boot(4);
        booted.on(0, move |user| {
            let first = start(user);
            let source = large(user, first.boot, 2 * LARGE).unwrap();
            map(user, first.tree, 100, source, VA, 1024).unwrap();
            user.write(VA + 8, 1).unwrap();
            user.write(VA + LARGE - 8, 2).unwrap();
            let copied = copy(user, source, first.boot, mode).unwrap();
            let again = copy(user, copied, first.boot, mode).unwrap();
            map(user, first.tree, 101, copied, VA + GIB, 1024).unwrap();
            map(user, first.tree, 102, again, VA + 2 * GIB, 1024).unwrap();
            // Each side is written, the middle one last, and goes first.
            user.write(VA + 8, 3).unwrap();
            user.write(VA + 2 * GIB + LARGE - 8, 4).unwrap();
            assert_eq!(
                (user.read(VA + GIB + 8), user.read(VA + GIB + LARGE - 8)),
                (Ok(1), Ok(2)),
                "mode {mode}"
            );
            user.write(VA + GIB + 8, 5).unwrap();
            // Nobody had touched the second page: zero on every side, and apart.
            user.write(VA + LARGE, 6).unwrap();
            assert_eq!(user.read(VA + GIB + LARGE), Ok(0));
            user.sys().share_delobj(copied).unwrap();
            assert_eq!((user.read(VA + 8), user.read(VA + LARGE - 8)), (Ok(3), Ok(2)), "mode {mode}");
            assert_eq!(
                (user.read(VA + 2 * GIB + 8), user.read(VA + 2 * GIB + LARGE - 8)),
                (Ok(1), Ok(4)),
                "mode {mode}"
            );
        });
        audit(&booted);
    }
}

#[test]
fn large_pages_lie_in_trees_of_every_grain_that_has_room_for_them() {
    let booted = boot(2);
    let object = booted.on(0, |user| {
        let first = start(user);
        let object = large(user, first.boot, 2 * LARGE).unwrap();
        let made = thread(user, first.boot, 1).unwrap();
        for (number, grain) in [grain::GIB1, grain::GIB512].into_iter().enumerate() {
            let at = name(user, "tree");
            let tree = user.sys().at_alloc(first.boot, tree_kind::INTERIOR, grain, Home::Any, at).unwrap();
            let tree = ObjRef { share: first.boot, object: tree };
            // The second page only, in the middle of the grain.
            let mapping = Mapping {
                kind: mapping_kind::SEGMENT,
                flags: MapFlags::WRITE.bits(),
                object,
                va: 6 * LARGE,
                start_page: 512,
                npages: 512,
                ..Mapping::default()
            };
            let at = put(user, &mapping);
            user.sys().at_set_slot(tree, 0, at).unwrap();
            let number = number as u64;
            link(user, first.tree, 100 + number, tree, VA + (number << 39)).unwrap();
            link(user, made.tree, 1 + number, tree, VA + (number << 39)).unwrap();
        }
        map(user, first.tree, 102, object, VA + (2 << 39), 1024).unwrap();
        run(user, made, &[]).unwrap();
        user.write(VA + (2 << 39) + LARGE + 4096, 7).unwrap();
        object
    });
    booted.on(1, |user| {
        for number in 0..2_u64 {
            let page = VA + (number << 39) + 6 * LARGE;
            assert_eq!(user.read(page + 4096), Ok(7));
            user.write(page + 8 + 8 * number, 8 + number).unwrap();
        }
    });
    booted.on(0, move |user| {
        assert_eq!(user.read(VA + (2 << 39) + LARGE + 8), Ok(8));
        assert_eq!(user.read(VA + 6 * LARGE + 16), Ok(9));
        user.sys().segment_set_nbytes(object, LARGE).unwrap();
    });
    booted.on(1, |user| {
        assert!(user.read(VA + 6 * LARGE).is_err() && user.has_left(), "a cut page is still there")
    });
    audit(&booted);
}

/// Memory that went through small pages is in pieces: copies of 2 MiB pages fail, a write that needs one ends its
/// program and no other, small pages go on; and a 2 MiB page that comes back is one again.
#[test]
fn without_a_whole_2_mib_page_copies_fail_and_small_pages_go_on() {
    const PAGES: u64 = 3400;
    let booted = boot(2);
    let (source, later) = booted.on(0, |user| {
        let first = start(user);
        let source = large(user, first.boot, LARGE).unwrap();
        map(user, first.tree, 100, source, VA, 512).unwrap();
        user.write(VA + 8, 1).unwrap();
        let small = segment(user, first.boot, PAGES).unwrap();
        map(user, first.tree, 101, small, VA + GIB, PAGES).unwrap();
        (0..PAGES).for_each(|page| user.write(VA + GIB + page * 4096, 1).unwrap());
        user.sys().share_delobj(small).unwrap();
        assert_eq!(copy(user, source, first.boot, copy_mode::NOW), Err(Error::NoMemory));
        let later = copy(user, source, first.boot, copy_mode::ON_WRITE).unwrap();
        let made = thread(user, first.boot, 1).unwrap();
        map(user, made.tree, 1, later, VA, 512).unwrap();
        run(user, made, &[]).unwrap();
        (source, later)
    });
    booted.on(1, |user| {
        assert_eq!(user.read(VA + 8), Ok(1));
        assert!(user.write(VA + 8, 2).is_err() && user.has_left(), "there is no page for the copy");
    });
    booted.on(0, move |user| {
        let first = start(user);
        assert_eq!(user.read(VA + 8), Ok(1));
        let small = segment(user, first.boot, 1000).unwrap();
        map(user, first.tree, 102, small, VA + 2 * GIB, 1000).unwrap();
        (0..1000).for_each(|page| user.write(VA + 2 * GIB + page * 4096, 1).unwrap());
        user.sys().share_delobj(small).unwrap();
        user.sys().share_delobj(source).unwrap();
        user.sys().share_delobj(later).unwrap();
    });
    booted.on(0, |user| {
        let first = start(user);
        let page = large(user, first.boot, LARGE).unwrap();
        map(user, first.tree, 103, page, VA + 3 * GIB, 512).unwrap();
        user.write(VA + 3 * GIB, 1).unwrap();
    });
    audit(&booted);
}

#[test]
fn pages_of_2_mib_are_mapped_where_small_ones_were() {
    const LARGE: u64 = 2 << 20;
    let booted = boot_with(2, 40 << 20);
    let (running, inner, elsewhere) = booted.on(0, |user| {
        let first = start(user);
        let object = segment(user, first.boot, 600).unwrap();
        let made = thread(user, first.boot, 1).unwrap();
        let inner = interior(user, first.boot).unwrap();
        link(user, first.tree, 100, inner, VA + GIB).unwrap();
        link(user, made.tree, 100, inner, VA + GIB).unwrap();
        map(user, first.tree, 101, object, VA, 600).unwrap();
        map(user, inner, 0, object, 0, 600).unwrap();
        map(user, made.tree, 101, object, VA, 600).unwrap();
        for at in [VA, VA + GIB, VA + GIB + LARGE] {
            user.write(at, 1).unwrap();
        }
        run(user, made, &[first.boot]).unwrap();
        (first.tree, inner, made.tree)
    });
    let touch = |user: &mut User<'_>| {
        [VA, VA + GIB, VA + GIB + LARGE].iter().for_each(|at| _ = user.read(at + 4096).unwrap());
    };
    booted.on(1, touch);
    audit(&booted);
    booted.on(0, move |user| {
        let first = start(user);
        for (tree, slot, va) in [(running, 101, VA), (inner, 0, 0), (elsewhere, 101, VA)] {
            clear(user, tree, slot).unwrap();
            let object = large(user, first.boot, 2 * LARGE).unwrap();
            map(user, tree, slot, object, va, 1024).unwrap();
        }
        for at in [VA, VA + GIB, VA + GIB + LARGE] {
            assert_eq!(user.read(at), Ok(0));
            user.write(at, 2).unwrap();
        }
    });
    booted.on(1, move |user| {
        touch(user);
        assert_eq!((user.read(VA), user.read(VA + GIB + LARGE)), (Ok(0), Ok(2)));
    });
    audit(&booted);
    // And small ones again.
    booted.on(0, move |user| {
        let object = segment(user, start(user).boot, 600).unwrap();
        for (tree, slot, va) in [(running, 101, VA), (inner, 0, 0), (elsewhere, 101, VA)] {
            map(user, tree, slot, object, va, 600).unwrap();
        }
        touch(user);
    });
    booted.on(1, touch);
    audit(&booted);
}

#[test]
fn a_tree_is_linked_where_pages_were_mapped_before() {
    let booted = boot(1);
    booted.on(0, |user| {
        let first = start(user);
        let object = segment(user, first.boot, 4).unwrap();
        for grain in [grain::MIB2, grain::GIB1, grain::GIB512] {
            map(user, first.tree, 100, object, VA, 4).unwrap();
            user.write(VA, 1).unwrap();
            clear(user, first.tree, 100).unwrap();
            let at = name(user, "tree");
            let tree = user.sys().at_alloc(first.boot, tree_kind::INTERIOR, grain, Home::Any, at).unwrap();
            let tree = ObjRef { share: first.boot, object: tree };
            map(user, tree, 0, object, 0, 4).unwrap();
            link(user, first.tree, 100, tree, VA).unwrap();
            assert_eq!(user.read(VA), Ok(1));
            user.sys().share_delobj(tree).unwrap();
            clear(user, first.tree, 100).unwrap();
        }
    });
    audit(&booted);
}

#[test]
fn interior_trees_of_every_grain_are_linked_by_two_roots_at_two_places() {
    let booted = boot(2);
    let (trees, object) = booted.on(0, |user| {
        let first = start(user);
        let object = segment(user, first.boot, 4).unwrap();
        let mut trees = Vec::new();
        let made = thread(user, first.boot, 1).unwrap();
        for (number, grain) in [grain::MIB2, grain::GIB1, grain::GIB512].into_iter().enumerate() {
            let at = name(user, "tree");
            let tree = user.sys().at_alloc(first.boot, tree_kind::INTERIOR, grain, Home::Any, at).unwrap();
            let tree = ObjRef { share: first.boot, object: tree };
            map(user, tree, 0, object, 4096, 4).unwrap();
            let number = number as u64;
            link(user, first.tree, 100 + number, tree, VA + (number << 39)).unwrap();
            link(user, made.tree, 1 + number, tree, (VA >> 1) + (number << 39)).unwrap();
            assert_eq!(
                link(user, first.tree, 110, tree, VA + (8 << 39) + (1 << (grain - 1))),
                Err(Error::Misaligned)
            );
            trees.push(tree);
        }
        (0..3).for_each(|n| user.write(VA + (n << 39) + 4096, 5).unwrap());
        run(user, made, &[]).unwrap();
        (trees, object)
    });
    booted.on(1, |user| {
        for number in 0..3_u64 {
            let at = (VA >> 1) + (number << 39) + 4096;
            assert_eq!(user.read(at), Ok(5));
            user.write(at + 8 + number * 8, 6).unwrap();
        }
    });
    booted.on(0, move |user| {
        (0..3_u64).for_each(|n| assert_eq!(user.read(VA + (n << 39) + 4096 + 8 + n * 8), Ok(6)));
        // Unlinked and ended while the other core has it attached.
        clear(user, start(user).tree, 101).unwrap();
        trees.iter().for_each(|tree| user.sys().share_delobj(*tree).unwrap());
        user.sys().share_delobj(object).unwrap();
    });
    audit(&booted);
}
