//! The calls.

use crate::*;
use corey_abi::{
    AddressTreeCalls, DeviceCalls, Mapping, PcoreCalls, Plain, TreeTable, UserPtr, copy_mode, grain,
    mapping_kind, tree_kind,
};

const VA: u64 = 0x6000_0000_0000;
const GIB: u64 = 1 << 30;
const MIB2: u64 = 2 << 20;
/// The slot that tests use: its frame exists in the first program's tree, and not in a new one.
const SLOT: u64 = 10;
/// Pages and objects of most scenarios' shares.
const QUOTA: (u64, u64) = (60, 12);

/// Runs a scenario: it fails at least once for each of frames, pages and objects that `needs` names.
fn exhaust<C: Copy + 'static, R: Debug + 'static>(name: &str, needs: &str, scenario: Scenario<C, R>) {
    let failures = scenario.run(name);
    let Failures { frames, pages, objects } = failures;
    for (word, fails) in [("frames", frames), ("pages", pages), ("objects", objects)] {
        assert_eq!(needs.contains(word), fails > 0, "{name}, {word}: {failures:?}");
    }
}

fn tree(user: &mut User<'_>, share: Id, kind: u64, grain: u64) -> Result<ObjRef, Error> {
    let at = name(user, "tree");
    let object = user.sys().at_alloc(share, kind, grain, Home::Any, at)?;
    Ok(ObjRef { share, object })
}

fn copy(user: &mut User<'_>, from: ObjRef, mode: u64) -> Result<ObjRef, Error> {
    let at = name(user, "copy");
    let object = user.sys().segment_copy(from, from.share, mode, Home::Any, at)?;
    Ok(ObjRef { share: from.share, object })
}

fn delete<C>(user: &mut User<'_>, _: C, made: ObjRef) {
    user.sys().share_delobj(made).unwrap();
}

fn nothing<C, R>(_: &mut User<'_>, _: C, _: R) {}

/// A segment of `pages` pages in `share`, mapped by the running root at `VA`; the first `touched` pages are there.
fn mapped(user: &mut User<'_>, share: Id, pages: u64, touched: u64) -> ObjRef {
    let object = segment(user, share, pages).unwrap();
    let root = start(user).tree;
    map(user, root, SLOT, object, VA, pages).unwrap();
    (0..touched).for_each(|page| user.write(VA + page * PAGE_BYTES + 512, page + 1).unwrap());
    object
}

fn touch(user: &mut User<'_>, at: u64) -> Result<(), Error> {
    let first = start(user);
    common::memory::touch(user, first, at)
}

#[test]
fn share_alloc() {
    let prepare = |_: &mut User<'_>, share| share;
    let call = |user: &mut User<'_>, parent| share(user, parent, 7, 3);
    let undo = |user: &mut User<'_>, parent, made| end(user, parent, made);
    let scenario = Scenario { quota: QUOTA, error: Error::NoMemory, prepare, call, undo };
    exhaust("share_alloc", "frames pages objects", scenario);
}

#[test]
fn share_addobj() {
    let prepare = |user: &mut User<'_>, to| {
        let from = share(user, start(user).boot, 9, 1).unwrap();
        (segment(user, from, 5).unwrap(), to)
    };
    let call = |user: &mut User<'_>, (object, to): (ObjRef, Id)| user.sys().share_addobj(to, object);
    let undo = |user: &mut User<'_>, (object, share): (ObjRef, Id), ()| {
        user.sys().share_delobj(ObjRef { share, ..object }).unwrap();
    };
    let scenario = Scenario { quota: QUOTA, error: Error::NoMemory, prepare, call, undo };
    exhaust("share_addobj", "frames pages objects", scenario);
}

#[test]
fn segment_alloc_of_a_page() {
    let prepare = |_: &mut User<'_>, share| share;
    let call = |user: &mut User<'_>, share| segment(user, share, 1);
    let scenario = Scenario { quota: QUOTA, error: Error::NoMemory, prepare, call, undo: delete };
    exhaust("segment_alloc, 1 page", "frames pages objects", scenario);
}

#[test]
fn segment_alloc_above_2_mib() {
    let prepare = |_: &mut User<'_>, share| share;
    let call = |user: &mut User<'_>, share| segment(user, share, 513);
    let scenario = Scenario { quota: (530, 5), error: Error::NoMemory, prepare, call, undo: delete };
    exhaust("segment_alloc, 513 pages", "frames pages objects", scenario);
}

