//! Runs, halts and drops that meet in every order, up to sixteen cores at once: nothing is lost, nothing is left over.

mod common;

use common::*;
use corey_abi::{CoreStat, Error, Id, MachineCalls, ObjRef, PcoreCalls, RUN_SHARES, RunContext, ShareCalls};
use corey_test_hal_host::User;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

const ENTRY: u64 = 0x40_0000;

/// Runs `pcore` in `tree` with `shares`.
fn run_in(user: &mut User<'_>, pcore: ObjRef, tree: ObjRef, shares: &[Id]) -> Result<(), Error> {
    let mut context = RunContext {
        tree,
        nshares: shares.len() as u64,
        entry: ENTRY,
        stack: STACK + 4 * 4096,
        ..RunContext::default()
    };
    context.shares.iter_mut().zip(shares).for_each(|(to, from)| *to = *from);
    // A program that is over meanwhile has no answer.
    let Ok(at) = try_put(user, &context) else { return Ok(()) };
    user.sys().pcore_run(pcore, at)
}

/// A root tree with a stack, in `share`.
fn root_with_stack(user: &mut User<'_>, share: Id) -> ObjRef {
    let tree = root(user, share).unwrap();
    let stack = segment(user, share, 4).unwrap();
    map(user, tree, 0, stack, STACK, 4).unwrap();
    tree
}

/// A core runs itself in another address space with twenty other shares, again and again, while another halts it:
/// whichever comes first, the root that lost is free again and no share of one program is the next one's.
#[test]
fn a_halt_that_meets_a_run_on_oneself_leaves_nothing_reserved() {
    let booted = boot(2);
    let (boot, made, other, sets) = booted.on(0, |user| {
        let first = start(user);
        let made = thread(user, first.boot, 1).unwrap();
        // Two disjoint sets, each with the thread's share: its pcore and both roots are there.
        let other = root_with_stack(user, made.share);
        let mut sets = [vec![made.share], vec![made.share]];
        for number in 0..2 * (RUN_SHARES - 1) {
            let extra = share(user, made.share, 0, 0).unwrap();
            sets[number % 2].push(extra);
            user.sys().self_drop(extra).unwrap();
        }
        (first.boot, made, other, sets)
    });
    for round in 0..300_u64 {
        let (to_run, here) = (sets.clone(), sets.clone());
        booted.on(0, move |user| {
            // Free, whatever the round before came to.
            run_in(user, made.pcore, made.tree, &to_run[0]).unwrap();
        });
        let itself = booted.start(1, move |user| {
            let _ = run_in(user, made.pcore, other, &here[1]);
        });
        booted.on(0, move |user| {
            for _ in 0..(round % 16) * 8 {
                std::hint::spin_loop();
            }
            user.sys().pcore_halt(made.pcore, round).unwrap();
            let _ = user;
        });
        // If it was halted before it came to that, it does it in a later round, or never.
        drop(itself);
        let here = sets.clone();
        booted.on(0, move |user| {
            run_in(user, made.pcore, other, &here[1]).unwrap();
            let at = put(user, &0_u64);
            user.sys().core_stat(made.pcore, at).unwrap();
            let held = take::<CoreStat>(user).shares.map(|share| share.id);
            assert!(
                here[1].iter().all(|id| held.contains(id)),
                "it holds another program's shares: {held:?}"
            );
            user.sys().pcore_halt(made.pcore, round).unwrap();
        });
    }
    booted.on(0, move |user| end(user, boot, made.share));
    audit(&booted);
}

/// What the cores of a ring take from each other.
#[derive(Clone, Copy, Debug)]
enum Prop {
    Pcore,
    Root,
}

