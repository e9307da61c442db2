//! The pcore object.

use corey_abi::{Error, Kind};
use corey_kernel_hal::{CoreId, Field, Platform, fields};
use corey_kernel_object::{Ctx, Entered, Header, Link, Object};
use corey_kernel_percore::{CoreSet, Local, Message, MessageKind, RunPlace};
use corey_lib_sync::{Quarantine, Relax, Shared};

/// Devices of a kernel core at most.
pub const DEVICES: usize = 8;

/// The devices that a pcore polls as a kernel core. They may be dead.
#[derive(Clone, Debug, Default)]
pub struct DeviceList(heapless::Vec<Link, DEVICES>);

impl Quarantine for DeviceList {
    fn quarantine(&mut self) {
        // Links, each whole or not there: what was being added may be missing.
    }
}

impl DeviceList {
    /// Adds a device, in the place of one that is dead if there is no other.
    fn add(&mut self, device: Link, inside: &Entered<'_>) -> Result<(), Error> {
        self.0.retain(|link| link.header(inside).is_some());
        if self.0.contains(&device) {
            return Err(Error::Exists);
        }
        self.0.push(device).map_err(|_| Error::Full)
    }

    /// The devices.
    pub fn iter(&self) -> impl Iterator<Item = Link> + '_ {
        self.0.iter().copied()
    }
}

/// A core, taken. Whether it runs is in its core's [`RunPlace`].
#[derive(Debug)]
pub struct Pcore {
    core: CoreId,
    /// Lock order 6 (`pcore.devices`): what it polls as a kernel core. Nothing is taken under it.
    devices: Shared<DeviceList>,
}

impl<P: Platform> Object<P> for Pcore {
    const KIND: Kind = Kind::Pcore;
    const FIELDS: &'static [Field] = fields!(Self: core, devices);

    fn reclaim(&mut self, _: &mut Ctx<P>) {}
}

impl Pcore {
    /// Before the pcore of `core`, which was free and is taken, is made.
    pub(crate) fn renew<P: Platform>(core: CoreId, local: &Local<P>) {
        if let Some(per_core) = local.cores.get(core.index()) {
            per_core.mailbox.run_place().renew();
        }
    }

    /// The pcore of `core`.
    #[must_use]
    #[inline(always)]
    pub fn new(core: CoreId) -> Self {
        Self { core, devices: Shared::new(core.0, "pcore.devices", DeviceList::default()) }
    }

    /// The devices that it polls as a kernel core.
    pub fn devices<R: Relax>(&self, waiter: &mut R) -> DeviceList {
        self.devices.lock(waiter).clone()
    }

    /// Adds a device.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], [`Error::Full`].
    pub(crate) fn add_device<R: Relax>(
        &self,
        waiter: &mut R,
        inside: &Entered<'_>,
        device: Link,
    ) -> Result<(), Error> {
        self.devices.lock(waiter).add(device, inside)
    }

    /// Its core.
    #[must_use]
    pub fn core(&self) -> CoreId {
        self.core
    }

    /// Where its runs are asked for. There is one pcore of a core at a time, so this is its alone.
    #[must_use]
    pub fn place<P: Platform>(&self, local: &Local<P>) -> Option<&'static RunPlace> {
        local.cores.get(self.core.index()).map(|per_core| per_core.mailbox.run_place())
    }

    /// Whether it runs or is about to.
    #[must_use]
    pub fn is_active<P: Platform>(&self, local: &Local<P>) -> bool {
        self.place(local).is_some_and(RunPlace::is_active)
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
    if !ctx.local.has_lost(pcore.core) && pcore.place(&ctx.local).is_some_and(|place| !place.kill()) {
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
