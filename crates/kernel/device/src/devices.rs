//! All devices of the machine, and the device object.

use crate::console::Console;
use crate::lines::Lines;
use crate::network::{Armed, Network, POSTED};
use crate::ring::{Ring, RingPlace};
use core::fmt;
use corey_abi::{Kind, SYSCALL_DEVICE, device_kind};
use corey_kernel_hal::{Area, BootAlloc, CoreId, Field, Machine, NetworkCard, Platform, fields};
use corey_kernel_object::{Ctx, Entered, Header, Link, Object, Posts};
use corey_kernel_percore::{CoreSet, Local};
use corey_lib_sync::atomic::{AtomicBool, Ordering};
use corey_lib_sync::{Relax, Shared};

/// The console's number. Network cards follow.
const CONSOLE: u64 = 0;

/// Whether a device is taken, on a line of its own: who prints or ends the run reads what lies beside it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Taken(AtomicBool);

/// What a device object is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    /// Serial port and screen.
    Console,
    /// A network card.
    Network(&'static Network),
    /// A system-call device.
    Ring,
}

/// All devices of the machine.
pub struct Devices {
    machine: &'static dyn Machine,
    /// Lock order 6 (`console`): the serial port and the screen. Nothing is taken under it.
    console: Shared<Console>,
    cards: &'static [Network],
    /// Lock order 6 (`lines`): the interrupt lines of cards. Nothing is taken under it.
    lines: Shared<Lines>,
    /// By number.
    taken: &'static [Taken],
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.console, self.cards)
    }
}

