//! What a processor says about its own place (CPUID): Intel SDM vol. 2A, `CPUID`; AMD APM vol. 3, appendix E.

/// Levels a topology leaf may have, more than there are types of them; and caches.
const LEVELS: u32 = 8;
const CACHES: u32 = 16;

/// A data cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// 1 … 4.
    pub level: u32,
    /// Bytes of a line.
    pub line: u32,
    /// Bytes in all.
    pub bytes: u64,
    /// Low bits of an APIC ID that tell apart those who share it.
    pub bits: u32,
}

/// A processor's word. APIC IDs are numbers of parts: the thread in the lowest bits, then the core in the package,
/// the package above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    /// Its APIC ID.
    pub id: u32,
    /// Bits for the threads of a core.
    pub thread_bits: u32,
    /// Bits for everything in a package.
    pub package_bits: u32,
    /// Data caches, nearest first; level 0 for none.
    pub caches: [Cache; 4],
}

/// Bits that tell `count` things apart.
fn bits(count: u32) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

impl Processor {
    /// Asks the processor that runs this; `cpuid` is the instruction: leaf and subleaf to eax, ebx, ecx, edx.
    #[must_use]
    pub fn read(cpuid: impl Fn(u32, u32) -> [u32; 4]) -> Self {
        let [basic, ..] = cpuid(0, 0);
        let [extended, ..] = cpuid(0x8000_0000, 0);
        // Beyond the last leaf processors answer as they like.
        let leaf = |number: u32, sub: u32| {
            let last = if number < 0x8000_0000 { basic } else { extended };
            if number <= last { cpuid(number, sub) } else { [0; 4] }
        };
        let [_, _, features, _] = leaf(0x8000_0001, 0);
        let topology_extensions = features & 1 << 22 != 0;
        let many_cores = features & 1 << 1 != 0;
        let place = levels(0x1f, &leaf).or_else(|| levels(0xb, &leaf)).unwrap_or_else(|| {
            if topology_extensions || many_cores {
                without_levels_amd(topology_extensions, &leaf)
            } else {
                without_levels(&leaf)
            }
        });
        let caches = caches(if topology_extensions { 0x8000_001d } else { 4 }, &leaf);
        Self { caches, ..place }
    }
}

type Leaf<'a> = &'a dyn Fn(u32, u32) -> [u32; 4];

/// A topology leaf: 0xB, or 0x1F, which also has the levels between core and package. How many threads a level has
/// (ebx) only says whether there is a leaf: the manual forbids more, and emulators count wrong.
fn levels(number: u32, leaf: Leaf<'_>) -> Option<Processor> {
    let [_, threads, ..] = leaf(number, 0);
    if threads & 0xffff == 0 {
        return None;
    }
    let mut place = None;
    for level in 0..LEVELS {
        let [shift, _, kind, id] = leaf(number, level);
        let kind = kind >> 8 & 0xff;
        if kind == 0 {
            break;
        }
        let below: Processor = place.unwrap_or_default();
        let thread_bits = if kind == 1 { shift & 31 } else { below.thread_bits };
        place = Some(Processor { id, thread_bits, package_bits: shift & 31, ..below });
    }
    place
}

/// AMD before leaf 0xB: leaf 0x80000008, and 0x8000001E for threads.
fn without_levels_amd(topology_extensions: bool, leaf: Leaf<'_>) -> Processor {
    let [_, own, _, _] = leaf(1, 0);
    let [_, _, sizes, _] = leaf(0x8000_0008, 0);
    let [_, core, _, _] = leaf(0x8000_001e, 0);
    let package = (sizes & 0xff) + 1;
    let threads = if topology_extensions { (core >> 8 & 0xff) + 1 } else { 1 };
    let package_bits = match sizes >> 12 & 0xf {
        0 => bits(package),
        size => size,
    };
    Processor { id: own >> 24, thread_bits: bits(threads), package_bits, ..Processor::default() }
}

