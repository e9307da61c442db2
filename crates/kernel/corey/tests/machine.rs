//! Whole kernels on a fake machine of up to 16 cores, whose TLBs are stale until flushed.

mod common;

use common::*;
use corey_abi::{Error, MachineCalls, ObjRef, PcoreCalls, SegmentCalls, ShareCalls};
use corey_test_hal_host::{Left, User};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const VA: u64 = 0x6000_0000_0000;

#[test]
fn the_first_program_has_its_boot_information_and_its_pcore() {
    let booted = boot(1);
    booted.on(0, |user| {
        let first = start(user);
        assert_eq!(user.sys().pcore_current(), Ok(first.pcore));
        let info = user.context().args[0];
        assert_eq!(user.read(info), Ok(corey_abi::BOOT_MAGIC));
    });
    audit(&booted);
}

#[test]
fn without_an_archive_the_machine_says_so_and_ends() {
    use corey_kernel_hal::Exit;
    use corey_test_hal_host::{FakeMachine, FakePlatform};
    let booted =
        FakeMachine::new(1, 16 << 20, &[]).boot::<corey_kernel_corey::System<FakePlatform>>(None, "");
    while booted.machine().exited().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(booted.machine().exited(), Some(Exit::Status(2)));
    assert!(booted.machine().console().contains("no archive"), "{}", booted.machine().console());
}

#[test]
fn pages_come_zeroed_on_first_touch_and_go_when_cut() {
    let booted = boot(1);
    booted.on(0, |user| {
        let first = start(user);
        let object = segment(user, first.boot, 20).unwrap();
        map(user, first.tree, 100, object, VA, 20).unwrap();
        for page in 0..20 {
            assert_eq!(user.read(VA + page * 4096), Ok(0));
            user.write(VA + page * 4096, page).unwrap();
        }
        user.sys().segment_set_nbytes(object, 4096).unwrap();
        user.sys().segment_set_nbytes(object, 20 * 4096).unwrap();
        assert_eq!(user.read(VA), Ok(0));
        assert_eq!(user.read(VA + 7 * 4096), Ok(0), "a cut page came back with its data");
        clear(user, first.tree, 100).unwrap();
        user.sys().share_delobj(object).unwrap();
    });
    audit(&booted);
}

#[test]
fn a_private_root_sends_no_interrupt() {
    let booted = boot(4);
    booted.on(0, |user| {
        let first = start(user);
        for _ in 0..20 {
            let object = segment(user, first.boot, 4).unwrap();
            map(user, first.tree, 100, object, VA, 4).unwrap();
            user.write(VA, 1).unwrap();
            clear(user, first.tree, 100).unwrap();
            user.sys().share_delobj(object).unwrap();
        }
    });
    assert_eq!(booted.machine().counts(0).ipis, 0);
    audit(&booted);
}

#[test]
fn a_thread_runs_on_another_core_and_its_halt_frees_it() {
    let booted = boot(2);
    let made = booted.on(0, |user| {
        let first = start(user);
        let made = thread(user, first.boot, 1).unwrap();
        run(user, made, &[]).unwrap();
        assert_eq!(run(user, made, &[]), Err(Error::Busy));
        made
    });
    let current = booted.on(1, |user| {
        let current = user.sys().pcore_current().unwrap();
        user.write(STACK, 5).unwrap();
        let _ = user.sys().pcore_halt(current, 0);
        assert!(user.has_left());
        current
    });
    assert_eq!(current, made.pcore);
    booted.on(0, move |user| {
        let boot = start(user).boot;
        run(user, made, &[]).unwrap();
        user.sys().pcore_halt(made.pcore, 1).unwrap();
        end(user, boot, made.share);
        let again = thread(user, boot, 1).unwrap();
        end(user, boot, again.share);
    });
    audit(&booted);
}

