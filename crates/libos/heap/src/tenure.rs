//! Who has a core's heap: the threads of that core, one after another, and between them who gives its memory back.

use corey_lib_sync::atomic::{AtomicU32, Ordering};

const NONE: u32 = 0;
const IDLE: u32 = 1;
const USED: u32 = 2;
const LENT: u32 = 3;
const LOST: u32 = 4;

/// Who has the heap of one core. All zeroes: there is none yet.
///
/// ```text
/// NONE ── a thread's first allocation ─→ USED ── it returns ─→ IDLE ── the core's next thread ─→ USED
///                                         │                     ↑↓
///                                         │                    LENT   another core gives its memory back
///                                         └── the core has a new thread, so the one before ended early ─→ USED,
///                                             or LOST when it ended in the middle of a change
/// ```
///
/// Threads of one core follow each other: the one that starts them waits for the end of the one before.
#[derive(Debug, Default)]
pub struct Tenure(AtomicU32);

/// What a thread finds that wants its core's heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is none: the thread makes it, and then says so ([`Tenure::begin`]).
    None,
    /// It is whole, and the thread's now.
    Whole,
    /// It is the thread's now; the one before ended without leaving it.
    Left,
    /// It cannot be used any more.
    Lost,
}

impl Tenure {
    /// Nobody has it: there is none.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(NONE))
    }

    /// For a thread that has just begun on the core. Waits, by `relax`, while it is lent.
    pub fn find(&self, mut relax: impl FnMut()) -> Found {
        loop {
            match self.0.load(Ordering::Acquire) {
                NONE => return Found::None,
                USED => return Found::Left,
                LOST => return Found::Lost,
                IDLE => {
                    // Acquire: what the one before wrote.
                    let claimed =
                        self.0.compare_exchange(IDLE, USED, Ordering::Acquire, Ordering::Relaxed).is_ok();
                    if claimed {
                        return Found::Whole;
                    }
                }
                _ => relax(),
            }
        }
    }

    /// The thread made the heap, and has it.
    pub fn begin(&self) {
        self.0.store(USED, Ordering::Release);
    }

    /// The thread found a heap that was left in the middle of a change: nobody uses it any more.
    pub fn lose(&self) {
        self.0.store(LOST, Ordering::Relaxed);
    }

    /// The thread returns, and uses it no more.
    pub fn leave(&self) {
        self.0.store(IDLE, Ordering::Release);
    }

    /// For another core: whether it has the heap now, because no thread does. Then it says [`Tenure::leave`].
    pub fn borrow(&self) -> bool {
        self.0.load(Ordering::Relaxed) == IDLE
            && self.0.compare_exchange(IDLE, LENT, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}