/// Intel before leaf 0xB: leaf 1 counts threads of a package, leaf 4 cores.
fn without_levels(leaf: Leaf<'_>) -> Processor {
    let [_, own, _, features] = leaf(1, 0);
    let [cores, ..] = leaf(4, 0);
    let package = if features & 1 << 28 != 0 { (own >> 16 & 0xff).max(1) } else { 1 };
    let cores = ((cores >> 26) + 1).min(package);
    let package_bits = bits(package);
    Processor { id: own >> 24, thread_bits: package_bits - bits(cores), package_bits, ..Processor::default() }
}

/// A cache leaf: 4, or AMD's 0x8000001D, which looks alike.
fn caches(number: u32, leaf: Leaf<'_>) -> [Cache; 4] {
    let mut all = [Cache::default(); 4];
    for cache in 0..CACHES {
        let [kind, shape, sets, _] = leaf(number, cache);
        let level = kind >> 5 & 7;
        match kind & 0x1f {
            0 => break,
            // Data, or both. Instruction caches say nothing about memory.
            1 | 3 => {}
            _ => continue,
        }
        let [line, partitions, ways] =
            [shape & 0xfff, shape >> 12 & 0x3ff, shape >> 22].map(|n| u64::from(n) + 1);
        let bytes = (line * partitions * ways).saturating_mul(u64::from(sets) + 1);
        let sharers = (kind >> 14 & 0xfff) + 1;
        let place = level.checked_sub(1).and_then(|at| all.get_mut(at as usize));
        if let Some(place) = place.filter(|place| place.level == 0) {
            *place = Cache { level, line: line as u32, bytes, bits: bits(sharers) };
        }
    }
    all.sort_unstable_by_key(|cache| if cache.level == 0 { u32::MAX } else { cache.level });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A processor that answers with these leaves ⟨leaf, subleaf, registers⟩, and beyond its last leaf with rubbish.
    fn read(basic: u32, extended: u32, leaves: &[(u32, u32, [u32; 4])]) -> Processor {
        Processor::read(|leaf, sub| match (leaf, sub) {
            (0, _) => [basic, 0, 0, 0],
            (0x8000_0000, _) => [extended, 0, 0, 0],
            _ if leaf > if leaf < 0x8000_0000 { basic } else { extended } => [0xffff_ffff; 4],
            _ => leaves.iter().find(|l| (l.0, l.1) == (leaf, sub)).map_or([0; 4], |l| l.2),
        })
    }

    fn shape(p: &Processor) -> [u32; 3] {
        [p.id, p.thread_bits, p.package_bits]
    }

    #[test]
    fn leaf_b_has_threads_and_cores() {
        let leaves = [
            (1, 0, [0, 0x0500_0000, 0, 0]),
            (0xb, 0, [1, 2, 0x100, 0x105]),
            (0xb, 1, [4, 12, 0x201, 0x105]),
            (0xb, 2, [0, 0, 2, 0x105]),
        ];
        assert_eq!(shape(&read(0xd, 0x8000_0008, &leaves)), [0x105, 1, 4]);
    }

    #[test]
    fn leaf_1f_comes_first_and_has_more_levels() {
        let leaves = [
            (0xb, 0, [1, 2, 0x100, 9]),
            (0xb, 1, [3, 8, 0x201, 9]),
            (0x1f, 0, [1, 2, 0x100, 9]),
            (0x1f, 1, [3, 8, 0x201, 9]),
            (0x1f, 2, [5, 32, 0x502, 9]),
        ];
        assert_eq!(shape(&read(0x1f, 0x8000_0008, &leaves)), [9, 1, 5]);
        assert_eq!(shape(&read(0x1e, 0x8000_0008, &leaves)), [9, 1, 3], "it has no such leaf");
        assert_eq!(shape(&read(0x1f, 0x8000_0008, &leaves[..2])), [9, 1, 3], "the leaf is empty");
        let mut none = leaves;
        none[2].2[1] = 0;
        assert_eq!(shape(&read(0x1f, 0x8000_0008, &none)), [9, 1, 3], "the leaf has no threads");
    }

    #[test]
    fn a_leaf_whose_levels_never_end_ends() {
        let leaves: Vec<_> = (0..100).map(|sub| (0xb, sub, [31, 2, 0x200, 9])).collect();
        assert_eq!(shape(&read(0xb, 0, &leaves)), [9, 0, 31]);
    }

    #[test]
    fn an_intel_processor_without_leaf_b_counts_in_leaves_1_and_4() {
        let leaf_1 = (1, 0, [0, 0x0608_0000, 0, 1 << 28]);
        let leaves = [leaf_1, (4, 0, [3 << 26 | 0x21, 0x3f, 0x3f, 0])];
        assert_eq!(shape(&read(4, 0x8000_0008, &leaves)), [6, 1, 3]);
        assert_eq!(shape(&read(4, 0, &[(1, 0, [0, 0x0608_0000, 0, 0])])), [6, 0, 0], "one thread");
        assert_eq!(shape(&read(1, 0, &[leaf_1])), [6, 3, 3], "no leaf 4: one core");
    }

    #[test]
    fn an_amd_processor_without_leaf_b_has_leaves_of_its_own() {
        let leaf_1 = (1, 0, [0, 0x0710_0000, 0, 1 << 28]);
        let features = (0x8000_0001, 0, [0, 0, 1 << 22 | 2, 0]);
        let threads = (0x8000_001e, 0, [7, 1 << 8, 0, 0]);
        let zen = [leaf_1, features, (0x8000_0008, 0, [0, 0, 0x400f, 0]), threads];
        assert_eq!(shape(&read(7, 0x8000_001e, &zen)), [7, 1, 4]);
        let old = [leaf_1, (0x8000_0001, 0, [0, 0, 2, 0]), (0x8000_0008, 0, [0, 0, 5, 0]), threads];
        assert_eq!(shape(&read(5, 0x8000_001e, &old)), [7, 0, 3]);
    }

    const L1D: [u32; 4] = [1 << 14 | 0x21, 7 << 22 | 0x3f, 0x3f, 0];
    const L1I: [u32; 4] = [1 << 14 | 0x22, 7 << 22 | 0x3f, 0x3f, 0];
    const L2: [u32; 4] = [1 << 14 | 0x43, 7 << 22 | 0x3f, 0x3ff, 0];
    const L3: [u32; 4] = [11 << 14 | 0x63, 15 << 22 | 0x3f, 0x1fff, 0];

    #[test]
    fn data_caches_come_nearest_first() {
        let caches = [(4, 0, L3), (4, 1, L1I), (4, 2, L1D), (4, 3, L2), (4, 4, L2)];
        let wanted = [
            Cache { level: 1, line: 64, bytes: 32 << 10, bits: 1 },
            Cache { level: 2, line: 64, bytes: 512 << 10, bits: 1 },
            Cache { level: 3, line: 64, bytes: 8 << 20, bits: 4 },
            Cache::default(),
        ];
        assert_eq!(read(0xd, 0, &caches).caches, wanted);
        assert_eq!(read(3, 0, &caches).caches, [Cache::default(); 4], "it has no such leaf");
    }

    #[test]
    fn amd_has_a_cache_leaf_of_its_own() {
        let leaves = [(4, 0, L1D), (0x8000_0001, 0, [0, 0, 1 << 22, 0]), (0x8000_001d, 0, L3)];
        assert_eq!(read(0xd, 0x8000_001e, &leaves).caches.map(|c| c.level), [3, 0, 0, 0]);
    }

    #[test]
    fn rubbish_is_read_without_harm() {
        let p = Processor::read(|_, _| [u32::MAX; 4]);
        assert!(p.package_bits <= 31 && p.thread_bits <= 31);
        let p = Processor::read(|leaf, _| if leaf & 0xffff == 0 { [u32::MAX; 4] } else { [0xffff_ffe3; 4] });
        assert!(p.caches.iter().all(|cache| cache.level <= 4 && cache.bits <= 12));
    }
}
