//! Where cores and memory lie, from what processors (CPUID) and firmware (MADT, SRAT, SLIT) say. Neither is believed
//! against the other: virtual machines above all tell stories.

use crate::numa::{Affinity, Distances};
use crate::processor::Processor;
use corey_abi::{CacheInfo, LOCAL_DISTANCE, Position, locality_source};
use corey_kernel_hal::{BootAlloc, MAX_NODES, NodeMemory, Place, Topology};

/// The distance between nodes when only the SLIT would tell.
const REMOTE_DISTANCE: u8 = 20;

/// The topology of the processors that started: their APIC IDs from the MADT and what they say themselves, by core
/// number. What contradicts itself is reported and left out.
pub fn build(
    processors: &[(u32, Processor)],
    affinity: Option<&Affinity>,
    distances: Option<Distances<'_>>,
    alloc: &mut impl BootAlloc,
) -> Topology {
    let believed = agree(processors).inspect_err(|why| {
        log::warn!("CPUID: {why}: packages and shared caches are not known");
    });
    let places = alloc.slice(processors.len(), |core| place(core, processors, believed.is_ok()));
    let mut source = if believed.is_ok() { locality_source::PROCESSORS } else { 0 };
    let all = affinity.and_then(|affinity| Nodes::find(processors, affinity));
    let Some((affinity, nodes)) = affinity.zip(all) else {
        return Topology { places, memory: &[], nodes: 0, distances: &[], source };
    };
    source |= locality_source::NODES;
    for (place, (id, _)) in places.iter_mut().zip(processors) {
        let node = affinity.node(*id);
        place.node = node.and_then(|node| nodes.number(node)).unwrap_or(0);
        let lowest = processors.iter().position(|(other, _)| affinity.node(*other) == node);
        place.position.node = lowest.unwrap_or(0) as u64;
    }
    let memory = alloc.slice(affinity.memory.len(), |at| {
        let (range, node) = affinity.memory[at];
        NodeMemory { range, node: nodes.number(node).unwrap_or(0) }
    });
    let count = nodes.0.len();
    let pair = |at: usize| (nodes.0[at / count], nodes.0[at % count]);
    let known = distances.filter(|known| {
        let whole = (0..count * count).map(pair).all(|(from, to)| known.get(from, to).is_some());
        if !whole {
            log::warn!("SLIT: it has fewer nodes than the SRAT: ignored");
        }
        whole
    });
    if known.is_some() {
        source |= locality_source::DISTANCES;
    }
    let distances = alloc.slice(count * count, |at| {
        let (from, to) = pair(at);
        let guess = if from == to { LOCAL_DISTANCE } else { REMOTE_DISTANCE };
        known.and_then(|known| known.get(from, to)).unwrap_or(guess)
    });
    Topology { places, memory, nodes: count, distances, source }
}

/// The nodes in use: the numbers that the tables give them, sorted.
struct Nodes(heapless::Vec<u32, MAX_NODES>);

impl Nodes {
    /// `None` when the SRAT does not fit this machine.
    fn find(processors: &[(u32, Processor)], affinity: &Affinity) -> Option<Self> {
        let refuse = |why: &str| log::warn!("SRAT: {why}: ignored");
        if processors.iter().any(|(id, _)| affinity.node(*id).is_none()) {
            refuse("it leaves out a processor of the MADT");
            return None;
        }
        let mut all = Self(heapless::Vec::new());
        let cores = processors.iter().filter_map(|(id, _)| affinity.node(*id));
        for node in cores.chain(affinity.memory.iter().map(|(_, node)| *node)) {
            if let Err(at) = all.0.binary_search(&node)
                && all.0.insert(at, node).is_err()
            {
                refuse("it has more nodes than this kernel keeps");
                return None;
            }
        }
        Some(all)
    }

    fn number(&self, node: u32) -> Option<u8> {
        self.0.binary_search(&node).ok().map(|at| at as u8)
    }
}

/// Whether the processors' word fits the list of processors.
fn agree(all: &[(u32, Processor)]) -> Result<(), &'static str> {
    let Some((_, first)) = all.first() else { return Ok(()) };
    for (id, processor) in all {
        if processor.id != *id {
            return Err("a processor has another APIC ID than the MADT and its interrupt controller say");
        }
        if processor.thread_bits > processor.package_bits {
            return Err("a core is larger than its package");
        }
        if processor.package_bits != first.package_bits {
            return Err("processors have packages of different shapes");
        }
    }
    Ok(())
}

