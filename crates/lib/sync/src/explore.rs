//! Models: small programs of several threads over the code of the kernel, of which a checker tries the orders.
//!
//! A model is said once, for any number of threads, and run by both checkers:
//!
//! | `--cfg` | threads | which orders | what it knows of weak memory |
//! |---|---|---|---|
//! | `loom` | 2 | all of them | acquire, release, relaxed, fences |
//! | `loom` | 3 | all with at most three switches away from a thread that could go on | the same |
//! | `shuttle` | 8 | random ones, half of them by priorities (PCT) | nothing: what it finds are missing checks and wrong orders |
//!
//! loom forgets that a load depends on another thread's later exchange when that thread loads in between; shuttle does
//! not. `SCHEDULES` in the environment says how many schedules shuttle tries of each model.

use crate::atomic::{Ordering, UnsafeCell};
use crate::shared::Relax;

/// How far the checkers go in a model.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For each run of loom's: threads; switches away from a thread that could go on, `None` for any number; executions
    /// after which it stops, `None` for never.
    pub loom: &'static [(usize, Option<usize>, Option<usize>)],
    /// Threads of shuttle's.
    pub shuttle: usize,
}

impl Bounds {
    /// Two threads whatever they do, three with at most three switches; eight.
    pub const FULL: Self = Self { loom: &[(2, None, None), (3, Some(3), None)], shuttle: 8 };
    /// For threads that wait for each other in loops: each turn of a third one's loop is a choice, so it stops early.
    pub const SPINS: Self = Self { loom: &[(2, None, None), (3, Some(3), Some(20_000))], shuttle: 8 };
}

/// Runs `model`, which gets the number of its threads.
pub fn check(model: fn(usize)) {
    check_within(Bounds::FULL, model);
}

/// As [`check`], for a model that is too large for all orders, or has other threads.
#[cfg(loom)]
pub fn check_within(bounds: Bounds, model: fn(usize)) {
    for (threads, preemptions, most) in bounds.loom.iter().copied() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemptions;
        builder.max_permutations = most;
        // How often it looks whether these are enough.
        builder.checkpoint_interval = 1000;
        builder.max_branches = 100_000;
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let executions = count.clone();
        builder.check(move || {
            executions.fetch_add(1, Ordering::Relaxed);
            let active = begin();
            model(threads);
            drop(active);
        });
        let count = count.load(Ordering::Relaxed);
        let cut = most.is_some_and(|most| count + 1 >= most as u64);
        println!("{threads} threads: {count} executions{}", if cut { ", then stopped" } else { "" });
    }
}

/// As [`check`], for a model that is too large for all orders, or has other threads.
#[cfg(shuttle)]
pub fn check_within(bounds: Bounds, model: fn(usize)) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
    let schedules = std::env::var("SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000_usize);
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = shuttle::Config::new();
        config.stack_size = 1 << 18;
        config.silence_warnings = true;
        config.max_steps = shuttle::MaxSteps::FailAfter(1_000_000);
        config.failure_persistence = shuttle::FailurePersistence::Print;
        shuttle::Runner::new(scheduler, config).run(move || {
            let active = begin();
            model(bounds.shuttle);
            drop(active);
        })
    };
    let ran = run(Box::new(RandomScheduler::new(schedules - schedules / 2)));
    let ran = ran + run(Box::new(PctScheduler::new(3, schedules / 2)));
    println!("{} threads: {ran} schedules", bounds.shuttle);
    assert_eq!(ran, schedules);
}

/// Ends what the execution began.
struct Active;

impl Drop for Active {
    fn drop(&mut self) {
        ACTIVE.set(false);
    }
}

/// Gives memory away until the next execution begins: what a kernel keeps for good would pile up.
pub fn keep<T: 'static>(all: Vec<T>) -> &'static mut [T] {
    let mut all = all.into_boxed_slice();
    let (at, count) = (all.as_mut_ptr(), all.len());
    KEPT.with_borrow_mut(|kept| kept.push(Box::new(all)));
    // SAFETY: the box is not touched before it is dropped, in the next execution, whose threads know nothing of this one.
    unsafe { core::slice::from_raw_parts_mut(at, count) }
}

