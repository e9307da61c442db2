//! Programs that run: trees changed from elsewhere, upcalls, time slices, waits, pictures.

mod common;

use common::*;
use corey_abi::{
    CoreStat, Error, MachineCalls, PcoreCalls, ShareCalls, TICK_VECTOR, UpcallFrame, core_mode, masked,
};
use corey_kernel_hal::Exit;
use corey_test_hal_host::{Left, User};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[test]
fn a_root_is_changed_while_it_runs_on_another_core() {
    let booted = boot(2);
    let stop = Arc::new(AtomicBool::new(false));
    let (made, object) = booted.on(0, |user| {
        let first = start(user);
        let made = thread(user, first.boot, 1).unwrap();
        let object = segment(user, first.boot, 4).unwrap();
        map(user, made.tree, 1, object, VA, 4).unwrap();
        run(user, made, &[]).unwrap();
        (made, object)
    });
    let reader = {
        let stop = Arc::clone(&stop);
        booted.start(1, move |user| {
            let mut turns = 0_u64;
            while !stop.load(Ordering::Acquire) {
                assert_eq!(user.read(VA), Ok(0));
                turns += 1;
            }
            turns
        })
    };
    booted.on(0, move |user| {
        let boot = start(user).boot;
        for round in 0..60_u64 {
            let tree = interior(user, boot).unwrap();
            let page = segment(user, boot, 2).unwrap();
            map(user, tree, 0, page, 0, 2).unwrap();
            link(user, made.tree, 2, tree, VA + (1 << 30)).unwrap();
            map(user, made.tree, 3, page, VA + (2 << 30), 2).unwrap();
            assert_eq!(map(user, made.tree, 4, page, VA + (2 << 30) + 4096, 2), Err(Error::Busy));
            if round % 2 == 0 {
                clear(user, made.tree, 2).unwrap();
                map(user, made.tree, 2, object, VA + (1 << 30), 4).unwrap();
            }
            user.sys().share_delobj(page).unwrap();
            clear(user, made.tree, 2).unwrap();
            clear(user, made.tree, 3).unwrap();
            user.sys().share_delobj(tree).unwrap();
        }
    });
    stop.store(true, Ordering::Release);
    assert!(booted.wait(&reader) > 0);
    audit(&booted);
}

#[test]
fn two_cores_change_each_others_roots() {
    let booted = boot(2);
    let rounds = 200;
    let made = booted.on(0, |user| {
        let first = start(user);
        let made = thread(user, first.boot, 1).unwrap();
        run(user, made, &[first.boot]).unwrap();
        made
    });
    let other = booted.start(1, move |user| {
        let object = segment(user, made.share, 2).unwrap();
        let root = made.tree;
        for _ in 0..rounds {
            map(user, root, 9, object, VA + (9 << 30), 2).unwrap();
            user.write(VA + (9 << 30), 1).unwrap();
            clear(user, root, 9).unwrap();
        }
    });
    booted.on(0, move |user| {
        let object = segment(user, made.share, 2).unwrap();
        for _ in 0..rounds {
            map(user, made.tree, 5, object, VA + (5 << 30), 2).unwrap();
            clear(user, made.tree, 5).unwrap();
        }
    });
    booted.wait(&other);
    audit(&booted);
}

fn frame(user: &mut User<'_>, at: u64) -> UpcallFrame {
    let mut word = |n: u64| user.read(at + 8 * n).unwrap();
    UpcallFrame {
        vector: word(0),
        error: word(1),
        address: word(2),
        rip: word(3),
        cs: word(4),
        rflags: word(5),
        rsp: word(6),
        ss: word(7),
    }
}

