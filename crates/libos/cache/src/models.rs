//! Models of the cache under loom and shuttle.

use crate::backing::{Backing, Fault, Nothing};
use crate::cache::{Cache, Shape};
use crate::client::{Client, Env};
use crate::{BLOCK, Error, FileId};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use corey_lib_sync::atomic::{AtomicU32, fence};
use corey_lib_sync::explore::{self, Bounds, Guarded, Yield};
use corey_lib_sync::{Fence, Relax};
use std::sync::{Arc, Mutex};

/// Words of a block of which the lower half is copied; the others would add orders and nothing else. The first is where a
/// free block that carries others is written.
const WORDS: [usize; 2] = [0, 511];

#[derive(Default)]
struct Modelled;

impl Relax for Modelled {
    fn relax(&mut self) {
        Yield.relax();
    }
}

// SAFETY: a model's readers and holders execute the fence themselves; the caller's is here.
unsafe impl Fence for Modelled {
    fn force(&mut self) {
        fence(Ordering::SeqCst);
    }
}

/// Where words of `count` bytes lie that are copied, of which the first is at `block` in one.
fn places(block: usize, count: usize) -> impl Iterator<Item = usize> {
    let first = block % BLOCK / 8;
    WORDS
        .into_iter()
        .filter(move |word| (first..first + count / 8).contains(word))
        .map(move |word| (word - first) * 8)
}

/// Half a word of a block: what a free block's words are.
fn shared<'a>(at: *const u8) -> &'a AtomicU32 {
    // SAFETY: the region stays for the model's execution.
    unsafe { &*at.cast::<AtomicU32>() }
}

impl Env for Modelled {
    unsafe fn copy_out(&mut self, block: *const u8, to: *mut u8, count: usize) {
        for at in places(block.addr(), count) {
            let word = shared(block.wrapping_add(at)).load(Ordering::Relaxed);
            // SAFETY: the caller's.
            unsafe { to.wrapping_add(at).cast::<u32>().write(word) };
        }
    }
    unsafe fn copy_in(&mut self, from: *const u8, block: *mut u8, count: usize) {
        for at in places(block.addr(), count) {
            // SAFETY: the caller's.
            let word = unsafe { from.wrapping_add(at).cast::<u32>().read() };
            shared(block.wrapping_add(at)).store(word, Ordering::Relaxed);
        }
    }
    unsafe fn copy_across(&mut self, from: *const u8, to: *mut u8, count: usize) {
        for at in places(to.addr(), count) {
            let word = shared(from.wrapping_add(at)).load(Ordering::Relaxed);
            shared(to.wrapping_add(at)).store(word, Ordering::Relaxed);
        }
    }
    unsafe fn zero(&mut self, block: *mut u8, count: usize) {
        places(block.addr(), count).for_each(|at| shared(block.wrapping_add(at)).store(0, Ordering::Relaxed));
    }
    fn now(&mut self) -> u64 {
        0
    }
}

#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Page([u64; 512]);

fn cache(clients: usize, files: u32, blocks: u32) -> Cache<'static> {
    let shape = Shape { clients: clients as u32, files, blocks };
    let region = explore::keep(vec![Page([0; 512]); shape.bytes().unwrap() / BLOCK]);
    // SAFETY: zeroed, and it stays for the execution.
    let cache = unsafe { Cache::make(NonNull::from(region).cast(), shape) }.unwrap();
    cache.touch();
    for block in 1..=blocks + clients as u32 {
        WORDS
            .iter()
            .for_each(|word| _ = shared(cache.bytes(block).wrapping_add(word * 8)).load(Ordering::Relaxed));
    }
    cache
}

fn client<B: Backing>(
    cache: Cache<'static>,
    number: usize,
    backing: &'static B,
) -> Client<'static, Modelled, B> {
    Client::new(cache, number as u32, Modelled, backing).unwrap()
}

/// What a word is that was not read.
const UNREAD: u64 = u32::MAX as u64;

/// A block of which every word is `value`.
fn block(value: u64) -> [u64; 512] {
    [value; 512]
}

fn bytes(block: &[u64]) -> &[u8] {
    // SAFETY: words are bytes.
    unsafe { core::slice::from_raw_parts(block.as_ptr().cast(), size_of_val(block)) }
}

