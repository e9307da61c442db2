//! Who maps, unmaps and uses frames again.

use crate::{BOARD, OWNERS, PAGES, SLOTS, get, note, number};
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Error, MapFlags, ObjRef, PAGE_BYTES, ShareCalls};
use corey_libos_rt::halt;
use corey_libos_rt::sys::{segment, sys};
use corey_libos_rt::vm::{clear_in, map_in};

/// Slots of the owner's root: what is being filled, and secrets.
const FILL: u64 = 310;
const SECRETS: u64 = 311;
/// Secrets that are kept at a time.
const KEPT: u64 = 4;
const WORDS: u64 = PAGES * PAGE_BYTES / 8;

pub(crate) fn entry() -> u64 {
    owner as *const () as u64
}

/// Memory of the owner's.
fn words(at: u64) -> impl Iterator<Item = &'static AtomicU64> {
    // SAFETY: the caller mapped `WORDS` words at `at`, and nobody unmaps them while it looks.
    (0..WORDS).map(move |word| unsafe { &*((at + word * 8) as *const AtomicU64) })
}

struct Owner {
    core: u64,
    root: ObjRef,
    /// Above the tree's addresses: one GiB for each purpose.
    base: u64,
    /// The segment mapped under each slot.
    mapped: [Option<ObjRef>; SLOTS as usize],
    secrets: [Option<(ObjRef, u64)>; KEPT as usize],
    made: u64,
}

impl Owner {
    fn map_own(&self, slot: u64, object: ObjRef, va: u64) -> Result<(), Error> {
        map_in(self.root, slot, object, va, PAGES, MapFlags::WRITE)
    }

    fn secret_va(&self, place: usize) -> u64 {
        self.base + (16 + place as u64 * 4) * PAGE_BYTES
    }

    /// Takes pages at once for something that is nobody's business, and looks at the secret that was there before.
    fn keep_secret(&mut self) -> Result<(), Error> {
        self.made += 1;
        let place = (self.made % KEPT) as usize;
        self.drop_secret(place)?;
        let object = segment(self.root.share, PAGES * PAGE_BYTES, "secret")?;
        let va = self.secret_va(place);
        self.map_own(SECRETS + place as u64, object, va)?;
        let secret = 0x5ec2 << 48 | self.core << 40 | self.made;
        for word in words(va) {
            // Fresh pages hold nothing of before.
            if word.load(Ordering::Relaxed) != 0 {
                BOARD.broken.store(1 << 63 | word.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            word.store(secret, Ordering::Relaxed);
        }
        self.secrets[place] = Some((object, secret));
        Ok(())
    }

    fn drop_secret(&mut self, place: usize) -> Result<(), Error> {
        let Some((object, secret)) = self.secrets[place].take() else { return Ok(()) };
        let va = self.secret_va(place);
        for word in words(va) {
            let found = word.load(Ordering::Relaxed);
            if found != secret {
                BOARD.broken.store(found.max(1), Ordering::Relaxed);
            }
        }
        clear_in(self.root, SECRETS + place as u64)?;
        sys().share_delobj(object)
    }

    /// One generation of a slot.
    fn turn(&mut self, slot: u64) -> Result<(), Error> {
        let at = slot as usize;
        let tree = get(&BOARD.tree);
        let generation = BOARD.ceiling[at].load(Ordering::Relaxed) + 1;
        let object = segment(self.root.share, PAGES * PAGE_BYTES, "number")?;
        self.map_own(FILL, object, self.base)?;
        words(self.base).for_each(|word| word.store(number(slot, generation), Ordering::Relaxed));
        clear_in(self.root, FILL)?;
        let old = self.mapped[at].take();
        let ends_first = generation.is_multiple_of(5);
        if generation.is_multiple_of(3) {
            // Unmapped first; else one mapping takes the place of the other.
            clear_in(tree, slot)?;
        }
        if ends_first && let Some(old) = old {
            // The segment ends while it may be mapped: its end takes it away.
            sys().share_delobj(old)?;
            BOARD.floor[at].store(generation, Ordering::Release);
            self.keep_secret()?;
        }
        BOARD.ceiling[at].store(generation, Ordering::Release);
        map_in(tree, slot, object, slot * PAGES * PAGE_BYTES, PAGES, MapFlags::WRITE)?;
        BOARD.floor[at].store(generation, Ordering::Release);
        if !ends_first && let Some(old) = old {
            sys().share_delobj(old)?;
            self.keep_secret()?;
        }
        self.mapped[at] = Some(object);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        (0..KEPT as usize).try_for_each(|place| self.drop_secret(place))?;
        for slot in 0..SLOTS {
            if let Some(object) = self.mapped[slot as usize].take() {
                clear_in(get(&BOARD.tree), slot)?;
                sys().share_delobj(object)?;
            }
        }
        Ok(())
    }
}

extern "C" fn owner(core: u64) -> ! {
    let root = get(&BOARD.roots[core as usize]);
    let base = BOARD.at.load(Ordering::Relaxed) + (2 << 30);
    let mut owner =
        Owner { core, root, base, mapped: [None; SLOTS as usize], secrets: [None; KEPT as usize], made: 0 };
    let own = (0..SLOTS).filter(|slot| slot % u64::from(OWNERS) == core - 1);
    let mut next = own.cycle();
    while BOARD.stop.load(Ordering::Acquire) == 0 {
        let slot = next.next().unwrap_or(0);
        if let Err(error) = owner.turn(slot) {
            note(error, 0x100 + core);
            break;
        }
        BOARD.turns[core as usize].0.fetch_add(1, Ordering::Relaxed);
    }
    if let Err(error) = owner.end() {
        note(error, 0x200 + core);
    }
    halt(0)
}
