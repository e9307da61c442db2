//! Who hammers what is taken away.

use crate::{BOARD, LINK, PAGES, SLOTS, get, note, number};
use core::sync::atomic::Ordering;
use corey_abi::{Error, MachineCalls, PAGE_BYTES};
use corey_libos_rt::halt;
use corey_libos_rt::sys::sys;
use corey_libos_rt::vm::{Space, clear_in};
use corey_libos_test::touch;

pub(crate) fn entry() -> u64 {
    reader as *const () as u64
}

/// Whether `word` may be seen under `slot` by who read `floor` before.
fn is_right(slot: u64, word: u64, floor: u64) -> bool {
    let (ceiling, base) = (BOARD.ceiling[slot as usize].load(Ordering::Acquire), number(slot, 0));
    (base + floor..=base + ceiling).contains(&word)
}

/// Reads and writes both ends of each page of `slot`.
fn hammer(core: u64, slot: u64) {
    let base = BOARD.at.load(Ordering::Relaxed) + slot * PAGES * PAGE_BYTES;
    for page in 0..PAGES {
        let floor = BOARD.floor[slot as usize].load(Ordering::Acquire);
        let at = base + page * PAGE_BYTES;
        match touch::read(at) {
            None => _ = BOARD.faulted.fetch_add(1, Ordering::Relaxed),
            Some(word) if is_right(slot, word, floor) => _ = BOARD.found.fetch_add(1, Ordering::Relaxed),
            Some(word) => BOARD.wrong.store(word.max(1), Ordering::Relaxed),
        }
        // Its own word: nobody else writes it, and nobody reads it but who owns the page by then.
        touch::write(at + 8 * (core + 1), number(slot, floor));
    }
}

/// Leaves the tree, and attaches it again.
fn attach(core: u64) -> Result<(), Error> {
    let root = get(&BOARD.roots[core as usize]);
    clear_in(root, LINK)?;
    Space::link_at(root, LINK, get(&BOARD.tree), BOARD.at.load(Ordering::Relaxed))
}

extern "C" fn reader(core: u64) -> ! {
    let mut turn = core;
    while BOARD.stop.load(Ordering::Acquire) == 0 {
        turn += 1;
        (0..SLOTS).for_each(|slot| hammer(core, slot));
        let done = match turn % 32 {
            0 => attach(core),
            // Waits in the kernel for what never comes.
            16 => match sys().core_wait(get(&BOARD.bell), 8 * core, 0, 100_000) {
                Err(Error::TimedOut) => Ok(()),
                other => other,
            },
            _ => Ok(()),
        };
        if let Err(error) = done {
            note(error, 0x300 + core);
        }
        BOARD.turns[core as usize].0.fetch_add(1, Ordering::Relaxed);
    }
    halt(0)
}
