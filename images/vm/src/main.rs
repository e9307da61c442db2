//! `vm`: mapping, unmapping, copy-on-write, objects (benches/vm).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::{
    AddressTreeCalls, Error, Home, Kinds, MapFlags, Mapping, Name, ObjRef, PAGE_BYTES, SegmentCalls,
    ShareCalls, copy_mode, mapping_kind,
};
use corey_lib_bench::table::{VM_COW, VM_INTERIOR, VM_INTERIOR_64, VM_OBJECT, VM_PRIVATE};
use corey_libos_bench::{Worker, program, touch};
use corey_libos_rt::sys::{address, segment, sys};
use corey_libos_rt::vm::interior;
use corey_libos_rt::{Process, Status, entry};

entry!(main);

/// Distance of the cores' pages in the interior tree: page tables of their own.
const STEP: u64 = 2 << 20;
/// Pages that are unmapped at once.
const BATCH: u64 = 64;

fn main(process: Process) -> Status {
    // Copy-on-write needs every page twice, and tables.
    program(
        process,
        "vm",
        |_, cores, iters| (2 * iters + iters / 64 + 64 + BATCH, u64::from(cores) * 8),
        work,
    )
}

/// The first error of a region; operations have nobody to tell.
struct First(Result<(), Error>);

impl First {
    #[inline(always)]
    fn note<T>(&mut self, result: Result<T, Error>) {
        if let (Ok(()), Err(error)) = (self.0, result) {
            self.0 = Err(error);
        }
    }
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    match worker.variant {
        0 => private(worker),
        1 => shared(worker),
        2 => copied(worker),
        3 => object(worker),
        _ => batch(worker),
    }
}

fn one_page(segment: ObjRef, va: u64) -> Mapping {
    pages(segment, va, 1)
}

fn pages(segment: ObjRef, va: u64, npages: u64) -> Mapping {
    Mapping {
        kind: mapping_kind::SEGMENT,
        flags: MapFlags::WRITE.bits(),
        object: segment,
        va,
        npages,
        ..Mapping::default()
    }
}

/// Maps a page in this core's own root, touches it, unmaps it.
fn private(worker: &mut Worker) -> Result<(), Error> {
    let page = segment(worker.share, PAGE_BYTES, "page")?;
    let va = worker.space.reserve(PAGE_BYTES);
    // Takes the slot, and leaves it empty.
    let slot = worker.space.map_at(page, va, 0, 1, MapFlags::WRITE)?;
    touch(va);
    worker.space.unmap(slot)?;
    let (tree, on, off) = (worker.space.tree, one_page(page, va), Mapping::default());
    let mut first = First(Ok(()));
    worker.region::<VM_PRIVATE>(|_| {
        first.note(sys().at_set_slot(tree, slot, address(&on)));
        if first.0.is_ok() {
            touch(va);
        }
        first.note(sys().at_set_slot(tree, slot, address(&off)));
    })?;
    first.0
}

/// An interior tree that every core links, and where it lies.
fn linked(worker: &mut Worker) -> Result<(ObjRef, u64), Error> {
    if worker.index == 0 {
        worker.offer(interior(worker.team, "vm")?);
    }
    worker.meet();
    let tree = worker.offered(0);
    let base = worker.space.reserve(1 << 30);
    worker.space.link(tree, base)?;
    Ok((tree, base))
}

/// The same in an interior tree that every core links.
fn shared(worker: &mut Worker) -> Result<(), Error> {
    let (tree, base) = linked(worker)?;
    let page = segment(worker.share, PAGE_BYTES, "page")?;
    let (slot, offset) = (u64::from(worker.index), u64::from(worker.index) * STEP);
    let (va, on, off) = (base + offset, one_page(page, offset), Mapping::default());
    sys().at_set_slot(tree, slot, address(&on))?;
    touch(va);
    sys().at_set_slot(tree, slot, address(&off))?;
    let mut first = First(Ok(()));
    worker.region::<VM_INTERIOR>(|_| {
        first.note(sys().at_set_slot(tree, slot, address(&on)));
        if first.0.is_ok() {
            touch(va);
        }
        first.note(sys().at_set_slot(tree, slot, address(&off)));
    })?;
    first.0
}

/// Unmaps pages of such a tree at once; mapping and touching them is outside.
fn batch(worker: &mut Worker) -> Result<(), Error> {
    let (tree, base) = linked(worker)?;
    let memory = segment(worker.share, BATCH * PAGE_BYTES, "pages")?;
    let (slot, offset) = (u64::from(worker.index), u64::from(worker.index) * STEP);
    let (on, off) = (pages(memory, offset, BATCH), Mapping::default());
    let map = || {
        sys().at_set_slot(tree, slot, address(&on))?;
        (0..BATCH).for_each(|page| touch(base + offset + page * PAGE_BYTES));
        Ok::<(), Error>(())
    };
    map()?;
    let (mut unmapped, mut mapped) = (Ok(()), Ok(()));
    worker.region_between::<VM_INTERIOR_64>(
        |_| unmapped = unmapped.and(sys().at_set_slot(tree, slot, address(&off))),
        |_| mapped = mapped.and_then(|()| map()),
    )?;
    unmapped.and(mapped)
}

/// Writes pages that a copy shares.
fn copied(worker: &mut Worker) -> Result<(), Error> {
    let pages = worker.iters;
    let array = segment(worker.share, pages * PAGE_BYTES, "array")?;
    let base = worker.space.reserve(pages * PAGE_BYTES);
    worker.space.map_at(array, base, 0, pages, MapFlags::WRITE)?;
    (0..pages).for_each(|page| touch(base + page * PAGE_BYTES));
    let name = Name::new("copy");
    let copy = sys().segment_copy(array, worker.share, copy_mode::ON_WRITE, Home::Any, address(&name))?;
    worker.region::<VM_COW>(|page| touch(base + page * PAGE_BYTES))?;
    sys().share_delobj(ObjRef { share: worker.share, object: copy })
}

/// Makes an object and lets it go.
fn object(worker: &mut Worker) -> Result<(), Error> {
    let name = Name::new("object");
    // The worker's own share is held by who started it, too; this one by nobody else.
    let share = sys().share_alloc(worker.share, Kinds::SEGMENT, 64, 8, Home::Any, address(&name))?;
    let mut first = First(Ok(()));
    worker.region::<VM_OBJECT>(|_| {
        match sys().segment_alloc(share, PAGE_BYTES, Home::Any, 0, address(&name)) {
            Ok(object) => first.note(sys().share_delobj(ObjRef { share, object })),
            Err(error) => first.note::<()>(Err(error)),
        }
    })?;
    first.0
}
