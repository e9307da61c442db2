//! Which core gets which RAM.
//!
//! RAM of a node goes to the cores of that node, in equal parts. Cores of a node without RAM take part in the nearest
//! node that has some; RAM of a node that serves no core goes to the cores of the node nearest to it, beside what they
//! have. RAM of no node goes to all cores.

use corey_kernel_hal::{MAX_NODES, PAGE_SIZE, Range, Topology};

/// Frames whose descriptors fill a 128-byte line: they are one core's.
const BLOCK: u64 = 16;
/// The pool of RAM that belongs to no node.
const NO_NODE: usize = MAX_NODES;

/// Pools of RAM, one for each node, and who takes part in them.
#[derive(Debug)]
pub(crate) struct Division<'a> {
    topology: &'a Topology,
    ram: &'a [Range],
    /// Frames in each pool.
    frames: [u64; MAX_NODES + 1],
    /// By node, the pool that its cores live from.
    home: [usize; MAX_NODES],
    /// By pool that no core lives from, the node whose cores get it too.
    adopter: [Option<u8>; MAX_NODES],
}

impl<'a> Division<'a> {
    /// Pools of `ram`: sorted, disjoint, page aligned ranges.
    pub(crate) fn new(topology: &'a Topology, ram: &'a [Range]) -> Self {
        let mut all = Self {
            topology,
            ram,
            frames: [0; MAX_NODES + 1],
            home: [NO_NODE; MAX_NODES],
            adopter: [None; MAX_NODES],
        };
        let mut frames = all.frames;
        all.pieces(&mut |pool, first, end| {
            frames.iter_mut().skip(pool).take(1).for_each(|frames| *frames += u64::from(end - first));
        });
        all.frames = frames;
        let nodes = || (0..MAX_NODES as u8).take(topology.nodes);
        let has_ram = |node: &u8| frames.get(usize::from(*node)).is_some_and(|frames| *frames > 0);
        for (node, home) in nodes().zip(&mut all.home) {
            // Of the equally near ones a node's own first.
            let nearest = |to: &u8| (topology.distance(node, *to), *to != node, *to);
            *home = nodes().filter(has_ram).min_by_key(nearest).map_or(NO_NODE, usize::from);
        }
        let home = all.home;
        let lives_from = |pool: usize| move |node: u8| home.get(usize::from(node)) == Some(&pool);
        for (pool, adopter) in nodes().zip(&mut all.adopter) {
            let mut places = topology.places.iter().map(|place| place.node);
            if !places.any(lives_from(usize::from(pool))) {
                let nearest = |from: &u8| (topology.distance(*from, pool), *from);
                *adopter = topology.places.iter().map(|place| place.node).min_by_key(nearest);
            }
        }
        all
    }

    /// The node where core `core` has its memory, or most of it; `None` when that is of no node.
    pub(crate) fn home(&self, core: usize) -> Option<u8> {
        let place = self.topology.places.get(core)?;
        let home = *self.home.get(usize::from(place.node))?;
        (home != NO_NODE).then_some(home as u8)
    }

    /// Calls `each(pool, first, end)` for runs of frames, upwards.
    fn pieces(&self, each: &mut dyn FnMut(usize, u32, u32)) {
        for range in self.ram {
            let (mut first, end) = (range.start / PAGE_SIZE, range.end / PAGE_SIZE);
            while first < end {
                let (pool, stop) = self.pool_at(first);
                let stop = stop.min(end);
                each(pool, first as u32, stop as u32);
                first = stop;
            }
        }
    }

    /// The pool of the block that holds `frame`, and where the next pool may begin. A block that lies in two nodes
    /// belongs to the one it begins in.
    fn pool_at(&self, frame: u64) -> (usize, u64) {
        let block = frame / BLOCK * BLOCK;
        let up = |address: u64| address.div_ceil(BLOCK * PAGE_SIZE) * BLOCK;
        for memory in self.topology.memory {
            if block * PAGE_SIZE < memory.range.start {
                return (NO_NODE, up(memory.range.start));
            }
            if block * PAGE_SIZE < memory.range.end {
                return (usize::from(memory.node), up(memory.range.end));
            }
        }
        (NO_NODE, u64::MAX)
    }

    fn takes_part(&self, core: usize, pool: usize) -> bool {
        if pool == NO_NODE {
            return true;
        }
        let Some(node) = self.topology.places.get(core).map(|place| place.node) else { return false };
        match self.adopter.get(pool) {
            Some(Some(adopter)) => *adopter == node,
            _ => self.home.get(usize::from(node)) == Some(&pool),
        }
    }

