//! loom's models of the reader-writer lock.

use super::*;
use loom::sync::Arc;

struct Yield;
impl Relax for Yield {
    fn relax(&mut self) {
        loom::thread::yield_now();
    }
}

struct Modelled;
// SAFETY: loom's readers execute the fence themselves (`Forced::reader_fence`); the caller's is here.
unsafe impl Fence for Modelled {
    fn force(&mut self) {
        fence(Ordering::SeqCst);
    }
}

/// A mutant: nobody fences the reader.
struct Unfenced;
impl sealed::Mode for Unfenced {
    fn reader_fence() {}
}
impl Mode for Unfenced {}

impl<const N: usize> RwLock<[u64; 2], N, Unfenced> {
    fn write_unfenced(&self) -> WriteGuard<'_, [u64; 2], N, Unfenced> {
        self.exclude(&mut Yield);
        fence(Ordering::SeqCst);
        self.scan(&mut Yield)
    }
}

/// One writer changes both halves while readers on slots of their own look at them.
fn readers_see_whole_values<const N: usize, M: Mode + 'static>(
    write: for<'a> fn(&'a RwLock<[u64; 2], N, M>) -> WriteGuard<'a, [u64; 2], N, M>,
) {
    // One reader: every interleaving. More: those with at most two switches away from a thread that could
    // go on; all of them would take hours.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = (N > 1).then_some(2);
    model.check(move || {
        let lock = Arc::new(RwLock::<[u64; 2], N, M>::new([0; 2]));
        let readers: [_; N] = core::array::from_fn(|slot| {
            let lock = Arc::clone(&lock);
            loom::thread::spawn(move || {
                let mut reader = lock.reader(slot).unwrap();
                if let Some(value) = reader.try_read() {
                    assert_eq!(value[0], value[1]);
                }
            })
        });
        let mut guard = write(&lock);
        guard[0] = 1;
        guard[1] = 1;
        drop(guard);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn plain_readers_see_whole_values() {
    readers_see_whole_values::<1, Plain>(|lock| lock.write(&mut Yield));
    readers_see_whole_values::<2, Plain>(|lock| lock.write(&mut Yield));
}

#[test]
fn forced_readers_see_whole_values() {
    readers_see_whole_values::<1, Forced>(|lock| lock.write(&mut Modelled, &mut Yield));
}

/// loom must find the reader that read the writers' word before its own store was seen.
#[test]
#[should_panic(expected = "Causality violation")]
fn a_reader_without_a_fence_is_caught() {
    readers_see_whole_values::<1, Unfenced>(|lock| lock.write_unfenced());
}

#[test]
fn a_reader_that_steps_back_comes_in_afterwards() {
    loom::model(|| {
        let lock = Arc::new(RwLock::<u64, 1>::new(0));
        let other = {
            let lock = Arc::clone(&lock);
            loom::thread::spawn(move || *lock.write(&mut Yield) = 1)
        };
        let mut reader = lock.reader(0).unwrap();
        assert!(*reader.read(&mut Yield) <= 1);
        other.join().unwrap();
        assert_eq!(*reader.read(&mut Yield), 1);
    });
}