impl Devices {
    /// The devices of `machine`, and its network cards; `tsc_hz` is the time-stamp counter's frequency.
    #[must_use]
    pub fn new(
        machine: &'static dyn Machine,
        cards: &'static mut [&'static mut dyn NetworkCard],
        tsc_hz: u64,
        alloc: &mut impl BootAlloc,
    ) -> Self {
        let count = cards.len();
        let taken = alloc.slice(1 + count, |_| Taken::default());
        let rooms = alloc.slice(count * POSTED, |_| None);
        let mut both = cards.iter_mut().zip(rooms.chunks_exact_mut(POSTED));
        let cards = alloc.slice(count, |number| {
            let (driver, posted) = both.next().expect("as many as there are");
            Network::new(number as u32, &mut **driver, posted, tsc_hz / 1_000_000)
        });
        let lines = Shared::new(0, "lines", Lines::new(machine));
        Self { machine, console: Shared::new(0, "console", Console::default()), cards, lines, taken }
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &'static dyn Machine {
        self.machine
    }

    /// Writes one line.
    pub fn line<R: Relax>(&self, waiter: &mut R, text: &[u8]) {
        self.console.lock(waiter).line(self.machine, text);
    }

    /// Device number `number`.
    pub(crate) fn get(&self, number: u64) -> Option<Which> {
        if number == SYSCALL_DEVICE {
            return Some(Which::Ring);
        }
        let Some(card) = number.checked_sub(CONSOLE + 1) else { return Some(Which::Console) };
        self.cards.get(usize::try_from(card).ok()?).map(Which::Network)
    }

    /// The kind of device `number`.
    pub(crate) fn kind(&self, number: u64) -> Option<u64> {
        self.get(number).map(|which| match which {
            Which::Console => device_kind::CONSOLE,
            Which::Network(_) => device_kind::NETWORK,
            // No number of the machine's is one.
            Which::Ring => 0,
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.taken.len() as u64
    }

    fn taken(&self, number: u64) -> Option<&AtomicBool> {
        self.taken.get(usize::try_from(number).ok()?).map(|taken| &taken.0)
    }

    /// Takes a device; false when it is taken. A new system-call device is nobody's.
    pub(crate) fn take(&self, number: u64) -> bool {
        number == SYSCALL_DEVICE
            || self.taken(number).is_some_and(|taken| !taken.swap(true, Ordering::AcqRel))
    }

    pub(crate) fn release(&self, number: u64) {
        if let Some(taken) = self.taken(number) {
            taken.store(false, Ordering::Release);
        }
    }

    /// A kernel core sleeps no more for any line; its cards are disarmed. Says whether one of them, or another card on such a line, had
    /// interrupted it.
    pub fn leave_lines<P: Platform>(&self, local: &mut Local<P>) -> bool {
        let platform = local.platform.clone();
        self.lines.lock(local).leave(&platform)
    }

    /// Areas for the line meter's names.
    pub fn map(&self, each: &mut dyn FnMut(Area)) {
        each(Area::of("device.taken", self.taken, &[]));
        each(Area::of("card", self.cards, &[]));
    }
}

impl<P: Platform> Posts<P> for Devices {
    fn forget(
        &self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        segment: Link,
        posted: &dyn Fn(u32) -> bool,
    ) -> bool {
        let mut cards = self.cards.iter().filter(|card| posted(card.number()));
        cards.all(|card| card.forget(ctx, inside, segment))
    }
}

/// A device as an object.
#[derive(Debug)]
pub struct Device {
    devices: &'static Devices,
    number: u64,
    which: Which,
    ring: RingPlace,
}

impl Device {
    /// Device `number`, taken; at home on `core`.
    pub(crate) fn new(devices: &'static Devices, number: u64, which: Which, core: CoreId) -> Self {
        Self { devices, number, which, ring: RingPlace::new(core) }
    }

    pub(crate) fn ring(&self) -> &RingPlace {
        &self.ring
    }

    /// Whether a kernel core finds calls there, and not frames.
    #[must_use]
    pub fn is_for_calls(&self) -> bool {
        matches!(self.which, Which::Ring)
    }

    /// Takes the ring that a program described, if nobody has it. Others come to this core from now on.
    pub fn take_ring<P: Platform>(&self, ctx: &mut Ctx<P>) -> Option<Ring> {
        self.ring.take(ctx)
    }

    /// The ring that was taken has ended.
    pub fn end_ring<P: Platform>(&self, ctx: &mut Ctx<P>) {
        self.ring.end(ctx);
    }

    /// Takes from it what it is done with, for a kernel core. Says whether that was anything.
    #[inline]
    pub fn poll<P: Platform>(&self, ctx: &mut Ctx<P>, inside: &Entered<'_>) -> bool {
        match self.which {
            Which::Network(card) => card.poll(ctx, inside).is_ok_and(|done| done != 0),
            Which::Console | Which::Ring => false,
        }
    }

    /// Has it interrupt this core from now on when it is done with something; what it did before is to be polled after this. Says what ends
    /// a sleep.
    pub fn arm<P: Platform>(&self, local: &mut Local<P>) -> Armed {
        let Which::Network(card) = self.which else { return Armed::Never };
        let armed = card.arm(local);
        if let Armed::ByLine(line) = armed {
            let core = local.platform.core();
            if !self.devices.lines.lock(local).arm(core, line) {
                return Armed::ByTimer;
            }
        }
        armed
    }

    /// Ends [`Device::arm`] as far as the card goes; [`Devices::leave_lines`] is the rest.
    pub fn disarm<P: Platform>(&self, local: &mut Local<P>) {
        if let Which::Network(card) = self.which {
            card.disarm(local);
        }
    }

    pub(crate) fn which(&self) -> Which {
        self.which
    }
}

impl<P: Platform> Object<P> for Device {
    const KIND: Kind = Kind::Device;
    const FIELDS: &'static [Field] = fields!(Self: devices, number, which, ring);

    fn reclaim(&mut self, _: &mut Ctx<P>) {
        self.devices.release(self.number);
    }
}

/// Ends a device without references: a card is stopped; it is free when no core can use it any more.
pub fn end<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, header: &Header) {
    if let Some(device) = header.handle::<Device>() {
        match device.which() {
            Which::Console => {}
            Which::Network(card) => card.stop(ctx, inside),
            Which::Ring => device.ring.close(ctx, inside),
        }
    }
    let own = CoreSet::only(ctx.core());
    ctx.retire(header, own);
}