type Modelling<B> = Client<'static, Modelled, B>;

fn write<B: Backing>(client: &mut Modelling<B>, file: FileId, block_number: u64, value: u64) {
    let held = client.hold(file).unwrap();
    let done = client.write(&held, block_number * BLOCK as u64, bytes(&block(value)));
    assert_eq!(done, Ok(BLOCK));
    client.release(held).unwrap();
}

fn read<B: Backing>(client: &mut Modelling<B>, file: FileId, block_number: u64) -> Result<[u64; 2], Error> {
    let held = client.hold(file)?;
    let mut into = block(UNREAD);
    // SAFETY: words are bytes.
    let buffer = unsafe { core::slice::from_raw_parts_mut(into.as_mut_ptr().cast(), BLOCK) };
    let count = client.read(&held, block_number * BLOCK as u64, buffer);
    client.release(held).unwrap();
    count.map(|_| WORDS.map(|word| into[word]))
}

/// A cache with a file whose first block is all ones; what went into it first is a free block.
fn with_file<B: Backing>(
    clients: usize,
    blocks: u32,
    key: u64,
    backing: &'static B,
) -> (Cache<'static>, FileId) {
    let cache = cache(clients, 2, blocks);
    let mut first = client(cache, 0, backing);
    let held = first.create(key, 0, [0; 4]).unwrap();
    let file = held.id();
    first.release(held).unwrap();
    write(&mut first, file, 0, 1);
    (cache, file)
}

/// No block is nowhere or in two places.
fn nothing_is_lost<B: Backing>(cache: Cache<'static>, backing: &'static B) -> crate::Counts {
    let mut seen = vec![false; cache.shape().blocks as usize + 1];
    let counts =
        client(cache, 0, backing).audit(&mut |block| !core::mem::replace(&mut seen[block as usize], true));
    assert_eq!(counts.wrong, 0, "{counts:?}");
    counts
}

/// Few blocks, so that what is replaced is reused at once.
#[test]
fn a_reader_sees_one_write_whole() {
    explore::check_within(
        Bounds { loom: &[(2, Some(3), Some(20_000)), (3, Some(2), Some(8_000))], shuttle: 8 },
        |threads| {
            let (cache, file) = with_file(threads, 2 + threads as u32, 0, &Nothing);
            explore::all(threads, move |number| {
                let mut client = client(cache, number, &Nothing);
                if number % 2 == 0 {
                    write(&mut client, file, 0, 2);
                    write(&mut client, file, 0, 3);
                } else {
                    let [first, second] = read(&mut client, file, 0).unwrap();
                    assert_eq!(first, second, "torn");
                    assert!((1..=3).contains(&first), "{first}");
                }
            });
            nothing_is_lost(cache, &Nothing);
        },
    );
}

/// Each writes one word of the block; both are there afterwards.
#[test]
fn parts_that_are_written_at_once_are_all_there() {
    explore::check_within(Bounds { loom: &[(2, Some(3), Some(20_000))], shuttle: 8 }, |threads| {
        // One in the slot, and one in the hands of each, which may wait for the next.
        let (cache, file) = with_file(threads, 2 * threads as u32, 0, &Nothing);
        explore::all(threads, move |number| {
            let mut client = client(cache, number, &Nothing);
            let held = client.hold(file).unwrap();
            let at = WORDS[number % 2] * 8;
            assert_eq!(client.write(&held, at as u64, bytes(&[10 + number as u64])), Ok(8));
            client.release(held).unwrap();
        });
        let words = read(&mut client(cache, 0, &Nothing), file, 0).unwrap();
        assert!((0..2).all(|parity| words[parity] >= 10 && words[parity] % 2 == parity as u64), "{words:?}");
        nothing_is_lost(cache, &Nothing);
    });
}

