//! A root and two interior trees that map segments: slot by slot and whole tables, read back through all of them.

use crate::common::*;
use crate::{conform, same};
use corey_abi::{
    AddressTreeCalls, Error, Id, MapFlags, Mapping, ObjRef, PAGE_BYTES, Plain, SegmentCalls, ShareCalls,
    TreeTable, mapping_kind,
};
use corey_test_hal_host::User;
use corey_test_model::{ModelMapping, ModelSegments, ModelTree};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Map(usize, u64, ModelMapping),
    Clear(usize, u64),
    Get(usize),
    Set(usize, Vec<(u64, ModelMapping)>),
    Write(usize, u64, u64),
    Read(usize, u64),
    Resize(usize, u64),
    Replace(usize),
    Link(usize, u64),
    Unlink(usize),
}

/// Pages of the window that mappings fall into.
const WINDOW: u64 = 40;
const SEGMENTS: usize = 4;
/// Slots of a tree that steps use, from [`FIRST`] on in the root.
const SLOTS: u64 = 6;
const FIRST: u64 = 100;
/// Tree 0 is the root, and its window begins here; the others are interior.
const WINDOW_VA: u64 = 0x5000_0000_0000;
const TREES: usize = 3;
/// Where the root may link interior tree n: one of [`LINKS`] places each.
const LINKS_VA: u64 = 0x6000_0000_0000;
const LINKS: u64 = 2;
const GIB: u64 = 1 << 30;
/// Memory for tables, mapped by the root's slot [`LAST`].
const TABLE: u64 = 0x7100_0000_0000;
const TABLE_PAGES: u64 = 2;
const LAST: u64 = FIRST + SLOTS + TREES as u64;