#[test]
fn segment_set_nbytes_grows() {
    let prepare = |user: &mut User<'_>, share| mapped(user, share, 3, 3);
    let call = |user: &mut User<'_>, object| {
        let done = user.sys().segment_set_nbytes(object, 600 * PAGE_BYTES);
        let pages = if done.is_ok() { 600 } else { 3 };
        assert_eq!(user.sys().segment_get_nbytes(object), Ok(pages * PAGE_BYTES));
        assert_eq!(user.read(VA + 2 * PAGE_BYTES + 512), Ok(3));
        done
    };
    let undo = |user: &mut User<'_>, object, ()| user.sys().segment_set_nbytes(object, 0).unwrap();
    let scenario = Scenario { quota: (620, 3), error: Error::NoMemory, prepare, call, undo };
    exhaust("segment_set_nbytes, 3 to 600 pages", "frames pages", scenario);
}

#[test]
fn segment_set_nbytes_shrinks_a_copy_and_its_source() {
    // It takes nothing, and so cannot fail.
    let prepare = |user: &mut User<'_>, share| {
        let from = mapped(user, share, 6, 6);
        (from, copy(user, from, copy_mode::ON_WRITE).unwrap())
    };
    let call = |user: &mut User<'_>, (from, to)| {
        user.sys().segment_set_nbytes(from, 4 * PAGE_BYTES)?;
        user.sys().segment_set_nbytes(to, 2 * PAGE_BYTES)?;
        user.sys().segment_set_nbytes(from, 0)?;
        user.sys().segment_set_nbytes(to, 0)
    };
    let scenario = Scenario { quota: QUOTA, error: Error::NoMemory, prepare, call, undo: nothing };
    exhaust("segment_set_nbytes, 6 to 0 pages", "", scenario);
}

const BUT_FOURTH: u64 = copy_mode::ON_WRITE | copy_mode::PAGE_NOW | (3 * PAGE_BYTES);
const BUT_FIRST: u64 = copy_mode::ON_REFERENCE | copy_mode::PAGE_NOW;
const MODES: [u64; 5] = [copy_mode::NOW, copy_mode::ON_WRITE, copy_mode::ON_REFERENCE, BUT_FOURTH, BUT_FIRST];