    /// Calls `each(core, first, end)` for every run of frames, for one core the nearest memory last. In a pool the
    /// parts are contiguous but for holes, in the order of core numbers, and no two share a block.
    pub(crate) fn parts(&self, each: &mut dyn FnMut(usize, u32, u32)) {
        let adopted = |pool: &usize| self.adopter.get(*pool).is_some_and(Option::is_some);
        let nodes = 0..self.topology.nodes.min(MAX_NODES);
        let (far, near) = (nodes.clone().filter(adopted), nodes.filter(|pool| !adopted(pool)));
        for pool in far.chain([NO_NODE]).chain(near) {
            self.divide(pool, each);
        }
    }

    fn divide(&self, pool: usize, each: &mut dyn FnMut(usize, u32, u32)) {
        let members = || (0..self.topology.places.len()).filter(|core| self.takes_part(*core, pool));
        let count = members().count() as u64;
        let total = self.frames.get(pool).copied().unwrap_or(0);
        let mut members = members();
        let Some(mut core) = members.next() else { return };
        let (mut number, mut done) = (1, 0);
        // Where the part of `core` ends, once that is in sight.
        let mut cut = None;
        self.pieces(&mut |of, mut first, end| {
            while of == pool && first < end {
                let left = (total * number / count).saturating_sub(done);
                if cut.is_none() && number < count && left <= u64::from(end - first) {
                    cut = Some((u64::from(first) + left).next_multiple_of(BLOCK));
                }
                let stop = cut.map_or(end, |cut| cut.clamp(first.into(), end.into()) as u32);
                if stop > first {
                    each(core, first, stop);
                    done += u64::from(stop - first);
                }
                first = stop;
                if cut.is_some_and(|cut| cut <= u64::from(first)) {
                    cut = None;
                    number += 1;
                    core = members.next().unwrap_or(core);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corey_test_hal_host::topology::{flat, nodes};
    use proptest::prelude::*;

    /// A range of frames.
    fn frames(first: u64, end: u64) -> Range {
        Range { start: first * PAGE_SIZE, end: end * PAGE_SIZE }
    }

    fn parts(topology: &Topology, ram: &[Range]) -> Vec<(usize, u32, u32)> {
        let mut all = Vec::new();
        Division::new(topology, ram).parts(&mut |core, first, end| all.push((core, first, end)));
        all
    }

    #[test]
    fn without_nodes_all_cores_get_equal_contiguous_parts() {
        let all = parts(&flat(4), &[frames(0x103, 0x1103)]);
        assert_eq!(
            all,
            [(0, 0x103, 0x510), (1, 0x510, 0x910), (2, 0x910, 0xd10), (3, 0xd10, 0x1103)],
            "cuts are multiples of 16"
        );
    }

    #[test]
    fn a_hole_in_a_block_leaves_the_block_to_one_core() {
        // The cut would lie at 0x108, in the hole; the block's other half is beyond it.
        let all = parts(&flat(2), &[frames(0x100, 0x106), frames(0x10a, 0x110)]);
        assert_eq!(all, [(0, 0x100, 0x106), (0, 0x10a, 0x110)]);
    }

    #[test]
    fn memory_of_a_node_goes_to_the_cores_of_the_node() {
        // Cores 0 and 2 in node 1, core 1 in node 0.
        let topology =
            nodes(&[1, 0, 1], &[(frames(0, 0x800), 0), (frames(0x800, 0x1000), 1)], &[&[10, 20], &[20, 10]]);
        let all = parts(&topology, &[frames(0x100, 0x1000)]);
        assert_eq!(all, [(1, 0x100, 0x800), (0, 0x800, 0xc00), (2, 0xc00, 0x1000)]);
    }

    #[test]
    fn a_node_that_begins_in_a_block_gets_the_next_one() {
        let topology =
            nodes(&[0, 1], &[(frames(0, 0x805), 0), (frames(0x805, 0x1000), 1)], &[&[10, 20], &[20, 10]]);
        assert_eq!(parts(&topology, &[frames(0, 0x1000)]), [(0, 0, 0x810), (1, 0x810, 0x1000)]);
    }

    #[test]
    fn memory_without_cores_goes_to_the_nearest_node_and_is_used_last() {
        let memory = [(frames(0, 0x400), 0), (frames(0x400, 0x800), 1), (frames(0x800, 0xc00), 2)];
        let topology = nodes(&[0, 0, 2], &memory, &[&[10, 17, 20], &[17, 10, 28], &[20, 28, 10]]);
        // A stock is used from its last piece on: one's own node's.
        assert_eq!(
            parts(&topology, &[frames(0, 0xc00)]),
            [(0, 0x400, 0x600), (1, 0x600, 0x800), (0, 0, 0x200), (1, 0x200, 0x400), (2, 0x800, 0xc00)]
        );
    }

    #[test]
    fn cores_without_memory_take_part_in_the_nearest_nodes() {
        let memory = [(frames(0, 0x400), 0), (frames(0x400, 0x800), 2)];
        let topology = nodes(&[0, 1, 2], &memory, &[&[10, 20, 30], &[21, 10, 15], &[30, 15, 10]]);
        let ram = [frames(0, 0x800)];
        assert_eq!(parts(&topology, &ram), [(0, 0, 0x400), (1, 0x400, 0x600), (2, 0x600, 0x800)]);
        let division = Division::new(&topology, &ram);
        assert_eq!([0, 1, 2].map(|core| division.home(core)), [Some(0), Some(2), Some(2)]);
    }

    #[test]
    fn distances_are_read_from_the_core_to_the_memory() {
        // Seen from node 1, node 2 is nearer; seen from memory, it would be node 0.
        let memory = [(frames(0, 0x400), 0), (frames(0x400, 0x800), 2)];
        let topology = nodes(&[0, 1, 2], &memory, &[&[10, 11, 30], &[40, 10, 15], &[30, 50, 10]]);
        assert_eq!(Division::new(&topology, &[frames(0, 0x800)]).home(1), Some(2));
    }

    #[test]
    fn memory_of_no_node_goes_to_all() {
        let topology =
            nodes(&[0, 1], &[(frames(0, 0x400), 0), (frames(0x400, 0x800), 1)], &[&[10, 20], &[20, 10]]);
        assert_eq!(
            parts(&topology, &[frames(0, 0xc00)]),
            [(0, 0x800, 0xa00), (1, 0xa00, 0xc00), (0, 0, 0x400), (1, 0x400, 0x800)]
        );
        let nowhere = nodes(&[0, 1], &[], &[&[10, 20], &[20, 10]]);
        assert_eq!(parts(&nowhere, &[frames(0, 0x200)]), [(0, 0, 0x100), (1, 0x100, 0x200)]);
        assert_eq!(Division::new(&nowhere, &[frames(0, 0x200)]).home(0), None);
    }

    proptest! {
        #[test]
        fn every_frame_is_one_cores_and_no_block_two(
            cores in prop::collection::vec(0_u8..5, 1..20),
            distances in prop::collection::vec(11_u8..60, 25),
            steps in prop::collection::vec((1_u64..300, any::<bool>()), 1..30),
            owners in prop::collection::vec((1_u64..700, 0_u8..6), 0..10),
        ) {
            let mut ram = Vec::new();
            let mut at = 16;
            for (length, is_ram) in steps {
                if is_ram {
                    ram.push(frames(at, at + length));
                }
                at += length;
            }
            let mut memory = Vec::new();
            let mut at = 0;
            for (length, node) in owners {
                // Node 5 is none.
                if node < 5 {
                    memory.push((frames(at, at + length), node));
                }
                at += length;
            }
            let rows: Vec<Vec<u8>> = (0..5)
                .map(|i| (0..5).map(|j| if i == j { 10 } else { distances[i * 5 + j] }).collect())
                .collect();
            let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
            let topology = nodes(&cores, &memory, &rows);
            let mut owner = std::collections::BTreeMap::new();
            for (core, first, end) in parts(&topology, &ram) {
                prop_assert!(core < cores.len());
                for frame in first..end {
                    prop_assert_eq!(owner.insert(frame, core), None);
                }
            }
            let all: u64 = ram.iter().map(|r| (r.end - r.start) / PAGE_SIZE).sum();
            prop_assert_eq!(owner.len() as u64, all);
            for (frame, core) in &owner {
                prop_assert!(ram.iter().any(|r| r.start <= u64::from(*frame) << 12 && u64::from(*frame) << 12 < r.end));
                let first = owner.range(frame & !15..).next().map(|(_, core)| core);
                prop_assert_eq!(first, Some(core), "two cores in one block");
            }
        }
    }
}
