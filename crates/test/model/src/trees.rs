//! One address tree over segments: which page of which segment an address reaches.

use std::collections::BTreeMap;

/// A mapping: pages of a segment from an address (in pages) on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelMapping {
    /// First page of the address space.
    pub at: u64,
    /// Pages.
    pub npages: u64,
    /// The segment's number.
    pub segment: usize,
    /// Its first page that is mapped.
    pub start: u64,
}

/// Segments with contents, and one tree that maps them.
#[derive(Clone, Debug, Default)]
pub struct ModelTree {
    /// Words by segment and page; absent reads 0.
    contents: Vec<BTreeMap<u64, u64>>,
    sizes: Vec<u64>,
    slots: BTreeMap<u64, ModelMapping>,
}

impl ModelTree {
    /// A segment of `npages`.
    pub fn segment(&mut self, npages: u64) {
        self.contents.push(BTreeMap::new());
        self.sizes.push(npages);
    }

    /// `at_set_slot`: false when the range overlaps another slot.
    pub fn map(&mut self, slot: u64, mapping: ModelMapping) -> bool {
        let clash = self.slots.iter().any(|(other, m)| {
            *other != slot && m.at < mapping.at + mapping.npages && mapping.at < m.at + m.npages
        });
        if !clash {
            self.slots.insert(slot, mapping);
        }
        !clash
    }

    /// Clears a slot.
    pub fn clear(&mut self, slot: u64) {
        self.slots.remove(&slot);
    }

    /// Sets a segment's size.
    pub fn resize(&mut self, segment: usize, npages: u64) {
        self.sizes[segment] = npages;
        self.contents[segment].retain(|page, _| *page < npages);
    }

    /// The segment page that page `at` reaches; `None` for a fault.
    fn reach(&self, at: u64) -> Option<(usize, u64)> {
        let m = self.slots.values().find(|m| m.at <= at && at < m.at + m.npages)?;
        let page = m.start + (at - m.at);
        (page < self.sizes[m.segment]).then_some((m.segment, page))
    }

    /// What page `at` reads; `None` for a fault.
    #[must_use]
    pub fn read(&self, at: u64) -> Option<u64> {
        let (segment, page) = self.reach(at)?;
        Some(self.contents[segment].get(&page).copied().unwrap_or(0))
    }

    /// Writes page `at`; false for a fault.
    pub fn write(&mut self, at: u64, value: u64) -> bool {
        let Some((segment, page)) = self.reach(at) else { return false };
        self.contents[segment].insert(page, value);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_of_a_page_are_one_page() {
        let mut tree = ModelTree::default();
        tree.segment(4);
        let mapping = ModelMapping { at: 10, npages: 2, segment: 0, start: 1 };
        assert!(tree.map(0, mapping));
        assert!(!tree.map(1, mapping));
        assert!(tree.map(1, ModelMapping { at: 20, ..mapping }));
        assert!(tree.write(11, 5));
        assert_eq!(tree.read(21), Some(5));
        tree.resize(0, 2);
        assert_eq!((tree.read(10), tree.read(11)), (Some(0), None));
    }
}
