//! Models of the reader-writer lock.

use super::*;
use crate::explore::{self, Bounds, Guarded, Yield};
use std::sync::Arc;

struct Modelled;
// SAFETY: a model's readers execute the fence themselves (`Forced::reader_fence`); the caller's is here.
unsafe impl Fence for Modelled {
    fn force(&mut self) {
        fence(Ordering::SeqCst);
    }
}

/// The lock, and what it protects once more, where two who write at once are caught.
struct Model<M: Mode>(RwLock<[u64; 2], 8, M>, Guarded<()>);

/// One writer changes both halves while readers on slots of their own look at them; a second writer may follow.
fn readers_see_whole_values<M: Mode + Send + Sync + 'static>(
    threads: usize,
    write: for<'a> fn(&'a RwLock<[u64; 2], 8, M>) -> WriteGuard<'a, [u64; 2], 8, M>,
) {
    let model = Arc::new(Model(RwLock::<_, 8, M>::new([0; 2]), Guarded::new(())));
    touch(&model.0);
    let writers = if threads > 3 { 2 } else { 1 };
    let all = model.clone();
    explore::all(threads, move |number| {
        let Model(lock, alone) = &*all;
        if number < writers {
            let mut guard = write(lock);
            alone.with(|()| {
                guard[0] += 1;
                guard[1] += 1;
            });
        } else {
            let mut reader = lock.reader(number).unwrap();
            let value = if number % 2 == 0 { Some(reader.read(&mut Yield)) } else { reader.try_read() };
            if let Some(value) = value {
                assert_eq!(value[0], value[1]);
            }
        }
    });
    assert_eq!(*write(&model.0), [writers as u64; 2]);
}

/// Makes all that is in the lock known before threads begin.
fn touch<M: Mode>(lock: &RwLock<[u64; 2], 8, M>) {
    lock.writer.0.load(Ordering::Relaxed);
    for slot in &lock.slots {
        slot.reading.load(Ordering::Relaxed);
        slot.claimed.load(Ordering::Relaxed);
    }
}

#[test]
fn plain_readers_see_whole_values() {
    explore::check(|threads| readers_see_whole_values::<Plain>(threads, |lock| lock.write(&mut Yield)));
}

#[test]
fn forced_readers_see_whole_values() {
    explore::check(|threads| {
        readers_see_whole_values::<Forced>(threads, |lock| lock.write(&mut Modelled, &mut Yield));
    });
}

/// Whoever steps back for a writer comes in afterwards, and sees what that wrote.
#[test]
fn a_reader_that_steps_back_comes_in_afterwards() {
    explore::check_within(Bounds::SPINS, |threads| {
        let lock = Arc::new(RwLock::<[u64; 2], 8, Plain>::new([0; 2]));
        touch(&lock);
        explore::all(threads, move |number| {
            if number == 0 {
                lock.write(&mut Yield)[0] = 1;
            } else {
                let mut reader = lock.reader(number).unwrap();
                let first = reader.read(&mut Yield)[0];
                assert!(first <= reader.read(&mut Yield)[0]);
            }
        });
    });
}

/// A slot has one reader at a time.
#[test]
fn a_slot_is_one_readers() {
    explore::check_within(Bounds { loom: &[(2, None, None), (3, None, None)], ..Bounds::FULL }, |threads| {
        let model = Arc::new((RwLock::<u64, 1, Plain>::new(0), Guarded::new(())));
        model.0.slots[0].claimed.load(Ordering::Relaxed);
        model.0.slots[0].reading.load(Ordering::Relaxed);
        explore::all(threads, move |_| {
            if let Some(reader) = model.0.reader(0) {
                model.1.with(|()| ());
                drop(reader);
            }
        });
    });
}