/// Cores in pairs take away what the other one runs on, all at once: every one of them ends, and no core waits for
/// another that waits for it.
#[test]
fn cores_that_take_each_others_pcores_and_roots_all_end() {
    const CORES: u16 = 15;
    let booted = boot(usize::from(CORES));
    for prop in [Prop::Pcore, Prop::Root].into_iter().cycle().take(40) {
        let (boot, common, threads) = booted.on(0, |user| {
            let first = start(user);
            let common = share(user, first.boot, 100, 100).unwrap();
            let mut threads = Vec::new();
            for core in 1..CORES {
                let made = thread(user, first.boot, u64::from(core)).unwrap();
                for object in [made.pcore, made.tree] {
                    user.sys().share_addobj(common, object).unwrap();
                    // Only `common` names it: one that takes it from there takes it away.
                    user.sys().share_delobj(object).unwrap();
                }
                threads.push(made);
            }
            (first.boot, common, threads)
        });
        let named = |object: ObjRef| ObjRef { share: common, object: object.object };
        let ring: Vec<_> = threads.iter().map(|made| (named(made.pcore), named(made.tree))).collect();
        let (here, ids) = (ring.clone(), threads.clone());
        booted.on(0, move |user| {
            for ((pcore, tree), made) in here.iter().zip(&ids) {
                run_in(user, *pcore, *tree, &[common, made.share]).unwrap();
            }
        });
        let gate = Arc::new(Barrier::new(usize::from(CORES) - 1));
        let takers: Vec<_> = (1..CORES)
            .map(|core| {
                let (gate, ring) = (Arc::clone(&gate), ring.clone());
                booted.start(core, move |user| {
                    let (pcore, tree) = ring[usize::from(core - 1) ^ 1];
                    gate.wait();
                    let taken = match prop {
                        Prop::Pcore => user.sys().share_delobj(pcore),
                        Prop::Root => user.sys().share_delobj(tree),
                    };
                    (taken, user.has_left())
                })
            })
            .collect();
        for taker in &takers {
            booted.wait(taker).0.unwrap();
        }
        booted.on(0, move |user| {
            // Who lost its pcore before it came to its turn took nothing away.
            for (made, (pcore, tree)) in threads.iter().zip(ring) {
                let _ = (user.sys().share_delobj(pcore), user.sys().share_delobj(tree));
                end(user, boot, made.share);
            }
            end(user, boot, common);
        });
        audit(&booted);
    }
}

/// An audit waits for every core, and one of them waits for the auditor to halt.
#[test]
fn an_auditor_can_be_halted_while_it_waits() {
    let booted = boot(3);
    for _ in 0..12 {
        let (auditor, halter) = booted.on(0, |user| {
            let first = start(user);
            let auditor = thread(user, first.boot, 1).unwrap();
            let halter = thread(user, first.boot, 2).unwrap();
            run(user, auditor, &[first.boot]).unwrap();
            run(user, halter, &[auditor.share]).unwrap();
            (auditor, halter)
        });
        let boot = booted.on(0, |user| start(user).boot);
        let _ends_some_time = booted.start(1, move |user| {
            while !user.has_left() {
                let Ok(at) = try_put(user, &[0_u64; 8]) else { break };
                // `Busy` when it is halted meanwhile.
                let _ = user.sys().audit(boot, at);
            }
        });
        booted.on(2, move |user| {
            let _ = user.sys().pcore_halt(auditor.pcore, 1);
        });
        booted.on(0, move |user| {
            user.sys().pcore_halt(halter.pcore, 0).unwrap();
            end(user, boot, auditor.share);
            end(user, boot, halter.share);
        });
    }
    audit(&booted);
}

/// The next of a row of numbers that look random.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed >> 8
}

/// What a storm is about: a share that all hold, in it a pcore and a root of each core, an interior tree, a segment.
#[derive(Clone, Debug)]
struct Sky {
    common: Id,
    cores: Vec<(ObjRef, ObjRef)>,
    tree: ObjRef,
    pages: ObjRef,
}

