//! All benchmarks, as data: number, name, variants in order.

/// One benchmark of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Benchmark {
    /// Number, from 1; part of every marker.
    pub number: u32,
    /// Name on command lines and in records; also the program's and its folder's name.
    pub name: &'static str,
    /// Variants; the position is the variant's number.
    pub variants: &'static [&'static str],
    /// Operations per core without `iters=` and `turn=1`.
    default_iters: u64,
}

/// Operations per core without `iters=` when `turn=1`.
pub const DEFAULT_TURN_ITERS: u64 = 1000;

/// The most variants a benchmark has.
pub const MAX_VARIANTS: usize = 6;

const fn row(
    number: u32,
    name: &'static str,
    variants: &'static [&'static str],
    default_iters: u64,
) -> Benchmark {
    Benchmark { number, name, variants, default_iters }
}

/// Every benchmark, in the order of its number. New ones are added at the end.
pub static BENCHMARKS: [Benchmark; 15] = [
    row(1, "null", &["current", "nbytes"], 100_000),
    row(2, "memclone", &["interior", "shared", "private"], 4096),
    row(3, "pagepass", &["interior", "separate"], 4096),
    row(4, "pread", &["same", "own"], 100_000),
    row(5, "tcp", &["kernelcore", "stack", "shared", "echo", "bulk-in", "bulk-out"], 20_000),
    row(6, "vm", &["private", "interior", "cow", "object", "interior-64"], 4096),
    row(7, "cfork", &["default"], 256),
    row(8, "run", &["default"], 1000),
    row(9, "heap", &["local", "prodcons", "larson"], 65_536),
    row(10, "fig1", &["latency", "lock", "lockcontended", "shootdown"], 1024),
    row(11, "pwrite", &["full-own", "full-same", "part-own", "part-same"], 20_000),
    row(12, "open", &["own"], 20_000),
    row(13, "rwlock", &["ours", "word", "ticket"], 100_000),
    row(14, "large", &["private"], 1024),
    row(15, "ring", &["depth-1", "depth-32"], 9600),
];

/// Names of the benchmarks that have a hosted form.
pub fn hosted_names() -> impl Iterator<Item = &'static str> {
    BENCHMARKS.iter().filter(|b| b.has_hosted_form()).map(|b| b.name)
}

/// Returns the marker id of variant `variant` of benchmark `number`.
pub const fn id(number: u32, variant: u32) -> u32 {
    16 * number + variant
}

/// Says whether operations of this marker id end several at a time: then a median says nothing of one, and means stand in its
/// place.
pub const fn ends_in_batches(id: u32) -> bool {
    id / 16 == 5
}

/// Returns the names behind a marker id.
pub fn names(id: u32) -> Option<(&'static str, &'static str)> {
    let bench = BENCHMARKS.iter().find(|b| b.number == id / 16)?;
    Some((bench.name, bench.variants.get((id % 16) as usize)?))
}

impl Benchmark {
    /// Operations of a variant per core without `iters=` and `turn=1`: fewer where one is 45 frames.
    pub const fn default_iters(&self, variant: u32) -> u64 {
        match (self.number, variant) {
            (5, 4 | 5) => self.default_iters / 16,
            _ => self.default_iters,
        }
    }

    /// Processors that `cores` workers of a variant need: in `cfork` and `run` each has a target of its own, in `ring` and
    /// `tcp/kernelcore` a kernel core.
    pub const fn processors(&self, variant: u32, cores: u32) -> u32 {
        match (self.number, variant) {
            (7 | 8 | 15, _) | (5, 0) => 2 * cores,
            _ => cores,
        }
    }

    /// Says whether the machine has a network card for each core, with a client at its other end.
    pub const fn needs_cards(&self) -> bool {
        self.number == 5
    }

    /// Says whether a time means nothing under an emulator: it has no caches and no distances.
    pub const fn hardware_only(&self) -> bool {
        self.number == 10
    }

    /// Says whether it also runs on the host's own processors, without a guest.
    pub const fn has_hosted_form(&self) -> bool {
        matches!(self.number, 4 | 9 | 10 | 11 | 13 | 15)
    }

    /// Returns the benchmark with this name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        BENCHMARKS.iter().find(|b| b.name == name)
    }
}

