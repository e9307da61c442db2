//! Segments with contents, their copies, and trees that map them.

use std::collections::BTreeMap;

use corey_abi::Error;

/// A mapping: pages of a segment, or of an interior tree, from an address (in pages) on.
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

/// Segments by number; a deleted one has no size.
#[derive(Clone, Debug, Default)]
pub struct ModelSegments {
    /// A word by page; absent reads 0.
    contents: Vec<BTreeMap<u64, u64>>,
    sizes: Vec<Option<u64>>,
}

impl ModelSegments {
    /// A segment of `npages`.
    pub fn add(&mut self, npages: u64) -> usize {
        self.contents.push(BTreeMap::new());
        self.sizes.push(Some(npages));
        self.sizes.len() - 1
    }

    /// How many there ever were.
    #[must_use]
    pub fn made(&self) -> usize {
        self.sizes.len()
    }

    /// Its size in pages.
    ///
    /// # Errors
    ///
    /// `NotFound` when it was deleted.
    pub fn size(&self, segment: usize) -> Result<u64, Error> {
        self.sizes.get(segment).copied().flatten().ok_or(Error::NotFound)
    }

    /// `segment_copy`, whatever its mode: a snapshot.
    ///
    /// # Errors
    ///
    /// As [`ModelSegments::size`].
    pub fn copy(&mut self, segment: usize) -> Result<usize, Error> {
        let npages = self.size(segment)?;
        self.contents.push(self.contents[segment].clone());
        self.sizes.push(Some(npages));
        Ok(self.sizes.len() - 1)
    }

    /// `segment_set_nbytes`, in pages. What was cut reads 0 when it comes back.
    ///
    /// # Errors
    ///
    /// As [`ModelSegments::size`].
    pub fn resize(&mut self, segment: usize, npages: u64) -> Result<(), Error> {
        self.size(segment)?;
        self.sizes[segment] = Some(npages);
        self.contents[segment].retain(|page, _| *page < npages);
        Ok(())
    }

    /// The end of a segment.
    ///
    /// # Errors
    ///
    /// As [`ModelSegments::size`].
    pub fn remove(&mut self, segment: usize) -> Result<(), Error> {
        self.size(segment)?;
        self.sizes[segment] = None;
        self.contents[segment].clear();
        Ok(())
    }

    /// What a page reads; `None` for a fault.
    #[must_use]
    pub fn read(&self, segment: usize, page: u64) -> Option<u64> {
        (page < self.size(segment).ok()?).then(|| self.contents[segment].get(&page).copied().unwrap_or(0))
    }

    /// Writes a page; false for a fault.
    pub fn write(&mut self, segment: usize, page: u64, value: u64) -> bool {
        let reached = self.size(segment).is_ok_and(|npages| page < npages);
        if reached {
            self.contents[segment].insert(page, value);
        }
        reached
    }
}

/// A tree of `span` pages: its slots.
#[derive(Clone, Debug)]
pub struct ModelTree {
    span: u64,
    slots: BTreeMap<u64, ModelMapping>,
}

impl ModelTree {
    /// A tree without mappings.
    #[must_use]
    pub fn new(span: u64) -> Self {
        Self { span, slots: BTreeMap::new() }
    }

    /// `at_set_slot` of a segment of `segments`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn map(&mut self, slot: u64, m: ModelMapping, segments: &ModelSegments) -> Result<(), Error> {
        segments.size(m.segment)?;
        if m.npages == 0 || m.at + m.npages > self.span {
            return Err(Error::OutOfRange);
        }
        let clash = |(other, o): (&u64, &ModelMapping)| {
            *other != slot && o.at < m.at + m.npages && m.at < o.at + o.npages
        };
        if self.slots.iter().any(clash) {
            return Err(Error::Busy);
        }
        self.slots.insert(slot, m);
        Ok(())
    }

    /// Clears a slot.
    pub fn clear(&mut self, slot: u64) {
        self.slots.remove(&slot);
    }

    /// Clears what maps a segment that was deleted.
    pub fn forget(&mut self, segment: usize) {
        self.slots.retain(|_, m| m.segment != segment);
    }

    /// All slots in use.
    pub fn slots(&self) -> impl Iterator<Item = (u64, ModelMapping)> + '_ {
        self.slots.iter().map(|(slot, mapping)| (*slot, *mapping))
    }

    /// Where in which segment page `at` leads.
    #[must_use]
    pub fn reach(&self, at: u64) -> Option<(usize, u64)> {
        let m = self.slots.values().find(|m| m.at <= at && at < m.at + m.npages)?;
        Some((m.segment, m.start + (at - m.at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_of_a_page_are_one_page() {
        let mut segments = ModelSegments::default();
        let first = segments.add(4);
        let mut tree = ModelTree::new(100);
        let mapping = ModelMapping { at: 10, npages: 2, segment: first, start: 1 };
        assert_eq!(tree.map(0, mapping, &segments), Ok(()));
        assert_eq!(tree.map(1, mapping, &segments), Err(Error::Busy));
        assert_eq!(tree.map(1, ModelMapping { at: 20, ..mapping }, &segments), Ok(()));
        assert_eq!(tree.map(2, ModelMapping { at: 99, ..mapping }, &segments), Err(Error::OutOfRange));
        assert_eq!((tree.reach(11), tree.reach(21)), (Some((first, 2)), Some((first, 2))));
        tree.forget(first);
        assert_eq!(tree.reach(11), None);
    }

    #[test]
    fn a_copy_is_of_its_moment() {
        let mut segments = ModelSegments::default();
        let first = segments.add(4);
        assert!(segments.write(first, 3, 7));
        let copy = segments.copy(first).unwrap();
        assert!(segments.write(first, 3, 8));
        segments.resize(first, 3).unwrap();
        assert!(!segments.write(first, 3, 9));
        assert_eq!((segments.read(first, 3), segments.read(copy, 3)), (None, Some(7)));
        segments.resize(first, 4).unwrap();
        assert_eq!(segments.read(first, 3), Some(0));
        segments.remove(first).unwrap();
        assert_eq!(segments.copy(first), Err(Error::NotFound));
    }
}
