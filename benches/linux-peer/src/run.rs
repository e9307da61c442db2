//! Threads and processes on other processors.

use std::ptr::null_mut;

use corey_arch_x86_64_user::marker::marker;
use corey_lib_bench::region::{MACHINE_BEGIN as BEGIN, MACHINE_END as END};
use corey_lib_bench::{Place, Span, run_region_between, table};

use crate::arena::{Mapping, Visibility};
use crate::guest::Failure;
use crate::work::{Linux, bind};

/// Segments of the process that is forked, and pages of each.
const SEGMENTS: usize = 10;
const SEGMENT_PAGES: usize = 16;

extern "C" fn first(_: *mut libc::c_void) -> *mut libc::c_void {
    marker::<{ table::RUN_DEFAULT }, END>();
    null_mut()
}

/// Makes a thread that is bound to another processor from the start; waits for its end outside.
pub(crate) fn thread(place: Place<'_>) -> Result<Span, Failure> {
    let mut set = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: all zeroes is an empty set.
    let set = unsafe { set.assume_init_mut() };
    let target = (place.cores + place.core) as usize;
    // SAFETY: the set has room for 1024 processors, more than there are.
    unsafe { libc::CPU_SET(target, set) };
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: room for the attributes, which this makes valid.
    let mut good = unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) } == 0;
    // SAFETY: valid attributes, and a set of this size.
    good &= unsafe {
        libc::pthread_attr_setaffinity_np(attributes.as_mut_ptr(), size_of::<libc::cpu_set_t>(), set)
    } == 0;
    let thread = std::cell::Cell::new(0);
    let failed = std::cell::Cell::new(!good);
    let start = || {
        let mut new = 0;
        // SAFETY: valid attributes; `first` uses no argument.
        let result = unsafe { libc::pthread_create(&raw mut new, attributes.as_ptr(), first, null_mut()) };
        failed.set(failed.get() | (result != 0));
        thread.set(new);
    };
    let join = || {
        // SAFETY: a thread that was made, and is joined once.
        let result = unsafe { libc::pthread_join(thread.get(), null_mut()) };
        failed.set(failed.get() | (result != 0));
    };
    let span = run_region_between::<{ table::RUN_DEFAULT }, _>(
        &Linux,
        place,
        |_| {
            marker::<{ table::RUN_DEFAULT }, BEGIN>();
            start();
        },
        |_| {
            if !failed.get() {
                join();
            }
        },
    );
    if failed.get() { Err(Failure::panic("a thread was not made or joined".to_owned())) } else { Ok(span) }
}

/// Puts the process on its own processor, where its operation begins and ends, and then allows the target's too,
/// for the child.
fn stay(place: Place<'_>) -> Result<(), Failure> {
    bind(&[place.core])?;
    bind(&[place.core, place.cores + place.core])
}

/// Forks this process; the child ends at once, preferably on the other processor.
pub(crate) fn fork(place: Place<'_>) -> Result<Span, Failure> {
    stay(place)?;
    let segments = (0..SEGMENTS).map(|_| Mapping::new(SEGMENT_PAGES * 4096, Visibility::Private));
    let segments = segments.collect::<Result<Vec<_>, _>>()?;
    segments.iter().try_for_each(Mapping::populate)?;
    let child = std::cell::Cell::new(0);
    let failed = std::cell::Cell::new(false);
    let span = run_region_between::<{ table::CFORK_DEFAULT }, _>(
        &Linux,
        place,
        |_| {
            marker::<{ table::CFORK_DEFAULT }, BEGIN>();
            // SAFETY: this process has one thread; the child ends at once.
            let new = unsafe { libc::fork() };
            if new == 0 {
                marker::<{ table::CFORK_DEFAULT }, END>();
                // SAFETY: ends the child without running the parent's exit handlers.
                unsafe { libc::_exit(0) };
            }
            child.set(new);
        },
        |_| {
            let mut status = 0;
            // SAFETY: our own child, and a place for its status.
            let done = unsafe { libc::waitpid(child.get(), &raw mut status, 0) };
            let stayed = stay(place).is_ok();
            failed.set(failed.get() | (child.get() < 0 || done != child.get() || status != 0 || !stayed));
        },
    );
    drop(segments);
    if failed.get() {
        Err(Failure::panic("a process was not forked or did not end".to_owned()))
    } else {
        Ok(span)
    }
}
