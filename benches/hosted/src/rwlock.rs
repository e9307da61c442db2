//! Reader locks beside the C library's and the standard library's: taken in read mode and given back.

use std::cell::UnsafeCell;
use std::hint::spin_loop;

use corey_lib_bench::locks::Pausing;
use corey_lib_bench::{MAX_CORES, ReadLocks};
use corey_lib_sync::{Fence, RwLock};

use crate::host::Host;
use crate::pairs::{Case, Pair, alternate};

/// Operations of a round and processor.
const OPERATIONS: u64 = 10_000;
const PTHREAD: &str = "pthread_rwlock";

/// The rows of a variant.
pub(crate) fn cases(variant: &str) -> Vec<Case> {
    let case = |variant, peer, measure| Case { variant, peer, operations: OPERATIONS, measure };
    match variant {
        "ours" => vec![
            case("ours", PTHREAD, forced),
            case("ours", "std::sync::RwLock", forced_beside_std),
            case("ours-plain", PTHREAD, plain),
        ],
        "word" => vec![case("word", PTHREAD, word)],
        _ => vec![case("ticket", PTHREAD, ticket)],
    }
}

/// The C library's lock, alone on its lines.
#[repr(align(128))]
struct Pthread(UnsafeCell<libc::pthread_rwlock_t>);

// SAFETY: only the C library's functions touch it, which any thread may call.
unsafe impl Sync for Pthread {}

impl Pthread {
    const fn new() -> Self {
        Self(UnsafeCell::new(libc::PTHREAD_RWLOCK_INITIALIZER))
    }

    /// Takes it in read mode and gives it back.
    #[inline(always)]
    fn once(&self) {
        // SAFETY: initialized, and it does not move while anybody borrows it.
        let taken = unsafe { libc::pthread_rwlock_rdlock(self.0.get()) };
        // SAFETY: as above; this thread has it.
        let given = unsafe { libc::pthread_rwlock_unlock(self.0.get()) };
        assert!(taken == 0 && given == 0, "pthread_rwlock: {taken}, {given}");
    }
}

/// The kernel's `membarrier`, private and expedited.
pub(crate) struct Membarrier;

impl Membarrier {
    const EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER: libc::c_int = 1 << 4;

    fn call(command: libc::c_int) -> Result<(), String> {
        // SAFETY: the call takes two integers and touches no memory of ours.
        match unsafe { libc::syscall(libc::SYS_membarrier, command, 0) } {
            0 => Ok(()),
            _ => Err(format!("membarrier: {}", std::io::Error::last_os_error())),
        }
    }

    pub(crate) fn new() -> Result<Self, String> {
        Self::call(Self::REGISTER).map(|()| Self)
    }
}

// SAFETY: a full fence on every running thread of this process, and a switch of threads is one.
unsafe impl Fence for Membarrier {
    fn force(&mut self) {
        Self::call(Self::EXPEDITED).expect("it was registered");
    }
}

/// Free locks, after a writer has been there once: that is all it takes to use them for good.
fn locks() -> Result<ReadLocks, String> {
    let locks = ReadLocks::new();
    *locks.ours.write(&mut Membarrier::new()?, &mut Pausing(spin_loop)) += 1;
    Ok(locks)
}

fn forced(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let (locks, pthread) = (locks()?, Pthread::new());
    alternate(host, (cores, rounds, OPERATIONS), |core| {
        let mut reader = locks.ours.reader(core as usize).expect("every thread has a slot of its own");
        (move |_| drop(reader.read(&mut Pausing(spin_loop))), |_| pthread.once())
    })
}

fn forced_beside_std(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let (locks, std) = (locks()?, std::sync::RwLock::new(0_u64));
    alternate(host, (cores, rounds, OPERATIONS), |core| {
        let mut reader = locks.ours.reader(core as usize).expect("every thread has a slot of its own");
        (
            move |_| drop(reader.read(&mut Pausing(spin_loop))),
            |_| drop(std::hint::black_box(std.read().expect("nobody panics"))),
        )
    })
}

fn plain(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let (lock, pthread) = (RwLock::<u64, MAX_CORES>::new(0), Pthread::new());
    alternate(host, (cores, rounds, OPERATIONS), |core| {
        let mut reader = lock.reader(core as usize).expect("every thread has a slot of its own");
        (move |_| drop(reader.read(&mut Pausing(spin_loop))), |_| pthread.once())
    })
}

fn word(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let (locks, pthread) = (ReadLocks::new(), Pthread::new());
    let once = |_| {
        locks.word.read(spin_loop);
        locks.word.end_read();
    };
    alternate(host, (cores, rounds, OPERATIONS), |_| (once, |_| pthread.once()))
}

fn ticket(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let (locks, pthread) = (ReadLocks::new(), Pthread::new());
    let once = |_| {
        locks.ticket.lock(spin_loop);
        locks.ticket.unlock();
    };
    alternate(host, (cores, rounds, OPERATIONS), |_| (once, |_| pthread.once()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_runs() {
        let host = Host::find().unwrap();
        for case in ["ours", "word", "ticket"].into_iter().flat_map(cases) {
            (case.measure)(&host, 1, 2).unwrap();
        }
    }
}