/// Sixteen cores read pages through one interior tree while core 0 takes them away in every way there is. The
/// fake machine fails when a frame gets new contents while any core still has a translation to it.
#[test]
fn no_core_reaches_a_page_that_was_taken_away() {
    const CORES: u16 = 16;
    let booted = boot(usize::from(CORES));
    let stop = Arc::new(AtomicBool::new(false));
    let (object, tree) = booted.on(0, |user| {
        let first = start(user);
        let object = segment(user, first.boot, 8).unwrap();
        let tree = interior(user, first.boot).unwrap();
        map(user, tree, 0, object, 0, 8).unwrap();
        link(user, first.tree, 100, tree, VA).unwrap();
        for core in 1..CORES {
            let made = thread(user, first.boot, u64::from(core)).unwrap();
            // Half of them through the interior tree, half through their own roots.
            if core % 2 == 0 {
                link(user, made.tree, 1, tree, VA).unwrap();
            } else {
                map(user, made.tree, 1, object, VA, 8).unwrap();
            }
            run(user, made, &[]).unwrap();
        }
        (object, tree)
    });
    let readers: Vec<_> = (1..CORES)
        .map(|core| {
            let stop = Arc::clone(&stop);
            booted.start(core, move |user| {
                let mut turns = 0_u64;
                while !stop.load(Ordering::Acquire) {
                    // Page 0 always exists; a page beyond the end would end the program.
                    match user.read(VA) {
                        Ok(0 | 7) => turns += 1,
                        Ok(other) => panic!("core {core} read {other:#x}"),
                        Err(Left) => panic!("core {core} lost page 0"),
                    }
                }
                turns
            })
        })
        .collect();
    booted.on(0, move |user| {
        let first = start(user);
        for round in 0..60 {
            for page in 0..8 {
                user.write(VA + page * 4096, 7).unwrap();
            }
            user.sys().segment_set_nbytes(object, 4096).unwrap();
            // The frames just cut get new contents as soon as they are free.
            let other = segment(user, first.boot, 16).unwrap();
            map(user, first.tree, 101, other, VA + (2 << 30), 16).unwrap();
            for page in 0..16 {
                user.write(VA + (2 << 30) + page * 4096, round).unwrap();
            }
            clear(user, first.tree, 101).unwrap();
            user.sys().share_delobj(other).unwrap();
            user.sys().segment_set_nbytes(object, 8 * 4096).unwrap();
        }
    });
    stop.store(true, Ordering::Release);
    let turns: u64 = readers.iter().map(|reader| booted.wait(reader)).sum();
    assert!(turns > 0);
    audit(&booted);
    // Everything dies while all cores stand on it.
    booted.on(0, move |user| {
        user.sys().share_delobj(tree).unwrap();
        user.sys().share_delobj(object).unwrap();
    });
    audit(&booted);
}

