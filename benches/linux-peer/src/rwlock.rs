//! `rwlock`: the locks of `lib/bench`, as in our guest. No writer comes, so none needs `membarrier`.

use corey_arch_x86_64_user::marker::pause;
use corey_lib_bench::locks::Pausing;
use corey_lib_bench::{Place, ReadLocks, Span, run_region, table};

use crate::guest::Failure;
use crate::work::Linux;

/// Takes our lock in read mode and gives it back.
pub(crate) fn ours(place: Place<'_>, locks: &ReadLocks) -> Result<Span, Failure> {
    let reader = locks.ours.reader(place.core as usize);
    let mut reader = reader.ok_or_else(|| Failure::panic("a reader has this slot".to_owned()))?;
    let mut once = || drop(reader.read(&mut Pausing(pause)));
    once();
    Ok(run_region::<{ table::RWLOCK_OURS }, _>(&Linux, place, |_| once()))
}

/// The same with the lock of one word.
pub(crate) fn word(place: Place<'_>, locks: &ReadLocks) -> Span {
    let once = || {
        locks.word.read(pause);
        locks.word.end_read();
    };
    once();
    run_region::<{ table::RWLOCK_WORD }, _>(&Linux, place, |_| once())
}

/// Takes the ticket lock and gives it back.
pub(crate) fn ticket(place: Place<'_>, locks: &ReadLocks) -> Span {
    let once = || {
        locks.ticket.lock(pause);
        locks.ticket.unlock();
    };
    once();
    run_region::<{ table::RWLOCK_TICKET }, _>(&Linux, place, |_| once())
}