#[test]
fn a_fault_goes_to_the_handler_and_a_second_one_while_masked_halts() {
    let booted = boot(2);
    booted.on(0, |user| {
        let first = start(user);
        let object = segment(user, first.boot, 8).unwrap();
        map(user, first.tree, 100, object, VA, 8).unwrap();
        let (stack, word) = set_handler(user, first.tree, (VA + 8192, 110));
        let back = (user.context().entry, user.context().stack);
        assert_eq!(user.read(VA + (3 << 30)), Err(Left));
        assert!(!user.has_left(), "the program goes on in its handler");
        let (rip, rsp) = user.follow_upcall(back);
        assert_eq!((rip, rsp), (HANDLER, stack - 64));
        let pushed = frame(user, rsp);
        assert_eq!((pushed.vector, pushed.address), (14, VA + (3 << 30)));
        assert_eq!((pushed.rip, pushed.rsp), back);
        assert_eq!(user.read(word), Ok(masked::MASKED));
        // The handler maps what was missing, and the access works.
        map(user, first.tree, 101, object, VA + (3 << 30), 1).unwrap();
        user.write(word, 0).unwrap();
        assert_eq!(user.read(VA + (3 << 30)), Ok(0));
        user.write(word, masked::MASKED).unwrap();
    });
    // A handler that faults itself ends the run, and with the first program the machine.
    let _ended = booted.start(0, |user| user.read(VA + (4 << 30)));
    while booted.machine().exited().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(booted.machine().exited(), Some(Exit::Status(1)));
}

#[test]
fn ticks_come_at_the_interval_and_are_remembered_while_masked() {
    let booted = boot(2);
    booted.on(0, |user| {
        let first = start(user);
        let object = segment(user, first.boot, 8).unwrap();
        map(user, first.tree, 100, object, VA, 8).unwrap();
        assert_eq!(user.sys().pcore_set_interval(first.pcore, 9_999), Err(Error::OutOfRange));
        let (stack, word) = set_handler(user, first.tree, (VA + 8192, 110));
        let back = (user.context().entry, user.context().stack);
        user.follow_upcall(back);
        user.sys().pcore_set_interval(first.pcore, 100_000).unwrap();
        for _ in 0..3 {
            let at = loop {
                user.interrupts();
                let (rip, rsp) = user.follow_upcall(back);
                if rip == HANDLER {
                    break rsp;
                }
                std::thread::yield_now();
            };
            assert_eq!(at, stack - 64);
            assert_eq!(frame(user, at).vector, TICK_VECTOR);
            // Still masked: the next tick is remembered, and the program goes on.
            while user.read(word) == Ok(masked::MASKED) {
                assert_eq!(user.follow_upcall(back), back);
            }
            assert_eq!(user.read(word), Ok(masked::MASKED | masked::TICK));
            user.write(word, 0).unwrap();
        }
        user.sys().pcore_set_interval(first.pcore, 0).unwrap();
    });
    audit(&booted);
}

#[test]
fn a_tick_without_a_handler_halts_the_pcore_and_only_that() {
    let booted = boot(2);
    booted.on(0, |user| {
        let first = start(user);
        let made = thread(user, first.boot, 1).unwrap();
        assert_eq!(user.sys().pcore_set_interval(made.pcore, 20_000), Err(Error::NotPermitted));
        run(user, made, &[]).unwrap();
        user.sys().pcore_set_interval(made.pcore, 20_000).unwrap();
        // It is idle, and can be run, when the tick has come.
        while run(user, made, &[]) == Err(Error::Busy) {
            user.interrupts();
            std::thread::yield_now();
        }
    });
    audit(&booted);
}

#[test]
fn a_waiter_sleeps_until_its_word_changes_or_its_time_is_over() {
    let booted = boot(3);
    let object = booted.on(0, |user| {
        let first = start(user);
        let common = share(user, first.boot, 100, 10).unwrap();
        let object = segment(user, common, 2).unwrap();
        map(user, first.tree, 100, object, VA, 2).unwrap();
        for core in 1..3 {
            let made = thread(user, first.boot, core).unwrap();
            run(user, made, &[common]).unwrap();
        }
        // One that nobody wakes.
        assert_eq!(user.sys().core_wait(object, 0, 1, 0), Ok(()), "it differs already");
        assert_eq!(user.sys().core_wait(object, 0, 0, 300_000), Err(Error::TimedOut));
        assert_eq!(user.sys().core_wait(object, 4, 0, 1), Err(Error::Misaligned));
        assert_eq!(user.sys().core_wait(object, 8192, 0, 1), Err(Error::OutOfRange));
        object
    });
    let sleeping = Arc::new(AtomicU64::new(0));
    let waiters: Vec<_> = (1..3_u16)
        .map(|core| {
            let sleeping = Arc::clone(&sleeping);
            booted.start(core, move |user| {
                for value in 0..50 {
                    sleeping.fetch_add(1, Ordering::AcqRel);
                    // Early returns are allowed; the word is the truth.
                    user.sys().core_wait(object, 8, value, u64::MAX).unwrap();
                }
            })
        })
        .collect();
    booted.on(0, move |user| {
        for value in 1..=50 {
            while sleeping.load(Ordering::Acquire) < 2 * value {
                user.interrupts();
                std::thread::yield_now();
            }
            user.write(VA + 8, value).unwrap();
            assert!(user.sys().core_wake(object, 8).unwrap() <= 2);
        }
    });
    waiters.iter().for_each(|waiter| booted.wait(waiter));
    // A word that dies wakes those who wait on it.
    let last = booted.start(1, move |user| user.sys().core_wait(object, 0, 0, u64::MAX));
    booted.on(0, move |user| {
        while user.sys().core_wake(object, 0) == Ok(0) {
            user.interrupts();
        }
        user.sys().share_delobj(object).unwrap();
    });
    booted.wait(&last).unwrap();
    audit(&booted);
}

