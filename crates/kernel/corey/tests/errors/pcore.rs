//! What calls on pcores answer.

use crate::device::syscall_device;
use crate::*;
use corey_abi::{PcoreCalls, RUN_SHARES, RunContext, run_mode};

/// First address above the user half.
const USER_END: u64 = 1 << 47;

fn alloc(user: &mut User<'_>, share: Id, core: u64) -> Result<ObjRef, Error> {
    let at = name(user, "pcore");
    let object = user.sys().pcore_alloc(share, core, at)?;
    Ok(ObjRef { share, object })
}

/// A thread on core 1 that is run with what `change` makes of its context.
fn run_changed(user: &mut User<'_>, first: Start, change: fn(&mut RunContext)) -> Result<(), Error> {
    let made = thread(user, first.boot, 1).unwrap();
    let refused = run_with(user, made, change);
    // Nothing is left of it: the pcore and the tree can be run.
    run(user, made, &[]).unwrap();
    user.sys().pcore_halt(made.pcore, 0).unwrap();
    refused
}

/// As [`run_changed`], on the core and in the tree of the caller.
fn replace_changed(user: &mut User<'_>, first: Start, change: fn(&mut RunContext)) -> Result<(), Error> {
    let own = Thread { share: first.boot, pcore: first.pcore, tree: first.tree };
    run_with(user, own, |context| {
        context.stack = 0x1000;
        change(context);
    })
}

/// A thread on core 1, and a segment in the boot share.
fn with_segment(user: &mut User<'_>, first: Start) -> (Thread, ObjRef) {
    (thread(user, first.boot, 1).unwrap(), segment(user, first.boot, 2).unwrap())
}