/// Copies of a source whose first `touched` of 6 pages are there; `shared` of them are a copy's too.
fn copies(name: &str, mode: u64, prepare: fn(&mut User<'_>, Id) -> ObjRef) {
    let call: fn(&mut User<'_>, ObjRef) -> Result<ObjRef, Error> = match mode {
        copy_mode::NOW => |user, from| copied(user, from, copy_mode::NOW),
        copy_mode::ON_WRITE => |user, from| copied(user, from, copy_mode::ON_WRITE),
        copy_mode::ON_REFERENCE => |user, from| copied(user, from, copy_mode::ON_REFERENCE),
        BUT_FOURTH => |user, from| copied(user, from, BUT_FOURTH),
        _ => |user, from| copied(user, from, BUT_FIRST),
    };
    let scenario = Scenario { quota: QUOTA, error: Error::NoMemory, prepare, call, undo: delete };
    exhaust(&format!("segment_copy, mode {mode}, {name}"), "frames pages objects", scenario);
}

/// Copies; the source keeps what it has.
fn copied(user: &mut User<'_>, from: ObjRef, mode: u64) -> Result<ObjRef, Error> {
    let done = copy(user, from, mode);
    assert_eq!(user.read(VA + 512), Ok(1));
    done
}

#[test]
fn segment_copy_of_touched_pages() {
    for mode in MODES {
        copies("all pages there", mode, |user, share| mapped(user, share, 6, 6));
    }
}

#[test]
fn segment_copy_of_a_sparse_segment() {
    for mode in MODES {
        copies("two pages there", mode, |user, share| {
            let object = mapped(user, share, 9, 1);
            user.write(VA + 5 * PAGE_BYTES, 6).unwrap();
            object
        });
    }
}

#[test]
fn segment_copy_of_what_was_copied() {
    for mode in MODES {
        copies("copied on write", mode, |user, share| {
            let object = mapped(user, share, 6, 6);
            copy(user, object, copy_mode::ON_WRITE).unwrap();
            // Some pages are its own again.
            user.write(VA + 3 * PAGE_BYTES, 9).unwrap();
            object
        });
        copies("copied on reference", mode, |user, share| {
            let object = mapped(user, share, 6, 6);
            let made = copy(user, object, copy_mode::ON_REFERENCE).unwrap();
            let root = start(user).tree;
            map(user, root, SLOT + 1, made, VA + GIB, 6).unwrap();
            assert_eq!(user.read(VA + GIB + PAGE_BYTES + 512), Ok(2));
            assert_eq!(user.read(VA + GIB + 512), Ok(1));
            map(user, root, SLOT, made, VA + 2 * GIB, 6).unwrap();
            map(user, root, SLOT + 1, object, VA + GIB, 6).unwrap();
            clear(user, root, SLOT).unwrap();
            map(user, root, SLOT, made, VA, 6).unwrap();
            made
        });
    }
}

#[test]
fn at_alloc() {
    for (what, make) in [
        ("root", (|user, share| tree(user, share, tree_kind::ROOT, 0)) as fn(&mut User<'_>, Id) -> _),
        ("2 MiB", |user, share| tree(user, share, tree_kind::INTERIOR, grain::MIB2)),
        ("1 GiB", |user, share| tree(user, share, tree_kind::INTERIOR, grain::GIB1)),
        ("512 GiB", |user, share| tree(user, share, tree_kind::INTERIOR, grain::GIB512)),
    ] {
        let prepare = |_: &mut User<'_>, share| share;
        let scenario = Scenario { quota: QUOTA, error: Error::NoMemory, prepare, call: make, undo: delete };
        exhaust(&format!("at_alloc, {what}"), "frames pages objects", scenario);
    }
}

/// A new root in `share`, with one page of a segment at `VA` if `used`.
fn new_root(user: &mut User<'_>, share: Id, used: bool) -> (ObjRef, ObjRef) {
    let (root, object) = (tree(user, share, tree_kind::ROOT, 0).unwrap(), segment(user, share, 4).unwrap());
    if used {
        map(user, root, 0, object, VA, 1).unwrap();
    }
    (root, object)
}

/// Maps the second of the pair in the first: `call` says where.
fn maps(
    name: &str,
    needs: &str,
    prepare: fn(&mut User<'_>, Id) -> (ObjRef, ObjRef),
    call: fn(&mut User<'_>, (ObjRef, ObjRef)) -> Result<(), Error>,
) {
    let undo = |user: &mut User<'_>, (tree, _), ()| clear(user, tree, SLOT).unwrap();
    let scenario = Scenario { quota: QUOTA, error: Error::NoMemory, prepare, call, undo };
    exhaust(&format!("at_set_slot, {name}"), needs, scenario);
}

#[test]
fn at_set_slot_in_a_root_that_is_idle() {
    let needs = "frames pages";
    maps(
        "three tables and a frame of slots",
        needs,
        |u, s| new_root(u, s, false),
        |user, (root, object)| map(user, root, SLOT, object, VA, 4),
    );
    maps(
        "a frame of slots only",
        needs,
        |u, s| new_root(u, s, true),
        |user, (root, object)| {
            let done = map(user, root, 40, object, VA + PAGE_BYTES, 3);
            if done.is_ok() { clear(user, root, 40) } else { done }
        },
    );
    maps(
        "one table",
        needs,
        |u, s| new_root(u, s, true),
        |user, (root, object)| map(user, root, SLOT, object, VA + MIB2, 4),
    );
    maps(
        "two tables",
        needs,
        |u, s| new_root(u, s, true),
        |user, (root, object)| map(user, root, SLOT, object, VA + GIB, 4),
    );
    maps(
        "two leaf tables of five",
        needs,
        |u, s| new_root(u, s, true),
        |user, (root, object)| map(user, root, SLOT, object, VA + GIB - 2 * PAGE_BYTES, 4),
    );
    maps(
        "nothing",
        "",
        |u, s| new_root(u, s, true),
        |user, (root, object)| map(user, root, SLOT, object, VA + PAGE_BYTES, 3),
    );
}

#[test]
fn at_set_slot_in_the_running_root() {
    // The boot share pays.
    let prepare = |user: &mut User<'_>, share| (start(user).tree, segment(user, share, 4).unwrap());
    maps("the running root", "frames", prepare, |user, (root, object)| map(user, root, SLOT, object, VA, 4));
    // What was there stays when the call fails.
    let prepare = |user: &mut User<'_>, share| (start(user).tree, mapped(user, share, 4, 2));
    maps("instead of another mapping", "frames", prepare, |user, (root, object)| {
        let done = map(user, root, SLOT, object, VA + GIB, 4);
        let at = if done.is_ok() { VA + GIB } else { VA };
        assert_eq!(user.read(at + PAGE_BYTES + 512), Ok(2));
        done
    });
}

/// A root that runs on core 2, and a segment.
fn running_root(user: &mut User<'_>, share: Id) -> (ObjRef, ObjRef) {
    let (root, object) = new_root(user, share, true);
    let at = name(user, "thread");
    let pcore = user.sys().pcore_alloc(share, 2, at).unwrap();
    run(user, Thread { share, pcore: ObjRef { share, object: pcore }, tree: root }, &[]).unwrap();
    (root, object)
}

#[test]
fn at_set_slot_in_a_root_that_runs_elsewhere() {
    let needs = "frames pages";
    maps("a root on another core", needs, running_root, |user, (root, object)| {
        map(user, root, SLOT, object, VA + GIB, 4)
    });
    let prepare = |user: &mut User<'_>, share| {
        let (root, _) = running_root(user, share);
        (root, tree(user, share, tree_kind::INTERIOR, grain::MIB2).unwrap())
    };
    maps("a tree in a root on another core", needs, prepare, |user, (root, inner)| {
        link(user, root, SLOT, inner, VA + GIB)
    });
}

#[test]
fn at_set_slot_in_interior_trees() {
    for (what, make) in [
        (
            "2 MiB",
            (|u, s| (tree(u, s, tree_kind::INTERIOR, grain::MIB2).unwrap(), segment(u, s, 4).unwrap()))
                as fn(&mut User<'_>, Id) -> _,
        ),
        ("1 GiB", |u, s| (tree(u, s, tree_kind::INTERIOR, grain::GIB1).unwrap(), segment(u, s, 4).unwrap())),
        ("512 GiB", |u, s| {
            (tree(u, s, tree_kind::INTERIOR, grain::GIB512).unwrap(), segment(u, s, 4).unwrap())
        }),
    ] {
        maps(what, "frames pages", make, |user, (tree, object)| map(user, tree, SLOT, object, 4096, 4));
    }
    // One that is linked, and used.
    let prepare = |user: &mut User<'_>, share| {
        let (tree, object) = (interior(user, share).unwrap(), segment(user, share, 4).unwrap());
        map(user, tree, 0, object, 0, 1).unwrap();
        let root = start(user).tree;
        link(user, root, SLOT, tree, VA).unwrap();
        user.write(VA, 1).unwrap();
        (tree, object)
    };
    maps("a linked tree", "frames pages", prepare, |user, (tree, object)| {
        let done = map(user, tree, SLOT, object, MIB2, 1);
        assert_eq!(user.read(VA), Ok(1));
        if done.is_ok() {
            assert_eq!(user.read(VA + MIB2), Ok(1));
        }
        done
    });
}

/// Links a tree of `GRAIN` in a root, at addresses where pages were mapped before if `USED`.
fn link_in_root<const GRAIN: u64, const USED: bool>(name: &str, needs: &str) {
    let prepare = |user: &mut User<'_>, share| {
        let (root, object) = new_root(user, share, false);
        if USED {
            map(user, root, 0, object, VA, 4).unwrap();
            clear(user, root, 0).unwrap();
        }
        (root, tree(user, share, tree_kind::INTERIOR, GRAIN).unwrap())
    };
    maps(name, needs, prepare, |user, (root, inner)| link(user, root, SLOT, inner, VA));
}

#[test]
fn linking_interior_trees() {
    link_in_root::<{ grain::MIB2 }, false>("link 2 MiB", "frames pages");
    link_in_root::<{ grain::GIB1 }, false>("link 1 GiB", "frames pages");
    link_in_root::<{ grain::GIB512 }, false>("link 512 GiB", "frames pages");
    // Tables of mappings before are freed.
    link_in_root::<{ grain::GIB1 }, true>("link 1 GiB where pages were", "");
    link_in_root::<{ grain::GIB512 }, true>("link 512 GiB where pages were", "");
}

/// Mappings of 2 MiB each: `at_set` sets as many as there are frames, or pages, for; the table says how many.
#[test]
fn at_set_of_many_slots() {
    const COUNT: u64 = 40;
    // A leaf table for each, two tables above them, and a frame of slots for 32.
    let cost = |count: u64| if count == 0 { 0 } else { count + 2 + count.div_ceil(32) };
    for exhausted in [Error::NoMemory, Error::QuotaExceeded] {
        let slack = 320;
        let booted = boot_of_slack(slack);
        take_other_memory(&booted, slack);
        booted.on(0, move |user| {
            let first = start(user);
            let share = share(user, first.boot, 70, 12).unwrap();
            let filler = segment(user, share, 0).unwrap();
            most(user, filler, 71);
            user.sys().segment_set_nbytes(filler, 0).unwrap();
            let object = segment(user, share, 1).unwrap();
            let array = segment(user, first.boot, 1).unwrap();
            map(user, first.tree, SLOT, array, VA, 1).unwrap();
            for at in 0..COUNT {
                let kind = mapping_kind::SEGMENT;
                let mapping = Mapping { kind, object, va: VA + at * MIB2, npages: 1, ..Mapping::default() };
                user.write_all(VA + at * Mapping::BYTES as u64, &words(&mapping)).unwrap();
            }
            // Where the table is read to.
            let list = user.context().stack - 4096;
            (0..COUNT).for_each(|at| user.write(list + at * Mapping::BYTES as u64, 0).unwrap());
            let mut ballast = Ballast::new(user);
            ballast.release(user, 10);
            for left in 0..=cost(COUNT) {
                let root = tree(user, share, tree_kind::ROOT, 0).unwrap();
                ballast.fill(user);
                let (frames, pages) = if exhausted == Error::NoMemory { (left, 60) } else { (60, left) };
                ballast.release(user, frames);
                let all = most(user, filler, 71);
                user.sys().segment_set_nbytes(filler, (all - pages) * PAGE_BYTES).unwrap();
                let before = counts(user, first.boot).0;
                let at = put(user, &TreeTable { mappings: VA, count: COUNT, ..TreeTable::default() });
                let done = user.sys().at_set(root, at);
                let set = take::<TreeTable>(user).count;
                let after = counts(user, first.boot).0;
                let wanted = (0..=COUNT).rev().find(|count| cost(*count) <= left).unwrap();
                assert_eq!(set, wanted, "with {left}");
                assert_eq!(done, if set == COUNT { Ok(()) } else { Err(exhausted) });
                assert_eq!(after, Counts { used: before.used + cost(set), ..before });
                // They are there, and no others.
                let at = put(user, &TreeTable { mappings: list, count: COUNT, ..TreeTable::default() });
                user.sys().at_get(root, at).unwrap();
                assert_eq!(take::<TreeTable>(user).count, set);
                user.sys().segment_set_nbytes(filler, 0).unwrap();
                user.sys().share_delobj(root).unwrap();
            }
        });
        audit(&booted);
    }
}

/// Words of a mapping.
fn words(mapping: &Mapping) -> Vec<u64> {
    let mut bytes = [0; Mapping::BYTES];
    mapping.to_bytes(&mut bytes);
    bytes.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect()
}

#[test]
fn pcore_alloc() {
    let prepare = |_: &mut User<'_>, share| share;
    let call = |user: &mut User<'_>, share| {
        let at = name(user, "pcore");
        let object = user.sys().pcore_alloc(share, 2, at)?;
        Ok(ObjRef { share, object })
    };
    let scenario = Scenario { quota: QUOTA, error: Error::NoMemory, prepare, call, undo: delete };
    exhaust("pcore_alloc", "frames objects", scenario);
}

#[test]
fn pcore_run_with_a_status() {
    let prepare = |user: &mut User<'_>, share| {
        let (root, object) = new_root(user, share, true);
        let at = name(user, "thread");
        let pcore = user.sys().pcore_alloc(share, 2, at).unwrap();
        (Thread { share, pcore: ObjRef { share, object: pcore }, tree: root }, object)
    };
    let call = |user: &mut User<'_>, (made, status): (Thread, ObjRef)| {
        run_with(user, made, |context| (context.status, context.status_offset) = (status, PAGE_BYTES))
    };
    let undo =
        |user: &mut User<'_>, (made, _): (Thread, ObjRef), ()| user.sys().pcore_halt(made.pcore, 0).unwrap();
    let scenario = Scenario { quota: QUOTA, error: Error::NoMemory, prepare, call, undo };
    exhaust("pcore_run", "frames", scenario);
}

