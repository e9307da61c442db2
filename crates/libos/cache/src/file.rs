//! [`File`]: what the cache keeps of a file, and [`Line`]: what a client keeps of it.

use corey_lib_sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A file of the cache: where it is and which of those that were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

impl FileId {
    /// The first file in slot 0.
    pub const FIRST: Self = Self(1 << 32);

    pub(crate) fn new(slot: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(slot))
    }
    pub(crate) fn slot(self) -> u32 {
        self.0 as u32
    }
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Blocks whose slots are in the file itself: a small file needs no node.
pub(crate) const DIRECT: usize = 8;

const LIVE: u64 = 1;
const REMOVED: u64 = 2;
const MAKING: u64 = 4;

/// What a file's slot is at the moment, with the generation of the file that is or was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u64);

impl State {
    pub(crate) fn free(generation: u32) -> Self {
        Self(u64::from(generation) << 32)
    }
    pub(crate) fn making(generation: u32) -> Self {
        Self(u64::from(generation) << 32 | MAKING)
    }
    pub(crate) fn live(generation: u32) -> Self {
        Self(u64::from(generation) << 32 | LIVE)
    }
    pub(crate) fn removed(generation: u32) -> Self {
        Self(u64::from(generation) << 32 | LIVE | REMOVED)
    }
    pub(crate) fn is_free(self) -> bool {
        self.0 as u32 == 0
    }
    /// There is content, of a file that has a name or of one that is still held.
    pub(crate) fn is_live(self) -> bool {
        self.0 & LIVE != 0
    }
    pub(crate) fn is_removed(self) -> bool {
        self.0 & REMOVED != 0
    }
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What changes rarely, and every reader reads.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Facts {
    state: AtomicU64,
    /// Bytes.
    pub(crate) size: AtomicU64,
    /// What the backing knows it by; 0 for a file that is only here.
    pub(crate) key: AtomicU64,
    /// The writers' word of the content lock.
    pub(crate) writer: AtomicU32,
    /// For whoever is above.
    pub(crate) notes: [AtomicU64; 4],
}

/// Words of waiting.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Locks {
    /// Whoever appends.
    pub(crate) tail: AtomicU32,
    /// Whoever reads from the backing, or writes to it.
    pub(crate) backing: AtomicU32,
    /// For whoever is above.
    pub(crate) above: [AtomicU32; 2],
}

/// Where its blocks are.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Slots {
    pub(crate) direct: [AtomicU64; DIRECT],
    /// The tree of all further ones.
    pub(crate) root: AtomicU64,
}

/// A file, followed by a [`Line`] for each client. All zeroes is a free one.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct File {
    pub(crate) facts: Facts,
    pub(crate) locks: Locks,
    pub(crate) slots: Slots,
}

/// A client's line in a file: nobody else writes it.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Line {
    /// 1 while the client uses the content.
    pub(crate) reading: AtomicU32,
    /// How often the client holds the file.
    pub(crate) holds: AtomicU32,
    /// The era of eviction in which it was last used.
    pub(crate) era: AtomicU64,
    /// When the client last changed it, as the client's clock says.
    pub(crate) changed: AtomicU64,
}

impl File {
    /// Acquire: what was made before. A holder's fence is the remover's doing, so this load is none.
    pub(crate) fn state(&self) -> State {
        State(self.facts.state.load(Ordering::Acquire))
    }

    /// Goes from one state to another; false when it was in neither.
    pub(crate) fn turn(&self, from: State, to: State) -> bool {
        self.facts.state.compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}