#[test]
fn cores_that_touch_a_page_at_once_get_one_frame() {
    const CORES: u16 = 8;
    const PAGES: u64 = 64;
    let booted = boot(usize::from(CORES));
    booted.on(0, |user| {
        let first = start(user);
        let object = segment(user, first.boot, PAGES).unwrap();
        let tree = interior(user, first.boot).unwrap();
        map(user, tree, 0, object, 0, PAGES).unwrap();
        for core in 1..CORES {
            let made = thread(user, first.boot, u64::from(core)).unwrap();
            link(user, made.tree, 1, tree, VA).unwrap();
            run(user, made, &[]).unwrap();
        }
    });
    let go = Arc::new(AtomicU64::new(0));
    let touchers: Vec<_> = (1..CORES)
        .map(|core| {
            let go = Arc::clone(&go);
            booted.start(core, move |user| {
                go.fetch_add(1, Ordering::AcqRel);
                while go.load(Ordering::Acquire) < u64::from(CORES) - 1 {
                    user.interrupts();
                    std::thread::yield_now();
                }
                (0..PAGES)
                    .map(|page| {
                        user.write(VA + page * 4096 + 8 * u64::from(core), u64::from(core)).unwrap();
                        user.platform().translation(VA + page * 4096)
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let frames: Vec<_> = touchers.iter().map(|toucher| booted.wait(toucher)).collect();
    assert!(frames.windows(2).all(|pair| pair[0] == pair[1]), "two frames for one page");
    audit(&booted);
}

#[test]
fn look_ups_race_with_removal() {
    const CORES: u16 = 6;
    let booted = boot(usize::from(CORES));
    let common = booted.on(0, |user| {
        let first = start(user);
        let common = share(user, first.boot, 1000, 50).unwrap();
        for core in 1..CORES {
            let made = thread(user, first.boot, u64::from(core)).unwrap();
            run(user, made, &[common]).unwrap();
        }
        common
    });
    let (stop, latest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let lookers: Vec<_> = (1..CORES)
        .map(|core| {
            let (stop, latest) = (Arc::clone(&stop), Arc::clone(&latest));
            booted.start(core, move |user| {
                while !stop.load(Ordering::Acquire) {
                    let object = corey_abi::Id(latest.load(Ordering::Acquire));
                    match user.sys().segment_get_nbytes(ObjRef { share: common, object }) {
                        Ok(4096) | Err(Error::NotFound) => {}
                        other => panic!("core {core}: {other:?}"),
                    }
                }
            })
        })
        .collect();
    booted.on(0, move |user| {
        for _ in 0..300 {
            let object = segment(user, common, 1).unwrap();
            latest.store(object.object.0, Ordering::Release);
            user.sys().share_delobj(object).unwrap();
        }
    });
    stop.store(true, Ordering::Release);
    lookers.iter().for_each(|looker| booted.wait(looker));
    audit(&booted);
}

#[test]
fn runs_and_halts_on_all_cores_leave_nothing_behind() {
    const CORES: u64 = 16;
    let booted = boot(CORES as usize);
    booted.on(0, |user| {
        let first = start(user);
        for _ in 0..8 {
            let threads: Vec<_> = (1..CORES).map(|core| thread(user, first.boot, core).unwrap()).collect();
            for made in &threads {
                run(user, *made, &[]).unwrap();
            }
            for made in &threads {
                user.sys().pcore_halt(made.pcore, 3).unwrap();
                end(user, first.boot, made.share);
            }
        }
        assert_eq!(user.sys().counter_read(corey_abi::counter::SHOOTDOWNS), Ok(0));
    });
    audit(&booted);
}

/// Waits for a step of another core, taking interrupts.
fn wait_for(step: &AtomicU64, wanted: u64, user: &mut User<'_>) {
    while step.load(Ordering::Acquire) < wanted {
        user.interrupts();
        std::thread::yield_now();
    }
}

/// A core unmaps a page of an interior tree and waits for the others to forget it; meanwhile another core takes the page
/// from its segment. It must wait for them, too: the mapping is not gone before it was forgotten.
#[test]
fn a_page_that_is_being_unmapped_is_not_reused_before_every_core_forgot_it() {
    const ROUNDS: u64 = 20;
    let booted = boot(3);
    let (common, object, tree, taker_tree) = booted.on(0, |user| {
        let first = start(user);
        let common = share(user, first.boot, 1000, 50).unwrap();
        let object = segment(user, common, 1).unwrap();
        let tree = interior(user, first.boot).unwrap();
        link(user, first.tree, 100, tree, VA).unwrap();
        let made = thread(user, first.boot, 1).unwrap();
        link(user, made.tree, 1, tree, VA).unwrap();
        run(user, made, &[]).unwrap();
        let made = thread(user, first.boot, 2).unwrap();
        run(user, made, &[common, first.boot]).unwrap();
        (common, object, tree, made.tree)
    });
    // Three steps a round: made, mapped, read.
    let step = Arc::new(AtomicU64::new(0));
    let reader = {
        let step = Arc::clone(&step);
        booted.start(1, move |user| {
            for round in 0..ROUNDS {
                wait_for(&step, 3 * round + 2, user);
                assert_eq!(user.read(VA), Ok(round));
                step.store(3 * round + 3, Ordering::Release);
                // Busy with its own things, it takes no interrupt for a while.
                std::thread::sleep(std::time::Duration::from_millis(4));
                user.interrupts();
            }
        })
    };
    let taker = {
        let step = Arc::clone(&step);
        booted.start(2, move |user| {
            for round in 0..ROUNDS {
                user.sys().segment_set_nbytes(object, 4096).unwrap();
                map(user, taker_tree, 1, object, VA, 1).unwrap();
                user.write(VA, round).unwrap();
                clear(user, taker_tree, 1).unwrap();
                step.store(3 * round + 1, Ordering::Release);
                wait_for(&step, 3 * round + 3, user);
                std::thread::sleep(std::time::Duration::from_millis(1));
                user.sys().segment_set_nbytes(object, 0).unwrap();
                // The frame gets new contents now, if it is free.
                let other = segment(user, common, 4).unwrap();
                map(user, taker_tree, 1, other, VA, 4).unwrap();
                (0..4).for_each(|page| user.write(VA + page * 4096, 1).unwrap());
                clear(user, taker_tree, 1).unwrap();
                user.sys().share_delobj(other).unwrap();
            }
        })
    };
    booted.on(0, move |user| {
        for round in 0..ROUNDS {
            wait_for(&step, 3 * round + 1, user);
            map(user, tree, 0, object, 0, 1).unwrap();
            assert_eq!(user.read(VA), Ok(round));
            step.store(3 * round + 2, Ordering::Release);
            wait_for(&step, 3 * round + 3, user);
            clear(user, tree, 0).unwrap();
        }
    });
    booted.wait(&reader);
    booted.wait(&taker);
    audit(&booted);
}
