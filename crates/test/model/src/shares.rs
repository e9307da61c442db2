//! Shares that name segments, trees and shares: references and quotas.

use std::collections::BTreeMap;

use corey_abi::{Error, Kind, Kinds, RUN_SHARES};

/// What an object is, beside its references.
#[derive(Clone, Debug)]
enum Body {
    /// Pages, and frames of page slots, which never shrink.
    Segment {
        npages: u64,
        slots: u64,
    },
    Tree,
    Share(Share),
}

#[derive(Clone, Debug)]
struct Share {
    kinds: Kinds,
    /// What is left: pages, objects.
    left: (u64, u64),
    /// What was carved from the parent.
    carved: (u64, u64),
    parent: Option<usize>,
    /// Shares carved from here that still exist.
    children: u64,
    held: bool,
    /// Object → pages charged for it.
    named: BTreeMap<usize, u64>,
}

#[derive(Clone, Debug)]
struct Object {
    body: Body,
    references: u64,
}

/// Shares as one core sees them. Objects are numbered in the order they were made; share 0 is there from the
/// beginning, and held.
#[derive(Clone, Debug)]
pub struct ModelShares {
    objects: Vec<Object>,
    /// Shares that the core holds beside these.
    others: usize,
}

/// Frames of page slots for `npages` pages below 1 GiB; eight slots need none.
fn slots(npages: u64) -> u64 {
    if npages <= 8 { 0 } else { npages.div_ceil(512) + u64::from(npages > 512) }
}

impl ModelShares {
    /// Share 0, with a quota of (pages, objects), on a core that holds `others` shares beside.
    #[must_use]
    pub fn new(quota: (u64, u64), others: usize) -> Self {
        let share = Share {
            kinds: Kinds::all(),
            left: quota,
            carved: quota,
            parent: None,
            children: 0,
            held: true,
            named: BTreeMap::new(),
        };
        Self { objects: vec![Object { body: Body::Share(share), references: 1 }], others }
    }

    /// How many objects were ever made.
    #[must_use]
    pub fn made(&self) -> usize {
        self.objects.len()
    }

    /// Whether object `number` is a share.
    #[must_use]
    pub fn is_share(&self, number: usize) -> bool {
        matches!(self.objects.get(number), Some(Object { body: Body::Share(_), .. }))
    }

    /// The share `number`, if it is held.
    fn held(&mut self, number: usize) -> Result<&mut Share, Error> {
        match self.objects.get_mut(number) {
            Some(Object { body: Body::Share(share), .. }) if share.held => Ok(share),
            _ => Err(Error::NotFound),
        }
    }

    /// The share `number`, if it is held and may name `kind`.
    fn held_for(&mut self, number: usize, kind: Kind) -> Result<&mut Share, Error> {
        let share = self.held(number)?;
        if share.kinds.contains(kind.into()) { Ok(share) } else { Err(Error::NotPermitted) }
    }

    /// What `⟨share, object⟩` names.
    fn find(&mut self, share: usize, object: usize) -> Result<&mut Object, Error> {
        let named = self.held(share)?.named.contains_key(&object);
        if named || share == object { Ok(&mut self.objects[object]) } else { Err(Error::NotFound) }
    }

    fn add(&mut self, share: usize, body: Body, pages: u64) -> Result<usize, Error> {
        let number = self.objects.len();
        let share = self.held(share)?;
        share.charge((pages, 1))?;
        share.named.insert(number, pages);
        self.objects.push(Object { body, references: 1 });
        Ok(number)
    }