/// A block is handed to one at a time, whoever takes it from whom.
#[test]
fn a_free_block_is_had_by_one() {
    explore::check_within(
        Bounds { loom: &[(2, None, Some(10_000)), (3, Some(2), Some(10_000))], shuttle: 8 },
        |threads| {
            let (blocks, each) = (threads as u32 + 1, 2);
            let cache = cache(threads, 1, blocks);
            // The first client is the home of all.
            let home = cache.lane(0).unwrap();
            let (block, _) = cache.allocate(0, home, &mut Yield).unwrap();
            cache.free(0, home, block);
            let owners: Arc<Vec<_>> = Arc::new((0..=blocks).map(|_| Guarded::new(0_u64)).collect());
            explore::all(threads, move |number| {
                let lane = cache.lane(number as u32).unwrap();
                for _ in 0..each {
                    // There is one for each and one more.
                    let (block, generation) = cache.allocate(number as u32, lane, &mut Yield).unwrap();
                    owners[block as usize].with(|uses| {
                        *uses += 1;
                        assert!(generation > 0);
                    });
                    cache.free(number as u32, lane, block);
                }
            });
            nothing_is_lost(cache, &Nothing);
        },
    );
}

/// Who holds a file reads it, though it is removed meanwhile; afterwards it is gone, and everything is free.
#[test]
fn what_is_removed_goes_with_its_last_holder() {
    explore::check_within(
        Bounds { loom: &[(2, Some(3), Some(20_000)), (3, Some(2), Some(20_000))], shuttle: 8 },
        |threads| {
            let (cache, file) = with_file(threads, 3, 0, &Nothing);
            explore::all(threads, move |number| {
                let mut client = client(cache, number, &Nothing);
                if number == 0 {
                    assert_eq!(client.remove(file), Ok(()));
                } else {
                    match read(&mut client, file, 0) {
                        Ok(words) => assert_eq!(words, [1, 1]),
                        Err(error) => assert_eq!(error, Error::NotFound),
                    }
                }
            });
            let counts = nothing_is_lost(cache, &Nothing);
            assert_eq!((counts.files, counts.data), (0, 0), "{counts:?}");
        },
    );
}

/// What was cut off does not come back, whoever writes meanwhile.
#[test]
fn what_is_cut_off_is_zeroes_afterwards() {
    explore::check_within(Bounds { loom: &[(2, Some(3), Some(20_000))], shuttle: 8 }, |threads| {
        let (cache, file) = with_file(threads, 4 + threads as u32, 0, &Nothing);
        explore::all(threads, move |number| {
            let mut client = client(cache, number, &Nothing);
            match number {
                0 => {
                    let held = client.hold(file).unwrap();
                    // Between the two words.
                    let middle = WORDS[1] as u64 * 8;
                    client.truncate(&held, middle).unwrap();
                    client.truncate(&held, BLOCK as u64).unwrap();
                    client.release(held).unwrap();
                }
                1 => {
                    let [first, second] = read(&mut client, file, 0).unwrap();
                    assert!(first == 1, "{first}");
                    assert!([1, 0, UNREAD].contains(&second), "{second}");
                }
                _ => _ = client.hold(file).map(|held| client.release(held)),
            }
        });
        assert_eq!(read(&mut client(cache, 0, &Nothing), file, 0), Ok([1, 0]));
        nothing_is_lost(cache, &Nothing);
    });
}

/// What is written before the place where a file is cut stays, whoever is first.
#[test]
fn what_is_written_while_a_file_is_cut_stays() {
    explore::check_within(Bounds { loom: &[(2, Some(3), Some(20_000))], shuttle: 8 }, |threads| {
        let (cache, file) = with_file(threads, 2 + 2 * threads as u32, 0, &Nothing);
        explore::all(threads, move |number| {
            let mut client = client(cache, number, &Nothing);
            let held = client.hold(file).unwrap();
            if number % 2 == 0 {
                client.truncate(&held, WORDS[1] as u64 * 8).unwrap();
            } else {
                assert_eq!(client.write(&held, 0, bytes(&[5])), Ok(8));
            }
            client.release(held).unwrap();
        });
        // It grows again: what was cut off does not come back.
        let mut client = client(cache, 0, &Nothing);
        let held = client.hold(file).unwrap();
        client.truncate(&held, BLOCK as u64).unwrap();
        client.release(held).unwrap();
        assert_eq!(read(&mut client, file, 0), Ok([5, 0]));
        drop(client);
        nothing_is_lost(cache, &Nothing);
    });
}

