//! Grants, drops, lists, runs with whole sets, trees that other cores use: what each call says, while others are at it.

mod common;

use common::*;
use corey_abi::{
    AddressTreeCalls, Error, Id, MachineCalls, MapFlags, Mapping, ObjRef, PcoreCalls, Plain, RUN_SHARES,
    RunContext, SegmentCalls, ShareCalls, ShareEntry, TICK_VECTOR, TreeTable, UserPtr, mapping_kind, masked,
    reason,
};
use corey_kernel_hal::Exit;
use corey_test_hal_host::User;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A page for status words, mapped at `VA + 8 GiB` of the first program.
#[derive(Clone, Copy, Debug)]
struct Board(ObjRef);

impl Board {
    const AT: u64 = VA + 8 * GIB;

    fn new(user: &mut User<'_>) -> Self {
        let first = start(user);
        let page = segment(user, first.boot, 1).unwrap();
        map(user, first.tree, 120, page, Self::AT, 1).unwrap();
        Self(page)
    }

    /// Runs `pcore` in `tree` with `shares` and `args`; its end is reported here.
    fn run(
        self,
        user: &mut User<'_>,
        pcore: ObjRef,
        tree: ObjRef,
        shares: &[Id],
        args: [u64; 6],
    ) -> Result<(), Error> {
        let mut context = RunContext {
            tree,
            nshares: shares.len() as u64,
            entry: 0x40_0000,
            stack: STACK + 4 * 4096,
            args,
            status: self.0,
            ..RunContext::default()
        };
        context.shares.iter_mut().zip(shares).for_each(|(to, from)| *to = *from);
        let at = put(user, &context);
        user.sys().pcore_run(pcore, at)
    }

