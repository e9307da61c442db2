//! Shares of shares, what they name, and their quotas.

use crate::common::*;
use crate::{conform, same};
use corey_abi::{
    AddressTreeCalls, Error, Home, Id, Kinds, MachineCalls, NAME_BYTES, Name, ObjRef, ObjectCalls,
    SegmentCalls, ShareCalls, ShareEntry, UserPtr, grain, tree_kind,
};
use corey_test_hal_host::User;
use corey_test_model::ModelShares;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A number that chooses among the objects made so far.
type Pick = prop::sample::Index;

#[derive(Clone, Debug)]
enum Step {
    Share(Pick, u64, (u64, u64)),
    Segment(Pick, u64),
    Tree(Pick),
    Size(Pick, Pick),
    Resize(Pick, Pick, u64),
    Name(Pick, Pick, Pick),
    Remove(Pick, Pick),
    Drop(Pick),
    List(Pick),
    Held,
    Text(Pick, Pick),
}

fn step() -> impl Strategy<Value = Step> {
    let pick = any::<Pick>;
    let pages = || prop_oneof![4 => 0..6_u64, 1 => 500..530_u64];
    let kinds = prop_oneof![3 => Just(Kinds::all().bits()), 1 => 0..32_u64];
    prop_oneof![
        2 => (pick(), kinds, (0..800_u64, 0..12_u64)).prop_map(|(p, k, q)| Step::Share(p, k, q)),
        4 => (pick(), pages()).prop_map(|(p, n)| Step::Segment(p, n)),
        1 => pick().prop_map(Step::Tree),
        4 => (pick(), pick()).prop_map(|(s, o)| Step::Size(s, o)),
        2 => (pick(), pick(), pages()).prop_map(|(s, o, n)| Step::Resize(s, o, n)),
        3 => (pick(), pick(), pick()).prop_map(|(t, f, o)| Step::Name(t, f, o)),
        4 => (pick(), pick()).prop_map(|(s, o)| Step::Remove(s, o)),
        2 => pick().prop_map(Step::Drop),
        1 => pick().prop_map(Step::List),
        1 => Just(Step::Held),
        1 => (pick(), pick()).prop_map(|(s, o)| Step::Text(s, o)),
    ]
}

/// Newest objects that steps choose from: older ones are mostly gone.
const RECENT: usize = 24;
const QUOTA: (u64, u64) = (2000, 60);
/// Room for what `share_list` writes.
const LIST: u64 = 0x6000_0000_0000;
const ENTRIES: u64 = 256;

struct World {
    ids: Vec<Id>,
    model: ModelShares,
    text: UserPtr,
}

impl World {
    /// One of the newest objects, or share 0.
    fn any(&self, pick: Pick) -> usize {
        let first = self.ids.len().saturating_sub(RECENT);
        let at = first + pick.index(self.ids.len() - first + 1);
        if at == self.ids.len() { 0 } else { at }
    }

    /// One of the newest shares, or share 0.
    fn share(&self, pick: Pick) -> usize {
        let all: Vec<usize> =
            (0..self.ids.len()).rev().filter(|n| self.model.is_share(*n)).take(RECENT).collect();
        *all.get(pick.index(all.len() + 1)).unwrap_or(&0)
    }

    /// What an allocation made, noted; the model's number for both.
    fn made(&mut self, got: Result<Id, Error>) -> Result<usize, Error> {
        self.ids.push(got?);
        Ok(self.ids.len() - 1)
    }

    fn list(&self, user: &mut User<'_>, share: Id) -> Result<BTreeSet<Id>, Error> {
        let count = user.sys().share_list(share, 0, UserPtr(LIST), ENTRIES)?;
        let read = |at| user.read(at).map(Id).map_err(|_| Error::BadAddress);
        (0..count).map(|n| LIST + n * size_of::<ShareEntry>() as u64).map(read).collect()
    }

