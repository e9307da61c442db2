//! Records for calls to read: mostly meaningful.

use crate::pool::{Sort, any};
use corey_abi::{
    CardConfig, Id, Mapping, ObjRef, PAGE_BYTES, Plain, RUN_SHARES, RingConfig, RunContext, TreeTable,
    mapping_kind, run_mode,
};
use corey_libos_test::Random;

/// Where trees of this test map things: from here on, one GiB each.
pub(crate) const WINDOW: u64 = 0x3000_0000_0000;
pub(crate) const WINDOWS: u64 = 6;
const GIB: u64 = 1 << 30;
/// Slots of a root that the program itself does not use.
pub(crate) const SLOTS: (u64, u64) = (300, 24);

/// One core's memory for records, eight pages, mapped on every core: where it is, and how the next call names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scratch(pub(crate) u64, pub(crate) u64);

/// Offsets in it.
const NAME: u64 = 0;
const MAPPING: u64 = 0x100;
const TABLE: u64 = 0x200;
const CONTEXT: u64 = 0x400;
const MAPPINGS: u64 = 0x1000;
pub(crate) const OUT: u64 = 0x3000;
/// Pages of it.
pub(crate) const PAGES: u64 = 8;

/// How a run begins that a call starts: entry and stack of a function that ends at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    pub(crate) tree: ObjRef,
    pub(crate) entry: u64,
    pub(crate) stack: u64,
}

/// An address of this test's windows: in a root tree, or relative to an interior one.
pub(crate) fn window(random: &mut Random, sort: Sort) -> u64 {
    let base = if sort == Sort::Interior { 0 } else { WINDOW + random.below(WINDOWS) * GIB };
    let page = match random.below(4) {
        0 => 0,
        1 => random.below(8) * 512,
        2 => random.below(64),
        _ => random.below(GIB / PAGE_BYTES),
    };
    base + page * PAGE_BYTES
}

impl Scratch {
    fn put<T: Plain, const N: usize>(self, at: u64, value: &T) -> u64 {
        let mut bytes = [0; N];
        value.to_bytes(&mut bytes);
        for (at, byte) in (self.0 + at..).zip(bytes) {
            // SAFETY: inside this core's scratch, mapped writable for good; nobody has a reference into it.
            unsafe { (at as *mut u8).write_volatile(byte) };
        }
        self.1 + at
    }

    /// A mapping for a tree of `sort`.
    fn mapping(random: &mut Random, sort: Sort) -> Mapping {
        let interior = sort != Sort::Interior && random.once_in(3);
        let object = any(random, if interior { Sort::Interior } else { Sort::Segment });
        let kind = match random.below(8) {
            0 => mapping_kind::NONE,
            1 => random.below(5) as u32,
            _ if interior => mapping_kind::INTERIOR,
            _ => mapping_kind::SEGMENT,
        };
        let mut va = window(random, sort);
        if interior && !random.once_in(4) {
            va &= !(GIB - 1);
        }
        let flags = [0, 1, 1, 1, 2, 4, 9, 3, 64];
        let (start_page, npages) = if random.once_in(6) {
            (random.below(3) * 512, (1 + random.below(3)) * 512)
        } else {
            (random.below(12), 1 + random.below(40))
        };
        Mapping {
            kind,
            flags: random.one(&flags).unwrap_or(0),
            object,
            va,
            start_page,
            npages: if random.once_in(40) { random.next() >> random.below(60) } else { npages },
            ..Mapping::default()
        }
    }

    /// The record or the room that argument `name` of `call` means.
    pub(crate) fn record(self, random: &mut Random, call: &str, name: &str, sort: Sort, start: Start) -> u64 {
        match (call, name) {
            ("at_set_slot", "mapping") => {
                self.put::<_, { Mapping::BYTES }>(MAPPING, &Self::mapping(random, sort))
            }
            ("at_set", "table") => {
                let count = random.below(6);
                for n in 0..count {
                    self.put::<_, { Mapping::BYTES }>(
                        MAPPINGS + n * Mapping::BYTES as u64,
                        &Self::mapping(random, sort),
                    );
                }
                let mut table = TreeTable { mappings: self.1 + MAPPINGS, count, ..TreeTable::default() };
                if random.once_in(8) {
                    // A handler that cannot be: a good one would be another thread's end.
                    let bad = [8, 1 << 50, u64::MAX];
                    table.handler = random.one(&bad).unwrap_or(0);
                    table.stack = random.one(&bad).unwrap_or(0);
                    table.masked = 4;
                }
                self.put::<_, { TreeTable::BYTES }>(TABLE, &table)
            }
            ("at_get", "table") => {
                let count = random.below(80);
                let table = TreeTable { mappings: self.1 + MAPPINGS, count, ..TreeTable::default() };
                self.put::<_, { TreeTable::BYTES }>(TABLE, &table)
            }
            ("pcore_run", "context") => {
                self.put::<_, { RunContext::BYTES }>(CONTEXT, &context(random, start))
            }
            // For a card it means which frames it accepts, and where results go.
            ("device_conf", _) if random.once_in(4) => {
                let config = CardConfig {
                    filter: random.below(4),
                    results: if random.once_in(2) { ObjRef::default() } else { any(random, Sort::Segment) },
                    offset: random.below(4) * PAGE_BYTES + 8 * u64::from(random.once_in(9)),
                    reserved: u64::from(random.once_in(9)),
                };
                self.put::<_, { CardConfig::BYTES }>(CONTEXT, &config)
            }
            ("device_conf", _) => self.put::<_, { RingConfig::BYTES }>(CONTEXT, &ring(random, start)),
            (_, "name") => self.put::<_, 32>(NAME, &[b'f'; 32]),
            _ => self.1 + OUT,
        }
    }
}

/// A ring in some segment: mostly one that works, though nobody submits there.
fn ring(random: &mut Random, start: Start) -> RingConfig {
    let mut config = RingConfig {
        ring: any(random, Sort::Segment),
        offset: random.below(4) * PAGE_BYTES + 8 * u64::from(random.once_in(9)),
        slots: random.one(&[2, 4, 16, 16, 64, 256, 24]).unwrap_or(0),
        arguments: if random.once_in(3) { ObjRef::default() } else { any(random, Sort::Segment) },
        nshares: random.below(3),
        ..RingConfig::default()
    };
    if random.once_in(20) {
        config.nshares = random.below(12);
    }
    for share in &mut config.shares {
        *share = if random.once_in(3) { any(random, Sort::Share).object } else { start.tree.share };
    }
    config
}

fn context(random: &mut Random, start: Start) -> RunContext {
    if random.once_in(6) {
        let mut shares = [Id::NULL; RUN_SHARES];
        shares[0] = start.tree.share;
        let mode = run_mode::KERNEL_CORE;
        return RunContext { mode, nshares: 1, shares, ..RunContext::default() };
    }
    let known = !random.once_in(3);
    let tree = if known { start.tree } else { any(random, Sort::Root) };
    let mut shares = [Id::NULL; RUN_SHARES];
    let nshares = random.below(4);
    for share in shares.iter_mut().take(nshares as usize) {
        *share = any(random, Sort::Share).object;
    }
    if !random.once_in(5) {
        shares[0] = tree.share;
    }
    RunContext {
        tree,
        mode: u64::from(random.once_in(30)),
        nshares: nshares.max(1),
        entry: if random.once_in(10) { random.next() >> random.below(40) } else { start.entry },
        stack: start.stack,
        status: if random.once_in(2) { any(random, Sort::Segment) } else { ObjRef::default() },
        status_offset: random.below(64) * 16,
        shares,
        ..RunContext::default()
    }
}
