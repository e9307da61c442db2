//! One core's calls.

use crate::pool::{Sort, any, forget, remember};
use crate::records::{PAGES, SLOTS, Scratch, Start, WINDOW, window};
use crate::rings::Ring;
use crate::sequence::FRAME_PAGES;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    Error, Home, Id, Kinds, ObjRef, PAGE_BYTES, RING_ARGUMENTS, SYSCALL_DEVICE, SYSCALLS, SyscallInfo, Word,
    buffer_op,
};
use corey_libos_rt::sys::{pause, raw};
use corey_libos_test::{Random, touch};

/// Most cores that call.
pub(crate) const CORES: usize = 16;
/// Rows of the call table counted.
const ROWS: usize = 64;

/// Calls made, by core.
pub(crate) static MADE: [AtomicU64; CORES] = [const { AtomicU64::new(0) }; CORES];
/// Calls tried and allowed, by core and row of the call table.
pub(crate) static COUNTS: [[[AtomicU64; 2]; ROWS]; CORES] =
    [const { [const { [const { AtomicU64::new(0) }; 2] }; ROWS] }; CORES];
/// Answers of calls on this core's row: by error code, 0 for none.
pub(crate) static ANSWERS: [[AtomicU64; 18]; ROWS] = [const { [const { AtomicU64::new(0) }; 18] }; ROWS];
/// Set when all shall end.
pub(crate) static STOP: AtomicU64 = AtomicU64::new(0);

/// How often a call is made beside the others; 4 for what is not listed, 0 for what would end the test.
const WEIGHTS: &[(&str, u64)] = &[
    ("audit", 0),
    ("machine_control", 1),
    ("machine_info", 1),
    ("device_buf", 10),
    ("device_alloc", 2),
    ("device_list", 1),
    ("device_stat", 1),
    ("device_conf", 3),
    ("pcore_add_device", 2),
    ("locality_get", 1),
    ("counter_read", 1),
    ("core_wait", 1),
    ("pcore_halt", 1),
    ("self_drop", 1),
    ("pcore_run", 3),
    ("core_fence", 2),
    ("core_stat", 2),
    ("segment_alloc", 8),
    ("segment_copy", 8),
    ("segment_set_nbytes", 6),
    ("at_set_slot", 24),
    ("at_set", 6),
    ("share_addobj", 6),
    ("share_delobj", 4),
    ("at_alloc", 6),
];

/// What no core may name: it would end the program, not the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spared(pub(crate) [u64; 3]);

/// One core's calls.
pub(crate) struct Caller {
    pub(crate) random: Random,
    pub(crate) core: usize,
    pub(crate) scratch: Scratch,
    pub(crate) start: Start,
    pub(crate) spared: Spared,
    /// The share everything is in: dropped rarely.
    pub(crate) kept: Id,
    /// The share of its own root and pcore: deleted from rarely.
    pub(crate) own: Id,
    /// The console.
    pub(crate) console: ObjRef,
    /// Its ring, and how the rings' calls name its scratch.
    ring: Ring,
    named: u64,
    /// Longest sleep in nanoseconds.
    pub(crate) patience: u64,
    /// What the last tree that was chosen is.
    sort: Sort,
    /// The last object that was chosen.
    used: Option<(Sort, ObjRef)>,
}

fn weight(name: &str) -> u64 {
    WEIGHTS.iter().find(|(known, _)| *known == name).map_or(4, |(_, weight)| *weight)
}

impl Caller {
    pub(crate) fn new(
        seed: u64,
        core: usize,
        scratch: Scratch,
        start: Start,
        spared: Spared,
        patience: u64,
    ) -> Self {
        let (kept, own, console) = (Id::NULL, Id::NULL, ObjRef::default());
        Self {
            random: Random::new(seed),
            core,
            scratch,
            start,
            spared,
            kept,
            own,
            console,
            ring: Ring::default(),
            named: RING_ARGUMENTS + core as u64 * PAGES * PAGE_BYTES,
            patience,
            sort: Sort::Root,
            used: None,
        }
    }

    /// A word that means nothing.
    fn wild(&mut self) -> u64 {
        let random = &mut self.random;
        match random.below(9) {
            0 => random.next(),
            1 => random.below(16),
            2 => 1 << random.below(64),
            3 => u64::MAX - random.below(5000),
            4 => random.below(64) * PAGE_BYTES,
            5 => 0x7fff_ffff_e000 + random.below(0x3000),
            6 => 0xffff_8000_0000_0000 + random.below(1 << 30),
            7 => self.scratch.0 + random.below(8 * PAGE_BYTES + 64),
            _ => WINDOW + random.below(1 << 33),
        }
    }