#[test]
fn a_picture_shows_what_a_core_holds() {
    let booted = boot(2);
    booted.on(0, |user| {
        let first = start(user);
        let made = thread(user, first.boot, 1).unwrap();
        let stat = |user: &mut User<'_>, pcore| {
            let at = put(user, &0_u64);
            user.sys().core_stat(pcore, at).unwrap();
            take::<CoreStat>(user)
        };
        assert_eq!(stat(user, made.pcore).mode, core_mode::IDLE);
        run(user, made, &[first.boot]).unwrap();
        let seen = stat(user, made.pcore);
        assert_eq!((seen.core, seen.mode, seen.nshares), (1, core_mode::USER, 2));
        assert_eq!(seen.tree, made.tree.object);
        assert_eq!((seen.shares[0].id, seen.shares[1].id), (made.share, first.boot));
        assert_eq!(seen.shares[1].holders, [3, 0, 0, 0]);
        let own = stat(user, first.pcore);
        assert_eq!((own.core, own.mode, own.nshares), (0, core_mode::USER, 2));
        assert!(own.syscalls > 5, "{}", own.syscalls);
    });
    audit(&booted);
}

#[test]
fn what_follows_a_run_finds_it_begun() {
    // Eight cores start, ask and halt a core each, all at once.
    const STARTERS: u16 = 8;
    let booted = boot(usize::from(2 * STARTERS));
    let targets = booted.on(0, |user| {
        let first = start(user);
        let targets: Vec<_> = (0..STARTERS)
            .map(|starter| {
                let target = thread(user, first.boot, u64::from(STARTERS + starter)).unwrap();
                if starter != 0 {
                    let made = thread(user, first.boot, u64::from(starter)).unwrap();
                    run(user, made, &[target.share]).unwrap();
                }
                target
            })
            .collect();
        targets
    });
    let storm = |core: u16| {
        let target = targets[usize::from(core)];
        booted.start(core, move |user| {
            for round in 0..60 {
                run(user, target, &[]).unwrap();
                match round % 3 {
                    0 => {
                        let at = put(user, &0_u64);
                        user.sys().core_stat(target.pcore, at).unwrap();
                        let seen = take::<CoreStat>(user);
                        assert_eq!((seen.mode, seen.nshares), (core_mode::USER, 1));
                        assert_eq!(seen.tree, target.tree.object);
                    }
                    1 => assert_eq!(user.sys().pcore_set_interval(target.pcore, 1_000_000_000), Ok(())),
                    _ => {}
                }
                assert_eq!(run(user, target, &[]), Err(Error::Busy));
                assert_eq!(user.sys().pcore_halt(target.pcore, 3), Ok(()));
                assert_eq!(user.sys().pcore_halt(target.pcore, 3), Err(Error::NotPermitted));
            }
        })
    };
    let storms: Vec<_> = (0..STARTERS).map(storm).collect();
    storms.iter().for_each(|storm| booted.wait(storm));
    audit(&booted);
}

#[test]
fn a_fence_reaches_every_holder() {
    let booted = boot(3);
    booted.on(0, |user| {
        let first = start(user);
        let common = share(user, first.boot, 10, 10).unwrap();
        let made = thread(user, first.boot, 1).unwrap();
        run(user, made, &[common]).unwrap();
        user.sys().core_fence(common).unwrap();
        assert_eq!(user.sys().core_fence(made.share), Ok(()));
        user.sys().self_drop(common).unwrap();
        assert_eq!(user.sys().core_fence(common), Err(Error::NotFound));
    });
    audit(&booted);
}
