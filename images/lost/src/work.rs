//! What every core does meanwhile: all that takes locks, claims something, or asks other cores.

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    AddressTreeCalls, Error, Home, Id, Kinds, MachineCalls, MapFlags, Name, ObjRef, PAGE_BYTES, PcoreCalls,
    SegmentCalls, ShareCalls, copy_mode, tree_kind,
};
use corey_libos_rt::sys::{address, pause, segment, sys};
use corey_libos_rt::vm::{clear_in, map_in};
use corey_libos_test::Random;

/// Most cores.
pub(crate) const CORES: usize = 16;
/// Where the common tree is linked everywhere.
pub(crate) const VA: u64 = 0x6000_0000_0000;
/// Slots of the common tree for each core.
const SLOTS: u64 = 16;
/// Bytes of addresses for a slot.
const SPAN: u64 = 4 * PAGE_BYTES;

/// What a core has: the common share and tree, and a share, a root and a pcore of its own.
#[derive(Clone, Copy)]
pub(crate) struct Ground {
    pub(crate) share: Id,
    pub(crate) tree: ObjRef,
    pub(crate) own: Option<(Id, ObjRef)>,
}

/// For each core: its ground as words, and a seed.
pub(crate) static ORDERS: [[AtomicU64; 6]; CORES] = [const { [const { AtomicU64::new(0) }; 6] }; CORES];
/// Rounds that each core has done.
pub(crate) static DONE: [AtomicU64; CORES] = [const { AtomicU64::new(0) }; CORES];
/// Set when all shall end.
pub(crate) static STOP: AtomicU64 = AtomicU64::new(0);

/// A thread.
pub(crate) extern "C" fn thread(core: u64) -> ! {
    let at = core as usize % CORES;
    let [share, tree, own, root, pcore, seed] =
        [0, 1, 2, 3, 4, 5].map(|word: usize| ORDERS[at][word].load(Ordering::Acquire));
    let own = Id(own);
    let ground = Ground {
        share: Id(share),
        tree: ObjRef { share: Id(share), object: Id(tree) },
        own: Some((own, ObjRef { share: own, object: Id(root) })),
    };
    let mut random = Random::new(seed);
    while STOP.load(Ordering::Acquire) == 0 {
        round(at, ground, &mut random);
    }
    loop {
        let _ = sys().pcore_halt(ObjRef { share: own, object: Id(pcore) }, 0);
        pause();
    }
}

/// One round. What fails because another core stopped in the middle of it is left.
pub(crate) fn round(core: usize, ground: Ground, random: &mut Random) {
    let slot = core as u64 * SLOTS + random.below(SLOTS);
    let _ = calls(ground, slot, random);
    (0..random.below(500)).for_each(|_| pause());
    DONE[core].fetch_add(1, Ordering::Relaxed);
}

fn write(at: u64) {
    // SAFETY: mapped writable by this core, in a slot that no other core uses; nobody has a reference into it.
    unsafe { (at as *mut u64).write_volatile(at) };
}

fn calls(Ground { share, tree, own }: Ground, slot: u64, random: &mut Random) -> Result<(), Error> {
    let name = Name::new("work");
    // What an earlier round left here because it could not go on.
    clear_in(tree, slot)?;
    let page = segment(share, SPAN, "work")?;
    let mapped = map_in(tree, slot, page, slot * SPAN, 4, MapFlags::WRITE);
    if mapped.is_ok() {
        (0..4).for_each(|n| write(VA + slot * SPAN + n * PAGE_BYTES));
    }
    let mut result = mapped;
    match random.below(6) {
        0 => {
            let mode = copy_mode::ON_WRITE;
            let copy = sys().segment_copy(page, share, mode, Home::Any, address(&name));
            result = copy.and_then(|object| sys().share_delobj(ObjRef { share, object }));
        }
        1 => result = sys().segment_set_nbytes(page, PAGE_BYTES),
        2 => {
            let _ = sys().core_wait(page, 0, VA + slot * SPAN, 200_000);
        }
        3 => result = sys().core_wake(page, 0).map(|_| ()),
        4 => result = sys().core_fence(share),
        _ => {
            if let Some((own, root)) = own {
                result = of_ones_own(own, root, &name);
            }
        }
    }
    let cleared = clear_in(tree, slot);
    sys().share_delobj(page)?;
    result.and(cleared)
}

/// A tree and a share in a share of one's own, and a mapping in one's own root.
fn of_ones_own(own: Id, root: ObjRef, name: &Name) -> Result<(), Error> {
    const SLOT: u64 = 400;
    const AT: u64 = VA + (4 << 30);
    let object = sys().at_alloc(own, tree_kind::ROOT, 0, Home::Any, address(name))?;
    sys().share_delobj(ObjRef { share: own, object })?;
    let child = sys().share_alloc(own, Kinds::all(), 8, 8, Home::Any, address(name))?;
    let inner = segment(child, PAGE_BYTES, "work");
    if let Ok(inner) = inner
        && map_in(root, SLOT, inner, AT, 1, MapFlags::WRITE).is_ok()
    {
        write(AT);
    }
    sys().share_delobj(ObjRef { share: own, object: child })?;
    sys().self_drop(child)
}
