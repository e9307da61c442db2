//! What calls on address trees answer.

use crate::share::others_share;
use crate::*;
use corey_abi::{
    AddressTreeCalls, MapFlags, Mapping, SegmentCalls, TREE_SLOTS, TreeTable, grain, mapping_kind, number,
    segment_flag, tree_kind,
};

const GIB: u64 = 1 << 30;
/// First address above the user half.
const USER_END: u64 = 1 << 47;

fn alloc(user: &mut User<'_>, share: Id, kind: u64, grain: u64, home: Home) -> Result<ObjRef, Error> {
    let at = name(user, "tree");
    let object = user.sys().at_alloc(share, kind, grain, home, at)?;
    Ok(ObjRef { share, object })
}

/// One page of a segment at `VA`.
fn page(object: ObjRef) -> Mapping {
    Mapping { kind: mapping_kind::SEGMENT, object, va: VA, npages: 1, ..Mapping::default() }
}

fn link_of(object: ObjRef) -> Mapping {
    Mapping { kind: mapping_kind::INTERIOR, object, va: VA, ..Mapping::default() }
}

/// Sets slot 8.
fn set(user: &mut User<'_>, tree: ObjRef, mapping: Mapping) -> Result<(), Error> {
    let at = put(user, &mapping);
    user.sys().at_set_slot(tree, 8, at)
}

/// Sets slot 8 of the running root to what `change` makes of a page of a segment.
fn set_page(user: &mut User<'_>, first: Start, change: fn(&mut Mapping)) -> Result<(), Error> {
    let mut mapping = page(segment(user, first.boot, 4).unwrap());
    change(&mut mapping);
    set(user, first.tree, mapping)
}

/// Sets slot 8 of an interior tree of 1 GiB to what `change` makes of a page of a segment.
fn set_inner(user: &mut User<'_>, first: Start, change: fn(&mut Mapping)) -> Result<(), Error> {
    let tree = interior(user, first.boot).unwrap();
    let mut mapping = page(segment(user, first.boot, 4).unwrap());
    change(&mut mapping);
    set(user, tree, mapping)
}

fn large(user: &mut User<'_>, first: Start) -> ObjRef {
    let at = name(user, "large");
    let object = user.sys().segment_alloc(first.boot, 1 << 21, Home::Any, segment_flag::LARGE, at).unwrap();
    ObjRef { share: first.boot, object }
}

/// Sets the table of `tree`: `header` and these mappings. On failure the number of those that were set is in the
/// table.
fn set_all(user: &mut User<'_>, tree: ObjRef, header: TreeTable, mappings: &[Mapping]) -> Result<(), Error> {
    use corey_abi::Plain;
    let at = put(user, &header);
    let mut bytes = vec![0; mappings.len() * Mapping::BYTES];
    for (to, mapping) in bytes.chunks_mut(Mapping::BYTES).zip(mappings) {
        mapping.to_bytes(to);
    }
    let words: Vec<u64> = bytes.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect();
    let array = UserPtr(at.0 + 2048);
    user.write_all(array.0, &words).unwrap();
    let count = mappings.len() as u64;
    put(user, &TreeTable { mappings: array.0, count, ..header });
    user.sys().at_set(tree, at)
}

/// Sets the table of a new root to what `change` makes of a page of a segment, behind a good one.
fn set_second(user: &mut User<'_>, first: Start, change: fn(&mut Mapping)) -> Result<(), Error> {
    let tree = root(user, first.boot).unwrap();
    let good = page(segment(user, first.boot, 4).unwrap());
    let mut bad = Mapping { va: VA + GIB, ..good };
    change(&mut bad);
    let done = set_all(user, tree, TreeTable::default(), &[good, bad]);
    // The first is set, and the table says so.
    assert_eq!(take::<TreeTable>(user).count, 1);
    map(user, first.tree, 9, good.object, VA, 4).unwrap();
    let at = put(user, &TreeTable { mappings: VA, count: 1, ..TreeTable::default() });
    user.sys().at_get(tree, at).unwrap();
    assert_eq!(take::<TreeTable>(user).count, 1);
    done
}

/// Sets handler, stack and masked word of a root.
fn set_handler(user: &mut User<'_>, first: Start, header: TreeTable) -> Result<(), Error> {
    let tree = root(user, first.boot).unwrap();
    set_all(user, tree, header, &[])
}

