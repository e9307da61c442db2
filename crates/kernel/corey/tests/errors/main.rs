//! Every call and every error it can answer: each pair has a test that shows it, and is in the manual.
//!
//! A test is named `call::Error::what_was_wrong`. That a pair is missing here or in the manual is found three times:
//! a call that answers an error its `# Errors` part does not name fails the test it happens in, in every test on the
//! fake machine; the tests below compare the manual with the tables; each row of a table must have happened.
#![allow(non_snake_case, reason = "tests carry the names of errors")]

#[path = "../common/mod.rs"]
mod common;

use common::*;
use corey_abi::{Error, Home, Id, Kinds, ObjRef, SYSCALLS, ShareCalls, UserPtr, from_registers};
use corey_test_e1000_model::{Card, Fault};
use corey_test_hal_host::{Booted, Death, User};
use std::fmt::Debug;
use std::sync::mpsc::channel;

/// Shows that call `number` answers `error` to what the first program does in `case`.
fn alone<T: Debug + PartialEq + Send + 'static>(
    number: u64,
    error: Error,
    case: fn(&mut User<'_>, Start) -> Result<T, Error>,
) {
    shows(number, error, &boot_with(4, 6 << 20), |booted| booted.on(0, move |user| case(user, start(user))));
}

/// Shows that call `number` answers `error` to what is done on a machine of four cores in `case`.
fn together<T: Debug + PartialEq>(number: u64, error: Error, case: impl FnOnce(&Booted) -> Result<T, Error>) {
    shows(number, error, &boot_with(4, 12 << 20), case);
}

/// As [`alone`], on a machine whose core 3 has stopped, with a thread made for that core before.
fn lost<T: Debug + PartialEq + Send + 'static>(
    number: u64,
    error: Error,
    case: fn(&mut User<'_>, Start, Thread) -> Result<T, Error>,
) {
    shows(number, error, &boot_as(4, 12 << 20, "lost=5"), |booted| {
        let made = booted.on(0, |user| {
            let first = start(user);
            let made = thread(user, first.boot, 3).unwrap();
            run(user, made, &[]).unwrap();
            made
        });
        // Asleep, in its idle loop or in the program's.
        booted.machine().stop_core(3, 1, Death::Silent);
        while !booted.machine().has_stopped(3) {
            std::thread::yield_now();
        }
        booted.on(0, move |user| case(user, start(user), made))
    });
}

/// As [`alone`], on a machine with a network card, device 1.
fn plugged<T: Debug + PartialEq + Send + 'static>(
    number: u64,
    error: Error,
    case: fn(&mut User<'_>, Start, &Card) -> Result<T, Error>,
) {
    let (booted, card, _) = boot_plugged(1);
    shows(number, error, &booted, |booted| booted.on(0, move |user| case(user, start(user), &card)));
}

fn shows<T: Debug + PartialEq>(
    number: u64,
    error: Error,
    booted: &Booted,
    case: impl FnOnce(&Booted) -> Result<T, Error>,
) {
    assert_eq!(case(booted), Err(error));
    assert!(booted.machine().has_refused(number, error), "another call answered {error:?}");
    audit(booted);
}

/// Calls, the errors they answer, and a test for each way to get one.
macro_rules! refusals {
    ($( $call:ident { $( $error:ident { $( $test:ident: $how:ident($case:expr); )+ } )* } )*) => {
        /// Pairs of call and error that tests here show.
        pub(crate) const TABLE: &[(&str, corey_abi::Error)] = &[
            $( $( (stringify!($call), corey_abi::Error::$error), )* )*
        ];
        $( mod $call { $( mod $error {
            #[allow(unused_imports, reason = "each test uses its part")]
            use super::super::*;
            $(
                #[test]
                fn $test() {
                    crate::$how(corey_abi::number::$call, corey_abi::Error::$error, $case);
                }
            )+
        } )* } )*
    };
}

mod address_tree;
mod device;
mod machine;
mod pcore;
mod segment;
mod share;

const TABLES: [&[(&str, Error)]; 6] =
    [share::TABLE, segment::TABLE, address_tree::TABLE, pcore::TABLE, device::TABLE, machine::TABLE];

