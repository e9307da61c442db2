//! Models of whole kernels on the fake machine: eight cores, shuttle's schedules.
//!
//! What precedes the protocol in question runs without switches. Beside what a model asserts, the machine objects to a
//! frame that is used anew while a core holds a translation to it, and at the end the books must balance.
#![cfg(shuttle)]

#[path = "../common/mod.rs"]
mod common;

use common::*;
use corey_abi::{
    AddressTreeCalls, Error, Home, MachineCalls, ObjRef, PcoreCalls, SegmentCalls, ShareCalls, UserPtr,
    copy_mode,
};
use corey_lib_sync::explore::{self, Bounds};
use corey_test_hal_host::{Booted, User};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

const VA: u64 = 0x6000_0000_0000;
const BOUNDS: Bounds = Bounds { loom: &[], shuttle: 8 };

/// A machine of `cores` cores whose others each run a thread that holds the common share as well.
struct Model {
    booted: Booted,
    common: corey_abi::Id,
    threads: Vec<Thread>,
}

fn model(cores: usize) -> Model {
    let booted = boot_with(cores, 3 << 20);
    let (common, threads) = booted.on(0, move |user| {
        let first = start(user);
        let common = share(user, first.boot, 60, 40).unwrap();
        let threads: Vec<_> =
            (1..cores as u64).map(|core| thread_with(user, first.boot, core, 30).unwrap()).collect();
        threads.iter().for_each(|thread| run(user, *thread, &[common]).unwrap());
        (common, threads)
    });
    Model { booted, common, threads }
}

impl Model {
    /// Starts `work` on every core but 0; it gets the core's thread and its number.
    fn others<R: Send + 'static>(
        &self,
        work: impl Fn(&mut User<'_>, Thread, u64) -> R + Clone + Send + 'static,
    ) -> Vec<Receiver<R>> {
        let start = |(number, thread): (u16, &Thread)| {
            let (work, thread) = (work.clone(), *thread);
            self.booted.start(number, move |user| work(user, thread, u64::from(number)))
        };
        (1..).zip(&self.threads).map(start).collect()
    }

    fn end(self, others: &[Receiver<()>]) {
        others.iter().for_each(|other| self.booted.wait(other));
        explore::quietly(|| audit(&self.booted));
    }
}

/// A page that all reach through one interior tree is taken away and given anew while cores fault it in, and while some
/// leave the tree and come back: nobody reaches what was taken. Fill against clear,
/// shootdown with attach and detach.
#[test]
fn a_page_is_taken_from_cores_that_come_and_go() {
    /// Turns that a core waits for the next page to be taken.
    const PATIENCE: u32 = 40;
    explore::check_within(BOUNDS, |cores| {
        let (model, tree) = explore::quietly(|| {
            let model = model(cores);
            let common = model.common;
            let tree = model.booted.on(0, move |user| interior(user, common).unwrap());
            let linked = model.others(move |user, thread, _| link(user, thread.tree, 5, tree, VA).unwrap());
            linked.iter().for_each(|linked| model.booted.wait(linked));
            (model, tree)
        });
        // The page that was taken last, by what was written there.
        let taken = Arc::new(AtomicU64::new(0));
        let last = taken.clone();
        let others = model.others(move |user, thread, number| {
            for _ in 0..2 {
                if number % 3 == 0 {
                    clear(user, thread.tree, 5).unwrap();
                    link(user, thread.tree, 5, tree, VA).unwrap();
                }
                // The kernel reads there, faulting the page in, and then the program, if it is mapped by now.
                let _ = user.sys().at_get(thread.tree, UserPtr(VA));
                let before = last.load(Ordering::SeqCst);
                if let Ok(word) = user.platform().user_read(VA) {
                    assert!(word == 0 || word > before, "page {word} is reached, and {before} was taken");
                }
                // So that a page is taken after this core has read there, as a rule.
                let more = (0..PATIENCE).take_while(|_| last.load(Ordering::SeqCst) == before);
                more.for_each(|_| explore::yield_now());
            }
        });
        let common = model.common;
        model.booted.on(0, move |user| {
            link(user, start(user).tree, 101, tree, VA).unwrap();
            for page in 1..4 {
                let segment = segment(user, common, 1).unwrap();
                map(user, tree, 0, segment, 0, 1).unwrap();
                user.write(VA, page).unwrap();
                user.sys().share_delobj(segment).unwrap();
                taken.store(page, Ordering::SeqCst);
                clear(user, tree, 0).unwrap();
            }
        });
        model.end(&others);
    });
}