impl Sky {
    /// One thing that a program can do to others or to itself. Whatever the answer: no call may hang or break anything.
    fn strike(&self, user: &mut User<'_>, own: Option<usize>, seed: &mut u64) {
        let (pcore, root) = self.cores[next(seed) as usize % self.cores.len()];
        let va = (0x6000_0000_0000) + ((next(seed) % 3) << 30);
        let slot = 1 + next(seed) % 4;
        let mine = own.map_or(pcore, |own| self.cores[own].0);
        let _ = match next(seed) % 16 {
            0..=2 => user.sys().pcore_halt(pcore, 1),
            3..=6 => run_in(user, pcore, root, &[self.common]),
            7 => run_in(user, mine, root, &[self.common]),
            8 => user.sys().pcore_set_interval(pcore, 10_000 * (next(seed) % 3)),
            9 => map(user, root, slot, self.pages, va, 4),
            10 => link(user, root, slot, self.tree, va),
            11 => clear(user, root, slot),
            12 => user.sys().core_fence(self.common),
            13 => segment(user, self.common, 2).and_then(|made| user.sys().share_delobj(made)),
            14 => {
                let at = put(user, &0_u64);
                user.sys().core_stat(pcore, at)
            }
            _ if next(seed).is_multiple_of(8) => user.sys().share_delobj(if slot > 2 { pcore } else { root }),
            _ if next(seed).is_multiple_of(8) && own.is_some() => user.sys().self_drop(self.common),
            _ => user.sys().core_wait(self.pages, 0, next(seed) % 2, 20_000),
        };
    }
}

/// Sixteen cores run, halt, replace, change, delete and drop whatever they can name, at random; in the end everything
/// can be taken away, and nothing is left.
#[test]
fn sixteen_cores_do_their_worst_and_nothing_is_left() {
    const CORES: u16 = 16;
    let booted = boot(usize::from(CORES));
    let objects = audit(&booted);
    let strikes = Arc::new(AtomicU64::new(0));
    for round in 0..5_u64 {
        let (boot, sky, threads) = booted.on(0, |user| {
            let first = start(user);
            let common = share(user, first.boot, 200, 200).unwrap();
            let pages = segment(user, common, 4).unwrap();
            let tree = interior(user, common).unwrap();
            map(user, tree, 0, pages, 0, 4).unwrap();
            let threads: Vec<_> =
                (1..CORES).map(|core| small_thread(user, first.boot, core.into())).collect();
            let cores = threads.iter().map(|made| {
                for object in [made.pcore, made.tree] {
                    user.sys().share_addobj(common, object).unwrap();
                }
                let named = |object: ObjRef| ObjRef { share: common, object: object.object };
                (named(made.pcore), named(made.tree))
            });
            let cores = cores.collect();
            (first.boot, Sky { common, cores, tree, pages }, threads)
        });
        for core in 1..CORES {
            for part in 0..4 {
                let (sky, strikes) = (sky.clone(), Arc::clone(&strikes));
                // Done whenever something runs there, if at all.
                drop(booted.start(core, move |user| {
                    let mut seed = 0x9e37_79b9 * (round * 100 + u64::from(core) * 5 + part + 1);
                    for _ in 0..40 {
                        if user.has_left() {
                            break;
                        }
                        sky.strike(user, Some(usize::from(core) - 1), &mut seed);
                        strikes.fetch_add(1, Ordering::Relaxed);
                    }
                }));
            }
        }
        booted.on(0, move |user| {
            let mut seed = 0x1234_5678_9abc_def1 + round;
            for (pcore, root) in &sky.cores {
                let _ = run_in(user, *pcore, *root, &[sky.common]);
            }
            for _ in 0..250 {
                sky.strike(user, None, &mut seed);
            }
            for made in threads {
                end(user, boot, made.share);
            }
            // What still runs has lost its pcore when this returns.
            for (pcore, root) in &sky.cores {
                let _ = (user.sys().share_delobj(*pcore), user.sys().share_delobj(*root));
            }
            end(user, boot, sky.common);
        });
        assert_eq!(audit(&booted), objects, "round {round} left something");
    }
    assert!(strikes.load(Ordering::Relaxed) > 500, "the others hardly came to anything: {strikes:?}");
}
