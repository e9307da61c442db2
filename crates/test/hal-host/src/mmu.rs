//! The software MMU of one core: page-table format, walk, TLB and paging-structure cache.
//!
//! Hardware may do all of this, and tests should meet all of it: neighbours of a walked page are cached
//! ahead of need; upper levels survive [`Mmu::flush`]; a cached entry that forbids the access faults
//! although the table has been relaxed meanwhile (and is forgotten, so the retry works).

use crate::failure::Failure;
use crate::ram::Ram;
use corey_kernel_hal::{Access, Cause, Entry, Frame, USER_END};
use std::collections::HashMap;
use std::sync::atomic::Ordering;

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
/// Software bit: this entry is a leaf.
const LEAF: u64 = 1 << 9;
/// Software bit: a leaf of 2 MiB, or a piece of one in a TLB.
const LARGE: u64 = 1 << 10;
const NO_EXECUTE: u64 = 1 << 63;
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Marks the kernel half of a prepared top-level table, in its last entry.
const KERNEL_HALF: u64 = 0x4b45_524e << 12 | PRESENT;
const KERNEL_SLOT: u64 = 511 * 8;

pub(crate) fn leaf(frame: Frame, access: Access) -> u64 {
    let rights = match access {
        Access::Read => NO_EXECUTE,
        Access::Write => WRITE | NO_EXECUTE,
        Access::Execute => 0,
    };
    frame.address() | PRESENT | USER | LEAF | rights
}

pub(crate) fn large_leaf(frame: Frame, access: Access) -> u64 {
    leaf(frame, access) | LARGE
}

pub(crate) fn protect(entry: u64) -> u64 {
    if entry & (PRESENT | LEAF) == PRESENT | LEAF { entry & !WRITE } else { entry }
}

pub(crate) fn table(frame: Frame) -> u64 {
    frame.address() | PRESENT | WRITE | USER
}

pub(crate) fn decode(entry: u64) -> Entry {
    let frame = Frame(((entry & FRAME) >> 12) as u32);
    match (entry & PRESENT != 0, entry & LEAF != 0) {
        (false, _) => Entry::Absent,
        (true, true) => Entry::Leaf(frame),
        (true, false) => Entry::Table(frame),
    }
}

fn allows(entry: u64, cause: Cause) -> bool {
    entry & USER != 0
        && match cause {
            Cause::Read => true,
            Cause::Write => entry & WRITE != 0,
            Cause::Fetch => entry & NO_EXECUTE == 0,
        }
}

/// The address of page-table level `level` (0: leaf entries) that covers `address`, as a cache key.
fn key(address: u64, level: usize) -> u64 {
    address >> (12 + 9 * level)
}

/// One core's translation state.
#[derive(Default)]
pub(crate) struct Mmu {
    root: Option<Frame>,
    /// Page number → leaf entry.
    leaves: HashMap<u64, u64>,
    /// For level 1, 2, 3: the table that an entry of this level names, by key.
    upper: [HashMap<u64, Frame>; 3],
}

impl Mmu {
    /// Writes the kernel half of `root`.
    pub(crate) fn init_root(ram: &Ram, root: Frame) {
        ram.word(root, KERNEL_SLOT).store(KERNEL_HALF, Ordering::Relaxed);
    }

    /// The loaded root.
    pub(crate) fn root(&self) -> Option<Frame> {
        self.root
    }

    /// Loads `root` and forgets everything.
    pub(crate) fn load_root(&mut self, ram: &Ram, failure: &Failure, root: Option<Frame>) {
        if let Some(root) = root
            && (!ram.hold(root) || ram.word(root, KERNEL_SLOT).load(Ordering::Acquire) != KERNEL_HALF)
        {
            failure.fail(&format!("{root:?} is loaded, and is no prepared root"));
        }
        if let Some(old) = std::mem::replace(&mut self.root, root) {
            ram.release(old);
        }
        self.flush_all(ram);
    }

    /// Forgets the leaf entry for `address`: of a 2 MiB page all that is cached.
    pub(crate) fn flush(&mut self, ram: &Ram, address: u64) {
        let (page, large) = (key(address, 0), key(address, 1));
        self.leaves.retain(|cached, entry| {
            let goes = *cached == page || *entry & LARGE != 0 && cached / 512 == large;
            if goes {
                Self::release(ram, *entry);
            }
            !goes
        });
    }