#[test]
fn the_manual_names_the_errors_that_tests_show_and_no_others() {
    let mut shown: Vec<_> = TABLES.concat();
    let mut named: Vec<_> =
        SYSCALLS.iter().flat_map(|row| row.errors().map(|error| (row.name, error))).collect();
    for pairs in [&mut shown, &mut named] {
        pairs.sort_by_key(|(name, error)| (*name, *error as u8));
    }
    let without = |all: &[(&'static str, Error)], others: &[(&'static str, Error)]| {
        all.iter().filter(|pair| !others.contains(pair)).copied().collect::<Vec<_>>()
    };
    assert_eq!(without(&named, &shown), [], "in the manual (crates/abi/src/table.rs), without a test here");
    assert_eq!(without(&shown, &named), [], "shown by a test here, not in the manual");
    assert!(shown.windows(2).all(|pair| pair[0] != pair[1]), "a pair stands in two places");
}

#[test]
fn the_other_errors_are_no_calls() {
    let answered = |error| TABLES.concat().iter().any(|(_, shown)| *shown == error);
    let others: Vec<_> = Error::ALL.iter().map(|(error, _)| *error).filter(|e| !answered(*e)).collect();
    assert_eq!(others, [Error::BadSyscall]);
    let booted = boot(1);
    booted.on(0, |user| {
        for number in [1, 0x0f, 0x14, 0x109, 1 << 32, u64::MAX].into_iter().chain(0x55..0x60) {
            assert_eq!(raw(user, number, [0; 6]), Err(Error::BadSyscall), "{number:#x}");
        }
    });
}

/// A raw call.
fn raw(user: &mut User<'_>, number: u64, args: [u64; 6]) -> Result<[u64; 2], Error> {
    from_registers(user.call_raw(number, args).expect("the program goes on"))
}

/// An identifier of nothing.
const NONE: Id = Id(0xdead);
/// A core number that no core can have.
const NO_CORE: u64 = 0x1000;
/// Not mapped.
const NOWHERE: UserPtr = UserPtr(0x10);
/// Where tests map.
const VA: u64 = 0x6000_0000_0000;

/// Names nothing in the boot share.
fn unnamed(first: Start) -> ObjRef {
    ObjRef { share: first.boot, object: NONE }
}

/// Names the boot share.
fn boot_share(first: Start) -> ObjRef {
    ObjRef { share: first.boot, object: first.boot }
}

/// Names the first program's pcore through a share that is not held.
fn unheld(first: Start) -> ObjRef {
    ObjRef { share: NONE, object: first.pcore.object }
}

/// A share that may hold all but `kinds`.
fn without(user: &mut User<'_>, first: Start, kinds: Kinds) -> Id {
    let at = name(user, "some kinds");
    user.sys().share_alloc(first.boot, Kinds::all() - kinds, 100, 10, Home::Any, at).unwrap()
}

/// What `case` answers when all memory but `frames` frames is used up. Before that, `prepare` works.
fn out_of_memory<C: Copy + Send + 'static, T: Debug + PartialEq + Send + 'static>(
    prepare: fn(&mut User<'_>, Start) -> C,
    frames: u64,
    case: fn(&mut User<'_>, Start, C) -> Result<T, Error>,
) -> impl FnOnce(&Booted) -> Result<T, Error> {
    move |booted| {
        memory::take_other_memory(booted, 250);
        booted.on(0, move |user| {
            let first = start(user);
            let prepared = prepare(user, first);
            memory::Ballast::new(user).release(user, frames);
            case(user, first, prepared)
        })
    }
}

/// What `then` answers on core 0 while core 1 is in the middle of `call`, which waits for core 2: the program there has
/// used the page at `address`, and its processor takes no interrupts.
fn while_it_waits<T: Send + 'static>(
    booted: &Booted,
    address: u64,
    call: impl FnOnce(&mut User<'_>) -> Result<(), Error> + Send + 'static,
    then: impl FnOnce(&mut User<'_>) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let ((ready, is_ready), (release, released)) = (channel(), channel::<()>());
    let deaf = booted.start(2, move |user| {
        user.write(address, 1).unwrap();
        ready.send(()).unwrap();
        released.recv().unwrap();
    });
    is_ready.recv().unwrap();
    let asked = || booted.machine().counts(1).ipis;
    let before = asked();
    let waits = booted.start(1, call);
    while asked() == before {
        booted.machine().check();
        std::thread::yield_now();
    }
    let answer = booted.on(0, then);
    release.send(()).unwrap();
    booted.wait(&deaf);
    booted.wait(&waits).unwrap();
    answer
}
