//! The audit: stops all cores and counts every frame, reference and mapping.
//!
//! Frames: owned + free + limbo = all; when a core was lost, what is missing is quarantined with it. References: as many as shares name. Mappings: every entry of every table is the
//! page that a slot says (so it lies in no freed frame), and every slot is on its segment's list.

use crate::system::System;
use corey_abi::{AuditReport, Error, Kind};
use corey_kernel_atree::{Tree, verify, verify_list};
use corey_kernel_hal::{CoreId, Platform};
use corey_kernel_object::{Ctx, Entered, Header};
use corey_kernel_percore::{CoreSet, Message, MessageKind, ObjectWords};
use corey_kernel_segment::Segment;
use corey_kernel_share::{Call, Share};
use corey_lib_sync::atomic::Ordering;

/// A list of mappings longer than this does not end.
const MOST_MAPPINGS: u64 = 1 << 20;

/// Stops all cores, counts, lets them go.
pub(crate) fn audit<P: Platform>(
    system: &'static System<P>,
    call: &mut Call<'_, P>,
) -> Result<AuditReport, Error> {
    let own = call.ctx.core();
    let audits = &system.world.audits;
    let before = audits.load(Ordering::Acquire);
    let begun = before + 1;
    if before & 1 == 1 || audits.compare_exchange(before, begun, Ordering::AcqRel, Ordering::Relaxed).is_err()
    {
        return Err(Error::Busy);
    }
    // What is dead is freed while the other cores come and go: they hold nothing back now.
    call.ctx.drain_all();
    let mut cached = call.ctx.mem.cached();
    let mut others = CoreSet::EMPTY;
    for core in 0..system.info.topology.places.len() {
        others.insert(CoreId(core as u16));
    }
    let message = Message { kind: MessageKind::Stop, object: ObjectWords::NULL, words: [0; 2] };
    let mut tickets = heapless::Vec::<_, { corey_kernel_hal::MAX_CORES }>::new();
    for core in others.without(own).iter() {
        if let Some(ticket) = call.ctx.local.post(core, message) {
            // One per core, and there are at most MAX_CORES.
            let _ = tickets.push(ticket);
        }
    }
    for ticket in &tickets {
        // Of one that is gone nobody knows what its cache has.
        cached += call.ctx.local.answer(*ticket).unwrap_or(0);
    }
    let report = count(system, call, cached);
    audits.store(begun + 1, Ordering::Release);
    Ok(report)
}

fn count<P: Platform>(system: &'static System<P>, call: &mut Call<'_, P>, cached: u64) -> AuditReport {
    let platform = call.ctx.local.platform.clone();
    let inside = call.inside;
    let (slots, dying, limbo) = call.ctx.census();
    let (mut owned, mut objects, mut errors, mut tables) = (slots, 0, 0, 0);
    call.ctx.each_object(inside, &mut |ctx, header| {
        // Others wait meanwhile, and may ask whether this core goes on.
        ctx.local.platform.note_turn();
        objects += u64::from(header.is_alive());
        // What it owns, and what that costs the shares naming it.
        let (frames, price) = match header.kind() {
            Kind::Share => {
                let frames = header.handle::<Share>().map_or(0, |s| s.frames(&platform));
                tables += frames;
                (frames, 0)
            }
            Kind::Segment => header.handle::<Segment>().map_or((0, 0), |s| {
                let (slots, pages) = s.census(&platform, &ctx.world.memory);
                (slots + pages, slots + s.npages())
            }),
            Kind::AddressTree => {
                let frames = header.handle::<Tree>().map_or(0, |t| t.census(ctx));
                (frames, frames)
            }
            Kind::Pcore | Kind::Device => (0, 0),
        };
        owned += frames;
        if header.is_alive() && !is_quarantined(ctx, inside, header) {
            let mut wrong = wrong_references(ctx, inside, header) + wrong_quota(ctx, inside, header);
            wrong += u64::from(header.pages() != price);
            if let Some(tree) = header.handle::<Tree>() {
                wrong += verify(&mut ctx.local, inside, tree);
            }
            if let Some(segment) = header.handle::<Segment>() {
                wrong += verify_list(&mut ctx.local, inside, segment, MOST_MAPPINGS);
            }
            if wrong != 0 {
                log::error!("audit: {header:?}, {} references, {price} pages: {wrong} wrong", header.refs());
            }
            errors += wrong;
        }
    });
    call.ctx.each_object(inside, &mut |ctx, header| {
        if let Some(segment) = header.handle::<Segment>() {
            segment.recount(&platform, &ctx.world.memory);
        }
    });
    let free = system.world.memory.in_stocks(&mut call.ctx.local) + cached;
    let frames = system.world.memory.frames();
    let lost = system.world.cores.iter().any(|core| core.fate.is_gone());
    let quarantined = if lost { frames.saturating_sub(owned + free + limbo) } else { 0 };
    AuditReport { frames, owned, free, limbo, objects, dying, errors, slots, tables, quarantined }
}

/// Whether a core that stopped in the middle of something could reach the object: then it may be half changed.
fn is_quarantined<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, header: &Header) -> bool {
    if !ctx.local.losses().any() {
        return false;
    }
    let cores = ctx.world.cores;
    let by_lost = |set: CoreSet| {
        set.iter().any(|core| cores.get(core.index()).is_some_and(|core| core.fate.stopped_inside()))
    };
    if by_lost(header.seen().load()) || header.handle::<Share>().is_some_and(|share| by_lost(share.holders()))
    {
        return true;
    }
    let platform = ctx.local.platform.clone();
    let (mut found, mut named) = (false, false);
    ctx.each_object(inside, &mut |_, other| {
        let Some(share) = other.handle::<Share>() else { return };
        if share.find(&platform, inside, header.id()).is_some() {
            named = true;
            found |= by_lost(share.holders());
        }
    });
    // One that it had made, and not named yet.
    found || !named && by_lost(CoreSet::only(CoreId(header.id().core())))
}

/// 1 if the object's reference count is not the number of shares naming it (for a share: and of cores
/// holding it), else 0.
fn wrong_references<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, header: &Header) -> u64 {
    let platform = ctx.local.platform.clone();
    let mut naming = header.handle::<Share>().map_or(0, |share| share.holders().iter().count() as u64);
    ctx.each_object(inside, &mut |_, other| {
        if other.is_alive()
            && let Some(share) = other.handle::<Share>()
            && share.find(&platform, inside, header.id()).is_some()
        {
            naming += 1;
        }
    });
    u64::from(naming != header.refs())
}

/// 1 if the object is a share whose quota is not what is left of it, what was charged for what it names, and what was
/// carved for other shares, else 0.
fn wrong_quota<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, header: &Header) -> u64 {
    let Some(share) = header.handle::<Share>() else { return 0 };
    let mut children = (0, 0);
    ctx.each_object(inside, &mut |ctx, other| {
        if other.is_alive()
            && let Some(child) = other.handle::<Share>()
            && let (parent, (pages, objects)) = child.carved(ctx)
            && parent == header.link()
        {
            children = (children.0 + pages, children.1 + objects);
        }
    });
    u64::from(share.missing(ctx, children) != (0, 0))
}
