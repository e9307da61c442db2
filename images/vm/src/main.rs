//! `vm`: mapping, unmapping, copy-on-write, objects (benches/vm).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::{
    AddressTreeCalls, Error, Home, MapFlags, Mapping, Name, ObjRef, PAGE_BYTES, SegmentCalls, ShareCalls,
    copy_mode, mapping_kind,
};
use corey_lib_bench::table::{VM_COW, VM_INTERIOR, VM_OBJECT, VM_PRIVATE};
use corey_libos_bench::{Worker, program, touch};
use corey_libos_rt::sys::{address, segment, sys};
use corey_libos_rt::vm::interior;
use corey_libos_rt::{Process, Status, entry};

entry!(main);

/// Distance of the cores' pages in the interior tree: page tables of their own.
const STEP: u64 = 2 << 20;

fn main(process: Process) -> Status {
    // Copy-on-write needs every page twice, and tables.
    program(process, "vm", |_, cores, iters| (2 * iters + iters / 64 + 64, u64::from(cores) * 8), work)
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
        _ => object(worker),
    }
}

fn one_page(segment: ObjRef, va: u64) -> Mapping {
    Mapping {
        kind: mapping_kind::SEGMENT,
        flags: MapFlags::WRITE.bits(),
        object: segment,
        va,
        npages: 1,
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

/// The same in an interior tree that every core links.
fn shared(worker: &mut Worker) -> Result<(), Error> {
    if worker.index == 0 {
        worker.offer(interior(worker.team, "vm")?);
    }
    worker.meet();
    let tree = worker.offered(0);
    let page = segment(worker.share, PAGE_BYTES, "page")?;
    let base = worker.space.reserve(1 << 30);
    worker.space.link(tree, base)?;
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
    let (share, name) = (worker.share, Name::new("object"));
    let mut first = First(Ok(()));
    worker.region::<VM_OBJECT>(|_| {
        match sys().segment_alloc(share, PAGE_BYTES, Home::Any, 0, address(&name)) {
            Ok(object) => first.note(sys().share_delobj(ObjRef { share, object })),
            Err(error) => first.note::<()>(Err(error)),
        }
    })?;
    first.0
}