/// A new execution begins.
fn begin() -> Active {
    drop(KEPT.take());
    #[cfg(loom)]
    crate::twins::begin();
    ACTIVE.set(true);
    Active
}

std::thread_local! {
    static KEPT: core::cell::RefCell<Vec<Box<dyn core::any::Any>>> = core::cell::RefCell::default();
    /// Whether a model runs. The checkers' threads are all one thread of the host's.
    static ACTIVE: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

pub(crate) fn is_active() -> bool {
    ACTIVE.get()
}

/// Where shuttle may switch.
#[cfg(shuttle)]
pub(crate) fn point() {
    std::thread_local! {
        /// An access to it is where shuttle switches. Models of other threads of the host's have their own.
        static POINT: shuttle::sync::atomic::AtomicBool =
            const { shuttle::sync::atomic::AtomicBool::new(false) };
    }
    if is_active() && !std::thread::panicking() {
        POINT.with(|point| point.load(Ordering::SeqCst));
    }
}

/// Runs `work` without a switch, but where it waits: for what comes before a model's threads.
#[cfg(shuttle)]
pub fn quietly<R>(work: impl FnOnce() -> R) -> R {
    let before = ACTIVE.replace(false);
    let result = work();
    ACTIVE.set(before);
    result
}

#[cfg(loom)]
use loom::thread;
#[cfg(shuttle)]
use shuttle::thread;
pub use thread::{JoinHandle, yield_now};

/// A thread of the model.
pub fn spawn<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    #[cfg(loom)]
    crate::twins::threads_begin();
    thread::spawn(work)
}

/// Runs `work` with the numbers below `threads`, each on a thread of its own but 0, which the caller is. Results by number.
pub fn all<R: Send + 'static>(threads: usize, work: impl Fn(usize) -> R + Clone + Send + 'static) -> Vec<R> {
    let others: Vec<_> = (1..threads)
        .map(|number| {
            let work = work.clone();
            spawn(move || work(number))
        })
        .collect();
    let mut results = vec![work(0)];
    results.extend(others.into_iter().map(|other| other.join().expect("a thread of the model")));
    results
}

/// What a thread of a model waits with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Yield;

impl Relax for Yield {
    fn relax(&mut self) {
        yield_now();
    }
}

/// A value that one thread at a time may change: the model fails when another one uses it meanwhile. loom also demands
/// that each use comes before the next, shuttle switches in the middle of it.
#[derive(Debug, Default)]
pub struct Guarded<T> {
    value: UnsafeCell<T>,
    /// Who uses it: how many look, or [`ALONE`].
    #[cfg(shuttle)]
    users: core::cell::Cell<u32>,
}

#[cfg(shuttle)]
const ALONE: u32 = u32::MAX;

// SAFETY: threads of a model follow each other.
unsafe impl<T> Sync for Guarded<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Guarded<T> {}

impl<T> Guarded<T> {
    /// A value.
    pub fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            #[cfg(shuttle)]
            users: core::cell::Cell::new(0),
        }
    }

    /// Uses it.
    ///
    /// # Panics
    ///
    /// When another thread does.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(shuttle)]
        assert_eq!(self.users.replace(ALONE), 0, "another thread uses the value");
        let at = self.value.get();
        // SAFETY: nobody else uses it: loom or `users` says so.
        let result = work(unsafe { &mut *at });
        #[cfg(shuttle)]
        self.users.set(0);
        result
    }

    /// Looks at it, as others may at the same time.
    ///
    /// # Panics
    ///
    /// When another thread changes it.
    pub fn look<R>(&self, work: impl FnOnce(&T) -> R) -> R {
        #[cfg(shuttle)]
        {
            assert_ne!(self.users.get(), ALONE, "another thread changes the value");
            self.users.set(self.users.get() + 1);
        }
        let at = self.value.read_ptr();
        // SAFETY: nobody changes it: loom or `users` says so.
        let result = work(unsafe { &*at });
        // Until here.
        self.value.read_ptr();
        #[cfg(shuttle)]
        self.users.set(self.users.get() - 1);
        result
    }
}
