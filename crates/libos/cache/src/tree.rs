//! The block tree of a file: direct slots, then nodes of 512.
//!
//! A look-up loads one word for each level and stores nothing. Slots and nodes appear by compare-and-swap; nodes go only
//! under the content lock in write mode, so whoever reads or writes content may walk.

use crate::BLOCK;
use crate::cache::Cache;
use crate::error::Error;
use crate::file::{DIRECT, File};
use crate::word::Word;
use core::sync::atomic::Ordering;
use corey_lib_sync::atomic::AtomicU64;

/// Slots of a node. Models count each access, so their nodes are small.
const SLOTS: u64 = if cfg!(any(loom, shuttle)) { 4 } else { (BLOCK / size_of::<AtomicU64>()) as u64 };
const LEVEL_BITS: u32 = SLOTS.ilog2();
/// Levels of nodes.
const LEVELS: u32 = 3;

/// Blocks of the largest file.
const BLOCKS: u64 = DIRECT as u64 + (1 << (LEVEL_BITS * LEVELS));
/// Bytes of the largest file: 512 GiB and 32 KiB.
pub const LARGEST: u64 = BLOCKS * BLOCK as u64;

/// Where nodes come from.
pub(crate) trait Nodes {
    /// A block that is the caller's alone.
    fn take(&mut self) -> Result<u32, Error>;
    /// One that was not needed.
    fn give(&mut self, block: u32);
}

impl<'a> Cache<'a> {
    /// Slot `number` of a node.
    fn child(&self, node: Word, number: u64) -> &'a AtomicU64 {
        let at = self.bytes(node.index()).cast::<AtomicU64>().wrapping_add((number % SLOTS) as usize);
        // SAFETY: a node's memory is `SLOTS` slots while it is one, which it is while the caller has the content lock.
        unsafe { &*at }
    }

    /// The slot of block `block`, if there are nodes down to it.
    #[inline(always)]
    pub(crate) fn slot(&self, file: &'a File, block: u64) -> Option<&'a AtomicU64> {
        match file.slots.direct.get(block as usize) {
            Some(slot) => Some(slot),
            None => self.deep_slot(file, block - DIRECT as u64),
        }
    }

    fn deep_slot(&self, file: &'a File, number: u64) -> Option<&'a AtomicU64> {
        let mut node = Word(file.slots.root.load(Ordering::Acquire));
        let mut height = node.height();
        if node.is_none() || number >> (LEVEL_BITS * height) != 0 {
            return None;
        }
        loop {
            height -= 1;
            let slot = self.child(node, number >> (LEVEL_BITS * height));
            if height == 0 {
                return Some(slot);
            }
            node = Word(slot.load(Ordering::Acquire));
            if node.is_none() {
                return None;
            }
        }
    }

    /// As [`Cache::slot`], with nodes from `nodes` where there are none. `block` lies before [`LARGEST`].
    pub(crate) fn slot_or_make(
        &self,
        file: &'a File,
        block: u64,
        nodes: &mut dyn Nodes,
    ) -> Result<&'a AtomicU64, Error> {
        if let Some(slot) = self.slot(file, block) {
            return Ok(slot);
        }
        let number = block - DIRECT as u64;
        let need = (1..=LEVELS).find(|height| number >> (LEVEL_BITS * height) == 0).ok_or(Error::TooLarge)?;
        let root = &file.slots.root;
        let mut top = Word(root.load(Ordering::Acquire));
        while top.is_none() || top.height() < need {
            let index = self.fresh_node(nodes)?;
            let next = Word::node(index, if top.is_none() { need } else { top.height() + 1 });
            self.child(next, 0).store(top.0, Ordering::Relaxed);
            match root.compare_exchange(top.0, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => top = next,
                Err(now) => {
                    nodes.give(index);
                    top = Word(now);
                }
            }
        }
        let mut height = top.height();
        loop {
            height -= 1;
            let slot = self.child(top, number >> (LEVEL_BITS * height));
            if height == 0 {
                return Ok(slot);
            }
            top = Word(slot.load(Ordering::Acquire));
            if top.is_none() {
                let index = self.fresh_node(nodes)?;
                let next = Word::node(index, height);
                match slot.compare_exchange(0, next.0, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => top = next,
                    Err(now) => {
                        nodes.give(index);
                        top = Word(now);
                    }
                }
            }
        }
    }

    fn fresh_node(&self, nodes: &mut dyn Nodes) -> Result<u32, Error> {
        let index = nodes.take()?;
        let word = Word::node(index, 1);
        (0..SLOTS).for_each(|number| self.child(word, number).store(0, Ordering::Relaxed));
        Ok(index)
    }

    /// Takes every block from `from` on out of the tree, and all nodes when that is 0: each goes to `gone`. Only with the content
    /// lock in write mode.
    pub(crate) fn cut(&self, file: &'a File, from: u64, gone: &mut dyn FnMut(u32)) {
        for slot in file.slots.direct.iter().skip(from.min(DIRECT as u64) as usize) {
            drop_block(slot, gone);
        }
        let root = &file.slots.root;
        let top = Word(root.load(Ordering::Relaxed));
        if !top.is_none() && self.cut_below(top, from.saturating_sub(DIRECT as u64), gone) {
            root.store(0, Ordering::Relaxed);
            gone(top.index());
        }
    }

    /// Says whether nothing is left below `node`.
    fn cut_below(&self, node: Word, from: u64, gone: &mut dyn FnMut(u32)) -> bool {
        let below = LEVEL_BITS * (node.height() - 1);
        let first = from >> below;
        for number in first..SLOTS {
            let slot = self.child(node, number);
            let inner = if number == first { from - (first << below) } else { 0 };
            if node.height() == 1 {
                drop_block(slot, gone);
                continue;
            }
            let child = Word(slot.load(Ordering::Relaxed));
            if !child.is_none() && self.cut_below(child, inner, gone) {
                slot.store(0, Ordering::Relaxed);
                gone(child.index());
            }
        }
        from == 0
    }

    /// Calls `each` with every slot that holds a block, and its number, until it says false. The caller has the content lock.
    pub(crate) fn each_slot(
        &self,
        file: &'a File,
        node: &mut dyn FnMut(u32),
        each: &mut dyn FnMut(u64, &'a AtomicU64) -> bool,
    ) {
        for (number, slot) in (0..).zip(&file.slots.direct) {
            if slot.load(Ordering::Relaxed) != 0 && !each(number, slot) {
                return;
            }
        }
        let top = Word(file.slots.root.load(Ordering::Acquire));
        if !top.is_none() {
            self.each_below(top, DIRECT as u64, node, each);
        }
    }

    fn each_below(
        &self,
        parent: Word,
        first: u64,
        node: &mut dyn FnMut(u32),
        each: &mut dyn FnMut(u64, &'a AtomicU64) -> bool,
    ) -> bool {
        node(parent.index());
        let below = LEVEL_BITS * (parent.height() - 1);
        (0..SLOTS).all(|number| {
            let slot = self.child(parent, number);
            let (child, at) = (Word(slot.load(Ordering::Acquire)), first + (number << below));
            match parent.height() {
                _ if child.is_none() => true,
                1 => each(at, slot),
                _ => self.each_below(child, at, node, each),
            }
        })
    }
}

fn drop_block(slot: &AtomicU64, gone: &mut dyn FnMut(u32)) {
    let word = Word(slot.load(Ordering::Relaxed));
    if !word.is_none() {
        slot.store(0, Ordering::Relaxed);
        gone(word.index());
    }
}
