//! A backing that fails at every operation of a scenario, once or for a while, and a cache that is full.
#![allow(unsafe_code, reason = "regions of memory")]

use corey_libos_cache::{
    BLOCK, Backing, Cache, Client, Counts, Error, Fault, FileId, Memory, Nothing, Shape,
};
use corey_test_host_cache::{Host, Region, cache, client, counts, region};
use std::sync::atomic::{AtomicI64, Ordering};

/// Files of the store, and blocks of each.
const FILES: u64 = 3;
const ROOM: u64 = 16;
const SHAPE: Shape = Shape { clients: 2, files: 4, blocks: 16 };
const B: u64 = BLOCK as u64;

/// So often that it fails until it is healed.
const EVER: i64 = 1 << 40;

/// A store that fails from one operation on, as often as said.
struct Failing {
    memory: Memory,
    fault: Fault,
    /// Operations until it fails; below 0, how often it failed.
    until: AtomicI64,
    times: i64,
}

impl Failing {
    fn may_fail(&self) -> Result<(), Fault> {
        let until = self.until.fetch_sub(1, Ordering::Relaxed);
        if until <= 0 && until > -self.times { Err(self.fault) } else { Ok(()) }
    }
    fn failed(&self) -> bool {
        self.until.load(Ordering::Relaxed) < 0
    }
    /// It fails no more.
    fn heal(&self) {
        self.until.store(i64::MIN / 2, Ordering::Relaxed);
    }
}

impl Backing for Failing {
    fn read(&self, key: u64, block: u64, into: &mut [u8; BLOCK]) -> Result<(), Fault> {
        // What it read of it does not count.
        into.fill(0xbb);
        self.may_fail()?;
        self.memory.read(key, block, into)
    }
    fn write(&self, key: u64, block: u64, from: &[u8; BLOCK]) -> Result<(), Fault> {
        self.may_fail()?;
        self.memory.write(key, block, from)
    }
    fn truncate(&self, key: u64, blocks: u64) -> Result<(), Fault> {
        self.may_fail()?;
        self.memory.truncate(key, blocks)
    }
    fn barrier(&self) -> Result<(), Fault> {
        self.may_fail()?;
        self.memory.barrier()
    }
}

/// A file, and what must be in it.
struct Known {
    id: FileId,
    content: Vec<u8>,
}

struct World<'a> {
    clients: [Client<'a, Host, Failing>; 2],
    store: &'a Failing,
    files: Vec<Known>,
    turn: usize,
    /// Faults that an operation named.
    named: u32,
    /// Those that none did: it went another way.
    silent: u32,
}

fn bytes(seed: u8, count: usize) -> Vec<u8> {
    (0..count).map(|at| seed.wrapping_add(at as u8).wrapping_add((at >> 8) as u8).wrapping_mul(31)).collect()
}

