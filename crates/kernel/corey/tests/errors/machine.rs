//! What calls on the machine answer.

use crate::*;
use corey_abi::{AuditReport, CORE_BY_NUMBER, MachineCalls, Plain, control};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A segment of two pages.
fn words(user: &mut User<'_>, first: Start) -> ObjRef {
    segment(user, first.boot, 2).unwrap()
}

/// A share that is held and is not the boot share.
fn other(user: &mut User<'_>, first: Start) -> Id {
    share(user, first.boot, 0, 0).unwrap()
}

/// Two cores audit until one of them finds the other at it.
fn audits_at_once(booted: &Booted) -> Result<(), Error> {
    let boot = booted.on(0, |user| {
        let first = start(user);
        for core in 1..4 {
            let made = thread(user, first.boot, core).unwrap();
            run(user, made, &[first.boot]).unwrap();
        }
        first.boot
    });
    let over = Arc::new(AtomicBool::new(false));
    let auditors: Vec<_> = (0..4)
        .map(|core| {
            let over = Arc::clone(&over);
            booted.start(core, move |user| {
                let at = UserPtr(user.context().stack - AuditReport::BYTES as u64);
                while !over.load(Ordering::Acquire) {
                    if let Err(error) = user.sys().audit(boot, at) {
                        over.store(true, Ordering::Release);
                        return Err(error);
                    }
                }
                Ok(())
            })
        })
        .collect();
    auditors.iter().map(|auditor| booted.wait(auditor)).find(Result::is_err).expect("one was refused")
}

refusals! {
    locality_get {
        NotFound {
            no_such_core: alone(|user, _| user.sys().locality_get(4, NOWHERE));
            as_much_as_a_word_holds: alone(|user, _| user.sys().locality_get(u64::MAX, NOWHERE));
        }
        BadAddress {
            nothing_mapped: alone(|user, _| user.sys().locality_get(0, NOWHERE));
        }
    }
    share_list {
        NotFound {
            a_share_not_held: alone(|user, _| user.sys().share_list(NONE, 0, NOWHERE, 1));
        }
        BadAddress {
            a_list_nowhere: alone(|user, first| user.sys().share_list(first.boot, 0, NOWHERE, 1));
            a_list_of_ones_own_shares_nowhere: alone(|user, _| user.sys().share_list(Id::NULL, 0, NOWHERE, 1));
            a_list_at_the_end_of_the_address_space: alone(|user, first| {
                user.sys().share_list(first.boot, 0, UserPtr(u64::MAX - 8), 4)
            });
        }
    }
    core_wait {
        TimedOut {
            at_once: alone(|user, first| {
                let object = words(user, first);
                user.sys().core_wait(object, 0, 0, 0)
            });
            after_a_while: alone(|user, first| {
                let object = words(user, first);
                user.sys().core_wait(object, 8, 0, 100_000)
            });
        }
        NotFound {
            a_segment_not_named: alone(|user, first| user.sys().core_wait(unnamed(first), 0, 0, 0));
        }
        WrongKind {
            on_a_pcore: alone(|user, first| user.sys().core_wait(first.pcore, 0, 0, 0));
        }
        Misaligned {
            between_words: alone(|user, first| {
                let object = words(user, first);
                user.sys().core_wait(object, 4, 0, 0)
            });
        }
        OutOfRange {
            beyond_the_end: alone(|user, first| {
                let object = words(user, first);
                user.sys().core_wait(object, 2 * 4096, 0, 0)
            });
            the_last_word_there_could_be: alone(|user, first| {
                let object = words(user, first);
                user.sys().core_wait(object, u64::MAX - 7, 0, 0)
            });
        }
        NoMemory {
            for_a_page_nobody_touched: together(out_of_memory(
                words,
                0,
                |user, _, object| user.sys().core_wait(object, 0, 0, u64::MAX),
            ));
        }
    }
    core_wake {
        NotFound {
            a_segment_not_named: alone(|user, first| user.sys().core_wake(unnamed(first), 0));
        }
        WrongKind {
            on_a_tree: alone(|user, first| user.sys().core_wake(first.tree, 0));
        }
        Misaligned {
            between_words: alone(|user, first| {
                let object = words(user, first);
                user.sys().core_wake(object, 1)
            });
        }
        OutOfRange {
            beyond_the_end: alone(|user, first| {
                let object = words(user, first);
                user.sys().core_wake(object, 2 * 4096)
            });
        }
    }
    machine_info {
        BadAddress {
            nothing_mapped: alone(|user, _| user.sys().machine_info(NOWHERE));
        }
    }
    machine_control {
        NotFound {
            a_share_not_held: alone(|user, _| user.sys().machine_control(NONE, control::EXIT, 0));
        }
        NotPermitted {
            another_share: alone(|user, first| {
                let other = other(user, first);
                user.sys().machine_control(other, control::EXIT, 0)
            });
        }
        BadArgument {
            an_operation_that_does_not_exist: alone(|user, first| user.sys().machine_control(first.boot, 4, 0));
            a_status_no_machine_has: alone(|user, first| user.sys().machine_control(first.boot, control::EXIT, 4));
            a_log_level_that_does_not_exist: alone(|user, first| user.sys().machine_control(first.boot, control::LOG_LEVEL, 6));
        }
    }
    audit {
        NotFound {
            a_share_not_held: alone(|user, _| user.sys().audit(NONE, NOWHERE));
        }
        NotPermitted {
            another_share: alone(|user, first| {
                let other = other(user, first);
                user.sys().audit(other, NOWHERE)
            });
        }
        Busy {
            while_another_core_audits: together(audits_at_once);
        }
        BadAddress {
            a_report_nowhere: alone(|user, first| user.sys().audit(first.boot, NOWHERE));
        }
    }
    core_stat {
        CoreLost {
            of_a_core_that_is_silent: lost(|user, _, made| user.sys().core_stat(made.pcore, NOWHERE));
        }
        NotFound {
            a_pcore_not_named: alone(|user, first| user.sys().core_stat(unnamed(first), NOWHERE));
            no_such_core: alone(|user, first| {
                let core = ObjRef { share: first.boot, object: Id(CORE_BY_NUMBER | 4) };
                user.sys().core_stat(core, NOWHERE)
            });
            a_number_no_core_can_have: alone(|user, first| {
                let core = ObjRef { share: first.boot, object: Id(CORE_BY_NUMBER | 1 << 16) };
                user.sys().core_stat(core, NOWHERE)
            });
        }
        WrongKind {
            of_a_tree: alone(|user, first| user.sys().core_stat(first.tree, NOWHERE));
        }
        BadAddress {
            nothing_mapped: alone(|user, first| user.sys().core_stat(first.pcore, NOWHERE));
        }
    }
    core_fence {
        NotFound {
            a_share_not_held: alone(|user, _| user.sys().core_fence(NONE));
        }
    }
    counter_read {
        BadArgument {
            a_counter_that_does_not_exist: alone(|user, _| user.sys().counter_read(4));
        }
    }
}
