//! What others do to a block at the very moment in which a reader copies it.
#![allow(unsafe_code, reason = "an environment copies")]

use corey_lib_sync::{Fence, Relax};
use corey_libos_cache::{BLOCK, Client, Env, Nothing, Shape};
use corey_test_host_cache::{Host, cache, client, region};

/// This machine, on which something happens before the next copy out of a block.
struct Between<'w>(Host, Option<Box<dyn FnOnce() + 'w>>);

impl Relax for Between<'_> {
    fn relax(&mut self) {
        self.0.relax();
    }
}

// SAFETY: the host's.
unsafe impl Fence for Between<'_> {
    fn force(&mut self) {
        self.0.force();
    }
}

impl Env for Between<'_> {
    unsafe fn copy_out(&mut self, block: *const u8, to: *mut u8, count: usize) {
        if let Some(work) = self.1.take() {
            work();
        }
        // SAFETY: the caller's.
        unsafe { self.0.copy_out(block, to, count) };
    }
    unsafe fn copy_in(&mut self, from: *const u8, block: *mut u8, count: usize) {
        // SAFETY: the caller's.
        unsafe { self.0.copy_in(from, block, count) };
    }
    unsafe fn copy_across(&mut self, from: *const u8, to: *mut u8, count: usize) {
        // SAFETY: the caller's.
        unsafe { self.0.copy_across(from, to, count) };
    }
    unsafe fn zero(&mut self, block: *mut u8, count: usize) {
        // SAFETY: the caller's.
        unsafe { self.0.zero(block, count) };
    }
    fn now(&mut self) -> u64 {
        self.0.now()
    }
}

/// Whoever frees a block may write into it at once: it may become a carrier of free blocks.
#[test]
fn a_block_that_was_replaced_and_freed_is_read_whole() {
    // With few blocks the chain of free ones is empty when the block is freed, so it becomes a carrier; with more writes it
    // is another block.
    for (blocks, writes) in (2..8).flat_map(|blocks| (1..20).map(move |writes| (blocks, writes))) {
        let shape = Shape { clients: 2, files: 1, blocks };
        let region = region(shape);
        let cache = cache(&region, shape);
        let mut writer = client(cache, 0, &Nothing);
        let held = writer.create(0, 0, [0; 4]).unwrap();
        let file = held.id();
        assert_eq!(writer.write(&held, 0, &[1; BLOCK]), Ok(BLOCK));
        let work = || {
            for value in (2..).take(writes) {
                assert_eq!(writer.write(&held, 0, &[value; BLOCK]), Ok(BLOCK));
            }
        };
        let mut reader = Client::new(cache, 1, Between(Host::new(), Some(Box::new(work))), &Nothing).unwrap();
        let mine = reader.hold(file).unwrap();
        let mut into = [0xee; BLOCK];
        assert_eq!(reader.read(&mine, 0, &mut into), Ok(BLOCK));
        let what = format!("{writes} writes, {blocks} blocks: {:?} …", &into[..16]);
        assert!(into.iter().all(|byte| *byte == into[BLOCK - 1]), "{what}");
        assert!((1..=1 + writes as u8).contains(&into[0]), "{what}");
        reader.release(mine).unwrap();
    }
}
