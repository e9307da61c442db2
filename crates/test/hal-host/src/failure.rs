//! How a test fails when one of many threads finds out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::time::Instant;

/// Longest life of a machine: a spin loop that lasts longer is a deadlock.
const DEADLINE: Duration = Duration::from_secs(100);

/// The first failure, and the flag that makes the other cores give up.
pub(crate) struct Failure {
    failed: AtomicBool,
    first: Mutex<Option<String>>,
    start: Instant,
}

impl Failure {
    pub(crate) fn new() -> Self {
        Self { failed: AtomicBool::new(false), first: Mutex::new(None), start: Instant::now() }
    }

    /// Records `what`; other cores stop at their next pause.
    pub(crate) fn record(&self, what: &str) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| what.to_owned());
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Records `what` and ends this thread.
    pub(crate) fn fail(&self, what: &str) -> ! {
        self.record(what);
        panic!("{what}");
    }

    /// Ends this thread when another one failed, or when the machine runs for too long.
    pub(crate) fn check(&self) {
        if std::thread::panicking() {
            return;
        }
        if self.failed.load(Ordering::Relaxed) {
            let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            let what = first.clone().unwrap_or_default();
            drop(first);
            std::panic::resume_unwind(Box::new(format!("stopped after: {what}")));
        }
        if self.start.elapsed() > DEADLINE {
            self.fail("a core waits for ever");
        }
    }

    /// The first failure.
    pub(crate) fn first(&self) -> Option<String> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.clone()
    }

    /// Time since power-on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
