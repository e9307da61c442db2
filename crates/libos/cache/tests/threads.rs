//! Real threads that do everything at once, in a cache that is too small, with blocks that say what they are.
//!
//! A word of a file is 0 or says which file's and which block's it is, and which write's. What is written at once is the same
//! word all along, so a torn block, one of another file or of another place, and one that was cut off and came back are seen.
#![allow(unsafe_code, reason = "words are bytes")]

use corey_libos_cache::{BLOCK, Backing, Cache, Client, Error, Fault, FileId, Held, Shape};
use corey_test_host_cache::{Host, Random, cache, client, counts, region};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const THREADS: usize = 6;
/// What each does.
const OPERATIONS: u64 = 300_000;
const B: u64 = BLOCK as u64;
/// Blocks of a file: some are behind a node.
const MOST: u64 = 12;
/// Words of a part, and parts of a block.
const PART: usize = 64;
const PARTS: usize = BLOCK / 8 / PART;

/// A store with as many keys as anybody wants.
#[derive(Default)]
struct Store(Mutex<Blocks>);

/// By key and number.
type Blocks = HashMap<(u64, u64), Box<[u8; BLOCK]>>;

impl Backing for Store {
    fn read(&self, key: u64, block: u64, into: &mut [u8; BLOCK]) -> Result<(), Fault> {
        match self.0.lock().unwrap().get(&(key, block)) {
            Some(from) => into.copy_from_slice(&**from),
            None => into.fill(0),
        }
        Ok(())
    }
    fn write(&self, key: u64, block: u64, from: &[u8; BLOCK]) -> Result<(), Fault> {
        self.0.lock().unwrap().insert((key, block), Box::new(*from));
        Ok(())
    }
    fn truncate(&self, key: u64, blocks: u64) -> Result<(), Fault> {
        self.0.lock().unwrap().retain(|(other, block), _| *other != key || *block < blocks);
        Ok(())
    }
    fn barrier(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// What happens in a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Whole blocks are written; it is cut, removed and made again.
    Whole,
    /// As above, and parts.
    Parts,
    /// Each thread has a part of each block for itself.
    Mine,
    /// Records are appended.
    Log,
}
use Kind::{Log, Mine, Parts, Whole};

/// The places of files: what happens there, and whether there is a backing.
const PLACES: [(Kind, bool); 8] = [
    (Whole, false),
    (Whole, true),
    (Parts, false),
    (Parts, true),
    (Mine, false),
    (Mine, true),
    (Log, false),
    (Log, true),
];

struct Shared {
    store: Store,
    /// Files by place.
    files: [AtomicU64; PLACES.len()],
    keys: AtomicU64,
}

/// The upper half of each word of a block.
fn tag(file: FileId, block: u64) -> u64 {
    let mixed = (file.0 ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ mixed >> 29) << 32
}

fn bytes(words: &[u64]) -> &[u8] {
    // SAFETY: words are bytes.
    unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

fn bytes_mut(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: words are bytes.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// Checks words that were written at once: all the same and of this block, but for zeroes at the end, which were cut off.
fn check(file: FileId, block: u64, words: &[u64]) -> u32 {
    let Some(&first) = words.first().filter(|first| **first != 0) else {
        let other = words.iter().find(|word| **word != 0);
        assert_eq!(other, None, "zero, and then something: {file:?} {block}");
        return 0;
    };
    let same = words.iter().take_while(|word| **word == first).count();
    assert_eq!(first >> 32 << 32, tag(file, block), "of another block or file: {file:?} {block} {first:#x}");
    let torn = words[same..].iter().find(|word| **word != 0);
    assert_eq!(torn, None, "torn after {same} words: {file:?} {block} {first:#x}");
    first as u32
}

struct Thread<'a, 's> {
    number: usize,
    client: Client<'a, Host, Store>,
    shared: &'s Shared,
    random: Random,
    /// The last version of each of this thread's parts, by place and block.
    mine: HashMap<(usize, u64), u32>,
    /// Records appended, by place.
    appended: [u64; PLACES.len()],
    version: u32,
    full: u64,
}

impl<'a, 's: 'a> Thread<'a, 's> {
    fn new(cache: Cache<'a>, number: usize, shared: &'s Shared) -> Self {
        Self {
            number,
            client: client(cache, number as u32, &shared.store),
            shared,
            random: Random(0x1234_5678_9abc_def1 ^ (number as u64) << 40),
            mine: HashMap::new(),
            appended: [0; PLACES.len()],
            version: number as u32 + 1,
            full: 0,
        }
    }

    fn version(&mut self) -> u64 {
        self.version += THREADS as u32;
        self.version.into()
    }

    /// Whether it was done; the cache may have been full.
    fn done<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result
            .map_err(|error| {
                assert_eq!(error, Error::Full);
                self.full += 1;
            })
            .ok()
    }

    fn step(&mut self) {
        let place = self.random.below(PLACES.len() as u64) as usize;
        let (kind, backed) = PLACES[place];
        let file = FileId(self.shared.files[place].load(Ordering::Acquire));
        if matches!(kind, Whole | Parts) && self.random.below(50) == 0 {
            return self.make_again(place, file, backed);
        }
        let held = match self.client.hold(file) {
            Ok(held) => held,
            Err(error) => {
                assert!(error == Error::NotFound && matches!(kind, Whole | Parts), "{error} {kind:?}");
                return;
            }
        };
        // Some hold a file for longer.
        for _ in 0..1 + self.random.below(4) {
            self.use_it(place, kind, &held);
        }
        self.client.release(held).unwrap();
        if self.random.below(100) == 0 {
            let (_, fault) = self.client.evict(5);
            assert_eq!(fault, None);
        }
    }

    fn use_it(&mut self, place: usize, kind: Kind, held: &Held<'a>) {
        let block = self.random.below(MOST);
        let what = self.random.below(100);
        match kind {
            Whole | Parts if what < 5 => {
                // Words are cut off, never parts of one.
                let size = self.random.below(MOST * B) / 8 * 8;
                let result = self.client.truncate(held, size);
                self.done(result);
            }
            Whole | Parts if what < 10 => {
                let result = self.client.sync(held);
                self.done(result);
            }
            Whole if what < 50 => {
                let count = 1 + self.random.below(2).min(MOST - 1 - block);
                let version = self.version();
                let words: Vec<u64> = (block..block + count)
                    .flat_map(|block| [tag(held.id(), block) | version; BLOCK / 8])
                    .collect();
                let result = self.client.write(held, block * B, bytes(&words));
                self.done(result);
            }
            Parts if what < 60 => {
                let words = [tag(held.id(), block) | self.version(); BLOCK / 8];
                let part = self.random.below(PARTS as u64);
                let (at, words) = if what < 20 { (0, &words[..]) } else { (part, &words[..PART]) };
                let result = self.client.write(held, block * B + at * PART as u64 * 8, bytes(words));
                self.done(result);
            }
            Mine if what < 60 => {
                let version = self.version();
                let words = [tag(held.id(), block) | version; PART];
                let at = block * B + (self.number * PART) as u64 * 8;
                let result = self.client.write(held, at, bytes(&words));
                if self.done(result).is_some() {
                    self.mine.insert((place, block), version as u32);
                }
            }
            Log if what < 40 && held.size() < MOST * B => {
                let record = [(self.number as u64) << 32 | (self.appended[place] + 1); 7];
                let result = self.client.append(held, bytes(&record));
                if let Some((_, count)) = self.done(result) {
                    assert_eq!(count, size_of_val(&record), "a record is refused or whole");
                    self.appended[place] += 1;
                }
            }
            Log => {
                let mut words = [0_u64; 7 * 20];
                let at = self.random.below(held.size() / 56 + 1) * 56;
                let result = self.client.read(held, at, bytes_mut(&mut words));
                let Some(count) = self.done(result) else { return };
                assert_eq!(count % 56, 0, "a part of a record");
                for record in words[..count / 8].chunks(7) {
                    assert!(record[0] != 0 && record.iter().all(|word| *word == record[0]), "{record:x?}");
                }
            }
            Whole | Parts | Mine => self.look(place, kind, held, block),
        }
    }

    /// Reads two blocks from `block` on, and checks them.
    fn look(&mut self, place: usize, kind: Kind, held: &Held<'a>, block: u64) {
        let mut words = [0_u64; 2 * BLOCK / 8];
        let result = self.client.read(held, block * B, bytes_mut(&mut words));
        if self.done(result).is_none() {
            return;
        }
        for (block, words) in (block..).zip(words.chunks(BLOCK / 8)) {
            if kind == Whole {
                check(held.id(), block, words);
                continue;
            }
            for (part, words) in words.chunks(PART).enumerate() {
                let version = check(held.id(), block, words);
                if kind == Mine && part == self.number {
                    assert_eq!(Some(&version).filter(|v| **v != 0), self.mine.get(&(place, block)), "lost");
                }
            }
        }
    }

    /// Removes a file, and makes another one in its place.
    fn make_again(&mut self, place: usize, file: FileId, backed: bool) {
        match self.client.remove(file) {
            Ok(()) => self.shared.files[place].store(self.make(backed).0, Ordering::Release),
            Err(error) => assert_eq!(error, Error::NotFound),
        }
    }

    fn make(&mut self, backed: bool) -> FileId {
        let key = if backed { self.shared.keys.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let held = self.client.create(key, 0, [0; 4]).unwrap();
        let id = held.id();
        self.client.release(held).unwrap();
        id
    }
}

#[test]
fn threads_that_do_everything_at_once_see_whole_blocks_of_their_files() {
    // Those that were removed may be held by each of the others.
    let files = (PLACES.len() + THREADS) as u32;
    // Half of what all files may have; those without a backing fit.
    let shape = Shape { clients: THREADS as u32, files, blocks: 100 };
    let region = region(shape);
    let cache = cache(&region, shape);
    let shared = Shared { store: Store::default(), files: Default::default(), keys: AtomicU64::new(1) };
    let mut first = Thread::new(cache, 0, &shared);
    for (place, (_, backed)) in PLACES.into_iter().enumerate() {
        shared.files[place].store(first.make(backed).0, Ordering::Release);
    }
    drop(first);
    let start = std::time::Instant::now();
    let ends: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let shared = &shared;
                scope.spawn(move || {
                    let mut thread = Thread::new(cache, number, shared);
                    (0..OPERATIONS).for_each(|_| thread.step());
                    (thread.mine, thread.appended, thread.full, thread.client.counters())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let full: u64 = ends.iter().map(|(_, _, full, _)| full).sum();
    let sums = ends
        .iter()
        .fold([0; 4], |sum: [u64; 4], (.., counters)| core::array::from_fn(|at| sum[at] + counters[at]));
    let [again, evicted, loaded, written] = sums;
    println!(
        "{} operations in {:?}: {full} times full, {again} copied again, {evicted} evicted, {loaded} read, {written} written",
        THREADS as u64 * OPERATIONS,
        start.elapsed()
    );
    // Everything is there, as each of them left it.
    let mut all = Thread::new(cache, 0, &shared);
    println!("{:?}", counts(&all.client));
    for (place, (kind, _)) in PLACES.into_iter().enumerate() {
        let file = FileId(shared.files[place].load(Ordering::Acquire));
        let held = all.client.hold(file).unwrap();
        for block in 0..MOST {
            if matches!(kind, Log) {
                break;
            }
            for (number, (mine, ..)) in ends.iter().enumerate() {
                (all.number, all.mine) = (number, mine.clone());
                all.look(place, kind, &held, block);
            }
        }
        if kind == Log {
            let mut words = vec![0_u64; held.size() as usize / 8];
            assert_eq!(all.client.read(&held, 0, bytes_mut(&mut words)), Ok(words.len() * 8));
            let mut next = [1; THREADS];
            for record in words.chunks(7) {
                let number = (record[0] >> 32) as usize;
                assert_eq!(record, [(number as u64) << 32 | next[number]; 7], "of {number}");
                next[number] += 1;
            }
            for (number, (_, appended, ..)) in ends.iter().enumerate() {
                assert_eq!(next[number] - 1, appended[place], "records of {number}");
            }
        }
        all.client.release(held).unwrap();
        all.client.remove(file).unwrap();
    }
    assert_eq!(all.full, 0, "nobody else has anything");
    let end = counts(&all.client);
    assert_eq!((end.files, end.data, end.nodes), (0, 0, 0), "{end:?}");
    assert_eq!(end.fresh + end.free, shape.blocks);
    assert!(shared.store.0.lock().unwrap().is_empty(), "the store forgot all files");
}
