//! What the cores know of each other's objects, living and dead. Races are welcome: a torn entry is one more bad word.

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Id, ObjRef};
use corey_libos_test::Random;

/// Entries of a kind.
const ENTRIES: usize = 48;
/// Kinds: shares, segments, root trees, interior trees, pcores, devices.
pub(crate) const KINDS: usize = 6;

/// The kinds as the pool tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Share,
    Segment,
    Root,
    Interior,
    Pcore,
    Device,
}

impl Sort {
    pub(crate) const ALL: [Self; KINDS] =
        [Self::Share, Self::Segment, Self::Root, Self::Interior, Self::Pcore, Self::Device];
}

static POOL: [[[AtomicU64; 2]; ENTRIES]; KINDS] =
    [const { [const { [const { AtomicU64::new(0) }; 2] }; ENTRIES] }; KINDS];

fn entries(sort: Sort) -> &'static [[AtomicU64; 2]; ENTRIES] {
    let [shares, segments, roots, interiors, pcores, devices] = &POOL;
    match sort {
        Sort::Share => shares,
        Sort::Segment => segments,
        Sort::Root => roots,
        Sort::Interior => interiors,
        Sort::Pcore => pcores,
        Sort::Device => devices,
    }
}

/// Forgets all; every entry of `sort` is then `object`.
pub(crate) fn fill(sort: Sort, object: ObjRef) {
    for entry in entries(sort) {
        put(entry, object);
    }
}

fn put([share, object]: &[AtomicU64; 2], of: ObjRef) {
    share.store(of.share.0, Ordering::Relaxed);
    object.store(of.object.0, Ordering::Relaxed);
}

/// Remembers an object in place of another one.
pub(crate) fn remember(random: &mut Random, sort: Sort, object: ObjRef) {
    if let Some(entry) = entries(sort).get(random.below(ENTRIES as u64) as usize) {
        put(entry, object);
    }
}

/// Some object, perhaps dead by now.
pub(crate) fn any(random: &mut Random, sort: Sort) -> ObjRef {
    entries(sort).get(random.below(ENTRIES as u64) as usize).map_or(ObjRef::default(), get)
}

fn get([share, object]: &[AtomicU64; 2]) -> ObjRef {
    ObjRef { share: Id(share.load(Ordering::Relaxed)), object: Id(object.load(Ordering::Relaxed)) }
}

/// Puts another object in the place of one that was not found: so the living stay known.
pub(crate) fn forget(random: &mut Random, sort: Sort, gone: ObjRef) {
    let other = any(random, sort);
    // One place only: what this core does not find may be another core's.
    if let Some(entry) = entries(sort).iter().find(|entry| get(entry) == gone) {
        put(entry, other);
    }
}