/// Two grow one tree at once; each finds what it wrote, and what the other did.
#[test]
fn a_tree_that_two_grow_has_both_blocks() {
    explore::check_within(Bounds { loom: &[(2, Some(3), Some(20_000))], shuttle: 8 }, |threads| {
        let (cache, file) = with_file(threads, 20 * threads as u32, 0, &Nothing);
        explore::all(threads, move |number| {
            let mut client = client(cache, number, &Nothing);
            write(&mut client, file, 8 + 5 * number as u64, 10 + number as u64);
            assert_eq!(read(&mut client, file, 8 + 5 * number as u64), Ok([10 + number as u64; 2]));
        });
        let mut client = client(cache, 0, &Nothing);
        assert_eq!(read(&mut client, file, 8), Ok([10; 2]));
        assert_eq!(read(&mut client, file, 13), Ok([11; 2]));
        drop(client);
        nothing_is_lost(cache, &Nothing);
    });
}

/// A store of one block; not a checker's atomics, so that it adds no orders.
struct Store(Mutex<[u32; 2]>);

impl Backing for Store {
    fn read(&self, _: u64, _: u64, into: &mut [u8; BLOCK]) -> Result<(), Fault> {
        let values = *self.0.lock().unwrap();
        for (word, value) in WORDS.into_iter().zip(values) {
            shared(into.as_ptr().wrapping_add(word * 8)).store(value, Ordering::Relaxed);
        }
        Ok(())
    }
    fn write(&self, _: u64, _: u64, from: &[u8; BLOCK]) -> Result<(), Fault> {
        let values = WORDS.map(|word| shared(from.as_ptr().wrapping_add(word * 8)).load(Ordering::Relaxed));
        *self.0.lock().unwrap() = values;
        Ok(())
    }
    fn truncate(&self, _: u64, _: u64) -> Result<(), Fault> {
        Ok(())
    }
    fn barrier(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// A block that is written, written back, evicted and read again is never an old one.
#[test]
fn what_was_evicted_comes_back_as_it_was_written() {
    explore::check_within(Bounds { loom: &[(2, Some(3), Some(20_000))], shuttle: 8 }, |threads| {
        let store: &'static Store = &explore::keep(vec![Store(Mutex::new([0; 2]))])[0];
        let (cache, file) = with_file(threads, 4 + threads as u32, 1, store);
        client(cache, 0, store).evict(1);
        explore::all(threads, move |number| {
            let mut client = client(cache, number, store);
            match number {
                0 => {
                    write(&mut client, file, 0, 2);
                    write(&mut client, file, 0, 3);
                    client.evict(1);
                    assert_eq!(read(&mut client, file, 0), Ok([3, 3]));
                }
                1 => {
                    let [first, second] = read(&mut client, file, 0).unwrap();
                    assert!(first == second && (1..=3).contains(&first), "{first} {second}");
                    client.evict(1);
                }
                _ => _ = client.evict(1),
            }
        });
        let mut client = client(cache, 0, store);
        client.evict(1);
        assert_eq!(read(&mut client, file, 0), Ok([3, 3]));
        drop(client);
        nothing_is_lost(cache, store);
    });
}

/// What is read of the backing while the block is written, written back and evicted does not take its place.
#[test]
fn what_is_fetched_is_what_was_written_last() {
    explore::check_within(Bounds { loom: &[(2, Some(2), Some(20_000))], shuttle: 4 }, |threads| {
        let store: &'static Store = &explore::keep(vec![Store(Mutex::new([0; 2]))])[0];
        let (cache, file) = with_file(threads, 4 + threads as u32, 1, store);
        client(cache, 0, store).evict(1);
        explore::all(threads, move |number| {
            let mut client = client(cache, number, store);
            if number == 0 {
                write(&mut client, file, 0, 2);
                client.evict(1);
            } else {
                let [first, second] = read(&mut client, file, 0).unwrap();
                assert!(first == second && (1..=2).contains(&first), "{first} {second}");
            }
        });
        assert_eq!(read(&mut client(cache, 0, store), file, 0), Ok([2, 2]));
        nothing_is_lost(cache, store);
    });
}
