//! The audit: stops all cores and counts every frame, reference and mapping.
//!
//! Frames: owned + free + limbo = all. References: as many as shares name. Mappings: every entry of every table is the
//! page that a slot says (so it lies in no freed frame), and every slot is on its segment's list.

use crate::system::System;
use corey_abi::{AuditReport, Error, Kind};
use corey_kernel_atree::{Tree, verify, verify_list};
use corey_kernel_hal::{CoreId, Platform};
use corey_kernel_object::{Ctx, Entered, Header};
use corey_kernel_percore::{CoreSet, Message, MessageKind, ObjectWords};
use corey_kernel_segment::Segment;
use corey_kernel_share::{Call, Share};
use corey_lib_sync::Relax;
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
        let frames = loop {
            if let Some(frames) = call.ctx.local.poll(*ticket) {
                break frames;
            }
            call.ctx.relax();
        };
        cached += frames;
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
        if header.is_alive() {
            errors += wrong_references(ctx, inside, header) + wrong_quota(ctx, inside, header);
            errors += u64::from(header.pages() != price);
            if let Some(tree) = header.handle::<Tree>() {
                errors += verify(&mut ctx.local, inside, tree);
            }
            if let Some(segment) = header.handle::<Segment>() {
                errors += verify_list(&mut ctx.local, inside, segment, MOST_MAPPINGS);
            }
        }
    });
    call.ctx.each_object(inside, &mut |ctx, header| {
        if let Some(segment) = header.handle::<Segment>() {
            segment.recount(&platform, &ctx.world.memory);
        }
    });
    let free = system.world.memory.in_stocks(&mut call.ctx.local) + cached;
    let frames = system.world.memory.frames();
    AuditReport { frames, owned, free, limbo, objects, dying, errors, slots, tables }
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
