//! Machines with memory nodes: what `locality_get` says, and whose memory a core turns to.

mod common;

use common::*;
use corey_abi::{
    Error, Home, LOCAL_DISTANCE, Locality, MachineCalls, Position, SegmentCalls, ShareCalls, UserPtr,
    locality_source, segment_flag,
};
use corey_kernel_corey::System;
use corey_kernel_hal::{PAGE_SIZE, Range, Topology};
use corey_test_hal_host::topology::{flat, nodes, packages};
use corey_test_hal_host::{Archive, Booted, FakeMachine, FakePlatform, User};

const VA: u64 = 0x6000_0000_0000;
const MIB: u64 = 1 << 20;

fn mib(first: u64, end: u64) -> Range {
    Range { start: first * MIB, end: end * MIB }
}

/// Three nodes of one core and 8 MiB each. From node 0, node 2 is nearer than node 1; from node 1 it is not.
fn three_nodes() -> Topology {
    let memory = [(mib(0, 9), 0), (mib(9, 17), 1), (mib(17, 25), 2)];
    nodes(&[0, 1, 2], &memory, &[&[10, 30, 15], &[20, 10, 21], &[15, 30, 10]])
}

fn boot_with(topology: Topology, bytes: u64) -> Booted {
    let machine = FakeMachine::new(topology.places.len(), bytes, &[]).with_topology(topology);
    machine.boot::<System<FakePlatform>>(Some(Archive::with_init().bytes()), "")
}

fn locality(user: &mut User<'_>, core: u64) -> Locality {
    let at = put(user, &[0_u64; 64]);
    user.sys().locality_get(core, at).unwrap();
    take(user)
}

/// The nodes that pages came from, in the order of their first touch, and how many from each.
fn runs(nodes: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    for node in nodes {
        match all.last_mut() {
            Some((last, count)) if *last == node => *count += 1,
            _ => all.push((node, 1)),
        }
    }
    all
}

fn node_at(user: &User<'_>, va: u64) -> u64 {
    let frame = user.platform().translation(va).expect("just touched");
    match frame.address() / MIB {
        ..9 => 0,
        9..17 => 1,
        _ => 2,
    }
}

#[test]
fn a_program_on_one_core_uses_all_memory_the_nearest_first() {
    let booted = boot_with(three_nodes(), 24 * MIB);
    booted.on(0, |user| {
        let first = start(user);
        let pages = 5400;
        let object = segment(user, first.boot, pages).unwrap();
        map(user, first.tree, 100, object, VA, pages).unwrap();
        let from = (0..pages).map(|page| {
            user.write(VA + page * PAGE_SIZE, 1).unwrap();
            node_at(user, VA + page * PAGE_SIZE)
        });
        let runs = runs(from);
        assert_eq!(runs.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [0, 2, 1], "{runs:?}");
        assert_eq!(runs[1].1, 2048, "all of node 2");
        clear(user, first.tree, 100).unwrap();
        user.sys().share_delobj(object).unwrap();
    });
    audit(&booted);
}

#[test]
fn whole_large_pages_come_from_the_nearest_too() {
    let booted = boot_with(three_nodes(), 24 * MIB);
    booted.on(0, |user| {
        let first = start(user);
        let at = name(user, "large");
        let bytes = 16 * MIB;
        let object = user.sys().segment_alloc(first.boot, bytes, Home::Any, segment_flag::LARGE, at).unwrap();
        let object = corey_abi::ObjRef { share: first.boot, object };
        map(user, first.tree, 100, object, VA, bytes / PAGE_SIZE).unwrap();
        let from = (0..8).map(|page| {
            user.write(VA + page * 2 * MIB, 1).unwrap();
            node_at(user, VA + page * 2 * MIB)
        });
        let runs = runs(from);
        assert_eq!(runs.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [0, 2, 1], "{runs:?}");
    });
    audit(&booted);
}

#[test]
fn a_core_without_memory_in_its_node_has_some_of_the_nearest() {
    let memory = [(mib(0, 13), 0), (mib(13, 25), 2)];
    let topology = nodes(&[0, 1, 2], &memory, &[&[10, 20, 30], &[20, 10, 14], &[30, 20, 10]]);
    let booted = boot_with(topology, 24 * MIB);
    booted.on(0, |user| {
        let [zero, one, two] = [0, 1, 2].map(|core| locality(user, core));
        assert_eq!([zero, one, two].map(|core| core.position.node), [0, 1, 2]);
        assert_eq!(one.distance[..3], [20, 14, 14], "its own memory is node 2's");
        assert_eq!(zero.distance[..3], [10, 30, 30]);
        assert_eq!([one.pages, two.pages], [1536, 1536]);
    });
    audit(&booted);
}

#[test]
fn locality_get_tells_what_the_machine_is() {
    let booted = boot_with(packages(three_nodes(), 2, 1, 2), 24 * MIB);
    booted.on(0, |user| {
        let one = locality(user, 1);
        let Position { package, thread_group, node, caches } = one.position;
        assert_eq!((one.apic_id, package, thread_group, node), (1, 0, 1, 1));
        assert_eq!(caches.map(|cache| (cache.level, cache.group)), [(1, 1), (3, 0), (0, 0), (0, 0)]);
        assert_eq!(one.distance[..4], [20, 10, 21, 0]);
        assert_eq!((one.cores, one.pages), (3, 2048));
        let source = locality_source::PROCESSORS | locality_source::NODES | locality_source::DISTANCES;
        assert_eq!(one.source, source);
    });
    audit(&booted);
}

#[test]
fn without_nodes_all_memory_is_equally_near() {
    let booted = boot_with(flat(3), 24 * MIB);
    booted.on(0, |user| {
        for core in 0..3 {
            let place = locality(user, core);
            assert_eq!((place.position, place.source), (Position::unknown(core), 0));
            assert_eq!(place.distance[..4], [LOCAL_DISTANCE, LOCAL_DISTANCE, LOCAL_DISTANCE, 0]);
            assert_eq!(place.pages, 2048);
        }
    });
}

#[test]
fn locality_get_refuses_what_is_wrong() {
    let booted = boot_with(flat(2), 16 * MIB);
    booted.on(0, |user| {
        let first = start(user);
        let at = put(user, &[0_u64; 64]);
        for core in [2, 255, 256, 1 << 16, 1 << 32, u64::MAX] {
            assert_eq!(user.sys().locality_get(core, at), Err(Error::NotFound), "core {core}");
        }
        for at in [0, 8, 0x7fff_ffff_ffff, 1 << 47, u64::MAX] {
            assert_eq!(user.sys().locality_get(0, UserPtr(at)), Err(Error::BadAddress), "{at:#x}");
        }
        let object = segment(user, first.boot, 1).unwrap();
        read_only(user, first.tree, 100, object, VA).unwrap();
        assert_eq!(user.sys().locality_get(0, UserPtr(VA)), Err(Error::BadAddress));
        assert_eq!(user.read(VA), Ok(0), "nothing was written");
    });
    audit(&booted);
}