refusals! {
    pcore_alloc {
        CoreLost {
            of_a_core_that_was_found: lost(|user, first, made| {
                assert_eq!(user.sys().pcore_halt(made.pcore, 0), Err(Error::CoreLost));
                end(user, first.boot, made.share);
                alloc(user, first.boot, 3)
            });
        }
        NotFound {
            a_share_not_held: alone(|user, _| alloc(user, NONE, 1));
            no_such_core: alone(|user, first| alloc(user, first.boot, 4));
            as_much_as_a_word_holds: alone(|user, first| alloc(user, first.boot, u64::MAX));
        }
        NotPermitted {
            a_share_without_pcores: alone(|user, first| {
                let to = without(user, first, Kinds::PCORE);
                alloc(user, to, 1)
            });
        }
        BadAddress {
            a_name_nowhere: alone(|user, first| user.sys().pcore_alloc(first.boot, 1, NOWHERE));
        }
        Busy {
            ones_own_core: alone(|user, first| alloc(user, first.boot, 0));
            a_core_that_is_taken: alone(|user, first| {
                alloc(user, first.boot, 1).unwrap();
                alloc(user, first.boot, 1)
            });
        }
        QuotaExceeded {
            one_object: alone(|user, first| {
                let to = share(user, first.boot, 0, 0).unwrap();
                alloc(user, to, 1)
            });
        }
        NoMemory {
            for_its_name: together(out_of_memory(
                |user, first| share(user, first.boot, 0, 1).unwrap(),
                0,
                |user, _, to| {
                    let refused = alloc(user, to, 3);
                    assert_eq!(alloc(user, to, 3), refused, "the core is free again");
                    refused
                },
            ));
        }
    }
    pcore_run {
        CoreLost {
            on_a_core_that_was_found: lost(|user, _, made| {
                assert_eq!(user.sys().pcore_halt(made.pcore, 0), Err(Error::CoreLost));
                run(user, made, &[])
            });
        }
        NotFound {
            a_pcore_not_named: alone(|user, first| {
                let made = thread(user, first.boot, 1).unwrap();
                run(user, Thread { pcore: unnamed(first), ..made }, &[])
            });
            a_tree_not_named: alone(|user, first| run_changed(user, first, |context| context.tree.object = NONE));
            a_status_not_named: alone(|user, first| {
                run_changed(user, first, |context| context.status = ObjRef { share: context.tree.share, object: NONE })
            });
            a_status_not_named_in_ones_own_replacement: alone(|user, first| {
                replace_changed(user, first, |context| context.status = ObjRef { share: context.tree.share, object: NONE })
            });
        }
        WrongKind {
            a_tree: alone(|user, first| {
                let made = thread(user, first.boot, 1).unwrap();
                run(user, Thread { pcore: made.tree, ..made }, &[])
            });
            in_a_segment: alone(|user, first| {
                let (made, object) = with_segment(user, first);
                run(user, Thread { tree: object, ..made }, &[first.boot])
            });
            in_an_interior_tree: alone(|user, first| {
                let made = thread(user, first.boot, 1).unwrap();
                let tree = interior(user, made.share).unwrap();
                run(user, Thread { tree, ..made }, &[])
            });
            a_status_in_a_tree: alone(|user, first| run_changed(user, first, |context| context.status = context.tree));
        }
        BadAddress {
            a_context_nowhere: alone(|user, first| {
                let made = thread(user, first.boot, 1).unwrap();
                user.sys().pcore_run(made.pcore, NOWHERE)
            });
        }
        BadArgument {
            a_kernel_core_with_a_tree: alone(|user, first| run_changed(user, first, |context| context.mode = run_mode::KERNEL_CORE));
            a_mode_that_does_not_exist: alone(|user, first| run_changed(user, first, |context| context.mode = 2));
            more_shares_than_a_core_holds: alone(|user, first| {
                run_changed(user, first, |context| context.nshares = RUN_SHARES as u64 + 1)
            });
            shares_without_end: alone(|user, first| run_changed(user, first, |context| context.nshares = u64::MAX));
            a_share_twice: alone(|user, first| {
                run_changed(user, first, |context| {
                    context.nshares = 2;
                    context.shares[1] = context.shares[0];
                })
            });
        }
        OutOfRange {
            an_entry_in_the_kernels_half: alone(|user, first| run_changed(user, first, |context| context.entry = USER_END));
            a_stack_in_the_kernels_half: alone(|user, first| run_changed(user, first, |context| context.stack = USER_END + 8));
            a_status_outside_its_segment: alone(|user, first| {
                let (made, object) = with_segment(user, first);
                run_with(user, made, |context| (context.status, context.status_offset) = (object, 2 * 4096))
            });
        }
        Misaligned {
            a_status_between_16_bytes: alone(|user, first| {
                let (made, object) = with_segment(user, first);
                run_with(user, made, |context| (context.status, context.status_offset) = (object, 8))
            });
        }
        NotPermitted {
            a_share_out_of_reach: alone(|user, first| {
                run_changed(user, first, |context| (context.nshares, context.shares[1]) = (2, NONE))
            });
            the_trees_share_not_among_them: alone(|user, first| {
                let (made, other) = (thread(user, first.boot, 1).unwrap(), share(user, first.boot, 0, 0).unwrap());
                run_with(user, made, |context| context.shares[0] = other)
            });
            no_share_at_all: alone(|user, first| run_changed(user, first, |context| context.nshares = 0));
            no_share_in_ones_own_replacement: alone(|user, first| replace_changed(user, first, |context| context.nshares = 0));
        }
        Busy {
            a_pcore_that_runs: alone(|user, first| {
                let made = thread(user, first.boot, 1).unwrap();
                run(user, made, &[]).unwrap();
                run(user, made, &[])
            });
            a_tree_that_runs_elsewhere: alone(|user, first| {
                let (made, other) = (thread(user, first.boot, 1).unwrap(), thread(user, first.boot, 2).unwrap());
                run(user, made, &[]).unwrap();
                let refused = run_with(user, other, |context| (context.tree, context.shares[0]) = (made.tree, made.share));
                // The pcore that was claimed for it is free again.
                run(user, other, &[]).unwrap();
                refused
            });
            ones_own_core_in_a_tree_that_runs_elsewhere: alone(|user, first| {
                let made = thread(user, first.boot, 1).unwrap();
                run(user, made, &[]).unwrap();
                let own = Thread { share: made.share, pcore: first.pcore, tree: made.tree };
                run(user, own, &[first.boot])
            });
        }
        NoMemory {
            for_the_page_of_the_status: together(out_of_memory(
                |user, first| (thread_with(user, first.boot, 2, 30).unwrap(), segment(user, first.boot, 1).unwrap()),
                0,
                |user, _, (made, object)| {
                    let refused = run_with(user, made, |context| context.status = object);
                    run(user, made, &[]).unwrap();
                    refused
                },
            ));
        }
    }
    pcore_add_device {
        NotFound {
            a_pcore_not_named: alone(|user, first| { let to = syscall_device(user, first); user.sys().pcore_add_device(unnamed(first), to) });
            a_device_not_named: alone(|user, first| user.sys().pcore_add_device(first.pcore, unnamed(first)));
        }
        WrongKind {
            to_a_tree: alone(|user, first| { let to = syscall_device(user, first); user.sys().pcore_add_device(first.tree, to) });
            a_pcore_as_a_device: alone(|user, first| user.sys().pcore_add_device(first.pcore, first.pcore));
        }
        Exists {
            the_same_twice: alone(|user, first| {
                let device = syscall_device(user, first);
                user.sys().pcore_add_device(first.pcore, device).unwrap();
                user.sys().pcore_add_device(first.pcore, device)
            });
        }
        Full {
            a_ninth_until_one_is_gone: alone(|user, first| {
                let devices: Vec<_> = (0..9).map(|_| syscall_device(user, first)).collect();
                for device in &devices[..8] {
                    user.sys().pcore_add_device(first.pcore, *device).unwrap();
                }
                let refused = user.sys().pcore_add_device(first.pcore, devices[8]);
                user.sys().share_delobj(devices[3]).unwrap();
                user.sys().pcore_add_device(first.pcore, devices[8]).unwrap();
                refused
            });
        }
    }
    pcore_set_interval {
        CoreLost {
            of_a_core_that_is_silent: lost(|user, _, made| user.sys().pcore_set_interval(made.pcore, 0));
        }
        NotFound {
            a_pcore_not_named: alone(|user, first| user.sys().pcore_set_interval(unnamed(first), 0));
        }
        WrongKind {
            of_a_tree: alone(|user, first| user.sys().pcore_set_interval(first.tree, 0));
        }
        OutOfRange {
            shorter_than_the_shortest: alone(|user, first| user.sys().pcore_set_interval(first.pcore, 9_999));
            one_nanosecond: alone(|user, first| user.sys().pcore_set_interval(first.pcore, 1));
        }
        NotPermitted {
            a_pcore_that_does_not_run: alone(|user, first| {
                let made = thread(user, first.boot, 1).unwrap();
                user.sys().pcore_set_interval(made.pcore, 10_000)
            });
        }
    }
    pcore_halt {
        CoreLost {
            of_a_core_that_is_silent: lost(|user, _, made| user.sys().pcore_halt(made.pcore, 0));
        }
        NotFound {
            a_pcore_not_named: alone(|user, first| user.sys().pcore_halt(unnamed(first), 0));
        }
        WrongKind {
            of_a_share: alone(|user, first| user.sys().pcore_halt(boot_share(first), 0));
        }
        BadArgument {
            more_than_32_bits: alone(|user, first| user.sys().pcore_halt(first.pcore, 1 << 32));
        }
        NotPermitted {
            a_pcore_that_never_ran: alone(|user, first| {
                let made = thread(user, first.boot, 1).unwrap();
                user.sys().pcore_halt(made.pcore, 0)
            });
            a_pcore_that_halted: alone(|user, first| {
                let made = thread(user, first.boot, 1).unwrap();
                run(user, made, &[]).unwrap();
                user.sys().pcore_halt(made.pcore, 0).unwrap();
                user.sys().pcore_halt(made.pcore, 0)
            });
        }
    }
}
