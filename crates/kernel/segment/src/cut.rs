//! Segments that become smaller.

use crate::segment::Segment;
use corey_abi::Error;
use corey_kernel_hal::Platform;
use corey_kernel_mem::{PageSlot, Refused};
use corey_kernel_object::{Ctx, Entered, Handle, Take};
use corey_lib_sync::Relax;

/// Takes the pages of a segment, whose change was begun, from the `new`-th on away; it has `old`.
///
/// ```text
/// cutter    size ─ each page: Revoking ─ clear and flush every mapping, acks ─ each page: closed, its frame to limbo
/// faulter   size? ………… a frame, zeroed ………………………………………………………………………………… Absent → Present? It is closed
/// ```
///
/// A core that looked at the size before may come with its frame at any time after: the slot is closed until the segment
/// grows again ([`Segment::grow`]), so nothing lies above the end that nobody would free.
///
/// # Errors
///
/// [`Error::Busy`] for a page that is pinned, or that another core does not let go; the segment is then as before.
/// [`Error::CoreLost`].
pub(crate) fn cut<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    segment: Handle<'_, Segment>,
    (old, new): (u64, u64),
) -> Result<(), Error> {
    let platform = ctx.local.platform.clone();
    let step = segment.page_size().pages() as usize;
    segment.cut(new);
    for page in (new..old).step_by(step) {
        let Some(slot) = segment.any_slot(&platform, page) else { continue };
        let begun = loop {
            match slot.begin_revoke() {
                Err(Refused::Revoking) if !ctx.is_hopeless() => ctx.relax(),
                other => break other,
            }
        };
        if begun.is_err() {
            for page in (new..page).step_by(step) {
                if let Some(slot) = segment.any_slot(&platform, page) {
                    slot.abort_revoke();
                }
            }
            segment.cut(old);
            return Err(Error::Busy);
        }
        ctx.serve_every(page - new);
    }
    let header = segment.header();
    let mut users = (ctx.hooks.revoke)(ctx, inside, header, new, old - new, Take::Page);
    users.union(header.seen().load());
    if segment.is_quarantined(ctx) {
        // The pages stay cut off, and as they are.
        return Err(Error::CoreLost);
    }
    for page in (new..old).step_by(step) {
        if let Some(gone) = segment.any_slot(&platform, page).and_then(PageSlot::finish_revoke) {
            ctx.give_up(gone, header.home(), users);
        }
        ctx.serve_every(page - new);
    }
    ctx.drain(header.home());
    Ok(())
}