#[test]
fn device_alloc() {
    let prepare = |_: &mut User<'_>, share| share;
    let call = |user: &mut User<'_>, share| {
        let at = name(user, "console");
        let object = user.sys().device_alloc(share, 0, Home::Any, at)?;
        Ok(ObjRef { share, object })
    };
    let scenario = Scenario { quota: QUOTA, error: Error::NoMemory, prepare, call, undo: delete };
    exhaust("device_alloc", "frames objects", scenario);
}

/// An access of the kernel on the program's behalf, which resolves the same faults; without memory it answers
/// `BadAddress`.
fn faults(name: &str, prepare: fn(&mut User<'_>, Id), call: fn(&mut User<'_>, ()) -> Result<(), Error>) {
    let scenario = Scenario { quota: QUOTA, error: Error::BadAddress, prepare, call, undo: nothing };
    exhaust(&format!("fault, {name}"), "frames", scenario);
}

#[test]
fn faults_that_fill() {
    faults(
        "through the root",
        |user, share| _ = mapped(user, share, 4, 1),
        |user, ()| touch(user, VA + 2 * PAGE_BYTES),
    );
    faults(
        "through an interior tree",
        |user, share| {
            let (tree, object) = (interior(user, share).unwrap(), segment(user, share, 4).unwrap());
            map(user, tree, 0, object, 0, 4).unwrap();
            let root = start(user).tree;
            link(user, root, SLOT, tree, VA).unwrap();
        },
        |user, ()| touch(user, VA + 2 * PAGE_BYTES),
    );
}