/// `null current`.
pub const NULL_CURRENT: u32 = id(1, 0);
/// `null nbytes`.
pub const NULL_NBYTES: u32 = id(1, 1);
/// `memclone interior`.
pub const MEMCLONE_INTERIOR: u32 = id(2, 0);
/// `memclone shared`.
pub const MEMCLONE_SHARED: u32 = id(2, 1);
/// `memclone private`.
pub const MEMCLONE_PRIVATE: u32 = id(2, 2);
/// `pagepass interior`.
pub const PAGEPASS_INTERIOR: u32 = id(3, 0);
/// `pagepass separate`.
pub const PAGEPASS_SEPARATE: u32 = id(3, 1);
/// `pread same`.
pub const PREAD_SAME: u32 = id(4, 0);
/// `pread own`.
pub const PREAD_OWN: u32 = id(4, 1);
/// `tcp kernelcore`.
pub const TCP_KERNELCORE: u32 = id(5, 0);
/// `tcp stack`.
pub const TCP_STACK: u32 = id(5, 1);
/// `tcp shared`.
pub const TCP_SHARED: u32 = id(5, 2);
/// `tcp echo`.
pub const TCP_ECHO: u32 = id(5, 3);
/// `tcp bulk-in`.
pub const TCP_BULK_IN: u32 = id(5, 4);
/// `tcp bulk-out`.
pub const TCP_BULK_OUT: u32 = id(5, 5);
/// `vm private`.
pub const VM_PRIVATE: u32 = id(6, 0);
/// `vm interior`.
pub const VM_INTERIOR: u32 = id(6, 1);
/// `vm cow`.
pub const VM_COW: u32 = id(6, 2);
/// `vm object`.
pub const VM_OBJECT: u32 = id(6, 3);
/// `vm interior-64`.
pub const VM_INTERIOR_64: u32 = id(6, 4);
/// `cfork default`.
pub const CFORK_DEFAULT: u32 = id(7, 0);
/// `run default`.
pub const RUN_DEFAULT: u32 = id(8, 0);
/// `heap local`.
pub const HEAP_LOCAL: u32 = id(9, 0);
/// `heap prodcons`.
pub const HEAP_PRODCONS: u32 = id(9, 1);
/// `heap larson`.
pub const HEAP_LARSON: u32 = id(9, 2);
/// `fig1 latency`.
pub const FIG1_LATENCY: u32 = id(10, 0);
/// `fig1 lock`.
pub const FIG1_LOCK: u32 = id(10, 1);
/// `fig1 lockcontended`.
pub const FIG1_LOCKCONTENDED: u32 = id(10, 2);
/// `fig1 shootdown`.
pub const FIG1_SHOOTDOWN: u32 = id(10, 3);
/// `pwrite full-own`.
pub const PWRITE_FULL_OWN: u32 = id(11, 0);
/// `pwrite full-same`.
pub const PWRITE_FULL_SAME: u32 = id(11, 1);
/// `pwrite part-own`.
pub const PWRITE_PART_OWN: u32 = id(11, 2);
/// `pwrite part-same`.
pub const PWRITE_PART_SAME: u32 = id(11, 3);
/// `open own`.
pub const OPEN_OWN: u32 = id(12, 0);
/// `rwlock ours`.
pub const RWLOCK_OURS: u32 = id(13, 0);
/// `rwlock word`.
pub const RWLOCK_WORD: u32 = id(13, 1);
/// `rwlock ticket`.
pub const RWLOCK_TICKET: u32 = id(13, 2);
/// `large private`.
pub const LARGE_PRIVATE: u32 = id(14, 0);
/// `ring depth-1`.
pub const RING_DEPTH_1: u32 = id(15, 0);
/// `ring depth-32`: one operation is 32 calls.
pub const RING_DEPTH_32: u32 = id(15, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions_and_variants_fit() {
        for (position, bench) in BENCHMARKS.iter().enumerate() {
            assert_eq!(bench.number as usize, position + 1);
            assert!((1..=MAX_VARIANTS).contains(&bench.variants.len()));
        }
    }

    #[test]
    fn ids_lead_back_to_names() {
        assert_eq!(names(MEMCLONE_PRIVATE), Some(("memclone", "private")));
        assert_eq!(names(PAGEPASS_SEPARATE), Some(("pagepass", "separate")));
        assert_eq!(names(TCP_SHARED), Some(("tcp", "shared")));
        assert_eq!(names(TCP_BULK_OUT), Some(("tcp", "bulk-out")));
        assert_eq!(names(PREAD_OWN), Some(("pread", "own")));
        assert_eq!(names(PWRITE_PART_SAME), Some(("pwrite", "part-same")));
        assert_eq!(names(OPEN_OWN), Some(("open", "own")));
        assert_eq!(names(RWLOCK_TICKET), Some(("rwlock", "ticket")));
        assert_eq!(names(id(13, 3)), None);
        assert_eq!(names(0), None);
    }
}