/// A shootdown meets cores that are halted and run again: it ends, and they forget.
#[test]
fn a_shootdown_ends_whoever_is_halted_meanwhile() {
    explore::check_within(BOUNDS, |cores| {
        let (model, tree, page) = explore::quietly(|| {
            let model = model(cores);
            let common = model.common;
            let (tree, page) = model.booted.on(0, move |user| {
                let (tree, page) = (interior(user, common).unwrap(), segment(user, common, 2).unwrap());
                map(user, tree, 0, page, 0, 2).unwrap();
                (tree, page)
            });
            let linked = model.others(move |user, thread, _| {
                link(user, thread.tree, 5, tree, VA).unwrap();
                user.write(VA, 7).unwrap();
            });
            linked.iter().for_each(|linked| model.booted.wait(linked));
            (model, tree, page)
        });
        let victim = model.threads[0];
        let halted = model.booted.start(0, move |user| {
            user.sys().pcore_halt(victim.pcore, 1).unwrap();
            run(user, victim, &[]).unwrap();
        });
        let others = model.others(move |user, _, number| {
            if number == 2 {
                // Cut, grown, and cut again: three rounds.
                for pages in [0, 2, 1] {
                    user.sys().segment_set_nbytes(page, pages * 4096).unwrap();
                }
            } else if number > 2 {
                let there = user.platform().user_read(VA);
                assert!(matches!(there, Ok(0 | 7) | Err(_)));
            }
        });
        model.booted.wait(&halted);
        others.iter().skip(1).for_each(|other| model.booted.wait(other));
        explore::quietly(|| {
            // The victim's work was done, or forgotten with its program.
            drop(others);
            let _ = tree;
            audit(&model.booted)
        });
    });
}

/// Cores in pairs halt each other at once, others halt them, too: every call returns, and everybody halts.
#[test]
fn cores_that_halt_each_other_all_end() {
    explore::check_within(BOUNDS, |cores| {
        let (model, pcores) = explore::quietly(|| {
            let model = model(cores);
            let (common, threads) = (model.common, model.threads.clone());
            let pcores: Vec<_> = model.booted.on(0, move |user| {
                let name = |thread: &Thread| {
                    user.sys().share_addobj(common, thread.pcore).unwrap();
                    ObjRef { share: common, object: thread.pcore.object }
                };
                threads.iter().map(name).collect()
            });
            (model, pcores)
        });
        let (all, count) = (pcores.clone(), pcores.len());
        let others = model.others(move |user, _, number| {
            let partner = ((number - 1) ^ 1).min(count as u64 - 1) as usize;
            let _ = user.sys().pcore_halt(all[partner], number);
        });
        model.booted.on(0, move |user| {
            for pcore in pcores {
                while user.sys().pcore_halt(pcore, 9) != Err(Error::NotPermitted) {}
            }
        });
        drop(others);
        explore::quietly(|| audit(&model.booted));
    });
}

/// Waiters of a word and a waker: whoever sleeps is woken, and finds the word changed.
#[test]
fn no_wake_up_is_lost() {
    explore::check_within(BOUNDS, |cores| {
        let (model, object) = explore::quietly(|| {
            let model = model(cores);
            let common = model.common;
            let object = model.booted.on(0, move |user| {
                let object = segment(user, common, 1).unwrap();
                map(user, start(user).tree, 100, object, VA, 1).unwrap();
                user.write(VA, 0).unwrap();
                object
            });
            (model, object)
        });
        let others = model.others(move |user, _, _| user.sys().core_wait(object, 0, 0, u64::MAX).unwrap());
        model.booted.on(0, move |user| {
            user.write(VA, 1).unwrap();
            assert!(user.sys().core_wake(object, 0).unwrap() < cores as u64);
        });
        model.end(&others);
    });
}