#[test]
fn faults_that_copy() {
    faults(
        "copy on write, in the source",
        |user, share| {
            let object = mapped(user, share, 4, 4);
            copy(user, object, copy_mode::ON_WRITE).unwrap();
        },
        |user, ()| {
            let done = touch(user, VA + PAGE_BYTES);
            assert_eq!(user.read(VA + PAGE_BYTES + 512), Ok(2));
            done
        },
    );
    faults(
        "copy on write, in the copy, through an interior tree",
        |user, share| {
            let object = mapped(user, share, 4, 4);
            let made = copy(user, object, copy_mode::ON_WRITE).unwrap();
            let tree = interior(user, share).unwrap();
            map(user, tree, 0, made, 0, 4).unwrap();
            let root = start(user).tree;
            link(user, root, SLOT + 1, tree, VA + GIB).unwrap();
        },
        |user, ()| {
            let done = touch(user, VA + GIB + PAGE_BYTES);
            assert_eq!(user.read(VA + GIB + PAGE_BYTES + 512), Ok(2));
            done
        },
    );
    faults(
        "copy on reference, read",
        |user, share| {
            let object = mapped(user, share, 4, 4);
            let made = copy(user, object, copy_mode::ON_REFERENCE).unwrap();
            let root = start(user).tree;
            map(user, root, SLOT + 1, made, VA + GIB, 4).unwrap();
        },
        |user, ()| {
            // Reads a mapping of zeroes: the slot is cleared.
            let root = start(user).tree;
            user.sys().at_set_slot(root, SLOT + 2, UserPtr(VA + GIB + PAGE_BYTES))
        },
    );
}

