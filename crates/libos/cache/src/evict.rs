//! Making room: blocks that the backing has go, of files that nobody used lately.
//!
//! A reader leaves in its own line of the file the era in which it read. An era ends when somebody finds nothing else to
//! evict: so what was used in this one goes last, and no look-up tells anybody anything.

use crate::backing::{Backing, Fault, try_lock};
use crate::client::{Client, Env};
use crate::error::Error;
use crate::file::{File, Line};
use crate::word::Word;
use core::sync::atomic::Ordering;
use corey_lib_sync::{Forced, words};

/// Blocks that are evicted at once, of a cache that has that many.
const AT_ONCE: u32 = 32;

/// A block for `client` out of those that can go.
#[cold]
pub(crate) fn make_room<E: Env, B: Backing>(
    client: &mut Client<'_, E, B>,
    pinned: Option<&File>,
) -> Result<(u32, u64), Error> {
    let wanted = (client.cache.shape().blocks / 16).clamp(1, AT_ONCE);
    let mut fault = None;
    let era = &client.cache.common().era;
    for _ in 0..2 {
        let now = era.load(Ordering::Relaxed);
        if evict(client, pinned, now, wanted, &mut fault) == 0 {
            // Another one, in which nothing was used yet.
            let _ = era.compare_exchange(now, now + 1, Ordering::Relaxed, Ordering::Relaxed);
            evict(client, pinned, now + 1, wanted, &mut fault);
        }
        // Others may have taken what was evicted here, or freed something.
        if let Some(block) = client.cache.allocate(client.number, client.lane, &mut client.env) {
            return Ok(block);
        }
    }
    Err(fault.map_or(Error::Full, Error::Backing))
}

/// Evicts up to `wanted` blocks of files that were not used in `era`. Returns how many. The caller has the content lock of
/// `pinned`, and that one's blocks go as well: one file may be larger than the cache.
fn evict<E: Env, B: Backing>(
    client: &mut Client<'_, E, B>,
    pinned: Option<&File>,
    era: u64,
    wanted: u32,
    fault: &mut Option<Fault>,
) -> u32 {
    let files = client.cache.shape().files;
    let first = client.lane.hand.load(Ordering::Relaxed);
    let mut freed = 0;
    for step in 0..files {
        let slot = ((u64::from(first) + u64::from(step)) % u64::from(files)) as u32;
        let Some((file, line)) = client.cache.file_and_line(slot, client.number) else {
            break;
        };
        if !file.state().is_live() || file.facts.key.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let cold = |line: &Line| line.era.load(Ordering::Relaxed) < era;
        let mine = pinned.is_some_and(|pinned| core::ptr::eq(pinned, file));
        if !client.cache.lines(slot).all(cold)
            || !mine && !words::enter::<Forced>(&line.reading, &file.facts.writer)
        {
            continue;
        }
        // It may have ended, and another one begun, before it was pinned.
        if file.state().is_live() {
            freed += evict_of(client, file, wanted - freed, fault);
        }
        if !mine {
            words::leave(&line.reading);
        }
        if freed >= wanted {
            client.lane.hand.store(slot, Ordering::Relaxed);
            break;
        }
    }
    let evicted = &client.lane.evicted;
    evicted.store(evicted.load(Ordering::Relaxed) + u64::from(freed), Ordering::Relaxed);
    freed
}

fn evict_of<'a, E: Env, B: Backing>(
    client: &mut Client<'a, E, B>,
    file: &'a File,
    wanted: u32,
    fault: &mut Option<Fault>,
) -> u32 {
    let key = file.facts.key.load(Ordering::Relaxed);
    let cache = client.cache;
    let mut freed = 0;
    cache.each_slot(file, &mut |_| {}, &mut |block, slot| {
        let mut word = Word(slot.load(Ordering::Acquire));
        if word.is_dirty() {
            // Whoever has it may wait for a block, too: nobody waits for a lock here.
            if !try_lock(&file.locks.backing) {
                return true;
            }
            let done = client.write_back(key, block, slot);
            words::release(&file.locks.backing);
            if let Err(found) = done {
                fault.get_or_insert(found);
                return true;
            }
            word = Word(slot.load(Ordering::Acquire));
        }
        let gone = !word.is_none()
            && !word.is_dirty()
            && slot.compare_exchange(word.0, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if gone {
            client.free(word.index());
            freed += 1;
        }
        freed < wanted
    });
    freed
}

impl<E: Env, B: Backing> Client<'_, E, B> {
    /// Evicts up to `wanted` blocks that the backing has, or gets now. Returns how many, and the first fault.
    pub fn evict(&mut self, wanted: u32) -> (u32, Option<Fault>) {
        let mut fault = None;
        let freed = if wanted == 0 { 0 } else { evict(self, None, u64::MAX, wanted, &mut fault) };
        (freed, fault)
    }
}
