//! [`System`]: what is one per machine.

use crate::core_kernel::Core;
use crate::exit;
use core::marker::PhantomData;
use corey_abi::{Error, Id};
use corey_kernel_atree::{fault, revoke};
use corey_kernel_device::Devices;
use corey_kernel_hal::{
    Area, Boot, BootAlloc, BootInfo, CoreId, Field, Machine, NetworkCard, Platform, fields,
};
use corey_kernel_object::{Ctx, Entered, Hooks, Link, Transfer, World};
use corey_kernel_segment::Segment;
use corey_lib_sync::atomic::{AtomicU64, Ordering};

/// The kernel of a machine.
#[derive(Debug)]
pub struct System<P> {
    pub(crate) info: BootInfo,
    pub(crate) world: World,
    pub(crate) devices: Devices,
    /// The share that is the key to the machine; 0 until it is made.
    pub(crate) boot_share: AtomicU64,
    /// How long a core may be silent, in ticks of the time-stamp counter; 0 for ever.
    patience: u64,
    platform: PhantomData<fn() -> P>,
}

impl<P: Platform> System<P> {
    const FIELDS: &'static [Field] = fields!(Self: info, world, devices, boot_share);

    pub(crate) fn hooks() -> Hooks<P> {
        Hooks { serve: exit::serve, fault, revoke, last: exit::last, arguments, posts: None }
    }

    pub(crate) fn boot_share(&self) -> Id {
        Id(self.boot_share.load(Ordering::Acquire))
    }
}

/// Moves bytes between the kernel and the argument segment of a ring. Whatever is wrong with it, the address is bad.
fn arguments<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    segment: Link,
    offset: u64,
    what: Transfer<'_>,
) -> Result<(), Error> {
    let segment = segment.resolve::<Segment>(inside).ok_or(Error::BadAddress)?;
    match what {
        Transfer::In(to) => Segment::read(segment, ctx, inside, offset, to),
        Transfer::Out(from) => Segment::write(segment, ctx, inside, offset, from),
    }
    .map_err(|_| Error::BadAddress)
}

/// Milliseconds that a core may be silent when the command line does not say `lost=`.
const PATIENCE: u64 = 1000;

/// `lost=` of the command line, in ticks.
fn patience(info: &BootInfo) -> u64 {
    let word = info.command_line.split_whitespace().find_map(|word| word.strip_prefix("lost="));
    let milliseconds = word.map_or(Ok(PATIENCE), str::parse::<u64>).unwrap_or_else(|_| {
        log::warn!("lost= takes milliseconds; 0 for ever");
        PATIENCE
    });
    milliseconds.saturating_mul(info.tsc_hz) / 1000
}

impl<P: Platform> Boot<P> for System<P> {
    type Core = Core<P>;

    fn prepare(
        info: BootInfo,
        machine: &'static dyn Machine,
        cards: &'static mut [&'static mut dyn NetworkCard],
        platform: P,
        alloc: &mut impl BootAlloc,
    ) -> Self {
        let _ = platform;
        let devices = Devices::new(machine, cards, info.tsc_hz, alloc);
        // Takes all memory that is left.
        let world = World::new(&info.topology, alloc);
        if world.memory.unused() > 0 {
            log::warn!("{} pages of RAM lie in too many pieces and stay unused", world.memory.unused());
        }
        Self {
            info,
            world,
            devices,
            boot_share: AtomicU64::new(0),
            patience: patience(&info),
            platform: PhantomData,
        }
    }

    fn start(&'static self, platform: P) -> Core<P> {
        let first = platform.core() == CoreId(0);
        let hooks = Hooks { posts: Some(&self.devices), ..Self::hooks() };
        let mut core = Core::new(self, Ctx::new(platform, &self.world, hooks));
        core.ctx.local.set_patience(self.patience);
        if first {
            core.boot();
        }
        core
    }

    fn map(&self, each: &mut dyn FnMut(Area)) {
        self.world.map(each);
        self.devices.map(each);
        each(Area::of("system", core::slice::from_ref(self), Self::FIELDS));
    }
}
