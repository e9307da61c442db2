//! Memory nodes: the affinity table (SRAT, ACPI 6.5 §5.2.16) and the distance table (SLIT, §5.2.17).
//!
//! Firmware is not believed: each length is checked, and a table that contradicts itself is refused whole.

use crate::entries::{Entries, number};
use corey_abi::LOCAL_DISTANCE;
use corey_kernel_hal::{MAX_CORES, Range};

/// Most ranges of memory with a node.
pub const RANGES: usize = 64;

/// First entry of an SRAT.
const ENTRIES: usize = 48;
const PROCESSOR: u8 = 0;
const MEMORY: u8 = 1;
const X2APIC: u8 = 2;
const ENABLED: u64 = 1;

/// What an SRAT says. Nodes have the numbers of the table ("proximity domains").
#[derive(Debug, Default)]
pub struct Affinity {
    /// APIC IDs and their nodes.
    pub processors: heapless::Vec<(u32, u32), MAX_CORES>,
    /// Memory and its nodes: sorted, disjoint.
    pub memory: heapless::Vec<(Range, u32), RANGES>,
}

impl Affinity {
    /// Reads the whole table.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(table: &[u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "an entry is shorter than its type wants";
        let mut all = Self::default();
        // Before revision 2 a node's number had 8 bits, and the rest of the field was reserved.
        let revision = number(table, 8, 1).ok_or("it has no header")?;
        let mask = if revision < 2 { 0xff } else { u32::MAX };
        for entry in Entries::new(table, ENTRIES) {
            let (kind, entry) = entry.map_err(|_| "an entry has an impossible length")?;
            let field = |at, length| number(entry, at, length).ok_or(SHORT);
            match kind {
                PROCESSOR if field(4, 4)? & ENABLED != 0 => {
                    let node = field(2, 1)? | field(9, 3)? << 8;
                    all.processor(field(3, 1)? as u32, node as u32 & mask)?;
                }
                X2APIC if field(12, 4)? & ENABLED != 0 => {
                    all.processor(field(8, 4)? as u32, field(4, 4)? as u32)?;
                }
                MEMORY if field(28, 4)? & ENABLED != 0 => {
                    all.range(field(8, 8)?, field(16, 8)?, field(2, 4)? as u32 & mask)?;
                }
                _ => {}
            }
        }
        all.disjoint()?;
        Ok(all)
    }

    fn processor(&mut self, id: u32, node: u32) -> Result<(), &'static str> {
        match self.processors.iter().find(|(other, _)| *other == id) {
            Some((_, other)) if *other == node => Ok(()),
            Some(_) => Err("a processor is in two nodes"),
            None => {
                self.processors.push((id, node)).map_err(|_| "it has more processors than this kernel keeps")
            }
        }
    }

    fn range(&mut self, start: u64, bytes: u64, node: u32) -> Result<(), &'static str> {
        let end = start.checked_add(bytes).ok_or("a range of memory wraps around")?;
        if start == end {
            return Ok(());
        }
        let range = (Range { start, end }, node);
        self.memory.push(range).map_err(|_| "it has more ranges of memory than this kernel keeps")
    }

    /// Sorts the ranges. What a node has twice counts once.
    fn disjoint(&mut self) -> Result<(), &'static str> {
        self.memory.sort_unstable_by_key(|(range, _)| range.start);
        let mut before: Option<(u64, u32)> = None;
        for (range, node) in &mut self.memory {
            if let Some((end, other)) = before.filter(|(end, _)| *end > range.start) {
                if other != *node {
                    return Err("a range of memory is in two nodes");
                }
                range.start = end;
                range.end = range.end.max(end);
            }
            before = Some((range.end, *node));
        }
        self.memory.retain(|(range, _)| range.start < range.end);
        Ok(())
    }

    /// The node of the processor with this APIC ID.
    #[must_use]
    pub fn node(&self, id: u32) -> Option<u32> {
        self.processors.iter().find(|(other, _)| *other == id).map(|(_, node)| *node)
    }
}

