//! `cfork`: this program goes on a second time on another core (benches/cfork).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::{Error, MapFlags, PAGE_BYTES, mapping_kind};
use corey_lib_bench::region::{MACHINE_BEGIN as BEGIN, MACHINE_END as END};
use corey_lib_bench::table::CFORK_DEFAULT;
use corey_libos_bench::{Worker, program, touch};
use corey_libos_cfork::{Cfork, CforkError, Child, Forked};
use corey_libos_rt::sys::{marker, segment};
use corey_libos_rt::vm::Ended;
use corey_libos_rt::{Process, Status, entry, halt};

entry!(main);

/// What the child halts with.
const DONE: u32 = 7;
/// Segments that the program maps, at least.
const SEGMENTS: usize = 10;
/// Pages of those that are added; all are touched.
const PAGES: u64 = 16;

/// Whether a fork is an operation of the region.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    No,
    Yes,
}

fn main(process: Process) -> Status {
    program(process, "cfork", |_, _, _| (8192, 0), work)
}

fn work(worker: &mut Worker) -> Result<(), Error> {
    let mut process = worker.process()?;
    let cfork = Cfork::new(&mut process)?;
    let mut mapped = 0;
    process.space.each(&mut |mapping| mapped += usize::from(mapping.kind == mapping_kind::SEGMENT))?;
    for _ in mapped..SEGMENTS {
        let more = segment(worker.share, PAGES * PAGE_BYTES, "more")?;
        let (va, _) = process.space.map(more, PAGES, MapFlags::WRITE)?;
        (0..PAGES).for_each(|page| touch(va + page * PAGE_BYTES));
    }
    let core = (worker.cores + worker.index) as u16;
    // Outside the region a child says nothing to the meter.
    let fork = |process: &mut Process, counted: Counted| -> Result<Child, CforkError> {
        match cfork.cfork(process, core, &[])? {
            Forked::Parent(child) => Ok(child),
            Forked::Child(_) => {
                if counted == Counted::Yes {
                    marker::<CFORK_DEFAULT, END>();
                }
                halt(DONE)
            }
        }
    };
    let wait = |child: Result<Child, CforkError>| match child.map(Child::join) {
        Ok(Ended::Halted(DONE)) => Ok(()),
        Ok(_) => Err(Error::CoreLost),
        Err(CforkError::Call(_, error)) => Err(error),
        Err(_) => Err(Error::NotPermitted),
    };
    // Once before, so that objects have their slots on both sides.
    worker.meet();
    wait(fork(&mut process, Counted::No))?;
    let mut result = Ok(());
    let child = core::cell::RefCell::new(None);
    worker.region_between::<CFORK_DEFAULT>(
        |_| {
            marker::<CFORK_DEFAULT, BEGIN>();
            *child.borrow_mut() = Some(fork(&mut process, Counted::Yes));
        },
        |_| {
            let ended = child.borrow_mut().take().map_or(Err(Error::NotFound), wait);
            if result.is_ok() {
                result = ended;
            }
        },
    )?;
    result
}
