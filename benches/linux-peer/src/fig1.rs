//! Lines, locks and shootdowns.

use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use corey_arch_x86_64_user::marker::{marker, pause};
use corey_lib_bench::region::{MACHINE_BEGIN as BEGIN, MACHINE_END as END};
use corey_lib_bench::{Lock, Place, Span, run_region, run_region_between, table};

use crate::arena::Mapping;
use crate::guest::Failure;
use crate::vm::{map_page, touch, unmap_page};
use crate::work::Linux;

/// Lines of a page.
const LINES: usize = 32;

/// Reads lines last written by another core, each of the others in turn.
pub(crate) fn latency(place: Place<'_>, pages: &Mapping) -> Result<Span, Failure> {
    let (cores, me) = (place.cores as usize, place.core as usize);
    if cores > LINES {
        return Err(Failure::command_line(format!("fig1: at most {LINES} cores")));
    }
    let write = || (0..cores).for_each(|line| pages.word(me, line).store(1, Relaxed));
    write();
    let others = cores.max(2) - 1;
    Ok(run_region_between::<{ table::FIG1_LATENCY }, _>(
        &Linux,
        place,
        |index| {
            let from = (me + 1 + index as usize % others) % cores;
            std::hint::black_box(pages.word(from, me).load(Acquire));
        },
        |_| write(),
    ))
}

/// Takes a lock and gives it back.
pub(crate) fn lock<const ID: u32>(place: Place<'_>, lock: &Lock) -> Span {
    run_region::<ID, _>(&Linux, place, |_| {
        lock.lock(pause);
        lock.unlock();
    })
}

/// Unmaps a page while threads of the address space run on every processor; mapping is outside.
pub(crate) fn shootdown(place: Place<'_>) -> Result<Span, Failure> {
    let page = Cell::new(map_page());
    let good = Cell::new(touch(page.get()));
    let span = run_region_between::<{ table::FIG1_SHOOTDOWN }, _>(
        &Linux,
        place,
        |_| {
            marker::<{ table::FIG1_SHOOTDOWN }, BEGIN>();
            let unmapped = unmap_page(page.get());
            marker::<{ table::FIG1_SHOOTDOWN }, END>();
            good.set(good.get() & unmapped);
        },
        |_| {
            page.set(map_page());
            good.set(good.get() & touch(page.get()));
        },
    );
    if good.get() && unmap_page(page.get()) {
        Ok(span)
    } else {
        Err(Failure::panic("a page was not mapped or unmapped".to_owned()))
    }
}