/// The place of core `core`, without its node. Groups of cores agree on who belongs to them, and lie in each other: the
/// threads of a core have all its caches, and no cache reaches beyond a package.
fn place(core: usize, all: &[(u32, Processor)], believed: bool) -> Place {
    let unknown = Position::unknown(core as u64);
    let Some((id, own)) = all.get(core) else { return Place { hardware_id: 0, position: unknown, node: 0 } };
    // The lowest core with the same high bits that says so too.
    let group = |bits: u32, same: &dyn Fn(&Processor) -> bool| {
        let together = |(other, processor): &(u32, Processor)| other >> bits == id >> bits && same(processor);
        let lowest = all.iter().position(together).filter(|_| believed);
        lowest.unwrap_or(core) as u64
    };
    let reach =
        |processor: &Processor, bits: u32| bits.min(processor.package_bits).max(processor.thread_bits);
    let caches = own.caches.map(|cache| {
        let bits = reach(own, cache.bits);
        let same = |other: &Processor| {
            other.caches.iter().any(|c| c.level == cache.level && reach(other, c.bits) == bits)
        };
        match cache.level {
            0 => CacheInfo::default(),
            level => CacheInfo { level, line: cache.line, bytes: cache.bytes, group: group(bits, &same) },
        }
    });
    let position = if believed {
        let thread_group = group(own.thread_bits, &|other| other.thread_bits == own.thread_bits);
        Position { package: group(own.package_bits, &|_| true), thread_group, caches, node: 0 }
    } else {
        Position { caches, ..unknown }
    };
    Place { hardware_id: *id, position, node: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numa::tests::{memory, processor, slit, srat};
    use crate::processor::Cache;
    use corey_kernel_hal::Range;

    struct Leak;
    impl BootAlloc for Leak {
        fn slice<T: 'static>(&mut self, n: usize, make: impl FnMut(usize) -> T) -> &'static mut [T] {
            (0..n).map(make).collect::<Vec<_>>().leak()
        }
        fn ram_end(&self) -> u64 {
            0
        }
        fn rest(&mut self) -> &'static [Range] {
            &[]
        }
    }

    /// Processors with these APIC IDs: two threads a core, packages of 8 threads, a cache for 4.
    fn processors(ids: &[u32]) -> Vec<(u32, Processor)> {
        let cache = |level, bits| Cache { level, line: 64, bytes: 1 << 15, bits };
        let caches = [cache(1, 1), cache(3, 2), Cache::default(), Cache::default()];
        let one = |id| Processor { id, thread_bits: 1, package_bits: 3, caches };
        ids.iter().map(|id| (*id, one(*id))).collect()
    }

    fn groups(topology: &Topology) -> Vec<[u64; 4]> {
        let one = |p: &Position| [p.package, p.thread_group, p.caches[0].group, p.caches[1].group];
        topology.places.iter().map(|place| one(&place.position)).collect()
    }

    #[test]
    fn groups_are_named_by_their_lowest_core() {
        // The boot processor need not have APIC ID 0.
        let topology = build(&processors(&[9, 0, 1, 4, 8, 12]), None, None, &mut Leak);
        assert_eq!(
            groups(&topology),
            [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 3, 3, 3], [0, 0, 0, 0], [0, 5, 5, 5]]
        );
        assert_eq!(topology.places.iter().map(|p| p.hardware_id).collect::<Vec<_>>(), [9, 0, 1, 4, 8, 12]);
        assert_eq!((topology.source, topology.nodes), (locality_source::PROCESSORS, 0));
    }

    #[test]
    fn processors_of_two_kinds_share_what_both_say() {
        let mut all = processors(&[0, 1, 4, 5, 6]);
        // The last three have one thread each, and a near cache for four.
        for (_, small) in &mut all[2..] {
            small.thread_bits = 0;
            small.caches[0].bits = 2;
        }
        let topology = build(&all, None, None, &mut Leak);
        assert_eq!(groups(&topology), [[0, 0, 0, 0], [0, 0, 0, 0], [0, 2, 2, 2], [0, 3, 2, 2], [0, 4, 2, 2]]);
    }

    #[test]
    fn no_cache_is_smaller_than_a_core_or_larger_than_a_package() {
        let mut all = processors(&[0, 1, 2, 8]);
        for (_, one) in &mut all {
            one.caches[0].bits = 0;
            one.caches[1].bits = 6;
        }
        let topology = build(&all, None, None, &mut Leak);
        assert_eq!(groups(&topology), [[0, 0, 0, 0], [0, 0, 0, 0], [0, 2, 2, 0], [3, 3, 3, 3]]);
    }

    #[test]
    fn processors_that_tell_stories_are_not_believed() {
        let ids = [0, 1, 2, 3];
        let lies: [fn(&mut Processor); 3] = [|p| p.id = 7, |p| p.thread_bits = 4, |p| p.package_bits = 5];
        for (number, lie) in lies.into_iter().enumerate() {
            let mut all = processors(&ids);
            lie(&mut all[3].1);
            let topology = build(&all, None, None, &mut Leak);
            assert_eq!(
                groups(&topology),
                [[0, 0, 0, 0], [0, 1, 1, 1], [0, 2, 2, 2], [0, 3, 3, 3]],
                "story {number}"
            );
            assert_eq!(topology.source, 0);
            assert_eq!(topology.places[1].position.caches[0].bytes, 1 << 15, "sizes are still told");
        }
    }

    fn affinity(entries: &[Vec<u8>]) -> Affinity {
        Affinity::read(&srat(3, entries)).unwrap()
    }

    #[test]
    fn nodes_are_numbered_in_the_order_of_the_tables_numbers() {
        let all = affinity(&[
            processor(0, 7, 1),
            processor(1, 2, 1),
            // It did not start.
            processor(200, 3, 1),
            memory(0, 0x1000, 5, 1),
            memory(0x1000, 0x1000, 2, 1),
        ]);
        let topology = build(&processors(&[0, 1]), Some(&all), None, &mut Leak);
        assert_eq!(topology.nodes, 3);
        assert_eq!(
            topology.places.iter().map(|p| (p.node, p.position.node)).collect::<Vec<_>>(),
            [(2, 0), (0, 1)]
        );
        assert_eq!(topology.memory.iter().map(|m| m.node).collect::<Vec<_>>(), [1, 0]);
        assert_eq!([topology.distance(0, 0), topology.distance(2, 1)], [LOCAL_DISTANCE, REMOTE_DISTANCE]);
        assert_eq!(topology.source, locality_source::PROCESSORS | locality_source::NODES);
    }

    #[test]
    fn distances_are_those_of_the_tables_numbers() {
        let all = affinity(&[processor(0, 2, 1), processor(1, 0, 1), memory(0, 0x1000, 0, 1)]);
        let slit = slit(&[&[10, 11, 12], &[13, 10, 14], &[15, 16, 10]]);
        let distances = Distances::read(&slit).ok();
        let topology = build(&processors(&[0, 1]), Some(&all), distances, &mut Leak);
        assert_eq!([topology.distance(0, 1), topology.distance(1, 0)], [12, 15]);
        assert_eq!(topology.source, 7);
    }

    #[test]
    fn a_slit_that_lacks_a_node_is_ignored() {
        let all = affinity(&[processor(0, 2, 1), processor(1, 0, 1)]);
        let slit = slit(&[&[10, 50], &[50, 10]]);
        let topology = build(&processors(&[0, 1]), Some(&all), Distances::read(&slit).ok(), &mut Leak);
        assert_eq!(topology.distance(0, 1), REMOTE_DISTANCE);
        assert_eq!(topology.source, locality_source::PROCESSORS | locality_source::NODES);
    }

    #[test]
    fn an_srat_that_lacks_a_processor_or_has_too_many_nodes_is_ignored() {
        let lacks = affinity(&[processor(0, 1, 1), memory(0, 0x1000, 1, 1)]);
        let mut many: Vec<_> = (0..64).map(|n| memory(u64::from(n) << 12, 0x1000, n, 1)).collect();
        many.extend([processor(0, 99, 1), processor(1, 99, 1)]);
        for bad in [lacks, affinity(&many)] {
            let topology = build(&processors(&[0, 1]), Some(&bad), None, &mut Leak);
            assert_eq!((topology.nodes, topology.source), (0, locality_source::PROCESSORS));
            assert!(topology.memory.is_empty() && topology.places.iter().all(|p| p.node == 0));
        }
    }
}
