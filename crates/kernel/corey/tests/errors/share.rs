//! What calls on shares and on any object answer.

use crate::*;
use corey_abi::{ObjectCalls, number};

const ANY: u64 = 0xffff;

/// Two shares with one segment, named in the first.
fn two(user: &mut User<'_>, first: Start) -> (ObjRef, Id) {
    let from = share(user, first.boot, 10, 2).unwrap();
    (segment(user, from, 2).unwrap(), share(user, first.boot, 10, 2).unwrap())
}

refusals! {
    obj_get_name {
        NotFound {
            a_share_not_held: alone(|user, first| { let at = name(user, ""); user.sys().obj_get_name(unheld(first), at) });
            an_object_not_named: alone(|user, first| { let at = name(user, ""); user.sys().obj_get_name(unnamed(first), at) });
        }
        BadAddress {
            nothing_mapped: alone(|user, first| user.sys().obj_get_name(first.pcore, NOWHERE));
            read_only: alone(|user, first| {
                let text = UserPtr(user.context().entry);
                user.sys().obj_get_name(first.pcore, text)
            });
            the_kernels_half: alone(|user, first| user.sys().obj_get_name(first.pcore, UserPtr(1 << 47)));
            the_end_of_the_address_space: alone(|user, first| user.sys().obj_get_name(first.pcore, UserPtr(u64::MAX - 3)));
            no_memory_for_the_page: together(out_of_memory(
                |user, first| {
                    let object = segment(user, first.boot, 1).unwrap();
                    map(user, first.tree, 8, object, VA, 1).unwrap();
                },
                0,
                |user, first, ()| user.sys().obj_get_name(first.pcore, UserPtr(VA)),
            ));
        }
    }
    share_alloc {
        BadArgument {
            a_kind_that_does_not_exist: alone(|user, first| raw(user, number::share_alloc, [first.boot.0, 1 << 5, 0, 0, ANY, 0]));
            a_core_no_machine_has: alone(|user, first| raw(user, number::share_alloc, [first.boot.0, 1, 0, 0, NO_CORE, 0]));
        }
        NotFound {
            a_parent_not_held: alone(|user, _| share(user, NONE, 0, 0));
            no_such_core: alone(|user, first| {
                let at = name(user, "");
                user.sys().share_alloc(first.boot, Kinds::all(), 0, 0, Home::Core(4), at)
            });
        }
        NotPermitted {
            a_parent_without_shares: alone(|user, first| {
                let parent = without(user, first, Kinds::SHARE);
                share(user, parent, 0, 0)
            });
            more_kinds_than_the_parent: alone(|user, first| {
                let parent = without(user, first, Kinds::DEVICE);
                share(user, parent, 0, 0)
            });
            memory_of_a_core_out_of_reach: together(|booted| {
                let made = others_share(booted);
                booted.on(2, move |user| {
                    let at = name(user, "");
                    user.sys().share_alloc(made.share, Kinds::all(), 0, 0, Home::Core(1), at)
                })
            });
        }
        Full {
            the_caller_holds_20: alone(|user, first| {
                (2..=20).for_each(|_| _ = share(user, first.boot, 0, 0).unwrap());
                share(user, first.boot, 0, 0)
            });
        }
        BadAddress {
            a_name_nowhere: alone(|user, first| user.sys().share_alloc(first.boot, Kinds::all(), 0, 0, Home::Any, NOWHERE));
        }
        QuotaExceeded {
            more_pages_than_the_parent_has: alone(|user, first| {
                let parent = share(user, first.boot, 10, 10).unwrap();
                share(user, parent, 11, 0)
            });
            more_objects_than_the_parent_has: alone(|user, first| {
                let parent = share(user, first.boot, 10, 10).unwrap();
                share(user, parent, 0, 11)
            });
            no_object_left_for_the_share_itself: alone(|user, first| {
                let parent = share(user, first.boot, 10, 10).unwrap();
                share(user, parent, 0, 10)
            });
            as_much_as_a_word_holds: alone(|user, first| share(user, first.boot, u64::MAX, u64::MAX));
        }
        NoMemory {
            for_its_slot_or_its_name: together(out_of_memory(
                |user, first| share(user, first.boot, 0, 99).unwrap(),
                0,
                |user, _, parent| (0..99).try_for_each(|_| {
                    let id = share(user, parent, 0, 0)?;
                    user.sys().self_drop(id)
                }),
            ));
        }
    }
    share_addobj {
        NotFound {
            a_share_not_held: alone(|user, first| user.sys().share_addobj(NONE, first.pcore));
            an_object_through_a_share_not_held: alone(|user, first| user.sys().share_addobj(first.boot, unheld(first)));
            an_object_not_named: alone(|user, first| user.sys().share_addobj(first.boot, unnamed(first)));
        }
        NotPermitted {
            a_share_in_a_share: alone(|user, first| {
                let (a, b) = (share(user, first.boot, 0, 9).unwrap(), share(user, first.boot, 0, 9).unwrap());
                user.sys().share_addobj(a, ObjRef { share: first.boot, object: b })
            });
            a_kind_it_may_not_hold: alone(|user, first| {
                let to = without(user, first, Kinds::PCORE);
                user.sys().share_addobj(to, first.pcore)
            });
        }
        Exists {
            named_there_already: alone(|user, first| user.sys().share_addobj(first.boot, first.pcore));
        }
        QuotaExceeded {
            its_pages: alone(|user, first| {
                let to = share(user, first.boot, 1, 1).unwrap();
                let (object, _) = two(user, first);
                user.sys().share_addobj(to, object)
            });
            one_object: alone(|user, first| {
                let to = share(user, first.boot, 10, 0).unwrap();
                user.sys().share_addobj(to, first.pcore)
            });
        }
        NoMemory {
            for_its_name: together(out_of_memory(two, 0, |user, _, (object, to)| user.sys().share_addobj(to, object)));
        }
    }
    share_delobj {
        NotFound {
            a_share_not_held: alone(|user, first| user.sys().share_delobj(unheld(first)));
            an_object_not_named: alone(|user, first| user.sys().share_delobj(unnamed(first)));
            a_share_named_by_itself: alone(|user, first| user.sys().share_delobj(boot_share(first)));
            removed_before: alone(|user, first| {
                let (object, _) = two(user, first);
                user.sys().share_delobj(object).unwrap();
                user.sys().share_delobj(object)
            });
        }
    }
    self_drop {
        NotFound {
            a_share_not_held: alone(|user, _| user.sys().self_drop(NONE));
            dropped_before: alone(|user, first| {
                let (_, to) = two(user, first);
                user.sys().self_drop(to).unwrap();
                user.sys().self_drop(to)
            });
            an_object_that_is_no_share: alone(|user, first| user.sys().self_drop(first.pcore.object));
        }
    }
}

/// A program on core 2 that holds a share of its own and no more, while another program has core 1.
pub(crate) fn others_share(booted: &Booted) -> Thread {
    booted.on(0, |user| {
        let first = start(user);
        let taken = thread(user, first.boot, 1).unwrap();
        run(user, taken, &[]).unwrap();
        let made = thread(user, first.boot, 2).unwrap();
        run(user, made, &[]).unwrap();
        made
    })
}
