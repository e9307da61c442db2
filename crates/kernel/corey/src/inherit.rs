//! What is left of a core that is gone. Whoever found it gone sees to it, at its own kernel exit.
//!
//! ```text
//! finder   fate said ─ its run over (place, root, trees it attached) ─ its shares dropped ─ status "core lost"
//! others   from the first step on: pass it over in shootdowns and epochs, take locks from it, start nothing on it
//! ```
//!
//! A core that stopped outside the kernel was in the middle of nothing: its shares are dropped as it would have dropped
//! them, and what nobody else names is reclaimed. One that stopped inside may have been in the middle of anything: it
//! keeps holding its shares, so nothing in them is ever freed; they are named here. Frames in its cache, and what it was
//! about to free, stay out of use in both cases: the audit counts them.

use crate::core_kernel::Core;
use corey_abi::{RunStatus, reason};
use corey_kernel_atree::{Tree, forget_core};
use corey_kernel_hal::{CoreId, Exit, Platform};
use corey_kernel_object::{Entered, Link};
use corey_kernel_pcore as pcore;
use corey_kernel_percore::{CoreSet, Gone, Message, MessageKind, ObjectWords};
use corey_kernel_share::Share;

/// Shares of a lost core that are named.
const NAMED: usize = 8;

impl<P: Platform> Core<P> {
    /// Sees to the cores that this one found gone, and to what waits behind a lock that it took over.
    #[cold]
    #[inline(never)]
    pub(crate) fn inherit(&mut self, inside: &Entered<'static>) {
        self.ctx.local.inherits = false;
        for core in core::mem::take(&mut self.ctx.local.found).iter() {
            self.inherit_from(inside, core);
        }
        if let Some((name, home)) = self.ctx.local.taken_over.take() {
            log::error!("lock {name} of core {home} was a lost core's: what it protected is quarantined");
            // It may have been a list of cores to be woken.
            let message = Message { kind: MessageKind::Wake, object: ObjectWords::NULL, words: [0; 2] };
            let all = CoreSet::first(self.ctx.world.cores.len());
            self.ctx.local.running.woken = true;
            self.ctx.local.broadcast(all, message);
        }
    }

    fn inherit_from(&mut self, inside: &Entered<'static>, core: CoreId) {
        let Some(per_core) = self.ctx.world.cores.get(core.index()) else { return };
        let whole = !per_core.fate.stopped_inside();
        let how = match per_core.fate.gone() {
            Some(Gone::Parked) => "parked",
            _ => "lost",
        };
        let place = if whole { "outside the kernel: reclaimed" } else { "inside the kernel: quarantined" };
        log::error!("core {} is {how}, {place}", core.0);
        let status = pcore::abandon(&self.ctx, core);
        for home in 0..self.ctx.world.cores.len() {
            if let Some(list) = self.ctx.world.waits(CoreId(home as u16)) {
                list.lock(&mut self.ctx.local).remove(core);
            }
        }
        let mut shares = heapless::Vec::<Link, NAMED>::new();
        let mut more = 0;
        self.ctx.each_object(inside, &mut |ctx, header| {
            if let Some(tree) = header.handle::<Tree>() {
                forget_core(&ctx.local, &tree, core);
            }
            if let Some(share) = header.handle::<Share>().filter(|share| share.holders().contains(core)) {
                if whole {
                    Share::unhold_lost(share, ctx, inside, core);
                } else if shares.push(header.link()).is_err() {
                    more += 1;
                }
            }
        });
        for link in &shares {
            if let Some(header) = link.header(inside) {
                log::error!("quarantined: {header:?} and what it names");
            }
        }
        if more > 0 {
            log::error!("quarantined: {more} shares more");
        }
        if let Some(status) = status {
            status.unpin(&self.ctx, inside);
            let over = RunStatus { reason: reason::CORE_LOST, value: 0, address: 0 };
            status.report(&mut self.ctx, inside, over);
        }
        if core == CoreId(0) {
            // It ran the first program.
            self.system.devices.machine().exit(Exit::Status(1));
        }
    }
}