    /// `share_alloc`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn share(&mut self, parent: usize, kinds: Kinds, quota: (u64, u64)) -> Result<usize, Error> {
        let others = self.others;
        let held = self.objects.iter().filter(|o| matches!(&o.body, Body::Share(s) if s.held)).count();
        let from = self.held_for(parent, Kind::Share)?;
        if !from.kinds.contains(kinds) {
            return Err(Error::NotPermitted);
        }
        if held + others == RUN_SHARES {
            return Err(Error::Full);
        }
        from.charge(quota)?;
        let share = Share {
            kinds,
            left: quota,
            carved: quota,
            parent: Some(parent),
            children: 0,
            held: true,
            named: BTreeMap::new(),
        };
        let made = self.add(parent, Body::Share(share), 0);
        let from = self.held(parent)?;
        match made {
            Ok(number) => {
                from.children += 1;
                // The parent's name, and the caller's hold.
                self.objects[number].references = 2;
            }
            Err(_) => from.refund(quota),
        }
        made
    }

    /// `segment_alloc`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn segment(&mut self, share: usize, npages: u64) -> Result<usize, Error> {
        self.held_for(share, Kind::Segment)?;
        let slots = slots(npages);
        self.add(share, Body::Segment { npages, slots }, npages + slots)
    }

    /// `at_alloc`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn tree(&mut self, share: usize) -> Result<usize, Error> {
        self.held_for(share, Kind::AddressTree)?;
        self.add(share, Body::Tree, 1)
    }

    /// The kind of what `⟨share, object⟩` names.
    ///
    /// # Errors
    ///
    /// As any call.
    pub fn kind(&mut self, share: usize, object: usize) -> Result<Kind, Error> {
        Ok(match self.find(share, object)?.body {
            Body::Segment { .. } => Kind::Segment,
            Body::Tree => Kind::AddressTree,
            Body::Share(_) => Kind::Share,
        })
    }

    /// `segment_get_nbytes`, in pages.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn size(&mut self, share: usize, object: usize) -> Result<u64, Error> {
        match self.find(share, object)?.body {
            Body::Segment { npages, .. } => Ok(npages),
            _ => Err(Error::WrongKind),
        }
    }

    /// `segment_set_nbytes`, in pages.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn resize(&mut self, share: usize, object: usize, npages: u64) -> Result<(), Error> {
        let Object { body, references } = self.find(share, object)?.clone();
        let Body::Segment { npages: old, slots: frames } = body else { return Err(Error::WrongKind) };
        let frames = frames.max(slots(npages));
        let after = npages + frames;
        let before = old + slots_of(&body);
        let from = self.held(share)?;
        let charged = from.named.get(&object).copied().unwrap_or(0);
        let left = (from.left.0 + charged).checked_sub(after).ok_or(Error::QuotaExceeded)?;
        if after > before && references > 1 {
            return Err(Error::Busy);
        }
        from.left.0 = left;
        from.named.insert(object, after);
        self.objects[object].body = Body::Segment { npages, slots: frames };
        Ok(())
    }

    /// `share_addobj` of an object named in `from`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn name(&mut self, to: usize, from: usize, object: usize) -> Result<(), Error> {
        let kind = self.kind(from, object)?;
        let pages = match self.objects[object].body {
            Body::Share(_) => return Err(Error::NotPermitted),
            Body::Segment { npages, slots } => npages + slots,
            Body::Tree => 1,
        };
        let share = self.held_for(to, kind)?;
        share.charge((pages, 1))?;
        if share.named.contains_key(&object) {
            share.refund((pages, 1));
            return Err(Error::Exists);
        }
        share.named.insert(object, pages);
        self.objects[object].references += 1;
        Ok(())
    }

    /// `share_delobj`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn remove(&mut self, share: usize, object: usize) -> Result<(), Error> {
        let pages = self.held(share)?.named.remove(&object).ok_or(Error::NotFound)?;
        self.held(share)?.refund((pages, 1));
        self.release(object);
        Ok(())
    }

    /// `self_drop`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn drop_share(&mut self, share: usize) -> Result<(), Error> {
        self.held(share)?.held = false;
        self.release(share);
        Ok(())
    }

    /// `share_list` of what `share` names; of the shares held for `None`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn list(&mut self, share: Option<usize>) -> Result<Vec<usize>, Error> {
        match share {
            Some(share) => Ok(self.held(share)?.named.keys().copied().collect()),
            None => Ok((0..self.objects.len()).filter(|n| self.held(*n).is_ok()).collect()),
        }
    }

    fn release(&mut self, object: usize) {
        let gone = &mut self.objects[object];
        gone.references -= 1;
        if gone.references > 0 {
            return;
        }
        let Body::Share(share) = &mut gone.body else { return };
        for named in std::mem::take(&mut share.named).into_keys() {
            self.release(named);
        }
        self.settle(object);
    }

    /// Gives a dead share's quota back once it has no children; then its parent's, if that waited for this.
    fn settle(&mut self, number: usize) {
        let Object { body: Body::Share(share), references: 0 } = &mut self.objects[number] else { return };
        if share.children > 0 {
            return;
        }
        let carved = share.carved;
        // Once: its children's end comes here, too.
        let Some(parent) = share.parent.take() else { return };
        if let Body::Share(theirs) = &mut self.objects[parent].body {
            theirs.refund(carved);
            theirs.children -= 1;
        }
        self.settle(parent);
    }
}

impl Share {
    fn charge(&mut self, (pages, objects): (u64, u64)) -> Result<(), Error> {
        let (Some(p), Some(o)) = (self.left.0.checked_sub(pages), self.left.1.checked_sub(objects)) else {
            return Err(Error::QuotaExceeded);
        };
        self.left = (p, o);
        Ok(())
    }

    fn refund(&mut self, (pages, objects): (u64, u64)) {
        self.left = (self.left.0 + pages, self.left.1 + objects);
    }
}

/// Frames of slots of a segment.
fn slots_of(body: &Body) -> u64 {
    if let Body::Segment { slots, .. } = body { *slots } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_come_back() {
        let mut model = ModelShares::new((100, 10), 1);
        let a = model.share(0, Kinds::all(), (10, 2)).unwrap();
        let b = model.share(0, Kinds::SEGMENT, (10, 1)).unwrap();
        let s = model.segment(a, 9).unwrap();
        assert_eq!(model.segment(a, 0), Ok(4));
        assert_eq!(model.segment(a, 0), Err(Error::QuotaExceeded));
        assert_eq!(model.tree(b), Err(Error::NotPermitted));
        assert_eq!(model.name(b, a, s), Ok(()));
        assert_eq!(model.resize(a, s, 0), Ok(()));
        assert_eq!(model.remove(a, s), Ok(()));
        assert_eq!(model.size(a, s), Err(Error::NotFound));
        assert_eq!(model.size(b, s), Ok(0));
    }

    #[test]
    fn a_parent_that_goes_with_its_children_gives_back_once() {
        let mut model = ModelShares::new((100, 10), 1);
        let a = model.share(0, Kinds::all(), (50, 5)).unwrap();
        let b = model.share(a, Kinds::all(), (50, 1)).unwrap();
        model.drop_share(b).unwrap();
        model.drop_share(a).unwrap();
        model.remove(0, a).unwrap();
        assert_eq!(model.segment(0, 101), Err(Error::QuotaExceeded));
    }

    #[test]
    fn a_parent_waits_for_its_children() {
        let mut model = ModelShares::new((100, 10), 1);
        let a = model.share(0, Kinds::all(), (50, 5)).unwrap();
        let b = model.share(a, Kinds::all(), (50, 1)).unwrap();
        model.remove(0, a).unwrap();
        model.drop_share(a).unwrap();
        assert_eq!(model.segment(0, 60), Err(Error::QuotaExceeded));
        model.drop_share(b).unwrap();
        assert_eq!(model.segment(0, 60), Ok(3));
    }
}