fn mapping() -> impl Strategy<Value = ModelMapping> {
    (0..WINDOW, 0..9_u64, 0..SEGMENTS, 0..6_u64).prop_map(|(at, npages, segment, start)| ModelMapping {
        at,
        npages,
        segment,
        start,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let tree = || 0..TREES;
    let table = proptest::collection::vec((0..SLOTS, mapping()), 0..4);
    prop_oneof![
        6 => (tree(), 0..SLOTS, mapping()).prop_map(|(t, s, m)| Step::Map(t, s, m)),
        2 => (tree(), 0..SLOTS).prop_map(|(t, s)| Step::Clear(t, s)),
        1 => tree().prop_map(Step::Get),
        1 => (1..TREES, table).prop_map(|(t, m)| Step::Set(t, m)),
        6 => (tree(), 0..WINDOW, 1..u64::MAX).prop_map(|(t, at, v)| Step::Write(t, at, v)),
        8 => (tree(), 0..WINDOW).prop_map(|(t, at)| Step::Read(t, at)),
        1 => (0..SEGMENTS, 0..12_u64).prop_map(|(s, n)| Step::Resize(s, n)),
        1 => (0..SEGMENTS).prop_map(Step::Replace),
        1 => (1..TREES, 0..LINKS).prop_map(|(t, p)| Step::Link(t, p)),
        1 => (1..TREES).prop_map(Step::Unlink),
    ]
}

struct World {
    share: Id,
    trees: [ObjRef; TREES],
    models: [ModelTree; TREES],
    /// Where each interior tree is linked.
    linked: [Option<u64>; TREES],
    segments: ModelSegments,
    /// By place: number in the model, and ID.
    places: [(usize, ObjRef); SEGMENTS],
}

/// What `at_get` tells of a slot: slot, address, pages, first page, object.
type Told = (u64, u64, u64, u64, Id);

/// The first of a tree's slots that steps use.
fn first_slot(tree: usize) -> u64 {
    if tree == 0 { FIRST } else { 0 }
}

/// The root's slot that links interior tree `tree`.
fn link_slot(tree: usize) -> u64 {
    FIRST + SLOTS + tree as u64
}

/// Where the window of `tree` begins in its own addresses.
fn base(tree: usize) -> u64 {
    if tree == 0 { WINDOW_VA } else { 0 }
}

impl World {
    fn new(user: &mut User<'_>) -> Self {
        let first = start(user);
        let share = share(user, first.boot, 1000, 64).expect("quota enough");
        let table = segment(user, share, TABLE_PAGES).expect("quota enough");
        map(user, first.tree, LAST, table, TABLE, TABLE_PAGES).expect("free addresses");
        let mut trees = [first.tree; TREES];
        trees.iter_mut().skip(1).for_each(|tree| *tree = interior(user, share).expect("quota enough"));
        let mut segments = ModelSegments::default();
        let places =
            [(); SEGMENTS].map(|()| (segments.add(8), segment(user, share, 8).expect("quota enough")));
        let models = [(); TREES].map(|()| ModelTree::new(GIB / PAGE_BYTES));
        Self { share, trees, models, linked: [None; TREES], segments, places }
    }

    fn mapping(&self, tree: usize, m: ModelMapping) -> Mapping {
        Mapping {
            kind: mapping_kind::SEGMENT,
            flags: MapFlags::WRITE.bits(),
            object: self.places[m.segment].1,
            va: base(tree) + m.at * PAGE_BYTES,
            start_page: m.start,
            npages: m.npages,
            ..Mapping::default()
        }
    }

    /// Where the program sees the window of `tree`.
    fn seen(&self, tree: usize) -> Option<u64> {
        if tree == 0 { Some(WINDOW_VA) } else { self.linked[tree] }
    }

    /// What the model does for `at_set_slot`.
    fn model_map(&mut self, tree: usize, slot: u64, m: ModelMapping) -> Result<(), Error> {
        let numbered = ModelMapping { segment: self.places[m.segment].0, ..m };
        self.models[tree].map(slot, numbered, &self.segments)
    }

    /// The slots of `tree` that steps use, as `at_get` tells them: address, pages, first page, object.
    fn slots(&self, user: &mut User<'_>, tree: usize) -> Result<Vec<Told>, Error> {
        let table = put(user, &TreeTable { mappings: TABLE, count: LAST + 1, ..TreeTable::default() });
        user.sys().at_get(self.trees[tree], table)?;
        let count = take::<TreeTable>(user).count;
        let mut found = Vec::new();
        for slot in (0..SLOTS).filter(|slot| first_slot(tree) + slot < count) {
            let at = TABLE + (first_slot(tree) + slot) * Mapping::BYTES as u64;
            let bytes: Vec<u8> = (at..at + Mapping::BYTES as u64)
                .step_by(8)
                .flat_map(|at| user.read(at).expect("the table is mapped").to_le_bytes())
                .collect();
            let mapping = Mapping::from_bytes(&bytes).expect("room enough");
            if mapping.kind == mapping_kind::SEGMENT {
                found.push((slot, mapping.va, mapping.npages, mapping.start_page, mapping.object.object));
            }
        }
        Ok(found)
    }

    fn model_slots(&self, tree: usize) -> Vec<Told> {
        let told = |(slot, m): (u64, ModelMapping)| {
            let place = self.places.iter().find(|(number, _)| *number == m.segment).expect("it lives");
            (slot, base(tree) + m.at * PAGE_BYTES, m.npages, m.start, place.1.object)
        };
        self.models[tree].slots().map(told).collect()
    }

    /// `at_set` of an interior tree: slot after slot, as the model; stops at the first refusal.
    fn set(&mut self, user: &mut User<'_>, tree: usize, some: &[(u64, ModelMapping)]) -> Result<(), String> {
        let mut table = [None; SLOTS as usize];
        some.iter().for_each(|(slot, m)| table[*slot as usize] = Some(*m));
        for (slot, m) in table.iter().enumerate() {
            let mut bytes = [0; Mapping::BYTES];
            m.map_or(Mapping::default(), |m| self.mapping(tree, m)).to_bytes(&mut bytes);
            let words: Vec<u64> =
                bytes.chunks(8).map(|b| u64::from_le_bytes(b.try_into().expect("eight"))).collect();
            user.write_all(TABLE + (slot * Mapping::BYTES) as u64, &words).expect("the table is mapped");
        }
        let header = put(user, &TreeTable { mappings: TABLE, count: SLOTS, ..TreeTable::default() });
        let got = user.sys().at_set(self.trees[tree], header).map_err(|e| (e, take::<TreeTable>(user).count));
        let mut wanted = Ok(());
        for (slot, m) in (0..).zip(table) {
            let set = match m {
                Some(m) => self.model_map(tree, slot, m),
                None => {
                    self.models[tree].clear(slot);
                    Ok(())
                }
            };
            if let Err(error) = set {
                wanted = Err((error, slot));
                break;
            }
        }
        same(&"at_set", got, wanted)
    }

    fn step(&mut self, user: &mut User<'_>, step: &Step) -> Result<(), String> {
        match *step {
            Step::Map(tree, slot, m) => {
                let mapping = put(user, &self.mapping(tree, m));
                let got = user.sys().at_set_slot(self.trees[tree], first_slot(tree) + slot, mapping);
                same(step, got, self.model_map(tree, slot, m))
            }
            Step::Clear(tree, slot) => {
                self.models[tree].clear(slot);
                same(step, clear(user, self.trees[tree], first_slot(tree) + slot), Ok(()))
            }
            Step::Get(tree) => same(step, self.slots(user, tree), Ok(self.model_slots(tree))),
            Step::Set(tree, ref some) => self.set(user, tree, some),
            Step::Write(tree, at, value) => {
                let reached = self.models[tree].reach(at);
                // A write that faults would end the program: the model says which would.
                if let (Some(base), Some((segment, page))) = (self.seen(tree), reached)
                    && self.segments.write(segment, page, value)
                {
                    let done = user.write(base + at * PAGE_BYTES, value);
                    return same(step, done.is_ok(), true);
                }
                Ok(())
            }
            Step::Read(tree, at) => {
                let reached = self.models[tree].reach(at);
                let wanted = reached.and_then(|(segment, page)| self.segments.read(segment, page));
                match (self.seen(tree), wanted) {
                    (Some(base), Some(wanted)) => {
                        same(step, user.read(base + at * PAGE_BYTES).ok(), Some(wanted))
                    }
                    _ => Ok(()),
                }
            }
            Step::Resize(place, pages) => {
                let (number, object) = self.places[place];
                let got = user.sys().segment_set_nbytes(object, pages * PAGE_BYTES);
                same(step, got, self.segments.resize(number, pages))
            }
            Step::Replace(place) => {
                let (number, object) = self.places[place];
                same(step, user.sys().share_delobj(object), self.segments.remove(number))?;
                self.models.iter_mut().for_each(|tree| tree.forget(number));
                let made = segment(user, self.share, 8).map_err(|e| format!("{step:?}: {e:?}"))?;
                self.places[place] = (self.segments.add(8), made);
                Ok(())
            }
            Step::Link(tree, place) => {
                let va = LINKS_VA + (tree as u64 * LINKS + place) * GIB;
                self.linked[tree] = Some(va);
                same(step, link(user, self.trees[0], link_slot(tree), self.trees[tree], va), Ok(()))
            }
            Step::Unlink(tree) => {
                self.linked[tree] = None;
                same(step, clear(user, self.trees[0], link_slot(tree)), Ok(()))
            }
        }
    }
}

#[test]
fn trees_map_as_the_model() {
    conform(file!(), "address trees", step(), |steps| {
        let booted = boot(1);
        booted.on(0, move |user| {
            let boot = start(user).boot;
            let mut world = World::new(user);
            let result = steps.iter().try_for_each(|step| world.step(user, step));
            end(user, boot, world.share);
            result
        })?;
        audit(&booted);
        Ok(())
    });
}