/// What a SLIT says.
#[derive(Clone, Copy, Debug)]
pub struct Distances<'a> {
    nodes: usize,
    matrix: &'a [u8],
}

impl<'a> Distances<'a> {
    /// Reads the table.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(table: &'a [u8]) -> Result<Self, &'static str> {
        let nodes = number(table, 36, 8).ok_or("it has no header")?;
        let nodes = usize::try_from(nodes).unwrap_or(usize::MAX);
        let matrix = nodes.checked_mul(nodes).and_then(|bytes| table.get(44..)?.get(..bytes));
        let matrix = matrix.ok_or("it is shorter than its number of nodes wants")?;
        for (at, distance) in matrix.iter().enumerate() {
            let own = at / nodes == at % nodes;
            if *distance < LOCAL_DISTANCE || own && *distance != LOCAL_DISTANCE {
                return Err("a distance is below 10, or a node's own is not 10");
            }
        }
        Ok(Self { nodes, matrix })
    }

    /// The distance from the processors of node `from` to the memory of node `to`; `None` for nodes it does not have.
    #[must_use]
    pub fn get(&self, from: u32, to: u32) -> Option<u8> {
        let (from, to) = (from as usize, to as usize);
        if from >= self.nodes || to >= self.nodes {
            return None;
        }
        self.matrix.get(from * self.nodes + to).copied()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An SRAT of `revision` with these entries.
    pub(crate) fn srat(revision: u8, entries: &[Vec<u8>]) -> Vec<u8> {
        let mut table = vec![0; ENTRIES];
        table[8] = revision;
        table.extend(entries.concat());
        table
    }

    pub(crate) fn processor(id: u8, node: u32, flags: u32) -> Vec<u8> {
        let [low, high @ ..] = node.to_le_bytes();
        let mut entry = vec![0, 16, low, id];
        entry.extend(flags.to_le_bytes());
        entry.push(0);
        entry.extend(high);
        entry.extend([0; 4]);
        entry
    }

    fn x2apic(id: u32, node: u32, flags: u32) -> Vec<u8> {
        let words = [node, id, flags, 0, 0];
        [2, 24, 0, 0].into_iter().chain(words.into_iter().flat_map(u32::to_le_bytes)).collect()
    }

    pub(crate) fn memory(start: u64, bytes: u64, node: u32, flags: u32) -> Vec<u8> {
        let mut entry = vec![1, 40];
        entry.extend(node.to_le_bytes());
        entry.extend([0; 2]);
        entry.extend(start.to_le_bytes());
        entry.extend(bytes.to_le_bytes());
        entry.extend([0; 4]);
        entry.extend(flags.to_le_bytes());
        entry.extend([0; 8]);
        entry
    }

    /// A SLIT with these rows.
    pub(crate) fn slit(rows: &[&[u8]]) -> Vec<u8> {
        let mut table = vec![0; 36];
        table.extend((rows.len() as u64).to_le_bytes());
        table.extend(rows.concat());
        table
    }

    fn range(start: u64, end: u64, node: u32) -> (Range, u32) {
        (Range { start, end }, node)
    }

    #[test]
    fn processors_and_memory_have_their_nodes() {
        let table = srat(
            3,
            &[
                processor(4, 0x01_02_03_04, 1),
                vec![7, 4, 0, 0],
                memory(0x10_0000, 0x1000, 3, 1),
                processor(5, 1, 0),
                memory(0, 0xa_0000, 2, 3),
                memory(0x20_0000, 0x1000, 9, 0),
                x2apic(0x1_0005, 77, 1),
                memory(0x30_0000, 0, 9, 1),
            ],
        );
        let all = Affinity::read(&table).unwrap();
        assert_eq!(all.processors, [(4, 0x01_02_03_04), (0x1_0005, 77)]);
        assert_eq!(all.memory, [range(0, 0xa_0000, 2), range(0x10_0000, 0x10_1000, 3)]);
        assert_eq!([all.node(4), all.node(5)], [Some(0x01_02_03_04), None]);
    }

    #[test]
    fn the_first_revision_has_node_numbers_of_a_byte() {
        let table = srat(1, &[processor(4, 0xffff_ff02, 1), memory(0, 0x1000, 0xdead_be03, 1)]);
        let all = Affinity::read(&table).unwrap();
        assert_eq!((all.node(4), &all.memory[..]), (Some(2), &[range(0, 0x1000, 3)][..]));
    }

    #[test]
    fn what_a_node_has_twice_counts_once() {
        let table = srat(
            2,
            &[
                memory(0x4000, 0x4000, 1, 1),
                memory(0x1000, 0x5000, 1, 1),
                memory(0x2000, 0x1000, 1, 1),
                memory(0x8000, 0x1000, 2, 1),
            ],
        );
        let all = Affinity::read(&table).unwrap();
        assert_eq!(
            all.memory,
            [range(0x1000, 0x6000, 1), range(0x6000, 0x8000, 1), range(0x8000, 0x9000, 2)]
        );
    }

    #[test]
    fn an_srat_that_contradicts_itself_is_refused() {
        let long =
            |n: u8| (0..n).map(|i| memory(u64::from(i) << 20, 1 << 20, u32::from(i), 1)).collect::<Vec<_>>();
        let full: Vec<_> = (0..=256).map(|id| x2apic(id, 0, 1)).collect();
        for (what, entries) in [
            ("two nodes", vec![processor(1, 1, 1), processor(1, 2, 1)]),
            ("two nodes", vec![memory(0, 0x2000, 1, 1), memory(0x1000, 0x1000, 2, 1)]),
            // Under a range that reaches beyond its successor.
            ("two nodes", vec![memory(0, 0x9000, 1, 1), memory(0x1000, 1, 1, 1), memory(0x3000, 1, 2, 1)]),
            ("wraps around", vec![memory(u64::MAX - 0xfff, 0x2000, 1, 1)]),
            ("impossible length", vec![vec![0, 0, 0, 0]]),
            ("impossible length", vec![processor(1, 1, 1), vec![1, 40, 0, 0]]),
            ("impossible length", vec![vec![0]]),
            ("shorter than its type", vec![vec![0, 8, 1, 2, 1, 0, 0, 0]]),
            ("shorter than its type", vec![vec![0, 4, 1, 2]]),
            ("shorter than its type", vec![vec![1, 4, 1, 2]]),
            ("shorter than its type", vec![vec![2, 4, 1, 2]]),
            ("more ranges", long(65)),
            ("more processors", full),
        ] {
            let error = Affinity::read(&srat(3, &entries)).unwrap_err();
            assert!(error.contains(what), "{error}: wanted {what}");
        }
        assert!(Affinity::read(&[]).is_err());
        assert!(Affinity::read(&srat(3, &long(64))).is_ok());
        // A header without entries says nothing, and nothing wrong.
        assert!(Affinity::read(&srat(3, &[])[..40]).unwrap().processors.is_empty());
    }

    #[test]
    fn distances_have_a_direction() {
        let table = slit(&[&[10, 21, 31], &[12, 10, 32], &[13, 23, 10]]);
        let all = Distances::read(&table).unwrap();
        assert_eq!([all.get(0, 1), all.get(1, 0), all.get(2, 2)], [Some(21), Some(12), Some(10)]);
        assert_eq!([all.get(3, 0), all.get(0, 3), all.get(u32::MAX, u32::MAX)], [None; 3]);
    }

    #[test]
    fn a_bad_slit_is_refused() {
        let good = slit(&[&[10, 20], &[20, 10]]);
        let mut huge = good.clone();
        huge[36..44].copy_from_slice(&u64::MAX.to_le_bytes());
        let mut wraps = good.clone();
        wraps[36..44].copy_from_slice(&(1_u64 << 32).to_le_bytes());
        for bad in [
            &good[..good.len() - 1],
            &good[..40],
            &[],
            &huge,
            &wraps,
            &slit(&[&[10, 20], &[20, 11]]),
            &slit(&[&[10, 9], &[20, 10]]),
        ] {
            assert!(Distances::read(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Distances::read(&slit(&[])).unwrap().get(0, 0), None);
    }
}
