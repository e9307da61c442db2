//! What calls on segments answer.

use crate::share::others_share;
use crate::*;
use corey_abi::{SegmentCalls, copy_mode, number, segment_flag};

const TOO_LARGE: u64 = (1 << 39) + 1;

fn alloc(user: &mut User<'_>, share: Id, nbytes: u64, home: Home, flags: u64) -> Result<ObjRef, Error> {
    let at = name(user, "segment");
    let object = user.sys().segment_alloc(share, nbytes, home, flags, at)?;
    Ok(ObjRef { share, object })
}

fn copy(user: &mut User<'_>, from: ObjRef, share: Id, mode: u64, home: Home) -> Result<ObjRef, Error> {
    let at = name(user, "copy");
    let object = user.sys().segment_copy(from, share, mode, home, at)?;
    Ok(ObjRef { share, object })
}

/// A segment of 3 pages in the boot share, all of them touched.
fn source(user: &mut User<'_>, first: Start) -> ObjRef {
    let object = segment(user, first.boot, 3).unwrap();
    map(user, first.tree, 8, object, VA, 3).unwrap();
    (0..3).for_each(|page| user.write(VA + page * 4096, 1).unwrap());
    object
}

/// A segment whose first page a run reports to.
fn pinned(user: &mut User<'_>, first: Start) -> ObjRef {
    let object = source(user, first);
    let made = thread(user, first.boot, 1).unwrap();
    run_with(user, made, |context| context.status = object).unwrap();
    object
}

/// What `then` answers while core 1 is in the middle of a copy of a segment.
fn while_it_is_copied<T: Send + 'static>(
    booted: &Booted,
    then: fn(&mut User<'_>, ObjRef) -> Result<T, Error>,
) -> Result<T, Error> {
    let (object, common) = booted.on(0, |user| {
        let first = start(user);
        let common = share(user, first.boot, 100, 10).unwrap();
        let object = segment(user, common, 3).unwrap();
        for core in 1..3 {
            let made = thread(user, first.boot, core).unwrap();
            map(user, made.tree, 1, object, VA, 3).unwrap();
            run(user, made, &[common]).unwrap();
        }
        (object, common)
    });
    let copies =
        move |user: &mut User<'_>| copy(user, object, common, copy_mode::ON_WRITE, Home::Any).map(drop);
    while_it_waits(booted, VA, copies, move |user| then(user, object))
}