    fn sort(&mut self, call: &str, name: &str) -> Sort {
        match name {
            "segment" => Sort::Segment,
            "device" => Sort::Device,
            "pcore" => Sort::Pcore,
            "tree" => {
                // `at_set` of one's own root takes the ground away.
                let roots = if call == "at_set" { 20 } else { 2 };
                let sort = if self.random.once_in(roots) { Sort::Root } else { Sort::Interior };
                self.sort = sort;
                sort
            }
            "share" | "parent" => Sort::Share,
            _ => self.random.one(&Sort::ALL).unwrap_or(Sort::Segment),
        }
    }

    /// A number that argument `name` of `call` could mean.
    fn number(&mut self, call: &str, name: &str) -> u64 {
        let (patience, random) = (self.patience, &mut self.random);
        match (call, name) {
            (_, "nbytes") if random.once_in(8) => random.below(3) << 21,
            (_, "nbytes") => random.below(70) * PAGE_BYTES,
            (_, "flags") => u64::from(random.once_in(8)),
            ("segment_copy", "mode") => random.below(3),
            ("at_alloc", "kind") => {
                self.sort = if random.once_in(3) { Sort::Root } else { Sort::Interior };
                u64::from(self.sort == Sort::Interior)
            }
            ("at_alloc", "grain") if self.sort == Sort::Root => 0,
            ("at_alloc", "grain") => random.one(&[21, 30, 30, 39]).unwrap_or(0),
            (_, "slot") if self.sort == Sort::Interior => random.below(24),
            (_, "slot") => SLOTS.0 + random.below(SLOTS.1),
            (_, "core") => random.below(5),
            (_, "pages") => random.below(300),
            (_, "objects") => random.below(24),
            // Where the frames of `sequence::frames` begin, or near.
            ("device_buf", "offset") => {
                random.below(2 * FRAME_PAGES) * (PAGE_BYTES / 2) + random.one(&[0, 0, 0, 16]).unwrap_or(0)
            }
            (_, "offset") => random.below(64) * 16,
            (_, "count" | "start") => random.below(20),
            // A reset takes 10 ms.
            ("device_buf", "operation") if random.once_in(100) => buffer_op::RESET,
            ("device_buf", "operation") => {
                let marked = buffer_op::marked(random.below(1600) as u16, random.below(4));
                random.one(&[0, 0, 1, 1, 3]).unwrap_or(0)
                    | u64::from(random.once_in(3)) << 8
                    | random.one(&[0, marked]).unwrap_or(0)
            }
            (_, "operation") => random.below(4),
            // The console, a card that is not there; a card takes 10 ms.
            ("device_alloc", "device") => {
                let calls = SYSCALL_DEVICE;
                random.one(&[0, 1, 2, 3, calls, calls, calls, calls, calls, calls]).unwrap_or(0)
            }
            (_, "nanoseconds") => random.below(patience),
            (_, "value") => random.below(3),
            _ => random.below(6),
        }
    }

    /// The words of one argument.
    fn words(&mut self, call: &SyscallInfo, name: &str, kind: &str) -> ([u64; 2], usize) {
        let known = !self.random.once_in(7);
        match kind {
            "ObjRef" => {
                let sort = self.sort(call.name, name);
                let ObjRef { share, object } = match name {
                    "device" if known && self.random.once_in(4) => self.console,
                    _ => any(&mut self.random, sort),
                };
                self.used = Some((sort, ObjRef { share, object }));
                let [mut share, mut object] = [share.0, object.0];
                if !known && self.random.once_in(2) {
                    share = self.wild();
                } else if !known {
                    object = self.wild();
                }
                ([share, object], 2)
            }
            // Who sleeps for ever, and took its own names away, could be woken by nobody.
            _ if !known && name != "nanoseconds" => ([self.wild(), 0], 1),
            "Id" if self.random.once_in(4) => ([any(&mut self.random, Sort::Share).object.0, 0], 1),
            "Id" => ([self.kept.0, 0], 1),
            "UserPtr" => {
                ([self.scratch.record(&mut self.random, call.name, name, self.sort, self.start), 0], 1)
            }
            "Home" if self.random.once_in(4) => ([self.random.below(6), 0], 1),
            "Home" => ([Home::Any.to_word(), 0], 1),
            "Kinds" if self.random.once_in(4) => ([self.random.below(32), 0], 1),
            "Kinds" => ([Kinds::all().bits(), 0], 1),
            _ => ([self.number(call.name, name), 0], 1),
        }
    }

