//! The cache against a plain model: vectors of bytes.
#![allow(unsafe_code, reason = "regions of memory")]

use corey_libos_cache::{BLOCK, Backing, Client, Error, FileId, LARGEST, Memory, Nothing, Shape};
use corey_test_host_cache::{Host, Random, Region, cache, client, counts, region};
use std::collections::BTreeMap;

/// Operations of a walk.
const OPERATIONS: u64 = 1_000_000;

struct Walk<'a, B> {
    clients: Vec<Client<'a, Host, B>>,
    model: BTreeMap<FileId, Vec<u8>>,
    random: Random,
    /// Largest size of a file.
    most: u64,
    /// Keys of the backing that are free; none for a cache without one.
    keys: Vec<u64>,
    key_of: BTreeMap<FileId, u64>,
    files: usize,
    full: u64,
}

impl<B: Backing> Walk<'_, B> {
    fn any(&mut self) -> Option<FileId> {
        let count = self.model.len() as u64;
        let at = if count == 0 { return None } else { self.random.below(count) };
        self.model.keys().nth(at as usize).copied()
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        let first = self.random.below(256) as u8;
        (0..count).map(|at| first.wrapping_add(at as u8).wrapping_mul(31)).collect()
    }

    /// An offset, near block boundaries as a rule.
    fn offset(&mut self) -> u64 {
        let blocks = self.most / BLOCK as u64;
        let near = self.random.below(9);
        (self.random.below(blocks) * BLOCK as u64 + near).saturating_sub(4).min(self.most - 1)
    }

    fn step(&mut self) {
        let number = self.random.below(self.clients.len() as u64) as usize;
        let kind = self.random.below(100);
        let file = match self.any() {
            Some(file) if kind >= 4 => file,
            _ => return self.create(number),
        };
        let offset = self.offset();
        match kind {
            4..50 => {
                let count = [1, 8, 100, 100, 512, 4096, 6000][self.random.below(7) as usize];
                let mut into = vec![0xee; count];
                let client = &mut self.clients[number];
                let held = client.hold(file).unwrap();
                let got = client.read(&held, offset, &mut into).unwrap();
                client.release(held).unwrap();
                let content = &self.model[&file];
                let wanted = content.get(offset as usize..).unwrap_or_default();
                assert_eq!(got, wanted.len().min(count));
                assert!(into[..got] == wanted[..got], "{file:?} at {offset}");
                assert!(into[got..].iter().all(|byte| *byte == 0xee), "behind the end");
            }
            50..80 => {
                let count = [1, 8, 100, 100, 512, 4096, 6000][self.random.below(7) as usize];
                let offset = if count % 4096 == 0 { offset / 4096 * 4096 } else { offset };
                let from = self.bytes(count.min(self.most - offset));
                let client = &mut self.clients[number];
                let held = client.hold(file).unwrap();
                let done = client.write(&held, offset, &from);
                client.release(held).unwrap();
                self.written(file, offset, &from, done);
            }
            80..85 => {
                let size = self.model[&file].len() as u64;
                let from = self.bytes(300.min(self.most.saturating_sub(size)));
                let client = &mut self.clients[number];
                let held = client.hold(file).unwrap();
                let done = client.append(&held, &from);
                client.release(held).unwrap();
                if let Ok((at, _)) = done {
                    assert_eq!(at, size);
                }
                self.written(file, size, &from, done.map(|(_, count)| count));
            }
            85..92 => {
                let size = if self.random.below(3) == 0 { 0 } else { offset };
                let client = &mut self.clients[number];
                let held = client.hold(file).unwrap();
                match client.truncate(&held, size) {
                    Ok(()) => self.model.get_mut(&file).unwrap().resize(size as usize, 0),
                    Err(error) => {
                        assert_eq!(error, Error::Full);
                        self.full += 1;
                    }
                }
                assert_eq!(held.size(), self.model[&file].len() as u64);
                client.release(held).unwrap();
            }
            92..94 => {
                let client = &mut self.clients[number];
                client.remove(file).unwrap();
                assert_eq!(client.remove(file), Err(Error::NotFound));
                assert_eq!(client.hold(file).map(|held| held.id()), Err(Error::NotFound));
                self.model.remove(&file);
                self.keys.extend(self.key_of.remove(&file));
            }
            94..97 => {
                let client = &mut self.clients[number];
                let held = client.hold(file).unwrap();
                client.sync(&held).unwrap();
                client.release(held).unwrap();
            }
            _ => {
                let wanted = self.random.below(8) as u32;
                let (done, fault) = self.clients[number].evict(wanted);
                assert!(done <= wanted && fault.is_none());
            }
        }
    }

    fn written(&mut self, file: FileId, offset: u64, from: &[u8], done: Result<usize, Error>) {
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                assert_eq!(error, Error::Full);
                self.full += 1;
                0
            }
        };
        assert!(done <= from.len());
        let content = self.model.get_mut(&file).unwrap();
        let end = offset as usize + done;
        if done > 0 && content.len() < end {
            content.resize(end, 0);
        }
        content.get_mut(offset as usize..end).unwrap_or_default().copy_from_slice(&from[..done]);
    }

    fn create(&mut self, number: usize) {
        let key = if self.key_of.is_empty() && self.keys.is_empty() {
            0
        } else {
            let Some(key) = self.keys.pop() else { return };
            key
        };
        let client = &mut self.clients[number];
        match client.create(key, 0, [7; 4]) {
            Ok(held) => {
                assert_eq!((held.size(), held.note(2)), (0, 7));
                let id = held.id();
                client.release(held).unwrap();
                assert!(self.model.insert(id, Vec::new()).is_none(), "an id comes back");
                if key != 0 {
                    self.key_of.insert(id, key);
                }
            }
            Err(error) => {
                assert_eq!((error, self.model.len()), (Error::TooManyFiles, self.files));
                self.keys.extend((key != 0).then_some(key));
            }
        }
    }

    fn end(mut self) {
        for (file, content) in &self.model {
            let client = &mut self.clients[0];
            let held = client.hold(*file).unwrap();
            let mut into = vec![0; content.len() + 1];
            assert_eq!(client.read(&held, 0, &mut into), Ok(content.len()));
            assert!(into[..content.len()] == content[..]);
            client.release(held).unwrap();
            client.remove(*file).unwrap();
        }
        let all = counts(&self.clients[0]);
        assert_eq!((all.files, all.data, all.nodes), (0, 0, 0), "{all:?}");
        println!("{} times full", self.full);
    }
}

