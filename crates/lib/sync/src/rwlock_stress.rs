//! The reader-writer lock on real processors.

use super::*;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

const READERS: usize = 6;
const WRITERS: usize = 2;
const WRITES: u64 = 500;

struct Yield;
impl Relax for Yield {
    fn relax(&mut self) {
        thread::yield_now();
    }
}

/// The kernel's `membarrier`, private and expedited.
struct Membarrier;

impl Membarrier {
    const EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER: libc::c_int = 1 << 4;

    fn call(command: libc::c_int) {
        // SAFETY: the call takes two integers and touches no memory of ours.
        let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0) };
        assert_eq!(result, 0, "membarrier({command}): {}", std::io::Error::last_os_error());
    }

    fn new() -> Self {
        Self::call(Self::REGISTER);
        Self
    }
}

// SAFETY: a full fence on every running thread of this process, and a switch of threads is one.
unsafe impl Fence for Membarrier {
    fn force(&mut self) {
        Self::call(Self::EXPEDITED);
    }
}

/// Eight threads: writers add one to all words, readers must find them equal and never falling.
fn eight_threads<M: Mode>(lock: &RwLock<[u64; 8], READERS, M>, write: impl Fn() + Sync) {
    let (start, running) = (Barrier::new(READERS + WRITERS), AtomicU64::new(WRITERS as u64));
    thread::scope(|scope| {
        for slot in 0..READERS {
            let (start, running) = (&start, &running);
            scope.spawn(move || {
                let mut reader = lock.reader(slot).unwrap();
                let mut last = 0;
                start.wait();
                while running.load(Relaxed) != 0 {
                    let value = *reader.read(&mut Yield);
                    assert!(value.iter().all(|word| *word == value[0]), "{value:?}");
                    assert!(value[0] >= last);
                    last = value[0];
                }
            });
        }
        for _ in 0..WRITERS {
            scope.spawn(|| {
                start.wait();
                (0..WRITES).for_each(|_| write());
                running.fetch_sub(1, Relaxed);
            });
        }
    });
    let mut reader = lock.reader(0).unwrap();
    assert_eq!(reader.read(&mut Yield)[0], WRITERS as u64 * WRITES);
}

#[test]
fn eight_threads_with_plain_readers() {
    let lock = RwLock::<_, READERS>::new([0; 8]);
    eight_threads(&lock, || lock.write(&mut Yield).iter_mut().for_each(|word| *word += 1));
}

#[test]
fn eight_threads_with_forced_readers() {
    Membarrier::new();
    let lock = RwLock::<_, READERS, Forced>::new([0; 8]);
    eight_threads(&lock, || {
        lock.write(&mut Membarrier, &mut Yield).iter_mut().for_each(|word| *word += 1);
    });
}

#[test]
fn a_slot_has_one_reader() {
    let lock = RwLock::<u64, 2>::new(7);
    let first = lock.reader(1).unwrap();
    assert!(lock.reader(1).is_none(), "taken");
    assert!(lock.reader(1).is_none(), "still: who was refused gave nothing away");
    assert!(lock.reader(2).is_none(), "no such slot");
    drop(first);
    assert_eq!(*lock.reader(1).unwrap().try_read().unwrap(), 7);
}

#[test]
fn a_reader_keeps_out_of_a_writer() {
    let lock = RwLock::<u64, 1>::new(7);
    let mut reader = lock.reader(0).unwrap();
    let guard = lock.write(&mut Yield);
    assert!(reader.try_read().is_none());
    drop(guard);
    assert!(reader.try_read().is_some());
}

#[test]
fn no_two_cores_share_a_line_and_zeroes_are_a_free_lock() {
    assert_eq!((size_of::<Slot>(), align_of::<Slot>(), align_of::<Writer>()), (128, 128, 128));
    // SAFETY: the type says that all zeroes is a free lock around a zero value.
    let lock: RwLock<u64, 3> = unsafe { core::mem::zeroed() };
    assert_eq!(*lock.reader(2).unwrap().try_read().unwrap(), 0);
    *lock.write(&mut Yield) = 1;
}