    /// Forgets everything but the root.
    pub(crate) fn flush_all(&mut self, ram: &Ram) {
        for (_, entry) in self.leaves.drain() {
            Self::release(ram, entry);
        }
        for cache in &mut self.upper {
            for (_, frame) in cache.drain() {
                ram.release(frame);
            }
        }
    }

    fn release(ram: &Ram, entry: u64) {
        if let Entry::Leaf(frame) = decode(entry) {
            ram.release(frame);
        }
    }

    /// The frame behind `address` for an access of this kind; `None` is a page fault.
    pub(crate) fn translate(
        &mut self,
        ram: &Ram,
        failure: &Failure,
        address: u64,
        cause: Cause,
    ) -> Option<Frame> {
        if address >= USER_END {
            return None;
        }
        let entry = match self.leaves.get(&key(address, 0)) {
            Some(entry) => Some(*entry),
            None => self.walk(ram, failure, address),
        };
        match entry.map(|e| (decode(e), allows(e, cause))) {
            Some((Entry::Leaf(frame), true)) => {
                if ram.is_poisoned(frame) {
                    failure.fail(&format!("{address:#x} reaches freed {frame:?}"));
                }
                Some(frame)
            }
            _ => {
                self.forget_faulting(ram, address);
                None
            }
        }
    }

    /// A fault forgets what the processor had cached for the address.
    fn forget_faulting(&mut self, ram: &Ram, address: u64) {
        self.flush(ram, address);
        for (level, cache) in self.upper.iter_mut().enumerate() {
            if let Some(frame) = cache.remove(&key(address, level + 1)) {
                ram.release(frame);
            }
        }
    }

    /// Walks from the lowest cached level down and caches what it passes.
    fn walk(&mut self, ram: &Ram, failure: &Failure, address: u64) -> Option<u64> {
        let mut frame = self.root?;
        let mut level = 3;
        for (at, cache) in self.upper.iter().enumerate() {
            if let Some(cached) = cache.get(&key(address, at + 1)) {
                (frame, level) = (*cached, at);
                break;
            }
        }
        loop {
            if ram.is_poisoned(frame) {
                failure.fail(&format!("{address:#x} is walked through freed {frame:?}"));
            }
            let slot = key(address, level) % 512 * 8;
            let entry = ram.word(frame, slot).load(Ordering::Acquire);
            match (decode(entry), level) {
                (Entry::Absent, _) => return None,
                (Entry::Leaf(_), 0) if entry & LARGE == 0 => {
                    // The neighbour first: it is not needed, only fetched.
                    let near = ram.word(frame, slot ^ 8).load(Ordering::Acquire);
                    if matches!(decode(near), Entry::Leaf(_)) {
                        self.remember(ram, failure, key(address, 0) ^ 1, near);
                    }
                    return Some(self.remember(ram, failure, key(address, 0), entry));
                }
                (Entry::Leaf(first), 1) if entry & LARGE != 0 && first.0.is_multiple_of(512) => {
                    let piece = entry + (key(address, 0) % 512) * 4096;
                    return Some(self.remember(ram, failure, key(address, 0), piece));
                }
                (Entry::Table(lower), 1..) => {
                    self.remember_table(ram, failure, level, address, lower);
                    (frame, level) = (lower, level - 1);
                }
                (wrong, _) => {
                    failure.fail(&format!("{wrong:?} at level {level} of the tables for {address:#x}"))
                }
            }
        }
    }

    fn remember(&mut self, ram: &Ram, failure: &Failure, page: u64, entry: u64) -> u64 {
        *self.leaves.entry(page).or_insert_with(|| {
            if let Entry::Leaf(frame) = decode(entry)
                && !ram.hold(frame)
            {
                failure.fail(&format!("page {page:#x} is mapped to {frame:?}, no RAM"));
            }
            entry
        })
    }

    fn remember_table(&mut self, ram: &Ram, failure: &Failure, level: usize, address: u64, lower: Frame) {
        self.upper[level - 1].entry(key(address, level)).or_insert_with(|| {
            if !ram.hold(lower) {
                failure.fail(&format!("{address:#x} has table {lower:?}, no RAM"));
            }
            lower
        });
    }
}