fn walk<B: Backing>(seed: u64, shape: Shape, backing: &B, keys: u64, operations: u64, most: u64) {
    println!("seed {seed:#x}");
    let region: Region = region(shape);
    let cache = cache(&region, shape);
    let clients = (0..shape.clients).map(|number| client(cache, number, backing)).collect();
    let mut walk = Walk {
        clients,
        model: BTreeMap::new(),
        random: Random(seed),
        most,
        keys: (1..=keys).collect(),
        key_of: BTreeMap::new(),
        files: shape.files as usize,
        full: 0,
    };
    for step in 0..operations {
        walk.step();
        if step % (operations / 64) == 0 {
            counts(&walk.clients[0]);
        }
    }
    walk.end();
}

fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x9e37_79b9_7f4a_7c15)
}

#[test]
fn files_that_are_only_here_are_as_a_vector() {
    let shape = Shape { clients: 3, files: 6, blocks: 100 };
    walk(seed(), shape, &Nothing, 0, OPERATIONS, 30 * BLOCK as u64);
}

#[test]
fn files_with_a_backing_are_as_a_vector_in_a_cache_that_is_too_small() {
    let (files, blocks) = (6, 24);
    let store = Region::new((files * blocks) as usize * BLOCK);
    // SAFETY: this store's.
    let memory = unsafe { Memory::new(store.at().cast(), files, blocks) };
    let shape = Shape { clients: 3, files: files as u32, blocks: 40 };
    walk(seed(), shape, &memory, files, OPERATIONS / 4, blocks * BLOCK as u64);
}