/// What `then` answers while core 1 is in the middle of a change of slot 1 of an interior tree.
fn while_a_slot_changes<T: Send + 'static>(
    booted: &Booted,
    then: fn(&mut User<'_>, ObjRef) -> Result<T, Error>,
) -> Result<T, Error> {
    let tree = booted.on(0, |user| {
        let first = start(user);
        let tree = interior(user, first.boot).unwrap();
        let object = segment(user, first.boot, 2).unwrap();
        map(user, tree, 1, object, 0, 2).unwrap();
        for core in 1..3 {
            let made = thread(user, first.boot, core).unwrap();
            link(user, made.tree, 1, tree, VA).unwrap();
            run(user, made, &[first.boot]).unwrap();
        }
        tree
    });
    while_it_waits(booted, VA, move |user| clear(user, tree, 1), move |user| then(user, tree))
}

refusals! {
    at_alloc {
        BadArgument {
            a_kind_that_does_not_exist: alone(|user, first| alloc(user, first.boot, 2, 0, Home::Any));
            a_root_with_a_grain: alone(|user, first| alloc(user, first.boot, tree_kind::ROOT, grain::GIB1, Home::Any));
            a_grain_that_does_not_exist: alone(|user, first| alloc(user, first.boot, tree_kind::INTERIOR, 31, Home::Any));
            a_core_no_machine_has: alone(|user, first| raw(user, number::at_alloc, [first.boot.0, 0, 0, NO_CORE, 0, 0]));
        }
        NotFound {
            a_share_not_held: alone(|user, _| root(user, NONE));
            no_such_core: alone(|user, first| alloc(user, first.boot, tree_kind::ROOT, 0, Home::Core(4)));
        }
        NotPermitted {
            a_share_without_trees: alone(|user, first| {
                let to = without(user, first, Kinds::ADDRESS_TREE);
                root(user, to)
            });
            memory_of_a_core_out_of_reach: together(|booted| {
                let made = others_share(booted);
                booted.on(2, move |user| alloc(user, made.share, tree_kind::ROOT, 0, Home::Core(1)))
            });
        }
        BadAddress {
            a_name_nowhere: alone(|user, first| user.sys().at_alloc(first.boot, 0, 0, Home::Any, NOWHERE));
        }
        QuotaExceeded {
            its_first_table: alone(|user, first| {
                let to = share(user, first.boot, 0, 1).unwrap();
                root(user, to)
            });
            one_object: alone(|user, first| {
                let to = share(user, first.boot, 1, 0).unwrap();
                interior(user, to)
            });
        }
        NoMemory {
            for_its_first_table: together(out_of_memory(|_, _| (), 0, |user, first, ()| root(user, first.boot)));
        }
    }
    at_get {
        NotFound {
            a_tree_not_named: alone(|user, first| { let at = put(user, &TreeTable::default()); user.sys().at_get(unnamed(first), at) });
        }
        WrongKind {
            of_a_pcore: alone(|user, first| { let at = put(user, &TreeTable::default()); user.sys().at_get(first.pcore, at) });
        }
        BadAddress {
            a_table_nowhere: alone(|user, first| user.sys().at_get(first.tree, NOWHERE));
            an_array_nowhere: alone(|user, first| {
                let at = put(user, &TreeTable { mappings: 64, count: 100, ..TreeTable::default() });
                user.sys().at_get(first.tree, at)
            });
            an_array_beyond_the_address_space: alone(|user, first| {
                let at = put(user, &TreeTable { mappings: u64::MAX - 63, count: 100, ..TreeTable::default() });
                user.sys().at_get(first.tree, at)
            });
        }
        OutOfRange {
            an_array_that_is_too_small: alone(|user, first| {
                let at = put(user, &TreeTable { mappings: NOWHERE.0, count: 0, ..TreeTable::default() });
                user.sys().at_get(first.tree, at)
            });
        }
    }
    at_set_slot {
        NotFound {
            a_tree_not_named: alone(|user, first| set(user, unnamed(first), Mapping::default()));
            a_segment_not_named: alone(|user, first| set(user, first.tree, page(unnamed(first))));
            a_tree_to_link_not_named: alone(|user, first| set(user, first.tree, link_of(unheld(first))));
        }
        WrongKind {
            of_a_pcore: alone(|user, first| set(user, first.pcore, Mapping::default()));
            a_pcore_mapped: alone(|user, first| set(user, first.tree, page(first.pcore)));
            a_segment_linked: alone(|user, first| set_page(user, first, |m| m.kind = mapping_kind::INTERIOR));
        }
        BadAddress {
            a_mapping_nowhere: alone(|user, first| user.sys().at_set_slot(first.tree, 8, NOWHERE));
        }
        BadArgument {
            a_kind_that_does_not_exist: alone(|user, first| set_page(user, first, |m| m.kind = 3));
            flags_that_do_not_exist: alone(|user, first| set_page(user, first, |m| m.flags = 1 << 30));
        }
        NotPermitted {
            an_interior_tree_in_an_interior_tree: alone(|user, first| {
                let (outer, inner) = (interior(user, first.boot).unwrap(), interior(user, first.boot).unwrap());
                set(user, outer, Mapping { va: 0, ..link_of(inner) })
            });
            a_root_in_a_root: alone(|user, first| {
                let inner = root(user, first.boot).unwrap();
                set(user, first.tree, link_of(inner))
            });
            to_write_and_execute: alone(|user, first| {
                set_page(user, first, |m| m.flags = (MapFlags::WRITE | MapFlags::EXECUTE).bits())
            });
            pages_of_2_mib_in_a_tree_of_2_mib: alone(|user, first| {
                let tree = alloc(user, first.boot, tree_kind::INTERIOR, grain::MIB2, Home::Any).unwrap();
                let object = large(user, first);
                set(user, tree, Mapping { va: 0, npages: 512, ..page(object) })
            });
        }
        OutOfRange {
            no_pages: alone(|user, first| set_page(user, first, |m| m.npages = 0));
            more_pages_than_a_segment_can_have: alone(|user, first| set_page(user, first, |m| m.start_page = 1 << 27));
            pages_that_wrap: alone(|user, first| set_page(user, first, |m| (m.start_page, m.npages) = (2, u64::MAX)));
            page_0: alone(|user, first| set_page(user, first, |m| m.va = 0));
            beyond_the_user_half: alone(|user, first| set_page(user, first, |m| (m.va, m.npages) = (USER_END - 4096, 2)));
            an_address_that_wraps: alone(|user, first| set_page(user, first, |m| (m.va, m.npages) = (!4095, 2)));
            beyond_an_interior_tree: alone(|user, first| set_inner(user, first, |m| (m.va, m.npages) = (GIB - 4096, 2)));
        }
        Misaligned {
            inside_a_page: alone(|user, first| set_page(user, first, |m| m.va += 8));
            a_tree_inside_its_grain: alone(|user, first| {
                let inner = interior(user, first.boot).unwrap();
                set(user, first.tree, Mapping { va: VA + (1 << 21), ..link_of(inner) })
            });
            pages_of_2_mib_inside_one: alone(|user, first| {
                let object = large(user, first);
                set(user, first.tree, Mapping { va: VA + 4096, npages: 512, ..page(object) })
            });
            a_part_of_a_page_of_2_mib: alone(|user, first| {
                let object = large(user, first);
                set(user, first.tree, page(object))
            });
            from_the_middle_of_a_page_of_2_mib: alone(|user, first| {
                let object = large(user, first);
                set(user, first.tree, Mapping { start_page: 1, npages: 512, ..page(object) })
            });
        }
        Full {
            a_slot_no_tree_has: alone(|user, first| {
                let at = put(user, &Mapping::default());
                user.sys().at_set_slot(first.tree, TREE_SLOTS as u64, at)
            });
            as_much_as_a_word_holds: alone(|user, first| {
                let at = put(user, &Mapping::default());
                user.sys().at_set_slot(first.tree, u64::MAX, at)
            });
        }
        Busy {
            addresses_of_another_slot: alone(|user, first| {
                let object = segment(user, first.boot, 4).unwrap();
                map(user, first.tree, 9, object, VA - 4096, 2).unwrap();
                set(user, first.tree, page(object))
            });
            addresses_of_another_slot_without_tables: alone(|user, first| {
                let object = segment(user, first.boot, 4).unwrap();
                map(user, first.tree, 9, object, VA, 1).unwrap();
                set(user, first.tree, Mapping { npages: 1 << 15, ..page(object) })
            });
            a_slot_that_is_being_changed: together(|booted| {
                while_a_slot_changes(booted, |user, tree| clear(user, tree, 1))
            });
            two_shares_would_pay_for_tables: alone(|user, first| {
                let (tree, to) = (root(user, first.boot).unwrap(), share(user, first.boot, 100, 1).unwrap());
                user.sys().share_addobj(to, tree).unwrap();
                let object = segment(user, first.boot, 4).unwrap();
                set(user, tree, page(object))
            });
        }
        QuotaExceeded {
            page_tables: alone(|user, first| {
                let to = share(user, first.boot, 4, 1).unwrap();
                let (tree, object) = (root(user, to).unwrap(), segment(user, first.boot, 1).unwrap());
                set(user, tree, page(object))
            });
            tables_of_half_a_terabyte: alone(|user, first| set_page(user, first, |m| m.npages = 1 << 27));
        }
        NoMemory {
            for_page_tables: together(out_of_memory(
                |user, first| (root(user, first.boot).unwrap(), segment(user, first.boot, 1).unwrap()),
                3,
                |user, _, (tree, object)| set(user, tree, page(object)),
            ));
        }
    }
    at_set {
        NotFound {
            a_tree_not_named: alone(|user, first| set_all(user, unnamed(first), TreeTable::default(), &[]));
            a_segment_not_named: alone(|user, first| set_second(user, first, |m| m.object.object = NONE));
        }
        WrongKind {
            of_a_pcore: alone(|user, first| set_all(user, first.pcore, TreeTable::default(), &[]));
            a_segment_linked: alone(|user, first| set_second(user, first, |m| m.kind = mapping_kind::INTERIOR));
        }
        BadAddress {
            a_table_nowhere: alone(|user, first| user.sys().at_set(first.tree, NOWHERE));
            an_array_that_ends_early: alone(|user, first| {
                let (tree, object) = (root(user, first.boot).unwrap(), segment(user, first.boot, 1).unwrap());
                // The array ends with the stack: the second mapping would lie above it.
                use corey_abi::Plain;
                let mut bytes = [0; Mapping::BYTES];
                page(object).to_bytes(&mut bytes);
                let array = segment(user, first.boot, 1).unwrap();
                map(user, first.tree, 9, array, VA + GIB, 1).unwrap();
                let words = bytes.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap()));
                let end = VA + GIB + 4096;
                user.write_all(end - 64, &words.collect::<Vec<_>>()).unwrap();
                let at = put(user, &TreeTable { mappings: end - 64, count: 2, ..TreeTable::default() });
                let done = user.sys().at_set(tree, at);
                assert_eq!(take::<TreeTable>(user).count, 1, "one was set");
                done
            });
        }
        BadArgument {
            a_kind_that_does_not_exist: alone(|user, first| set_second(user, first, |m| m.kind = 9));
            flags_that_do_not_exist: alone(|user, first| set_second(user, first, |m| m.flags = u32::MAX));
        }
        Full {
            more_slots_than_a_tree_has: alone(|user, first| {
                let at = put(user, &TreeTable { mappings: VA, count: 513, ..TreeTable::default() });
                user.sys().at_set(first.tree, at)
            });
        }
        NotPermitted {
            a_handler_of_an_interior_tree: alone(|user, first| {
                let tree = interior(user, first.boot).unwrap();
                set_all(user, tree, TreeTable { handler: 0x1000, stack: 0x2000, ..TreeTable::default() }, &[])
            });
            to_write_and_execute: alone(|user, first| {
                set_second(user, first, |m| m.flags = (MapFlags::WRITE | MapFlags::EXECUTE).bits())
            });
        }
        Misaligned {
            a_stack_between_16_bytes: alone(|user, first| {
                set_handler(user, first, TreeTable { handler: 0x1000, stack: 0x2008, ..TreeTable::default() })
            });
            a_masked_word_between_words: alone(|user, first| {
                set_handler(user, first, TreeTable { handler: 0x1000, masked: 0x2004, ..TreeTable::default() })
            });
            inside_a_page: alone(|user, first| set_second(user, first, |m| m.va += 1));
        }
        OutOfRange {
            a_handler_in_the_kernels_half: alone(|user, first| {
                set_handler(user, first, TreeTable { handler: USER_END, ..TreeTable::default() })
            });
            a_stack_in_the_kernels_half: alone(|user, first| {
                set_handler(user, first, TreeTable { handler: 0x1000, stack: USER_END + 16, ..TreeTable::default() })
            });
            a_masked_word_in_the_kernels_half: alone(|user, first| {
                set_handler(user, first, TreeTable { handler: 0x1000, masked: u64::MAX - 7, ..TreeTable::default() })
            });
            no_pages: alone(|user, first| set_second(user, first, |m| m.npages = 0));
        }
        Busy {
            addresses_of_another_slot: alone(|user, first| set_second(user, first, |m| m.va = VA));
        }
        QuotaExceeded {
            page_tables: alone(|user, first| {
                let to = share(user, first.boot, 5, 1).unwrap();
                let (tree, object) = (root(user, to).unwrap(), segment(user, first.boot, 1).unwrap());
                let more = Mapping { va: VA + GIB, ..page(object) };
                let done = set_all(user, tree, TreeTable::default(), &[page(object), more]);
                assert_eq!(take::<TreeTable>(user).count, 1);
                done
            });
        }
        NoMemory {
            for_page_tables: together(out_of_memory(
                |user, first| (root(user, first.boot).unwrap(), segment(user, first.boot, 1).unwrap()),
                5,
                |user, _, (tree, object)| {
                    let more = Mapping { va: VA + GIB, ..page(object) };
                    let done = set_all(user, tree, TreeTable::default(), &[page(object), more]);
                    assert_eq!(take::<TreeTable>(user).count, 1);
                    done
                },
            ));
        }
    }
}
