//! `large`: memory in 2 MiB pages, taken and given back (benches/large).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::{
    AddressTreeCalls, Error, Home, Kinds, MapFlags, Mapping, Name, ObjRef, SegmentCalls, ShareCalls,
    mapping_kind, segment_flag,
};
use corey_lib_bench::table::LARGE_PRIVATE;
use corey_libos_bench::{Worker, program, touch};
use corey_libos_rt::sys::{address, sys};
use corey_libos_rt::vm::clear_in;
use corey_libos_rt::{Process, Status, entry};

entry!(main);

const BYTES: u64 = 2 << 20;
const PAGES: u64 = BYTES / corey_abi::PAGE_BYTES;

fn main(process: Process) -> Status {
    // One page lives; those before it may be on their way back.
    program(process, "large", |_, cores, _| (8 * PAGES, u64::from(cores) * 8), work)
}

/// Takes 2 MiB, maps them, touches both ends, unmaps them, gives them back.
fn work(worker: &mut Worker) -> Result<(), Error> {
    let name = Name::new("large");
    // The worker's own share is held by who started it, too; this one by nobody else.
    let share = sys().share_alloc(worker.share, Kinds::SEGMENT, 4 * PAGES, 8, Home::Any, address(&name))?;
    let base = worker.space.reserve(2 * BYTES).next_multiple_of(BYTES);
    let tree = worker.space.tree;
    let once = |slot| -> Result<(), Error> {
        let object = sys().segment_alloc(share, BYTES, Home::Any, segment_flag::LARGE, address(&name))?;
        let object = ObjRef { share, object };
        let on = Mapping {
            kind: mapping_kind::SEGMENT,
            flags: MapFlags::WRITE.bits(),
            object,
            va: base,
            npages: PAGES,
            ..Mapping::default()
        };
        let mapped = sys().at_set_slot(tree, slot, address(&on)).and_then(|()| {
            touch(base);
            touch(base + BYTES - 1);
            clear_in(tree, slot)
        });
        mapped.and(sys().share_delobj(object))
    };
    let slot = worker.space.take_slot()?;
    once(slot)?;
    let mut result = Ok(());
    worker.region::<LARGE_PRIVATE>(|_| {
        if result.is_ok() {
            result = once(slot);
        }
    })?;
    result
}
