//! Where cores and memory lie.

use crate::Range;
use corey_abi::{LOCAL_DISTANCE, Position};

/// Most memory nodes of a machine.
pub const MAX_NODES: usize = 64;

/// One core and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the hardware calls the core.
    pub hardware_id: u32,
    /// Where it is among the others.
    pub position: Position,
    /// The number of its memory node, below [`Topology::nodes`]; 0 where there are none.
    pub node: u8,
}

/// A range of physical memory and the node it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeMemory {
    /// The range; not all of it need be RAM.
    pub range: Range,
    /// The node.
    pub node: u8,
}

/// The machine's cores and memory nodes. Complete when the kernel is prepared, and never changed.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    /// Every core that started, by number: as many as the machine has.
    pub places: &'static [Place],
    /// What memory belongs to nodes: sorted, disjoint. Other memory belongs to none.
    pub memory: &'static [NodeMemory],
    /// Number of nodes, at most [`MAX_NODES`]; 0 when nobody told.
    pub nodes: usize,
    /// Distances from the cores of one node (row) to the memory of another (column), 10 or more.
    pub distances: &'static [u8],
    /// What all this comes from: bits of [`corey_abi::locality_source`].
    pub source: u64,
}

impl Topology {
    /// From the cores of node `from` to the memory of node `to`; 10 where there are no nodes.
    #[must_use]
    pub fn distance(&self, from: u8, to: u8) -> u8 {
        let at = usize::from(from) * self.nodes + usize::from(to);
        self.distances.get(at).copied().unwrap_or(LOCAL_DISTANCE)
    }
}
