//! The pcore object.

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::Kind;
use corey_kernel_hal::{CoreId, Field, Platform, fields};
use corey_kernel_object::{Ctx, Entered, Header, Object};
use corey_kernel_percore::{CoreSet, Message, MessageKind};

const IDLE: u64 = 0;
const STARTING: u64 = 1;
const RUNNING: u64 = 2;
const DEAD: u64 = 3;

/// A core, taken.
#[derive(Debug)]
pub struct Pcore {
    core: CoreId,
    state: AtomicU64,
}

impl<P: Platform> Object<P> for Pcore {
    const KIND: Kind = Kind::Pcore;
    const FIELDS: &'static [Field] = fields!(Self: core, state);

    fn reclaim(&mut self, _: &mut Ctx<P>) {}
}

impl Pcore {
    /// The pcore of `core`, which was free and is taken.
    #[must_use]
    pub fn new(core: CoreId) -> Self {
        Self { core, state: AtomicU64::new(IDLE) }
    }

    /// Its core.
    #[must_use]
    pub fn core(&self) -> CoreId {
        self.core
    }

    fn change(&self, from: u64, to: u64) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Claims an idle pcore for a run.
    #[must_use]
    pub fn claim(&self) -> bool {
        self.change(IDLE, STARTING)
    }

    /// Gives a claim up.
    pub fn unclaim(&self) {
        self.change(STARTING, IDLE);
    }

    /// On its core: the claimed run begins.
    pub fn begin(&self) {
        self.change(STARTING, RUNNING);
    }

    /// On its core: the run is over.
    pub fn stop(&self) {
        self.change(RUNNING, IDLE);
    }

    /// Whether it runs or is about to.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.state.load(Ordering::SeqCst), STARTING | RUNNING)
    }
}

/// Ends a pcore without references: its core halts and is free. False: it still runs, here or elsewhere; end it again at
/// the kernel exit, until it does not.
///
/// It stops at its core's kernel exit, and that core may be ending what this one runs on: so nobody waits for it inside
/// a call.
pub fn end<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, header: &Header) -> bool {
    let _ = inside;
    let Some(pcore) = header.handle::<Pcore>() else { return true };
    if !pcore.change(IDLE, DEAD) {
        let message = Message { kind: MessageKind::Recheck, object: header.link().words(), words: [0; 2] };
        ctx.local.broadcast(CoreSet::only(pcore.core), message);
        return false;
    }
    if let Some(slot) = ctx.world.owners.get(pcore.core.index()) {
        slot.clear();
    }
    let users = CoreSet::only(pcore.core);
    ctx.retire(header, users);
    true
}
