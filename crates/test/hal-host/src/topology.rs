//! Topologies for tests.

use corey_abi::{CacheInfo, Position, locality_source};
use corey_kernel_hal::{NodeMemory, Place, Range, Topology};

/// Cores of which nothing is known, and no nodes.
#[must_use]
pub fn flat(cores: usize) -> Topology {
    let place =
        |core: usize| Place { hardware_id: core as u32, position: Position::unknown(core as u64), node: 0 };
    let places = (0..cores).map(place).collect::<Vec<_>>();
    Topology { places: places.leak(), memory: &[], nodes: 0, distances: &[], source: 0 }
}

/// Cores in memory nodes: the node of each core, ranges of memory with their nodes (sorted, disjoint), and the distances
/// from each node (a row) to every node.
#[must_use]
pub fn nodes(cores: &[u8], memory: &[(Range, u8)], distances: &[&[u8]]) -> Topology {
    let flat = flat(cores.len());
    let place = |(place, node): (&Place, &u8)| {
        let lowest = cores.iter().position(|other| other == node).unwrap_or(0) as u64;
        Place { node: *node, position: Position { node: lowest, ..place.position }, ..*place }
    };
    let places: Vec<_> = flat.places.iter().zip(cores).map(place).collect();
    let memory: Vec<_> =
        memory.iter().map(|(range, node)| NodeMemory { range: *range, node: *node }).collect();
    Topology {
        places: places.leak(),
        memory: memory.leak(),
        nodes: distances.len(),
        distances: distances.concat().leak(),
        source: locality_source::NODES | locality_source::DISTANCES,
    }
}

/// `topology` with packages of so many cores, physical cores of so many threads, and a cache of level 3 for so many
/// cores.
#[must_use]
pub fn packages(topology: Topology, package: u64, threads: u64, cached: u64) -> Topology {
    let places = topology.places.iter().zip(0..).map(|(place, core)| {
        let group = |size: u64| core / size * size;
        let cache = |level, size| CacheInfo { level, line: 64, bytes: 1 << 15, group: group(size) };
        let position = Position {
            package: group(package),
            thread_group: group(threads),
            caches: [cache(1, threads), cache(3, cached), CacheInfo::default(), CacheInfo::default()],
            ..place.position
        };
        Place { position, ..*place }
    });
    let source = topology.source | locality_source::PROCESSORS;
    Topology { places: places.collect::<Vec<_>>().leak(), source, ..topology }
}