    /// A row of the call table, by weight.
    fn choose(&mut self) -> (usize, &'static SyscallInfo) {
        let all: u64 = SYSCALLS.iter().map(|call| weight(call.name)).sum();
        let mut at = self.random.below(all);
        for (index, call) in SYSCALLS.iter().enumerate() {
            let weight = weight(call.name);
            if at < weight {
                return (index, call);
            }
            at -= weight;
        }
        (0, &SYSCALLS[0])
    }

    /// Remembers what a call made.
    fn learn(&mut self, call: &SyscallInfo, args: &[Word; 6], made: Id) {
        let [first, second, third, ..] = *args;
        let random = &mut self.random;
        let of = |share: u64| ObjRef { share: Id(share), object: made };
        match call.name {
            "device_alloc" => (0..12).for_each(|_| remember(random, Sort::Device, of(first))),
            "segment_alloc" => remember(random, Sort::Segment, of(first)),
            "segment_copy" => remember(random, Sort::Segment, of(third)),
            "at_alloc" => {
                let sort = if second == 0 { Sort::Root } else { Sort::Interior };
                (0..4).for_each(|_| remember(random, sort, of(first)));
            }
            "share_alloc" => remember(random, Sort::Share, ObjRef { share: made, object: made }),
            // There are few: they shall be found.
            "pcore_alloc" => (0..12).for_each(|_| remember(random, Sort::Pcore, of(first))),
            "share_addobj" => {
                let named = ObjRef { share: Id(first), object: Id(third) };
                let sort = random
                    .one(&[Sort::Segment, Sort::Interior, Sort::Root, Sort::Device])
                    .unwrap_or(Sort::Segment);
                remember(random, sort, named);
            }
            _ => {}
        }
    }

    /// One call, or one access to memory.
    pub(crate) fn step(&mut self) {
        if self.random.once_in(6) {
            let at = window(&mut self.random, Sort::Root) + self.random.below(512) * 8;
            let write = self.random.once_in(2);
            if let Some(word) = touch::read(at)
                && write
            {
                touch::write(at, word);
            }
        }
        let by_ring = self.random.once_in(3) && self.ring.is_there(self.core);
        self.scratch.1 = if by_ring { self.named } else { self.scratch.0 };
        let (index, call) = self.choose();
        self.used = None;
        let mut args = [0; 6];
        let mut at = 0;
        for arg in call.args {
            let Some((name, kind)) = arg.split_once(": ") else { continue };
            let (words, count) = self.words(call, name, kind);
            for word in words.iter().take(count) {
                if let Some(slot) = args.get_mut(at) {
                    // The console may be used, and nothing else be done to it.
                    let spared = self.spared.0.contains(word) && !(at == 0 && call.name == "device_buf");
                    *slot = if spared { 0 } else { *word };
                }
                at += 1;
            }
        }
        let ends = ["self_drop", "share_delobj"].contains(&call.name);
        let ground = args[0] == self.own.0 || call.name == "self_drop" && args[0] == self.kept.0;
        if ends && ground && !self.random.once_in(100) {
            return;
        }
        let result = if by_ring {
            let waits = !self.random.once_in(4);
            let Some(result) = self.ring.call(call.number, args, waits) else { return };
            result
        } else {
            raw(call.number, args)
        };
        if result == Err(Error::NotFound)
            && let Some((sort, gone)) = self.used
            && !self.random.once_in(3)
        {
            forget(&mut self.random, sort, gone);
        }
        if let Some(answer) =
            ANSWERS.get(index).and_then(|row| row.get(result.err().map_or(0, |e| e as usize)))
        {
            answer.fetch_add(1, Ordering::Relaxed);
        }
        MADE[self.core].fetch_add(1, Ordering::Relaxed);
        if let Some([tried, allowed]) = COUNTS[self.core].get(index) {
            tried.fetch_add(1, Ordering::Relaxed);
            if let Ok([made, _]) = result {
                allowed.fetch_add(1, Ordering::Relaxed);
                self.learn(call, &args, Id(made));
            }
        }
        if self.random.once_in(64) {
            // Where one thread emulates all cores, the others get their turn.
            pause();
        }
    }
}