    fn step(&mut self, user: &mut User<'_>, step: &Step, boot: Id) -> Result<(), String> {
        let object = |a: usize, o: usize| ObjRef { share: self.ids[a], object: self.ids[o] };
        match *step {
            Step::Share(ref pick, kinds, (pages, objects)) => {
                let (parent, kinds) = (self.share(*pick), Kinds::from_bits_truncate(kinds));
                let got =
                    user.sys().share_alloc(self.ids[parent], kinds, pages, objects, Home::Any, self.text);
                let got = self.made(got);
                same(step, got, self.model.share(parent, kinds, (pages, objects)))
            }
            Step::Segment(pick, pages) => {
                let share = self.share(pick);
                let got = user.sys().segment_alloc(self.ids[share], pages * 4096, Home::Any, 0, self.text);
                let got = self.made(got);
                same(step, got, self.model.segment(share, pages))
            }
            Step::Tree(pick) => {
                let share = self.share(pick);
                let (kind, grain) = (tree_kind::INTERIOR, grain::GIB1);
                let got = user.sys().at_alloc(self.ids[share], kind, grain, Home::Any, self.text);
                let got = self.made(got);
                same(step, got, self.model.tree(share))
            }
            Step::Size(share, at) => {
                let (share, at) = (self.share(share), self.any(at));
                let got = user.sys().segment_get_nbytes(object(share, at)).map(|bytes| bytes / 4096);
                same(step, got, self.model.size(share, at))
            }
            Step::Resize(share, at, pages) => {
                let (share, at) = (self.share(share), self.any(at));
                let got = user.sys().segment_set_nbytes(object(share, at), pages * 4096);
                same(step, got, self.model.resize(share, at, pages))
            }
            Step::Name(to, from, at) => {
                let (to, from, at) = (self.share(to), self.share(from), self.any(at));
                let got = user.sys().share_addobj(self.ids[to], object(from, at));
                same(step, got, self.model.name(to, from, at))
            }
            Step::Remove(share, at) => {
                let (share, at) = (self.share(share), self.any(at));
                let got = user.sys().share_delobj(object(share, at));
                same(step, got, self.model.remove(share, at))
            }
            Step::Drop(pick) => {
                let share = self.share(pick);
                if share == 0 {
                    return Ok(());
                }
                same(step, user.sys().self_drop(self.ids[share]), self.model.drop_share(share))
            }
            Step::List(pick) => {
                let share = self.share(pick);
                let named = |list: Vec<usize>| list.into_iter().map(|n| self.ids[n]).collect();
                let wanted = self.model.list(Some(share)).map(named);
                same(step, self.list(user, self.ids[share]), wanted)
            }
            Step::Held => {
                let wanted = self
                    .model
                    .list(None)
                    .map(|list| list.into_iter().map(|n| self.ids[n]).chain([boot]).collect());
                same(step, self.list(user, Id::NULL), wanted)
            }
            Step::Text(share, at) => {
                let (share, at) = (self.share(share), self.any(at));
                let got = user.sys().obj_get_name(object(share, at), UserPtr(LIST));
                let word = u64::from_le_bytes(*b"a name\0\0");
                // Share 0 was made before, and has another.
                if at > 0 && got.is_ok() && user.read(LIST) != Ok(word) {
                    return Err(format!("{step:?}: another name of {NAME_BYTES} bytes"));
                }
                same(step, got, self.model.kind(share, at).map(|_| ()))
            }
        }
    }
}

#[test]
fn shares_answer_as_the_model() {
    conform(file!(), "shares", step(), |steps| {
        let booted = boot(1);
        let result = booted.on(0, move |user| {
            let boot = start(user).boot;
            let entries = segment(user, boot, 2).expect("memory enough");
            map(user, start(user).tree, 100, entries, LIST, 2).expect("free addresses");
            let work = share(user, boot, QUOTA.0, QUOTA.1).expect("quota enough");
            let text = put(user, &Name::new("a name").0);
            let mut world = World { ids: vec![work], model: ModelShares::new(QUOTA, 1), text };
            steps.iter().try_for_each(|step| world.step(user, step, boot))?;
            // All goes, with everything in it: the audit below finds what stays.
            for share in world.model.list(None)? {
                user.sys().self_drop(world.ids[share])?;
            }
            user.sys().share_delobj(ObjRef { share: boot, object: work })?;
            Ok(())
        });
        result.map_err(|different: Different| different.0)?;
        audit(&booted);
        Ok(())
    });
}

/// What was different, or which call at the end failed.
struct Different(String);

impl From<String> for Different {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Error> for Different {
    fn from(error: Error) -> Self {
        Self(format!("at the end: {error:?}"))
    }
}
