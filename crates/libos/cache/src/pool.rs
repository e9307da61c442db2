//! Free blocks: a chain for each client, and how blocks come home.
//!
//! A chain is free blocks, of which one (the carrier) holds in its own memory the numbers of up to [`IDS`] others and that
//! of the next carrier. Each client has three, and a word for each:
//!
//! | chain | holds | who puts a chain there |
//! |---|---|---|
//! | `own` | blocks that have their home here | the client, when it is empty |
//! | `returned` | the same, freed elsewhere | anybody, in front of what is there |
//! | `out` | blocks of other homes that this client freed | the client, when it is empty |
//!
//! Whoever wants blocks takes a whole chain, by an exchange with 0; so a word never says "the same" about another chain (no
//! ABA), and what is in a chain is its taker's alone:
//!
//! ```text
//! client     own ⇄ 0 ─ a block out of it ─ own = the rest
//! another    own ⇄ 0 ─ a block out of it ─ returned = the rest in front of returned
//! freed here, another's:  out ⇄ 0 ─ one more ─ full? by homes, each a chain: returned ─ else out = it
//! ```
//!
//! So a block that another core replaced costs its share of a chain: [`IDS`] numbers lie on four lines.
//!
//! While a client has a chain in its hands its lane's `turn` is odd. Who finds nothing anywhere believes it only if no turn was
//! odd, and none went on meanwhile:
//!
//! ```text
//! client     turn odd ─ own ⇄ 0 ─ … ─ own = the rest ─ turn even
//! searcher   turns ─ all words ⇄ 0, nothing ─ turns: the same, and even? there is nothing
//! ```

use crate::cache::{CHUNK, Cache};
use core::sync::atomic::Ordering;
use corey_lib_sync::Relax;
use corey_lib_sync::atomic::{AtomicU32, AtomicU64};

/// How often somebody who finds nothing looks again because others have chains in their hands.
const SEARCHES: u32 = 1000;
/// Numbers in a carrier; in models few, so that there are more carriers.
pub(crate) const IDS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 62 };

/// What the memory of a carrier holds. Its taker's alone, so nothing here is ordered.
#[repr(C)]
struct Carrier {
    /// The next carrier; 0 for none.
    next: AtomicU32,
    count: AtomicU32,
    ids: [AtomicU32; IDS],
}

/// A client's words, and what it counted.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Lane {
    /// 1 while there is a client.
    pub(crate) claimed: AtomicU32,
    /// Odd while the client has a chain in its hands.
    turn: AtomicU32,
    own: AtomicU32,
    out: AtomicU32,
    /// Where the client looks for a free file slot next.
    pub(crate) hint: AtomicU32,
    /// Where it evicts next.
    pub(crate) hand: AtomicU32,
    /// Copies that were made again.
    pub(crate) retries: AtomicU64,
    /// Blocks it evicted, read and wrote.
    pub(crate) evicted: AtomicU64,
    pub(crate) loaded: AtomicU64,
    pub(crate) written: AtomicU64,
    returned: Returned,
}

#[derive(Debug)]
#[repr(C, align(128))]
struct Returned(AtomicU32);

/// A chain of free blocks that somebody has.
#[derive(Clone, Copy, Debug)]
struct Chain(u32);

