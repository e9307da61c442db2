//! Shares, quotas and segments.

use std::collections::BTreeMap;

/// Errors the model knows, named as the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelError {
    /// `NotFound`.
    NotFound,
    /// `QuotaExceeded`.
    QuotaExceeded,
    /// `Exists`.
    Exists,
    /// `Busy`.
    Busy,
}

#[derive(Clone, Debug)]
struct Share {
    pages: u64,
    objects: u64,
    /// Segment → pages charged for it.
    named: BTreeMap<usize, u64>,
}

#[derive(Clone, Debug)]
struct Segment {
    npages: u64,
    /// Frames of slots, which never shrink.
    slots: u64,
    references: u64,
}

/// Shares that name segments. Both are numbered in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct ModelShares {
    shares: Vec<Option<Share>>,
    segments: Vec<Segment>,
}

/// Frames of page slots for `npages` pages below 1 GiB; eight slots need none.
fn slots(npages: u64) -> u64 {
    if npages <= 8 { 0 } else { npages.div_ceil(512) + u64::from(npages > 512) }
}

impl ModelShares {
    /// A share with a quota.
    pub fn share(&mut self, pages: u64, objects: u64) -> usize {
        self.shares.push(Some(Share { pages, objects, named: BTreeMap::new() }));
        self.shares.len() - 1
    }

    fn get(&mut self, share: usize) -> Result<&mut Share, ModelError> {
        self.shares.get_mut(share).and_then(Option::as_mut).ok_or(ModelError::NotFound)
    }

    /// `segment_alloc`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn alloc(&mut self, share: usize, npages: u64) -> Result<usize, ModelError> {
        let number = self.segments.len();
        let cost = npages + slots(npages);
        let share = self.get(share)?;
        if share.pages < cost || share.objects < 1 {
            return Err(ModelError::QuotaExceeded);
        }
        share.pages -= cost;
        share.objects -= 1;
        share.named.insert(number, cost);
        self.segments.push(Segment { npages, slots: slots(npages), references: 1 });
        Ok(number)
    }

    fn find(&mut self, share: usize, segment: usize) -> Result<&mut Segment, ModelError> {
        if !self.get(share)?.named.contains_key(&segment) {
            return Err(ModelError::NotFound);
        }
        self.segments.get_mut(segment).ok_or(ModelError::NotFound)
    }

    /// `segment_get_nbytes`, in pages.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn size(&mut self, share: usize, segment: usize) -> Result<u64, ModelError> {
        Ok(self.find(share, segment)?.npages)
    }

    /// `segment_set_nbytes`, in pages.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn resize(&mut self, share: usize, segment: usize, npages: u64) -> Result<(), ModelError> {
        let old = self.find(share, segment)?.clone();
        let frames = old.slots.max(slots(npages));
        let (before, after) = (old.npages + old.slots, npages + frames);
        let charged = self.get(share)?.named.get(&segment).copied().unwrap_or(0);
        let left = (self.get(share)?.pages + charged).checked_sub(after).ok_or(ModelError::QuotaExceeded)?;
        if after > before && old.references > 1 {
            return Err(ModelError::Busy);
        }
        let share = self.get(share)?;
        share.pages = left;
        share.named.insert(segment, after);
        if let Some(segment) = self.segments.get_mut(segment) {
            segment.npages = npages;
            segment.slots = frames;
        }
        Ok(())
    }

    /// `share_addobj` of a segment named in `from`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn add(&mut self, to: usize, from: usize, segment: usize) -> Result<(), ModelError> {
        let found = self.find(from, segment)?;
        let cost = found.npages + found.slots;
        let share = self.get(to)?;
        if share.pages < cost || share.objects < 1 {
            return Err(ModelError::QuotaExceeded);
        }
        if share.named.contains_key(&segment) {
            return Err(ModelError::Exists);
        }
        share.pages -= cost;
        share.objects -= 1;
        share.named.insert(segment, cost);
        if let Some(segment) = self.segments.get_mut(segment) {
            segment.references += 1;
        }
        Ok(())
    }

    /// `share_delobj`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn remove(&mut self, share: usize, segment: usize) -> Result<(), ModelError> {
        let share = self.get(share)?;
        let charged = share.named.remove(&segment).ok_or(ModelError::NotFound)?;
        share.pages += charged;
        share.objects += 1;
        if let Some(segment) = self.segments.get_mut(segment) {
            segment.references -= 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_come_back() {
        let mut model = ModelShares::default();
        let (a, b) = (model.share(10, 2), model.share(10, 1));
        let s = model.alloc(a, 9).unwrap();
        assert_eq!(model.alloc(a, 0), Ok(1));
        assert_eq!(model.alloc(a, 0), Err(ModelError::QuotaExceeded));
        assert_eq!(model.add(b, a, s), Ok(()));
        assert_eq!(model.resize(a, s, 0), Ok(()));
        assert_eq!(model.remove(a, s), Ok(()));
        assert_eq!(model.size(a, s), Err(ModelError::NotFound));
        assert_eq!(model.size(b, s), Ok(0));
    }
}