    /// Waits for the end: reason, value, address.
    fn end(user: &mut User<'_>) -> (u32, u32, u64) {
        loop {
            let word = user.read(Self::AT).unwrap();
            if word as u32 != reason::RUNNING {
                return (word as u32, (word >> 32) as u32, user.read(Self::AT + 8).unwrap());
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_share_is_granted_by_who_holds_it_or_holds_one_that_names_it() {
    let booted = boot(3);
    let (one, two, common, named, foreign) = booted.on(0, |user| {
        let first = start(user);
        let common = share(user, first.boot, 300, 20).unwrap();
        let named = share(user, common, 20, 5).unwrap();
        let foreign = share(user, first.boot, 20, 5).unwrap();
        let one = thread(user, first.boot, 1).unwrap();
        let two = thread(user, first.boot, 2).unwrap();
        run(user, one, &[common, two.share]).unwrap();
        (one, two, common, named, foreign)
    });
    booted.on(1, move |user| {
        assert_eq!(segment(user, named, 1), Err(Error::NotFound), "named is not held");
        assert_eq!(run(user, two, &[foreign]), Err(Error::NotPermitted), "neither held nor named");
        assert_eq!(run(user, two, &[Id(77)]), Err(Error::NotPermitted), "no share at all");
        run(user, two, &[named]).unwrap();
        user.sys().pcore_halt(two.pcore, 0).unwrap();
    });
    booted.on(0, move |user| {
        // Core 2 was a holder as long as it ran: now nobody but core 0 is.
        run(user, two, &[named]).unwrap();
    });
    booted.on(2, move |user| {
        segment(user, named, 1).unwrap();
        assert_eq!(
            segment(user, common, 1),
            Err(Error::NotFound),
            "what names a share is not granted with it"
        );
    });
    booted.on(0, move |user| {
        user.sys().pcore_halt(two.pcore, 0).unwrap();
        user.sys().share_delobj(ObjRef { share: common, object: named }).unwrap();
    });
    booted.on(1, move |user| {
        assert_eq!(run(user, two, &[named]), Err(Error::NotPermitted), "named no more");
        user.sys().self_drop(common).unwrap();
        assert_eq!(run(user, two, &[common]), Err(Error::NotPermitted), "dropped, and named nowhere");
        assert_eq!(user.sys().self_drop(common), Err(Error::NotFound));
        let _ = one;
    });
    audit(&booted);
}

#[test]
fn a_program_ends_with_the_share_it_stands_on_and_only_with_that() {
    let booted = boot(2);
    let (boot, board) = booted.on(0, |user| (start(user).boot, Board::new(user)));
    for which in 0..4 {
        let (sets, pcore, tree) = booted.on(0, move |user| {
            // The pcore in one share, the root in another, a mapping through a third, nothing in the last.
            let sets: Vec<Id> = (0..4).map(|_| share(user, boot, 60, 10).unwrap()).collect();
            let at = name(user, "pcore");
            let pcore = ObjRef { share: sets[0], object: user.sys().pcore_alloc(sets[0], 1, at).unwrap() };
            let tree = root(user, sets[1]).unwrap();
            let stack = segment(user, sets[1], 4).unwrap();
            map(user, tree, 0, stack, STACK, 4).unwrap();
            let page = segment(user, sets[2], 1).unwrap();
            map(user, tree, 1, page, VA, 1).unwrap();
            board.run(user, pcore, tree, &sets, [0; 6]).unwrap();
            (sets, pcore, tree)
        });
        let _ = (pcore, tree);
        let dropped = sets[which];
        let lives = booted.on(1, move |user| {
            user.write(VA, 3).unwrap();
            let _ = user.sys().self_drop(dropped);
            !user.has_left()
        });
        assert_eq!(lives, which >= 2, "share {which}");
        if lives {
            booted.on(1, move |user| {
                assert_eq!(user.sys().self_drop(dropped), Err(Error::NotFound));
                // What was mapped through the share is gone with it; all else stays.
                assert_eq!(user.read(VA).is_ok(), which != 2);
            });
        }
        booted.on(0, move |user| {
            if which == 3 {
                user.sys().pcore_halt(pcore, 9).unwrap();
            }
            let wanted = [
                (reason::LOST_SHARE, 0, 0),
                (reason::LOST_SHARE, 0, 0),
                (reason::FAULT, 14, VA),
                (reason::HALTED_BY_OTHER, 9, 0),
            ][which];
            assert_eq!(Board::end(user), wanted);
            sets.iter().for_each(|id| end(user, boot, *id));
        });
        audit(&booted);
    }
    // The first program cannot live without the boot share, nor the machine without it.
    drop(booted.start(0, move |user| user.sys().self_drop(boot)));
    while booted.machine().exited().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(booted.machine().exited(), Some(Exit::Status(1)));
}

#[test]
fn a_list_shows_everything_that_stays_once_while_the_share_changes() {
    const CORES: u16 = 6;
    const STAY: u64 = 200;
    let booted = boot(usize::from(CORES));
    let (common, stay) = booted.on(0, |user| {
        let first = start(user);
        let common = share(user, first.boot, 400, 300).unwrap();
        let list = segment(user, first.boot, 2).unwrap();
        let stay: Vec<u64> = (0..STAY).map(|_| segment(user, common, 0).unwrap().object.0).collect();
        for core in 1..CORES {
            let made = thread(user, first.boot, core.into()).unwrap();
            let own = segment(user, made.share, 2).unwrap();
            map(user, made.tree, 1, own, VA, 2).unwrap();
            run(user, made, &[common]).unwrap();
        }
        user.sys().share_delobj(list).unwrap();
        (common, stay)
    });
    let stop = Arc::new(AtomicBool::new(false));
    let listers: Vec<_> = (1..CORES)
        .map(|core| {
            let (stop, stay) = (Arc::clone(&stop), stay.clone());
            booted.start(core, move |user| {
                let mut turns = 0;
                while !stop.load(Ordering::Acquire) || turns < 3 {
                    let room = 2 * 4096 / ShareEntry::BYTES as u64;
                    let all = user.sys().share_list(common, 0, UserPtr(VA), room).unwrap();
                    assert!((STAY..=room).contains(&all), "{all} entries");
                    let mut seen: Vec<u64> =
                        (0..all).map(|n| user.read(VA + n * ShareEntry::BYTES as u64).unwrap()).collect();
                    seen.sort_unstable();
                    for id in &stay {
                        let first = seen.partition_point(|x| x < id);
                        assert_eq!(seen.get(first), Some(id), "an object that stayed is not listed");
                        assert_ne!(seen.get(first + 1), Some(id), "and one is listed twice");
                    }
                    turns += 1;
                }
                turns
            })
        })
        .collect();
    booted.on(0, move |user| {
        for _ in 0..60 {
            let some: Vec<_> = (0..20).map(|_| segment(user, common, 0).unwrap()).collect();
            some.iter().for_each(|object| user.sys().share_delobj(*object).unwrap());
        }
    });
    stop.store(true, Ordering::Release);
    assert!(listers.iter().map(|lister| booted.wait(lister)).sum::<u64>() > 0);
    audit(&booted);
}

#[test]
fn a_run_brings_twenty_shares_six_words_and_a_status_to_others_and_to_oneself() {
    let booted = boot(2);
    let (board, made, sets) = booted.on(0, |user| {
        let first = start(user);
        let board = Board::new(user);
        let made = thread(user, first.boot, 1).unwrap();
        let mut sets = vec![made.share];
        for _ in 1..RUN_SHARES {
            let extra = share(user, made.share, 4, 1).unwrap();
            sets.push(extra);
            user.sys().self_drop(extra).unwrap();
        }
        // Room for one's own next status word.
        user.sys().share_addobj(made.share, board.0).unwrap();
        board.run(user, made.pcore, made.tree, &sets, [1, 2, 3, 4, 5, 6]).unwrap();
        (board, made, sets)
    });
    let mine = Board(ObjRef { share: made.share, object: board.0.object });
    let other = sets.clone();
    booted.on(1, move |user| {
        assert_eq!(user.context().args, [1, 2, 3, 4, 5, 6]);
        assert_eq!(user.sys().pcore_current(), Ok(made.pcore));
        assert!(sets.iter().skip(1).all(|id| segment(user, *id, 1).is_ok()));
        let mut more = sets.clone();
        more.push(Id(1));
        assert_eq!(share(user, made.share, 0, 0), Err(Error::Full), "there is room for twenty");
        mine.run(user, made.pcore, made.tree, &sets[..3], [9; 6]).unwrap();
        assert!(user.has_left(), "a run on oneself does not return");
    });
    booted.on(1, move |user| {
        assert_eq!(user.context().args, [9; 6]);
        for (number, id) in other.iter().enumerate().skip(1) {
            assert_eq!(user.sys().core_fence(*id).is_ok(), number < 3, "share {number}");
        }
        let _ = user.sys().pcore_halt(made.pcore, 33);
    });
    booted.on(0, move |user| {
        assert_eq!(Board::end(user), (reason::HALTED, 33, 0));
        // A halted pcore runs again.
        board.run(user, made.pcore, made.tree, &[made.share], [7; 6]).unwrap();
    });
    booted.on(1, |user| assert_eq!(user.context().args, [7; 6]));
    audit(&booted);
}

#[test]
fn a_time_slice_that_ends_as_its_pcore_is_halted_ends_it_once() {
    let booted = boot(2);
    booted.on(0, |user| {
        let first = start(user);
        let board = Board::new(user);
        let made = thread(user, first.boot, 1).unwrap();
        let mut ends = [0; 2];
        for round in 0..200_u64 {
            board.run(user, made.pcore, made.tree, &[made.share], [0; 6]).unwrap();
            // Over before it is halted, after that, or at that very moment.
            let set = user.sys().pcore_set_interval(made.pcore, 10_000 + round % 7 * 4_000);
            let halted = user.sys().pcore_halt(made.pcore, 5);
            let (why, value, _) = Board::end(user);
            match (why, halted) {
                (reason::HALTED_BY_OTHER, Ok(())) => assert_eq!((value, set), (5, Ok(()))),
                (reason::FAULT, Err(Error::NotPermitted)) => assert_eq!(u64::from(value), TICK_VECTOR),
                other => panic!("round {round}: {other:?}"),
            }
            ends[usize::from(why == reason::FAULT)] += 1;
        }
        assert!(ends[0] > 0, "{ends:?}");
    });
    audit(&booted);
}

#[test]
fn a_handler_that_another_core_sets_is_entered_until_its_page_goes() {
    let booted = boot(2);
    let (board, made, stack) = booted.on(0, |user| {
        let first = start(user);
        let board = Board::new(user);
        let made = thread(user, first.boot, 1).unwrap();
        let stack = segment(user, made.share, 3).unwrap();
        map(user, made.tree, 1, stack, VA, 3).unwrap();
        board.run(user, made.pcore, made.tree, &[made.share], [0; 6]).unwrap();
        let table = segment(user, first.boot, 1).unwrap();
        map(user, first.tree, 121, table, VA + 9 * GIB, 1).unwrap();
        set_handler(user, made.tree, (VA + 9 * GIB, 32));
        (board, made, stack)
    });
    booted.on(1, move |user| {
        let back = (user.context().entry, user.context().stack);
        assert!(user.read(VA + 5 * GIB).is_err() && !user.has_left());
        assert_eq!(user.follow_upcall(back), (HANDLER, VA + 4096 - 64));
        assert_eq!(user.read(VA + 4096), Ok(masked::MASKED));
        user.write(VA + 4096, 0).unwrap();
        // A tick ends a wait that nobody else ends; then the handler has it.
        user.sys().pcore_set_interval(made.pcore, 50_000).unwrap();
        for _ in 0..3 {
            assert_eq!(user.sys().core_wait(stack, 2 * 4096, 0, u64::MAX), Ok(()));
            while user.follow_upcall(back).0 != HANDLER {
                user.interrupts();
            }
            assert_eq!(user.read(VA + 4096 - 64), Ok(TICK_VECTOR));
            user.write(VA + 4096, 0).unwrap();
        }
        user.sys().pcore_set_interval(made.pcore, 0).unwrap();
    });
    // Its stack is unmapped from elsewhere: the next fault ends the program with its own vector and address.
    booted.on(0, move |user| clear(user, made.tree, 1).unwrap());
    booted.on(1, |user| {
        assert!(user.read(VA + 6 * GIB).is_err());
        assert!(user.has_left());
    });
    booted.on(0, move |user| {
        assert_eq!(Board::end(user), (reason::FAULT, 14, VA + 6 * GIB));
        // So does unmapping the stack one stands on: the access faults, and nobody else notices.
        board.run(user, made.pcore, made.tree, &[made.share], [0; 6]).unwrap();
    });
    booted.on(1, move |user| {
        clear(user, made.tree, 0).unwrap();
        assert!(user.read(STACK).is_err());
        assert!(user.has_left());
    });
    booted.on(0, |user| assert_eq!(Board::end(user), (reason::FAULT, 14, STACK)));
    audit(&booted);
}

/// Some cores link one interior tree at three places of their own roots, use it there, and unlink it; the roots of
/// others are replaced as whole tables while they read; all trees are read out meanwhile; in the end the interior
/// tree goes while it is in use.
#[test]
fn trees_are_read_set_linked_and_unlinked_while_other_cores_run_them() {
    const CORES: u16 = 7;
    let booted = boot(usize::from(CORES));
    let (threads, tree, pages) = booted.on(0, |user| {
        let first = start(user);
        let pages = segment(user, first.boot, 4).unwrap();
        let tree = interior(user, first.boot).unwrap();
        map(user, tree, 0, pages, 0, 4).unwrap();
        let buffer = segment(user, first.boot, 2).unwrap();
        map(user, first.tree, 122, buffer, VA + 10 * GIB, 2).unwrap();
        let threads: Vec<_> = (1..CORES)
            .map(|core| {
                let made = thread(user, first.boot, core.into()).unwrap();
                map(user, made.tree, 1, pages, VA, 4).unwrap();
                run(user, made, &[first.boot]).unwrap();
                made
            })
            .collect();
        (threads, tree, pages)
    });
    let stop = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (1..CORES)
        .map(|core| {
            let (stop, turns) = (Arc::clone(&stop), Arc::clone(&turns));
            let made = threads[usize::from(core) - 1];
            booted.start(core, move |user| {
                let place = |n: u64| VA + (1 + n) * GIB;
                let own = 8 + 8 * u64::from(core);
                while !stop.load(Ordering::Acquire) {
                    turns.fetch_add(1, Ordering::Relaxed);
                    if core % 2 == 0 {
                        // Its slot 1 is in every table it gets.
                        assert_eq!(user.read(VA), Ok(0));
                        continue;
                    }
                    (0..3).for_each(|n| link(user, made.tree, 4 + n, tree, place(n)).unwrap());
                    user.write(place(0) + own, 5).unwrap();
                    assert_eq!(user.read(place(1) + own), Ok(5));
                    clear(user, made.tree, 4).unwrap();
                    user.write(place(2) + own, 6).unwrap();
                    assert_eq!(user.read(place(1) + own), Ok(6));
                    (1..3).for_each(|n| clear(user, made.tree, 4 + n).unwrap());
                }
            })
        })
        .collect();
    booted.on(0, move |user| {
        let buffer = VA + 10 * GIB;
        for round in 0..8_u64 {
            for (number, made) in threads.iter().enumerate() {
                let at = put(user, &TreeTable { mappings: buffer, count: 32, ..TreeTable::default() });
                user.sys().at_get(made.tree, at).unwrap();
                let table = take::<TreeTable>(user);
                assert!((2..=7).contains(&table.count), "{} slots", table.count);
                if number % 2 == 0 {
                    continue;
                }
                // The next table: the stack and the page as they are, and something else each time.
                let extra = Mapping {
                    kind: if round % 2 == 0 { mapping_kind::INTERIOR } else { mapping_kind::SEGMENT },
                    flags: MapFlags::WRITE.bits(),
                    object: if round % 2 == 0 { tree } else { pages },
                    va: VA + (4 + round % 3) * GIB,
                    npages: 4,
                    ..Mapping::default()
                };
                let mut bytes = vec![0; Mapping::BYTES];
                extra.to_bytes(&mut bytes);
                let slot = 2 + round % 2;
                for n in 2..4 {
                    for (word, chunk) in bytes.chunks(8).enumerate() {
                        let value = u64::from_le_bytes(chunk.try_into().unwrap());
                        let at = buffer + n * Mapping::BYTES as u64 + 8 * word as u64;
                        user.write(at, if n == slot { value } else { 0 }).unwrap();
                    }
                }
                let at = put(user, &TreeTable { mappings: buffer, count: 4, ..TreeTable::default() });
                user.sys().at_set(made.tree, at).unwrap();
            }
        }
    });
    stop.store(true, Ordering::Release);
    workers.iter().for_each(|worker| booted.wait(worker));
    assert!(turns.load(Ordering::Relaxed) > 20);
    booted.on(0, move |user| {
        user.sys().share_delobj(tree).unwrap();
        user.sys().share_delobj(pages).unwrap();
    });
    audit(&booted);
}

/// A segment grows and shrinks under cores that touch all of it through their own roots and through an interior
/// tree, each with a handler that takes what is cut off; afterwards its quota is what it was.
#[test]
fn a_segment_grows_and_shrinks_under_cores_that_fault_on_it_and_its_quota_is_right() {
    const CORES: u16 = 8;
    const MOST: u64 = 24;
    let booted = boot(usize::from(CORES));
    let (boot, quota, object, tree, threads) = booted.on(0, |user| {
        let first = start(user);
        let quota = share(user, first.boot, MOST + 3, 4).unwrap();
        let object = segment(user, quota, 2).unwrap();
        let tree = interior(user, first.boot).unwrap();
        map(user, tree, 0, object, 0, MOST).unwrap();
        let threads: Vec<_> = (1..CORES)
            .map(|core| {
                let made = thread(user, first.boot, core.into()).unwrap();
                let stack = segment(user, made.share, 3).unwrap();
                map(user, made.tree, 1, stack, VA, 3).unwrap();
                if core % 2 == 0 {
                    link(user, made.tree, 2, tree, VA + GIB).unwrap();
                } else {
                    map(user, made.tree, 2, object, VA + GIB, MOST).unwrap();
                }
                let table = segment(user, made.share, 1).unwrap();
                map(user, made.tree, 3, table, VA + 3 * GIB, 1).unwrap();
                run(user, made, &[first.boot, quota]).unwrap();
                made
            })
            .collect();
        (first.boot, quota, object, tree, threads)
    });
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (1..CORES)
        .map(|core| {
            let stop = Arc::clone(&stop);
            let made: Thread = threads[usize::from(core) - 1];
            booted.start(core, move |user| {
                set_handler(user, made.tree, (VA + 3 * GIB, 32));
                let back = (user.context().entry, user.context().stack);
                let (mut there, mut gone) = (0_u64, 0_u64);
                while !stop.load(Ordering::Acquire) || there == 0 {
                    for page in 0..MOST {
                        let at = VA + GIB + page * 4096 + 8 * u64::from(core);
                        match user.write(at, 1) {
                            Ok(()) => there += 1,
                            Err(_) => {
                                assert!(!user.has_left() && page >= 2, "core {core} lost page {page}");
                                assert_eq!(user.follow_upcall(back).0, HANDLER);
                                user.write(VA + 4096, 0).unwrap();
                                gone += 1;
                            }
                        }
                    }
                }
                (there, gone)
            })
        })
        .collect();
    booted.on(0, move |user| {
        for round in 0..80 {
            let npages = [MOST, 2, 13, MOST, 5, 2][round % 6];
            user.sys().segment_set_nbytes(object, npages * 4096).unwrap();
            assert_eq!(user.sys().segment_get_nbytes(object), Ok(npages * 4096));
            user.interrupts();
        }
        assert_eq!(
            user.sys().segment_set_nbytes(object, (MOST + 3) * 4096),
            Err(Error::QuotaExceeded),
            "pages, and a frame of their slots"
        );
        user.sys().segment_set_nbytes(object, 2 * 4096).unwrap();
    });
    stop.store(true, Ordering::Release);
    let counts: Vec<_> = workers.iter().map(|worker| booted.wait(worker)).collect();
    assert!(counts.iter().all(|(there, _)| *there > 0), "{counts:?}");
    booted.on(0, move |user| {
        // 2 pages and a frame of slots are used; exactly the rest is there.
        assert_eq!(segment(user, quota, MOST), Err(Error::QuotaExceeded));
        segment(user, quota, MOST - 1).unwrap();
        threads.iter().for_each(|made| user.sys().pcore_halt(made.pcore, 0).unwrap());
        user.sys().share_delobj(tree).unwrap();
        end(user, boot, quota);
    });
    audit(&booted);
}
