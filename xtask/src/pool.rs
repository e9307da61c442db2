//! Work of which several parts go on at once: machines that need one processor of this one each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use crate::Result;

/// Processors of this machine.
pub(crate) fn width() -> usize {
    available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Does all jobs, so many at once, and gives what came of them in their order. After a failure no further job begins.
///
/// # Errors
///
/// The first job's, of those that failed.
pub(crate) fn all<T: Sync, R: Send>(
    jobs: &[T],
    width: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = Mutex::new(jobs.iter().enumerate());
    // The lock is not held while a job is done.
    let take = || next.lock().expect("nobody panics with it").next();
    let stop = AtomicBool::new(false);
    let mut done = std::thread::scope(|scope| {
        let worker = || {
            let mut done = Vec::new();
            while !stop.load(Ordering::Relaxed)
                && let Some((number, job)) = take()
            {
                let result = work(job).map_err(|error| error.to_string());
                stop.fetch_or(result.is_err(), Ordering::Relaxed);
                done.push((number, result));
            }
            done
        };
        let threads: Vec<_> = (0..width.clamp(1, jobs.len().max(1))).map(|_| scope.spawn(worker)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("a job panicked"));
        joined.flatten().collect::<Vec<_>>()
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result.map_err(Into::into)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn jobs_go_on_at_once_and_results_are_in_order() {
        let meeting = Barrier::new(2);
        let work = |job: &usize| {
            meeting.wait();
            Ok(job * 10)
        };
        assert_eq!(all(&[0, 1, 2, 3], 2, work).unwrap(), [0, 10, 20, 30]);
        assert!(all(&[], 2, |job: &usize| Ok(*job)).unwrap().is_empty());
    }

    #[test]
    fn after_a_failure_nothing_begins() {
        let begun = AtomicUsize::new(0);
        let work = |job: &usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *job == 2 { Err("two".into()) } else { Ok(()) }
        };
        assert_eq!(all(&[0, 1, 2, 3, 4], 1, work).unwrap_err().to_string(), "two");
        assert_eq!(begun.into_inner(), 3);
    }
}