#[test]
fn blocks_far_behind_the_end_are_found_again() {
    let shape = Shape { clients: 1, files: 1, blocks: 64 };
    let region = region(shape);
    let mut client = client(cache(&region, shape), 0, &Nothing);
    let held = client.create(0, 0, [0; 4]).unwrap();
    let ends = [8, 9, 520, 521, 8 + 512 * 512, LARGEST / BLOCK as u64 - 1];
    for block in ends {
        let bytes = [block as u8; BLOCK];
        assert_eq!(client.write(&held, block * BLOCK as u64, &bytes), Ok(BLOCK));
    }
    for block in ends {
        let mut into = [0; BLOCK];
        assert_eq!(client.read(&held, block * BLOCK as u64, &mut into), Ok(BLOCK));
        assert_eq!(into, [block as u8; BLOCK]);
    }
    let mut into = [1; 64];
    assert_eq!(client.read(&held, 77 * BLOCK as u64, &mut into), Ok(64));
    assert_eq!(into, [0; 64], "a hole");
    assert_eq!(client.write(&held, LARGEST, &[1]), Err(Error::TooLarge));
    assert_eq!(client.write(&held, u64::MAX, &[1]), Err(Error::OutOfRange));
    assert_eq!(client.truncate(&held, LARGEST + 1), Err(Error::TooLarge));
    assert_eq!((held.size(), client.read(&held, u64::MAX, &mut into)), (LARGEST, Ok(0)));
    client.truncate(&held, 9 * BLOCK as u64).unwrap();
    let left = counts(&client);
    assert_eq!(left.data, 1, "{left:?}");
    let id = held.id();
    client.release(held).unwrap();
    client.remove(id).unwrap();
    let left = counts(&client);
    assert_eq!((left.files, left.data, left.nodes), (0, 0, 0), "{left:?}");
}

#[test]
fn numbers_and_shapes_that_are_none() {
    let good = Shape { clients: 2, files: 2, blocks: 2 };
    for bad in [
        Shape { clients: 0, ..good },
        Shape { clients: 1 << 16, ..good },
        Shape { files: 0, ..good },
        Shape { files: u32::MAX, ..good },
        Shape { blocks: 0, ..good },
        Shape { blocks: u32::MAX, ..good },
    ] {
        assert_eq!(bad.bytes(), None, "{bad:?}");
    }
    let region = region(good);
    // SAFETY: zeroed memory, which is no cache yet.
    assert!(unsafe { corey_libos_cache::Cache::at(region.at()) }.is_none());
    let made = cache(&region, good);
    // SAFETY: the cache just made.
    let found = unsafe { corey_libos_cache::Cache::at(region.at()) }.unwrap();
    assert_eq!(found.shape(), made.shape());
    let first = client(made, 0, &Nothing);
    assert!(Client::new(found, 0, Host::new(), &Nothing).is_none(), "it has one");
    assert!(Client::new(found, 2, Host::new(), &Nothing).is_none());
    drop(first);
    assert!(Client::new(found, 0, Host::new(), &Nothing).is_some());
}

/// Bytes behind the end are zero: nothing is written there.
#[test]
fn nothing_is_written_in_place_behind_the_end() {
    let shape = Shape { clients: 1, files: 1, blocks: 4 };
    let region = region(shape);
    let mut client = client(cache(&region, shape), 0, &Nothing);
    let held = client.create(0, 0, [0; 4]).unwrap();
    assert_eq!(client.write(&held, 0, &[1; 100]), Ok(100));
    assert_eq!(client.write_in_place(&held, 10, &[2; 90]), Ok(()));
    for (offset, count) in [(10, 91), (100, 1), (BLOCK as u64 - 1, 1), (BLOCK as u64 - 1, 2), (u64::MAX, 2)] {
        assert_eq!(client.write_in_place(&held, offset, &vec![2; count]), Err(Error::Full), "{offset}");
    }
    client.truncate(&held, BLOCK as u64).unwrap();
    let mut into = [7; BLOCK];
    assert_eq!(client.read(&held, 0, &mut into), Ok(BLOCK));
    assert_eq!((&into[..10], &into[10..100]), (&[1; 10][..], &[2; 90][..]));
    assert!(into[100..].iter().all(|byte| *byte == 0));
    client.release(held).unwrap();
}

#[test]
fn what_another_client_holds_is_not_used() {
    let shape = Shape { clients: 2, files: 2, blocks: 8 };
    let region = region(shape);
    let cache = cache(&region, shape);
    let (mut first, mut second) = (client(cache, 0, &Nothing), client(cache, 1, &Nothing));
    let held = first.create(0, 0, [0; 4]).unwrap();
    let mut into = [0; 8];
    assert_eq!(second.read(&held, 0, &mut into), Err(Error::NotHeld));
    assert_eq!(second.write(&held, 0, &into), Err(Error::NotHeld));
    assert_eq!(second.append(&held, &into), Err(Error::NotHeld));
    assert_eq!(second.truncate(&held, 0), Err(Error::NotHeld));
    assert_eq!(second.write_in_place(&held, 0, &into), Err(Error::NotHeld));
    assert_eq!(second.sync(&held), Err(Error::NotHeld));
    assert_eq!(second.release(held), Err(Error::NotHeld));
}