#[test]
fn a_fault_without_memory_goes_to_the_handler_and_works_when_there_is_some() {
    const HANDLER: u64 = 0x50_0000;
    let booted = boot_of_slack(220);
    take_other_memory(&booted, 220);
    booted.on(0, |user| {
        let first = start(user);
        let object = segment(user, first.boot, 2).unwrap();
        map(user, first.tree, SLOT, object, VA, 2).unwrap();
        let stack = user.context().stack - 2 * PAGE_BYTES;
        user.write(stack - 64, 0).unwrap();
        let array = user.context().stack - 8 * PAGE_BYTES;
        let table = TreeTable { mappings: array, count: 31, ..Default::default() };
        let at = put(user, &table);
        user.sys().at_get(first.tree, at).unwrap();
        let table = take::<TreeTable>(user);
        let at = put(user, &TreeTable { handler: HANDLER, stack, ..table });
        user.sys().at_set(first.tree, at).unwrap();
        let mut ballast = Ballast::new(user);
        let back = (user.context().entry, user.context().stack);
        for _ in 0..3 {
            assert_eq!(user.write(VA + PAGE_BYTES, 5), Err(corey_test_hal_host::Left));
            assert!(!user.has_left(), "the program goes on in its handler");
            assert_eq!(user.follow_upcall(back), (HANDLER, stack - 64));
        }
        ballast.release(user, 1);
        user.write(VA + PAGE_BYTES, 5).unwrap();
        assert_eq!(ballast.fill(user), 0);
    });
    audit(&booted);
}