impl<'a> Cache<'a> {
    fn carrier(&self, block: u32) -> &'a Carrier {
        // SAFETY: a free block's memory, which only who has its chain looks at; atomics, and as large as a block at most.
        unsafe { &*self.bytes(block).cast::<Carrier>() }
    }

    /// Begins another generation of a block that is the caller's alone, before its first byte is written: whoever still
    /// reads what it held, and sees one of those bytes, sees that, too.
    #[inline(always)]
    fn renew(&self, block: u32) -> u64 {
        let generation = self.generation(block);
        let next = generation.load(Ordering::Relaxed) + 1;
        generation.store(next, Ordering::Relaxed);
        corey_lib_sync::atomic::fence(Ordering::Release);
        next
    }

    /// Makes `block` a chain in front of `chain`.
    fn begin(&self, block: u32, chain: Chain) -> Chain {
        // It was a file's until now.
        self.renew(block);
        let carrier = self.carrier(block);
        carrier.next.store(chain.0, Ordering::Relaxed);
        carrier.count.store(0, Ordering::Relaxed);
        Chain(block)
    }

    /// Puts a block into a chain.
    fn put(&self, chain: Chain, block: u32) -> Chain {
        if chain.0 == 0 {
            return self.begin(block, chain);
        }
        let carrier = self.carrier(chain.0);
        let count = carrier.count.load(Ordering::Relaxed);
        match carrier.ids.get(count as usize) {
            Some(id) => {
                id.store(block, Ordering::Relaxed);
                carrier.count.store(count + 1, Ordering::Relaxed);
                chain
            }
            None => self.begin(block, chain),
        }
    }

    /// Takes the block that was put there last.
    fn pop(&self, chain: Chain) -> Option<(u32, Chain)> {
        if chain.0 == 0 {
            return None;
        }
        let carrier = self.carrier(chain.0);
        let count = carrier.count.load(Ordering::Relaxed);
        match (count as usize).checked_sub(1).and_then(|last| carrier.ids.get(last)) {
            Some(id) => {
                carrier.count.store(count - 1, Ordering::Relaxed);
                Some((id.load(Ordering::Relaxed), chain))
            }
            None => Some((chain.0, Chain(carrier.next.load(Ordering::Relaxed)))),
        }
    }

    /// Puts a chain in front of what client `home` has back.
    fn give_back(&self, home: u32, chain: Chain) {
        let Some(lane) = self.lane(home).filter(|_| chain.0 != 0) else { return };
        let mut last = chain.0;
        loop {
            let next = self.carrier(last).next.load(Ordering::Relaxed);
            if next == 0 {
                break;
            }
            last = next;
        }
        let mut first = lane.returned.0.load(Ordering::Relaxed);
        loop {
            self.carrier(last).next.store(first, Ordering::Relaxed);
            // Release: what the chain holds is there for who takes it.
            match lane.returned.0.compare_exchange_weak(first, chain.0, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// A free block for client `client`, whose lane is `lane`, in a new generation.
    #[inline]
    pub(crate) fn allocate<R: Relax + ?Sized>(
        &self,
        client: u32,
        lane: &Lane,
        waiter: &mut R,
    ) -> Option<(u32, u64)> {
        let block = match lane.in_turn(|| self.take_own(lane)) {
            Some(block) => block,
            None => self.search(client, lane, waiter)?,
        };
        Some((block, self.renew(block)))
    }

    /// As [`Cache::allocate`], when the client has nothing.
    #[cold]
    fn search<R: Relax + ?Sized>(&self, client: u32, lane: &Lane, waiter: &mut R) -> Option<u32> {
        for _ in 0..SEARCHES {
            let before = self.turns(client);
            let found = lane.in_turn(|| self.take_fresh(client, lane).or_else(|| self.take_others()));
            let after = self.turns(client);
            if found.is_some() || before == after && before.is_some() {
                return found;
            }
            waiter.relax();
        }
        None
    }

    /// The sum of all other clients' turns; `None` while somebody has a chain in its hands.
    fn turns(&self, client: u32) -> Option<u64> {
        self.lanes().filter(|(other, _)| *other != client).try_fold(0_u64, |sum, (_, lane)| {
            let turn = lane.turn.load(Ordering::Acquire);
            (turn % 2 == 0).then(|| sum.wrapping_add(turn.into()))
        })
    }

    #[inline]
    fn take_own(&self, lane: &Lane) -> Option<u32> {
        let mut chain = take(&lane.own);
        if chain.0 == 0 {
            chain = take(&lane.returned.0);
        }
        let (block, rest) = self.pop(chain)?;
        // Nobody else puts anything there.
        put_back(&lane.own, rest);
        Some(block)
    }

    #[cold]
    fn take_fresh(&self, client: u32, lane: &Lane) -> Option<u32> {
        let (fresh, blocks) = (&self.common().fresh, self.shape().blocks);
        // A chunk's blocks have numbers of one chunk: block 0 is none.
        let mut from = fresh.load(Ordering::Relaxed);
        loop {
            let next = from.checked_add(CHUNK)?;
            if from > blocks {
                return None;
            }
            match fresh.compare_exchange_weak(from, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => from = now,
            }
        }
        self.home(from).store(client as u16, Ordering::Relaxed);
        let mut all = from.max(1)..(from + CHUNK).min(blocks + 1);
        let Some(first) = all.next() else { return self.take_fresh(client, lane) };
        let chain = all.rev().fold(take(&lane.own), |chain, block| self.put(chain, block));
        put_back(&lane.own, chain);
        Some(first)
    }

    /// Whatever anybody has free.
    #[cold]
    fn take_others(&self) -> Option<u32> {
        for (other, lane) in self.lanes() {
            for word in [&lane.returned.0, &lane.own, &lane.out] {
                let Some((block, rest)) = self.pop(take(word)) else { continue };
                if core::ptr::eq(word, &raw const lane.out) {
                    self.send(rest);
                } else {
                    self.give_back(other, rest);
                }
                return Some(block);
            }
        }
        None
    }

    /// Frees a block.
    #[inline]
    pub(crate) fn free(&self, client: u32, lane: &Lane, block: u32) {
        lane.in_turn(|| self.free_in_turn(client, lane, block));
    }

    #[inline(always)]
    fn free_in_turn(&self, client: u32, lane: &Lane, block: u32) {
        if u32::from(self.home(block).load(Ordering::Relaxed)) == client {
            let chain = self.put(take(&lane.own), block);
            put_back(&lane.own, chain);
            return;
        }
        let out = take(&lane.out);
        if out.0 != 0 && self.carrier(out.0).count.load(Ordering::Relaxed) as usize == IDS {
            self.send(out);
            put_back(&lane.out, self.begin(block, Chain(0)));
        } else {
            put_back(&lane.out, self.put(out, block));
        }
    }

    /// Sends the blocks of one carrier home, and the carrier: those of one home together.
    #[cold]
    fn send(&self, mut chain: Chain) {
        let mut left = [0_u32; IDS + 1];
        let mut count = 0;
        while let (Some((block, rest)), Some(place)) = (self.pop(chain), left.get_mut(count)) {
            *place = block;
            (chain, count) = (rest, count + 1);
        }
        let mut left = left.get_mut(..count).unwrap_or_default();
        while let Some(&first) = left.first() {
            let home = self.home(first).load(Ordering::Relaxed);
            let mut same = Chain(0);
            let mut others = 0;
            for at in 0..left.len() {
                let block = left.get(at).copied().unwrap_or_default();
                if self.home(block).load(Ordering::Relaxed) == home {
                    same = self.put(same, block);
                } else if let Some(place) = left.get_mut(others) {
                    *place = block;
                    others += 1;
                }
            }
            self.give_back(home.into(), same);
            left = left.get_mut(..others).unwrap_or_default();
        }
    }

    /// Calls `each` for every free block that was used before. Only while nobody changes anything.
    pub(crate) fn each_free(&self, each: &mut impl FnMut(u32)) {
        for (_, lane) in self.lanes() {
            for word in [&lane.own, &lane.returned.0, &lane.out] {
                let mut at = word.load(Ordering::Acquire);
                while at != 0 {
                    let carrier = self.carrier(at);
                    let count = carrier.count.load(Ordering::Relaxed) as usize;
                    carrier.ids.iter().take(count).for_each(|id| each(id.load(Ordering::Relaxed)));
                    each(at);
                    at = carrier.next.load(Ordering::Relaxed);
                }
            }
        }
    }
}

impl Lane {
    /// Runs `work`, which has a chain in its hands for a while.
    #[inline(always)]
    fn in_turn<R>(&self, work: impl FnOnce() -> R) -> R {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        let result = work();
        // Release: the chain is back before the turn ends.
        self.turn.store(turn.wrapping_add(2), Ordering::Release);
        result
    }
}

/// Takes all that is there. Acquire: what it holds. Release: who finds nothing sees the turn of who took it.
#[inline(always)]
fn take(word: &AtomicU32) -> Chain {
    Chain(word.swap(0, Ordering::AcqRel))
}

/// Puts a chain where the caller took all; nobody else puts anything there. Release: what it holds.
#[inline(always)]
fn put_back(word: &AtomicU32, chain: Chain) {
    #[cfg(not(loom))]
    word.store(chain.0, Ordering::Release);
    // Another one's exchange with 0 that came between read the caller's 0, so this store follows it. loom does not conclude
    // that, and lets the other one find its own 0 once more.
    #[cfg(loom)]
    word.swap(chain.0, Ordering::Release);
}

#[cfg(all(test, any(loom, shuttle)))]
impl Cache<'_> {
    /// Makes all words known before a model's threads begin.
    pub(crate) fn touch(&self) {
        for (_, lane) in self.lanes() {
            for word in
                [&lane.claimed, &lane.turn, &lane.own, &lane.out, &lane.hint, &lane.hand, &lane.returned.0]
            {
                word.load(Ordering::Relaxed);
            }
            for word in [&lane.retries, &lane.evicted, &lane.loaded, &lane.written] {
                word.load(Ordering::Relaxed);
            }
        }
        for block in 1..=self.shape().blocks {
            self.generation(block).load(Ordering::Relaxed);
            self.home(block).load(Ordering::Relaxed);
            let carrier = self.carrier(block);
            carrier
                .ids
                .iter()
                .chain([&carrier.next, &carrier.count])
                .for_each(|word| _ = word.load(Ordering::Relaxed));
        }
        self.common().fresh.load(Ordering::Relaxed);
        self.common().era.load(Ordering::Relaxed);
        for slot in 0..self.shape().files {
            let Some(file) = self.file(slot) else { continue };
            file.state();
            let (facts, locks) = (&file.facts, &file.locks);
            for word in [&facts.writer, &locks.tail, &locks.backing].into_iter().chain(&locks.above) {
                word.load(Ordering::Relaxed);
            }
            for word in [&facts.size, &facts.key, &file.slots.root]
                .into_iter()
                .chain(&file.slots.direct)
                .chain(&facts.notes)
            {
                word.load(Ordering::Relaxed);
            }
            for line in self.lines(slot) {
                line.reading.load(Ordering::Relaxed);
                line.holds.load(Ordering::Relaxed);
                line.era.load(Ordering::Relaxed);
                line.changed.load(Ordering::Relaxed);
            }
        }
    }
}