/// Cores write source and copies from all sides while copies are made: each side keeps what it wrote, and sees nothing
/// of the others'. Copy-on-write, mark and break.
#[test]
fn sides_that_break_a_page_at_once_part_for_good() {
    explore::check_within(BOUNDS, |cores| {
        let (model, source) = explore::quietly(|| {
            let model = model(cores);
            let common = model.common;
            let source = model.booted.on(0, move |user| segment(user, common, 1).unwrap());
            let mapped = model.others(move |user, thread, number| {
                map(user, thread.tree, 5, source, VA, 1).unwrap();
                user.write(VA + 8 * number, number).unwrap();
            });
            mapped.iter().for_each(|mapped| model.booted.wait(mapped));
            (model, source)
        });
        let common = model.common;
        let copy = move |user: &mut User<'_>| {
            let at = name(user, "copy");
            loop {
                // Copies of one segment exclude each other.
                match user.sys().segment_copy(source, common, copy_mode::ON_WRITE, Home::Any, at) {
                    Err(Error::Busy) => explore::yield_now(),
                    object => break ObjRef { share: common, object: object.unwrap() },
                }
            }
        };
        let others = model.others(move |user, thread, number| {
            let at = VA + 8 * number;
            user.write(at, 10 + number).unwrap();
            assert_eq!(user.read(at), Ok(10 + number), "its own write is lost");
            if number == 1 {
                let mine = copy(user);
                map(user, thread.tree, 6, mine, VA + (1 << 30), 1).unwrap();
                assert_eq!(user.read(VA + (1 << 30) + 8), Ok(11));
                user.write(VA + (1 << 30) + 8, 99).unwrap();
                assert_eq!(user.read(at), Ok(11), "a write to the copy went through");
                user.sys().share_delobj(mine).unwrap();
            }
            assert_eq!(user.read(at), Ok(10 + number), "its own write is lost");
        });
        model.booted.on(0, move |user| {
            let mine = copy(user);
            map(user, start(user).tree, 100, mine, VA, 1).unwrap();
            let before: Vec<_> =
                (1..cores as u64).map(|number| user.read(VA + 8 * number).unwrap()).collect();
            user.write(VA, 77).unwrap();
            let after: Vec<_> = (1..cores as u64).map(|number| user.read(VA + 8 * number).unwrap()).collect();
            assert_eq!(before, after, "a copy changed under its reader");
            assert!((1..).zip(before).all(|(number, word)| word == number || word == 10 + number));
        });
        model.end(&others);
    });
}

/// An object is deleted, and its slot used anew, while others look it up by its name: they find it whole, or not.
#[test]
fn who_looks_up_what_is_deleted_finds_it_whole_or_not() {
    explore::check_within(BOUNDS, |cores| {
        let (model, object) = explore::quietly(|| {
            let model = model(cores);
            let common = model.common;
            let object = model.booted.on(0, move |user| segment(user, common, 3).unwrap());
            (model, object)
        });
        let (common, own) = (model.common, model.threads.clone());
        let others = model.others(move |user, _, number| {
            for _ in 0..2 {
                match user.sys().segment_get_nbytes(object) {
                    Ok(bytes) => assert_eq!(bytes, 3 * 4096, "another object's size"),
                    Err(error) => assert_eq!(error, Error::NotFound),
                }
                // Named in another share as well, if it lives: a reference unless there is none left.
                let other = own[number as usize - 1].share;
                if user.sys().share_addobj(other, object) == Ok(()) {
                    let named = ObjRef { share: other, ..object };
                    assert_eq!(user.sys().segment_get_nbytes(named), Ok(3 * 4096), "it is named");
                    user.sys().share_delobj(named).unwrap();
                }
            }
        });
        model.booted.on(0, move |user| {
            user.sys().share_delobj(object).unwrap();
            for pages in 4..6 {
                let next = segment(user, common, pages).unwrap();
                user.sys().share_delobj(next).unwrap();
            }
        });
        model.end(&others);
    });
}
