//! Threads, naps and the clock: the host's, or a checker's.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

#[cfg(not(any(loom, shuttle)))]
mod host {
    use super::{Duration, Receiver, RecvTimeoutError};
    pub(crate) use std::thread::{JoinHandle, spawn};
    pub(crate) use std::time::Instant;

    pub(crate) fn yield_now() {
        std::hint::spin_loop();
        std::thread::yield_now();
    }

    pub(crate) fn receive<R>(from: &Receiver<R>, limit: Duration) -> Result<R, RecvTimeoutError> {
        from.recv_timeout(limit)
    }
}

#[cfg(any(loom, shuttle))]
mod host {
    use super::{Duration, Receiver, RecvTimeoutError};
    use corey_lib_sync::explore;
    pub(crate) use explore::{JoinHandle, spawn};
    use std::cell::Cell;
    use std::sync::mpsc::TryRecvError;

    std::thread_local! {
        /// Turns of the checker, each a nanosecond: the same in each run of a schedule.
        static TURNS: Cell<u64> = const { Cell::new(0) };
    }

    /// A time.
    pub(crate) struct Instant(u64);

    impl Instant {
        pub(crate) fn now() -> Self {
            Self(TURNS.get())
        }
        pub(crate) fn elapsed(&self) -> Duration {
            TURNS.set(TURNS.get() + 1);
            Duration::from_nanos(TURNS.get() - self.0)
        }
    }

    pub(crate) fn yield_now() {
        explore::yield_now();
    }

    pub(crate) fn nap(_: Duration) {
        explore::yield_now();
    }

    pub(crate) fn receive<R>(from: &Receiver<R>, _: Duration) -> Result<R, RecvTimeoutError> {
        explore::yield_now();
        from.try_recv().map_err(|error| match error {
            TryRecvError::Empty => RecvTimeoutError::Timeout,
            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
        })
    }
}

pub(crate) use host::*;