impl<'a> World<'a> {
    /// The clients in turn.
    fn client(&mut self) -> &mut Client<'a, Host, Failing> {
        self.turn ^= 1;
        &mut self.clients[self.turn]
    }

    /// Does something that the backing may not let happen. Then nothing happened, and it happens when tried once more.
    fn attempt(&mut self, what: &str, mut work: impl FnMut(&mut Self) -> Result<(), Error>) {
        let before = self.store.failed();
        let result = work(self);
        let new = self.store.failed() && !before;
        if let Err(error) = result {
            assert_eq!(error, Error::Backing(self.store.fault), "{what}");
            assert!(self.store.failed(), "{what}: failed, and the backing did not");
            self.named += 1;
            self.store.heal();
            self.look(what);
            assert_eq!(work(self), Ok(()), "{what}: once more");
        } else if new {
            self.silent += 1;
        }
        if new {
            self.store.heal();
            self.look(what);
        }
    }

    /// All that is known is there, and each block is in one place.
    fn look(&mut self, what: &str) {
        counts(&self.clients[0]);
        for number in 0..self.files.len() {
            let Known { id, content } = &self.files[number];
            let (id, content) = (*id, content.clone());
            assert_eq!(self.read(id, content.len()), Ok(content), "{what}");
        }
    }

    fn read(&mut self, id: FileId, size: usize) -> Result<Vec<u8>, Error> {
        let client = self.client();
        let held = client.hold(id).unwrap();
        let mut into = vec![0xee; size + 9];
        let result = client.read(&held, 0, &mut into);
        client.release(held).unwrap();
        let count = result?;
        assert!(into[count..].iter().all(|byte| *byte == 0xee), "behind the end");
        into.truncate(count);
        Ok(into)
    }

    fn create(&mut self, key: u64) -> usize {
        let client = self.client();
        let held = client.create(key, 0, [0; 4]).unwrap();
        let id = held.id();
        client.release(held).unwrap();
        self.files.push(Known { id, content: Vec::new() });
        self.files.len() - 1
    }

    /// Writes, and what was written of it is known.
    fn write(&mut self, file: usize, offset: u64, from: &[u8]) {
        let mut done = 0;
        let what = format!("{} bytes of {file} from {offset} on", from.len());
        self.attempt(&what, |world| {
            while done < from.len() {
                let id = world.files[file].id;
                let client = world.client();
                let held = client.hold(id).unwrap();
                let result = client.write(&held, offset + done as u64, &from[done..]);
                client.release(held).unwrap();
                let count = result?;
                assert!(count > 0);
                // What was written was whole blocks, or all.
                let (at, end) = (offset as usize + done, offset as usize + done + count);
                assert!(done + count == from.len() || end % BLOCK == 0, "{end}");
                let content = &mut world.files[file].content;
                content.resize(content.len().max(end), 0);
                content[at..end].copy_from_slice(&from[done..done + count]);
                done += count;
            }
            Ok(())
        });
    }

    fn append(&mut self, file: usize, from: &[u8]) {
        let mut done = 0;
        self.attempt(&format!("append {} bytes to {file}", from.len()), |world| {
            while done < from.len() {
                let id = world.files[file].id;
                let client = world.client();
                let held = client.hold(id).unwrap();
                let result = client.append(&held, &from[done..]);
                client.release(held).unwrap();
                let (at, count) = result?;
                let content = &mut world.files[file].content;
                assert_eq!(at, content.len() as u64);
                content.extend(&from[done..done + count]);
                done += count;
            }
            Ok(())
        });
    }

    fn look_at(&mut self, file: usize) {
        let Known { id, content } = &self.files[file];
        let (id, content) = (*id, content.clone());
        self.attempt(&format!("read {file}"), |world| {
            assert_eq!(world.read(id, content.len())?, content);
            Ok(())
        });
    }

    fn truncate(&mut self, file: usize, size: u64) {
        self.attempt(&format!("truncate {file} to {size}"), |world| {
            let id = world.files[file].id;
            let client = world.client();
            let held = client.hold(id).unwrap();
            let result = client.truncate(&held, size);
            client.release(held).unwrap();
            result?;
            world.files[file].content.resize(size as usize, 0);
            Ok(())
        });
    }

    /// Afterwards the store has what the cache has.
    fn sync(&mut self, file: usize, key: u64) {
        self.attempt(&format!("sync {file}"), |world| {
            let id = world.files[file].id;
            let client = world.client();
            let held = client.hold(id).unwrap();
            let result = client.sync(&held);
            client.release(held).unwrap();
            result
        });
        let content = &self.files[file].content;
        for (block, wanted) in (0..).zip(content.chunks(BLOCK)) {
            let mut into = [0; BLOCK];
            self.store.memory.read(key, block, &mut into).unwrap();
            assert!(into[..wanted.len()] == *wanted, "block {block} of {file} in the store");
            assert!(into[wanted.len()..].iter().all(|byte| *byte == 0), "behind the end, in the store");
        }
    }

    fn evict(&mut self, wanted: u32) {
        self.attempt(&format!("evict {wanted}"), |world| {
            let (freed, fault) = world.client().evict(wanted);
            assert!(freed <= wanted);
            fault.map_or(Ok(()), |fault| Err(Error::Backing(fault)))
        });
    }

    /// Removes a file, held by one client meanwhile or by nobody. What the backing does not forget stays until it is swept.
    fn remove(&mut self, file: usize, holders: Holders) {
        let Known { id, content } = self.files.remove(file);
        let before = self.store.failed();
        let files = counts(&self.clients[0]).files;
        let result = if holders == Holders::One {
            let held = self.clients[0].hold(id).unwrap();
            assert_eq!(self.clients[1].remove(id), Ok(()));
            assert!(held.is_removed());
            self.attempt("read what is removed", |world| {
                let mut into = vec![0; content.len()];
                let count = world.clients[0].read(&held, 0, &mut into)?;
                assert_eq!((count, &into), (content.len(), &content));
                Ok(())
            });
            self.clients[0].release(held)
        } else {
            self.client().remove(id)
        };
        if let Err(error) = result {
            assert_eq!(error, Error::Backing(self.store.fault));
            assert!(self.store.failed() && !before);
            self.named += 1;
            assert_eq!(counts(&self.clients[0]).files, files, "it stays");
            let fails = self.store.times > 1;
            assert_eq!(self.client().sweep(), u32::from(fails));
            self.store.heal();
            assert_eq!(self.client().sweep(), 0);
        }
        assert_eq!(self.client().remove(id), Err(Error::NotFound));
        assert_eq!(self.client().hold(id).map(|held| held.id()), Err(Error::NotFound));
        assert_eq!(counts(&self.clients[0]).files, files - 1);
        (0..self.files.len()).for_each(|file| self.look_at(file));
    }

    /// What is done.
    fn scenario(&mut self) {
        let (a, b) = (self.create(1), self.create(2));
        // Two of them need a node.
        self.write(a, 0, &bytes(1, 10 * BLOCK));
        self.write(a, 2 * B - 100, &bytes(2, 300));
        self.sync(a, 1);
        // Other blocks go.
        self.write(b, 0, &bytes(3, 6 * BLOCK));
        self.write(b, 2 * B + 7, &bytes(4, 100));
        self.write(b, 3 * B - 7, &bytes(5, 5000));
        self.look_at(a);
        self.write(a, 9 * B + 7, &bytes(6, 100));
        self.look_at(b);
        self.truncate(a, 5 * B + 123);
        self.append(a, &bytes(7, 6000));
        self.evict(5);
        self.truncate(b, 3 * B + 1);
        self.evict(SHAPE.blocks);
        self.write(b, B + 1, &bytes(8, 17));
        self.append(b, &bytes(9, 9000));
        self.truncate(a, 8 * B);
        let c = self.create(3);
        // A hole, and a block behind a node.
        self.write(c, 9 * B + 5, &bytes(10, 5));
        self.look_at(c);
        self.sync(b, 2);
        self.look_at(a);
        self.sync(c, 3);
        self.truncate(c, 0);
        self.remove(b, Holders::One);
        // The same key, and nothing of what it had.
        let b = self.create(2);
        self.truncate(b, 3 * B);
        self.look_at(b);
        self.write(b, 2 * B + 3, &bytes(11, 3));
        self.remove(0, Holders::Nobody);
        while !self.files.is_empty() {
            self.remove(0, Holders::Nobody);
        }
        assert_eq!(self.client().sweep(), 0);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Holders {
    Nobody,
    One,
}

/// Runs the scenario with a store that fails `times` times from operation `until` on. Returns how many faults were named,
/// and how many were not, and whether it came to that operation.
fn run(fault: Fault, until: i64, times: i64) -> (u32, u32, bool) {
    let room = Region::new((FILES * ROOM) as usize * BLOCK);
    // SAFETY: this store's.
    let memory = unsafe { Memory::new(room.at().cast(), FILES, ROOM) };
    let store = Failing { memory, fault, until: AtomicI64::new(until), times };
    let region = region(SHAPE);
    let cache: Cache<'_> = cache(&region, SHAPE);
    let clients = [client(cache, 0, &store), client(cache, 1, &store)];
    let mut world = World { clients, store: &store, files: Vec::new(), turn: 0, named: 0, silent: 0 };
    world.scenario();
    let Counts { files, data, nodes, fresh, free, .. } = counts(&world.clients[0]);
    assert_eq!((files, data, nodes, fresh + free), (0, 0, 0, SHAPE.blocks), "all is free");
    for key in 1..=FILES {
        for block in 0..ROOM {
            let mut into = [1; BLOCK];
            store.memory.read(key, block, &mut into).unwrap();
            assert_eq!(into, [0; BLOCK], "the store forgot it");
        }
    }
    (world.named, world.silent, world.named + world.silent > 0)
}

fn fails_everywhere(times: i64) {
    let (mut named, mut silent, mut until) = (0, 0, 0);
    loop {
        let fault = [Fault::Failed, Fault::NoSpace, Fault::ReadOnly][until as usize % 3];
        let (more, other, came) = run(fault, until, times);
        if !came {
            break;
        }
        (named, silent, until) = (named + more, silent + other, until + 1);
    }
    println!("{until} operations: {named} faults were named, {silent} gone round");
    assert!(until > 50 && named > silent);
}

#[test]
fn a_fault_at_any_operation_loses_nothing() {
    fails_everywhere(1);
}

#[test]
fn a_backing_that_fails_for_a_while_loses_nothing() {
    fails_everywhere(3);
    fails_everywhere(EVER);
}

/// Reads all of a file.
fn all_of(client: &mut Client<'_, Host, Nothing>, id: FileId) -> Vec<u8> {
    let held = client.hold(id).unwrap();
    let mut into = vec![0; held.size() as usize];
    assert_eq!(client.read(&held, 0, &mut into), Ok(into.len()));
    client.release(held).unwrap();
    into
}

#[test]
fn a_full_cache_refuses_and_loses_nothing() {
    let shape = Shape { clients: 2, files: 2, blocks: 12 };
    let region = region(shape);
    let cache = cache(&region, shape);
    let mut clients = [client(cache, 0, &Nothing), client(cache, 1, &Nothing)];
    let [first, other] = &mut clients;
    let one = first.create(0, 0, [0; 4]).unwrap();
    let two = other.create(0, 0, [0; 4]).unwrap();
    assert_eq!(first.create(0, 0, [0; 4]).map(|held| held.id()), Err(Error::TooManyFiles));
    let (mut content, small) = (bytes(1, 8 * BLOCK), bytes(2, 4 * BLOCK));
    assert_eq!(first.write(&one, 0, &content), Ok(content.len()));
    assert_eq!(other.write(&two, 0, &small), Ok(small.len()));
    let before = counts(first);
    assert_eq!((before.fresh, before.free, before.data), (0, 0, 12));
    for client in &mut clients {
        let held = client.hold(one.id()).unwrap();
        assert_eq!(client.write(&held, 0, &bytes(3, BLOCK)), Err(Error::Full), "a block");
        assert_eq!(client.write(&held, 5, &[1]), Err(Error::Full), "a part");
        assert_eq!(client.write(&held, 8 * B, &bytes(3, BLOCK)), Err(Error::Full), "a block behind a node");
        assert_eq!(client.append(&held, &[1]), Err(Error::Full), "an append");
        assert_eq!(client.append(&held, &[1]), Err(Error::Full), "an append does not lock the next out");
        assert_eq!(client.write_in_place(&held, 4 * B - 1, &[1, 1]), Err(Error::Full), "bytes of two blocks");
        assert_eq!(client.write_in_place(&held, 9 * B, &[1]), Err(Error::Full), "a block that is not there");
        assert_eq!(client.write(&held, 0, &[]), Ok(0));
        assert_eq!(client.evict(3), (0, None));
        assert_eq!(client.sync(&held), Ok(()));
        client.release(held).unwrap();
        assert_eq!((all_of(client, one.id()), all_of(client, two.id())), (content.clone(), small.clone()));
        assert_eq!(counts(client), before);
    }
    let [first, other] = &mut clients;
    // What needs no block goes on.
    first.write_in_place(&one, 3 * B + 5, &[9; 7]).unwrap();
    content[3 * BLOCK + 5..][..7].fill(9);
    first.truncate(&one, 8 * B - 100).unwrap();
    content.truncate(8 * BLOCK - 100);
    assert_eq!(all_of(first, one.id()), content);
    first.truncate(&one, 7 * B + 9).unwrap();
    first.truncate(&one, 7 * B + 19).unwrap();
    content[7 * BLOCK + 9..].fill(0);
    content.truncate(7 * BLOCK + 19);
    assert_eq!(all_of(other, one.id()), content);
    // One block is free: a block behind a node needs two.
    first.truncate(&one, 7 * B).unwrap();
    content.truncate(7 * BLOCK);
    assert_eq!(first.write(&one, 9 * B, &bytes(3, BLOCK)), Err(Error::Full));
    assert_eq!(first.write(&one, 9 * B, &[1]), Err(Error::Full));
    assert_eq!((one.size(), counts(first).free), (7 * B, 1), "{:?}", counts(first));
    // The first of two blocks is written.
    let more = bytes(4, 2 * BLOCK);
    assert_eq!(other.write(&two, 4 * B, &more), Ok(BLOCK));
    assert_eq!((two.size(), all_of(first, two.id())), (5 * B, [&small[..], &more[..BLOCK]].concat()));
    assert_eq!(first.remove(one.id()), Ok(()));
    let after = counts(first);
    assert_eq!((after.files, after.data, after.free), (2, 12, 0), "it is still held");
    first.release(one).unwrap();
    assert_eq!(other.write(&two, 5 * B, &more[BLOCK..]), Ok(BLOCK), "there is room now");
    other.release(two).unwrap();
}

#[test]
fn a_file_that_is_removed_while_it_is_read_stays_until_then() {
    let shape = Shape { clients: 3, files: 1, blocks: 12 };
    let region = region(shape);
    let cache = cache(&region, shape);
    let mut clients = [0, 1, 2].map(|number| client(cache, number, &Nothing));
    let start = counts(&clients[0]);
    let [first, other, third] = &mut clients;
    let one = first.create(0, 0, [0; 4]).unwrap();
    let id = one.id();
    let content = bytes(1, 10 * BLOCK);
    assert_eq!(first.write(&one, 0, &content), Ok(content.len()));
    let two = other.hold(id).unwrap();
    let again = other.hold(id).unwrap();
    assert_eq!(third.remove(id), Ok(()));
    assert!(one.is_removed() && two.is_removed());
    assert_eq!(third.remove(id), Err(Error::NotFound));
    assert_eq!(first.hold(id).map(|held| held.id()), Err(Error::NotFound), "not even by a holder");
    assert_eq!(third.create(0, 0, [0; 4]).map(|held| held.id()), Err(Error::TooManyFiles));
    first.release(one).unwrap();
    for held in [two, again] {
        let mut into = vec![0; content.len()];
        assert_eq!(other.read(&held, 0, &mut into), Ok(content.len()));
        assert_eq!(into, content);
        assert_eq!(other.write(&held, 3, &content[3..9]), Ok(6));
        assert_eq!(third.sweep(), 0);
        other.release(held).unwrap();
    }
    assert_eq!(third.hold(id).map(|held| held.id()), Err(Error::NotFound));
    let end = counts(first);
    assert_eq!((end.files, end.data, end.nodes, end.fresh + end.free), (0, 0, 0, start.fresh));
    let next = third.create(0, 0, [0; 4]).unwrap();
    assert_ne!(next.id(), id);
    let mut into = [1; 8];
    assert_eq!((next.size(), third.read(&next, 0, &mut into)), (0, Ok(0)));
    third.release(next).unwrap();
}

#[test]
fn a_file_that_is_larger_than_the_cache_is_written_and_read() {
    let (blocks, room) = (40, 100);
    let store = Region::new(room as usize * BLOCK);
    // SAFETY: this store's.
    let memory = unsafe { Memory::new(store.at().cast(), 1, room) };
    let shape = Shape { clients: 1, files: 1, blocks };
    let region = region(shape);
    let mut client = client(cache(&region, shape), 0, &memory);
    let held = client.create(1, 0, [0; 4]).unwrap();
    let content = bytes(1, room as usize * BLOCK);
    for (number, block) in (0..).zip(content.chunks(BLOCK)) {
        assert_eq!(client.write(&held, number * B, block), Ok(BLOCK), "block {number}");
    }
    for (number, block) in (0..).zip(content.chunks(BLOCK)) {
        assert_eq!(client.write(&held, number * B + 9, &block[9..99]), Ok(90), "part of block {number}");
    }
    let mut into = vec![0; content.len()];
    assert_eq!(client.read(&held, 0, &mut into), Ok(content.len()));
    assert!(into == content);
    // One of few blocks is there, and cut off in the middle.
    client.truncate(&held, 70 * B + 5).unwrap();
    assert_eq!(client.read(&held, 0, &mut into), Ok(70 * BLOCK + 5));
    assert!(into[..70 * BLOCK + 5] == content[..70 * BLOCK + 5]);
    let id = held.id();
    client.release(held).unwrap();
    client.remove(id).unwrap();
    let end = counts(&client);
    assert_eq!((end.data, end.nodes), (0, 0));
}