refusals! {
    segment_alloc {
        BadArgument {
            flags_that_do_not_exist: alone(|user, first| alloc(user, first.boot, 1, Home::Any, 2));
            a_core_no_machine_has: alone(|user, first| raw(user, number::segment_alloc, [first.boot.0, 1, NO_CORE, 0, 0, 0]));
        }
        NotFound {
            a_share_not_held: alone(|user, _| segment(user, NONE, 1));
            no_such_core: alone(|user, first| alloc(user, first.boot, 1, Home::Core(4), 0));
        }
        NotPermitted {
            a_share_without_segments: alone(|user, first| {
                let to = without(user, first, Kinds::SEGMENT);
                segment(user, to, 1)
            });
            memory_of_a_core_out_of_reach: together(|booted| {
                let made = others_share(booted);
                booted.on(2, move |user| alloc(user, made.share, 1, Home::Core(1), 0))
            });
        }
        OutOfRange {
            above_512_gib: alone(|user, first| alloc(user, first.boot, TOO_LARGE, Home::Any, 0));
            as_much_as_a_word_holds: alone(|user, first| alloc(user, first.boot, u64::MAX, Home::Any, segment_flag::LARGE));
        }
        BadAddress {
            a_name_nowhere: alone(|user, first| user.sys().segment_alloc(first.boot, 1, Home::Any, 0, NOWHERE));
        }
        QuotaExceeded {
            its_pages_and_their_slots: alone(|user, first| {
                let to = share(user, first.boot, 12, 1).unwrap();
                segment(user, to, 12)
            });
            one_object: alone(|user, first| {
                let to = share(user, first.boot, 5, 0).unwrap();
                segment(user, to, 0)
            });
            half_a_terabyte: alone(|user, first| alloc(user, first.boot, 1 << 39, Home::Any, 0));
        }
        NoMemory {
            for_the_slots_of_its_pages: together(out_of_memory(|_, _| (), 0, |user, first, ()| segment(user, first.boot, 9)));
            of_the_core_that_is_named: together(out_of_memory(
                |_, _| (),
                5,
                |user, first, ()| {
                    (0..3).for_each(|_| _ = segment(user, first.boot, 1).unwrap());
                    alloc(user, first.boot, 1, Home::Core(2), 0)
                },
            ));
        }
    }
    segment_copy {
        BadArgument {
            a_mode_that_does_not_exist: alone(|user, first| {
                let from = source(user, first);
                copy(user, from, first.boot, 3, Home::Any)
            });
            no_page_is_now_where_all_are: alone(|user, first| {
                let from = source(user, first);
                copy(user, from, first.boot, copy_mode::PAGE_NOW, Home::Any)
            });
            an_offset_within_a_page: alone(|user, first| {
                let from = source(user, first);
                copy(user, from, first.boot, copy_mode::ON_WRITE | copy_mode::PAGE_NOW | 8, Home::Any)
            });
            an_offset_alone: alone(|user, first| {
                let from = source(user, first);
                copy(user, from, first.boot, copy_mode::ON_WRITE | 4096, Home::Any)
            });
            a_core_no_machine_has: alone(|user, first| {
                let from = source(user, first);
                raw(user, number::segment_copy, [from.share.0, from.object.0, first.boot.0, 0, NO_CORE, 0])
            });
        }
        NotFound {
            a_source_not_named: alone(|user, first| copy(user, unnamed(first), first.boot, 0, Home::Any));
            a_share_not_held: alone(|user, first| {
                let from = source(user, first);
                copy(user, from, NONE, 0, Home::Any)
            });
            no_such_core: alone(|user, first| {
                let from = source(user, first);
                copy(user, from, first.boot, 1, Home::Core(4))
            });
        }
        OutOfRange {
            a_page_now_beyond_the_end: alone(|user, first| {
                let from = source(user, first);
                let end = user.sys().segment_get_nbytes(from)?;
                copy(user, from, first.boot, copy_mode::ON_WRITE | copy_mode::PAGE_NOW | end, Home::Any)
            });
            a_page_now_at_the_end_of_the_word: alone(|user, first| {
                let from = source(user, first);
                let mode = copy_mode::ON_REFERENCE | copy_mode::PAGE_NOW | (u64::MAX << 12);
                copy(user, from, first.boot, mode, Home::Any)
            });
        }
        WrongKind {
            of_a_pcore: alone(|user, first| copy(user, first.pcore, first.boot, 0, Home::Any));
        }
        NotPermitted {
            to_a_share_without_segments: alone(|user, first| {
                let (from, to) = (source(user, first), without(user, first, Kinds::SEGMENT));
                copy(user, from, to, 1, Home::Any)
            });
            memory_of_a_core_out_of_reach: together(|booted| {
                let made = others_share(booted);
                booted.on(2, move |user| {
                    let from = segment(user, made.share, 1).unwrap();
                    copy(user, from, made.share, 1, Home::Core(1))
                })
            });
        }
        Busy {
            while_another_core_copies_it: together(|booted| {
                while_it_is_copied(booted, |user, object| copy(user, object, object.share, copy_mode::NOW, Home::Any))
            });
        }
        BadAddress {
            a_name_nowhere: alone(|user, first| {
                let from = source(user, first);
                user.sys().segment_copy(from, first.boot, 1, Home::Any, NOWHERE)
            });
        }
        QuotaExceeded {
            as_many_pages_again: alone(|user, first| {
                let (from, to) = (source(user, first), share(user, first.boot, 2, 1).unwrap());
                copy(user, from, to, 1, Home::Any)
            });
            one_object: alone(|user, first| {
                let (from, to) = (source(user, first), share(user, first.boot, 4, 0).unwrap());
                copy(user, from, to, 1, Home::Any)
            });
        }
        NoMemory {
            for_pages_that_are_copied_now: together(out_of_memory(
                source,
                2,
                |user, first, from| {
                    copy(user, from, first.boot, copy_mode::NOW, Home::Any)
                },
            ));
            for_slots_of_a_copy_on_write: together(out_of_memory(
                |user, first| {
                    let from = source(user, first);
                    user.sys().segment_set_nbytes(from, 12 * 4096).unwrap();
                    from
                },
                0,
                |user, first, from| copy(user, from, first.boot, copy_mode::ON_WRITE, Home::Any),
            ));
        }
    }
    segment_get_nbytes {
        NotFound {
            a_segment_not_named: alone(|user, first| user.sys().segment_get_nbytes(unnamed(first)));
            a_share_not_held: alone(|user, first| user.sys().segment_get_nbytes(unheld(first)));
        }
        WrongKind {
            of_a_pcore: alone(|user, first| user.sys().segment_get_nbytes(first.pcore));
            of_a_share: alone(|user, first| user.sys().segment_get_nbytes(boot_share(first)));
        }
    }
    segment_set_nbytes {
        NotFound {
            a_segment_not_named: alone(|user, first| user.sys().segment_set_nbytes(unnamed(first), 0));
        }
        WrongKind {
            of_a_tree: alone(|user, first| user.sys().segment_set_nbytes(first.tree, 0));
        }
        OutOfRange {
            above_512_gib: alone(|user, first| {
                let object = source(user, first);
                user.sys().segment_set_nbytes(object, TOO_LARGE)
            });
        }
        Busy {
            while_another_core_copies_it: together(|booted| {
                while_it_is_copied(booted, |user, object| user.sys().segment_set_nbytes(object, 0))
            });
            a_status_page_is_cut: alone(|user, first| {
                let object = pinned(user, first);
                let cut = user.sys().segment_set_nbytes(object, 0);
                // It is as it was, and shrinks to the pinned page.
                assert_eq!(user.sys().segment_get_nbytes(object), Ok(3 * 4096));
                assert_eq!(user.read(VA + 8192), Ok(1));
                user.sys().segment_set_nbytes(object, 4096).unwrap();
                cut
            });
            two_shares_would_pay_more: alone(|user, first| {
                let (object, to) = (source(user, first), share(user, first.boot, 100, 1).unwrap());
                user.sys().share_addobj(to, object).unwrap();
                user.sys().segment_set_nbytes(object, 2 * 4096).unwrap();
                user.sys().segment_set_nbytes(object, 3 * 4096)
            });
        }
        QuotaExceeded {
            its_new_pages: alone(|user, first| {
                let share = share(user, first.boot, 10, 1).unwrap();
                let object = segment(user, share, 9).unwrap();
                user.sys().segment_set_nbytes(object, 10 * 4096)
            });
            half_a_terabyte: alone(|user, first| {
                let object = source(user, first);
                user.sys().segment_set_nbytes(object, 1 << 39)
            });
        }
        NoMemory {
            for_the_slots_of_new_pages: together(out_of_memory(
                |user, first| segment(user, first.boot, 0).unwrap(),
                0,
                |user, _, object| user.sys().segment_set_nbytes(object, 9 * 4096),
            ));
        }
    }
}
