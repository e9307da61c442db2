//! Who writes a root, and how a core comes to run one.

use crate::slot::MapKind;
use crate::tree::{NOBODY, TAKEN, Tree};
use crate::walk;
use corey_abi::Error;
use corey_kernel_hal::{CoreId, Platform};
use corey_kernel_object::{Ctx, Entered, Handle, Link};
use corey_kernel_percore::{Local, ObjectWords};
use corey_lib_sync::Relax;
use corey_lib_sync::atomic::Ordering;

/// Whether `own` runs the root: nobody else ends or begins that.
#[inline(always)]
pub(crate) fn runs(tree: &Tree, own: CoreId) -> bool {
    tree.root.runner.load(Ordering::Relaxed) == u64::from(own.0)
}

/// Takes a root for one change: `Ok(false)` when this core runs it anyway, `Ok(true)` when it was idle; else
/// the core that runs it, or `None` while another core changes it.
#[inline(always)]
pub(crate) fn take<P: Platform>(local: &Local<P>, tree: &Tree) -> Result<bool, Option<CoreId>> {
    let mine = u64::from(local.id.0);
    loop {
        match tree.root.runner.compare_exchange(NOBODY, TAKEN | mine, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return Ok(true),
            Err(now) if now == mine || now == TAKEN | mine => return Ok(false),
            Err(now) if forsaken(local, tree, now) => {}
            Err(now) if now & TAKEN != 0 => return Err(None),
            Err(now) => return Err(Some(CoreId(now as u16))),
        }
    }
}

/// Whether the core that `runner` says runs or changes the root is gone; then this core leaves the root in its place, as
/// [`unload`] does, and it is nobody's. One whose core stopped in the middle of something runs no more.
#[cold]
#[inline(never)]
pub(crate) fn forsaken<P: Platform>(local: &Local<P>, tree: &Tree, runner: u64) -> bool {
    let Some(core) = local.cores.get(usize::from(runner as u16)).filter(|core| core.fate.is_gone()) else {
        return false;
    };
    let mine = TAKEN | u64::from(local.id.0);
    // One of those who find it so leaves it, alone.
    if tree.root.runner.compare_exchange(runner, mine, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        let inside = local.own().epoch.inside();
        leave(local, &inside, tree, CoreId(runner as u16));
        if core.fate.stopped_inside() {
            tree.dead.store(true, Ordering::SeqCst);
        }
        give_back(tree);
    }
    true
}

/// Unlinks what the root links and takes `core` off it. By whoever may write the root, which no core has loaded.
fn leave<P: Platform>(local: &Local<P>, inside: &Entered<'_>, root: &Tree, core: CoreId) {
    let platform = &local.platform;
    for (_, slot) in root.each(platform) {
        let map = slot.peek();
        if map.kind == MapKind::Interior {
            if let Some((table, index)) = walk::grain_entry(platform, root, map.start, map.levels()) {
                table.clear(index);
            }
            if let Some(tree) = map.object.resolve::<Tree>(inside) {
                tree.attached.remove(core);
            }
        }
    }
}

/// Ends that `core`, which is gone, has anything to do with `tree`.
pub fn forget_core<P: Platform>(local: &Local<P>, tree: &Tree, core: CoreId) {
    let runner = tree.root.runner.load(Ordering::SeqCst);
    if tree.kind().is_interior() {
        tree.attached.remove(core);
    } else if runner as u16 == core.0 {
        forsaken(local, tree, runner);
    }
}

/// Ends [`take`] of an idle root.
pub(crate) fn give_back(tree: &Tree) {
    tree.root.runner.store(NOBODY, Ordering::SeqCst);
}

/// Promises the root to `core`, which then [`load`]s it.
///
/// # Errors
///
/// [`Error::Busy`] when it runs; [`Error::NotFound`] when it is dying.
pub fn reserve<P: Platform>(ctx: &mut Ctx<P>, tree: &Tree, core: CoreId) -> Result<(), Error> {
    loop {
        let word = u64::from(core.0);
        match tree.root.runner.compare_exchange(NOBODY, word, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) if tree.is_dead() => {
                unreserve(tree);
                return Err(Error::NotFound);
            }
            Ok(_) => return Ok(()),
            Err(now) if forsaken(&ctx.local, tree, now) => {}
            Err(now) if now & TAKEN != 0 => ctx.relax(),
            Err(_) => return Err(Error::Busy),
        }
    }
}

/// Takes [`reserve`] back.
pub fn unreserve(tree: &Tree) {
    tree.root.runner.store(NOBODY, Ordering::SeqCst);
}

/// Runs the reserved root `tree` on this core: attaches and links its interior trees, switches to it.
pub fn load<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, tree: Handle<'_, Tree>) {
    let platform = ctx.local.platform.clone();
    if tree.links.load(Ordering::SeqCst) {
        for (_, slot) in tree.each(&platform) {
            let map = slot.peek();
            if map.kind == MapKind::Interior {
                attach(&ctx.local, inside, &tree, map.object, map.start);
            }
        }
    }
    ctx.local.paging.root = tree.link().words();
    ctx.local.paging.hints = [0; 2];
    tree.table(&platform).load(&platform);
}

/// Attaches an interior tree to this core and links it at `address` of `root`. Not when it is dying.
///
/// Bit, check, link: whoever ends the tree marks it and then reads the bits. No lock: messages are served so.
pub(crate) fn attach<P: Platform>(
    local: &Local<P>,
    inside: &Entered<'_>,
    root: &Tree,
    object: Link,
    address: u64,
) {
    let platform = local.platform.clone();
    let Some(tree) = object.resolve::<Tree>(inside) else { return };
    tree.attached.insert(local.id);
    // The set's change is a full fence, when it was one; a core that was in it is asked to unlink anyway.
    if tree.is_dead() {
        tree.attached.remove(local.id);
        return;
    }
    if let Some((table, index)) = walk::grain_entry(&platform, root, address, tree.kind().levels()) {
        table.link::<P>(index, tree.table(&platform));
    }
}

/// Leaves the address space this core runs, if any: flushes, then unlinks and detaches interior trees.
pub fn unload<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>) {
    let platform = ctx.local.platform.clone();
    let Some(root) = Link::from(ctx.local.paging.root).resolve::<Tree>(inside) else { return };
    corey_kernel_mem::leave_root(&platform);
    if root.links.load(Ordering::SeqCst) {
        leave(&ctx.local, inside, &root, ctx.core());
    }
    ctx.local.paging.root = ObjectWords::NULL;
    root.root.runner.store(NOBODY, Ordering::SeqCst);
}
