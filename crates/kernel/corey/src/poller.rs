//! Kernel cores: a core that polls devices and makes the calls it finds in rings, and runs no program (paper §3.5).
//!
//! ```text
//! settle    messages ─ halts ─ what died ─ devices that came or went ─┐ something waits for the exit
//!              ┌───────────────────────────────────────────────────────┴──────────────────────────┐
//! turn         └─ enter ─ every card once ─ every ring: at most 32 calls ─ leave ─ (nothing for long: sleep) ─┘
//! ```
//!
//! A turn is one kernel entry: what it looks up is good until its end, and no longer, so a kernel core holds nobody's
//! memory back. A call that needs the kernel exit (it dropped a share, something died) ends the turn.
//!
//! **Shares.** A core is a holder of a share once, whether its run has it, one of its rings, or several. A ring's share is
//! taken when the ring is, and let go with the last that has it, between two entries, as those of runs are.
//!
//! **Sleep.** After [`PATIENCE`] without anything to do every ring says that its kernel core sleeps, and is looked at once
//! more ([`Consumer::arm`]); who submits then rings (`device_buf` 3), which is a message, and a message ends the sleep. Its cards are
//! let interrupt, and looked at once more; awake, it has none of that (`kernel/device`, `lines`). Where the line of a card's interrupts was
//! not found the sleep lasts [`NAP`] at most, and twice as long each time that it was for nothing, up to [`LONGEST_NAP`].

use crate::core_kernel::Core;
use crate::gate::Gate;
use corey_abi::{Error, RUN_SHARES, SyscallInfo, dispatch, from_registers};
use corey_kernel_device::{Armed, Device, Ring};
use corey_kernel_hal::Platform;
use corey_kernel_object::{Entered, Link};
use corey_kernel_pcore::{Current, DEVICES, Pcore};
use corey_kernel_percore::ObjectWords;
use corey_kernel_share::{Authority, Share};
use corey_lib_ring::{BUDGET, Consumer, Request};

/// Microseconds without anything to do before the core sleeps.
const PATIENCE: u64 = 50;
/// Microseconds of the first sleep at most, where there is a card that cannot end it, and of those after it.
const NAP: u64 = 500;
const LONGEST_NAP: u64 = 4000;

/// A ring that this core serves.
#[derive(Debug)]
struct Served {
    device: Link,
    ring: Ring,
    consumer: Consumer,
    /// The shares in whose name its calls are made.
    held: Authority,
    /// It is to end: why.
    over: Option<Error>,
}

/// What a kernel core polls. Its own: nobody else reaches it.
#[derive(Debug, Default)]
pub(crate) struct Poller {
    cards: heapless::Vec<Link, DEVICES>,
    rings: heapless::Vec<Served, DEVICES>,
    /// The ring whose turn is the first of the next turn.
    first: usize,
    /// When there was something to do last, in ticks of the time-stamp counter.
    busy: u64,
    /// Microseconds of the last sleep; 0 since there was something to do.
    nap: u64,
    /// Cards may interrupt.
    armed: bool,
    /// There is one that cannot.
    needs_timer: bool,
}

impl Poller {
    /// Whether it has no ring.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.rings.is_empty()
    }

    /// Whether a ring has the share.
    pub(crate) fn holds(&self, share: Link) -> bool {
        self.rings.iter().any(|served| served.held.holds(share.id()))
    }

    /// Adds the shares of its rings to those that the core shows, each once, as many as there is room for.
    #[cold]
    #[inline(never)]
    pub(crate) fn publish(&self, shown: &mut heapless::Vec<ObjectWords, RUN_SHARES>) {
        for link in self.rings.iter().flat_map(|served| served.held.iter()) {
            if !shown.contains(&link.words()) {
                let _ = shown.push(link.words());
            }
        }
    }
}

impl<P: Platform> Core<P> {
    /// Whether a kernel core runs here, or rings of one are left.
    #[inline(always)]
    pub(crate) fn is_kernel_core(&self) -> bool {
        self.current.is_some_and(|current| current.is_kernel_core()) || !self.poller.is_empty()
    }

    /// Polls until something waits for the kernel exit. Takes the kernel entry it is in, and returns the one it is in then.
    #[inline(never)]
    pub(crate) fn poll(&mut self, mut inside: Entered<'static>) -> Entered<'static> {
        self.awake();
        loop {
            let useful = self.turn(&inside);
            let counters = &mut self.ctx.local.counters;
            counters.turns += 1;
            counters.useful += u64::from(useful);
            if self.is_called() {
                return inside;
            }
            if useful {
                self.awake();
            }
            let sleeps = !useful && self.may_sleep(&inside);
            // While the cards were let interrupt, a message's interrupt may have been taken, too: nothing would end the sleep. Of those that
            // come from here on it stays pending.
            if sleeps && self.is_called() {
                self.disarm(&inside);
                return inside;
            }
            self.ctx.leave(inside);
            if sleeps {
                self.nap();
                inside = self.ctx.enter();
                self.ctx.local.serve_all();
                self.disarm(&inside);
            } else {
                if !useful {
                    self.ctx.local.platform.pause();
                }
                inside = self.ctx.enter();
            }
            if self.is_called() {
                return inside;
            }
        }
    }

    /// There is something to do, or soon may be.
    fn awake(&mut self) {
        self.poller.busy = self.ctx.local.platform.tsc();
        self.poller.nap = 0;
    }

    fn is_called(&self) -> bool {
        self.ctx.local.attention || self.ctx.local.own().mailbox.is_pending()
    }

    /// Looks at every device once. Says whether there was anything to do.
    fn turn(&mut self, inside: &Entered<'static>) -> bool {
        let mut useful = self.look_at_cards(inside);
        let count = self.poller.rings.len();
        self.poller.first = (self.poller.first + 1) % count.max(1);
        for at in 0..count {
            useful |= self.serve(inside, (self.poller.first + at) % count) != 0;
        }
        useful
    }

    /// Looks at every card once. Says whether there was anything to do.
    #[inline(always)]
    fn look_at_cards(&mut self, inside: &Entered<'static>) -> bool {
        let mut useful = false;
        for link in &self.poller.cards {
            match link.resolve::<Device>(inside) {
                Some(device) => useful |= device.poll(&mut self.ctx, inside),
                None => self.ctx.local.attention = true,
            }
        }
        useful
    }

    /// Makes a ring's calls: at most [`BUDGET`], fewer when one needs the kernel exit. Says how many.
    fn serve(&mut self, inside: &Entered<'static>, at: usize) -> u32 {
        let Some(Served { device, ring, .. }) = self.poller.rings.get(at) else { return 0 };
        let alive = device.resolve::<Device>(inside).is_some_and(|device| device.header().refs() != 0);
        let Some(words) = ring.words(&self.ctx.local.platform, inside).filter(|_| alive) else {
            self.end(at, Error::DeviceFailed);
            return 0;
        };
        let arguments = ring.arguments;
        let mut made = 0;
        while made < BUDGET && !self.ctx.local.attention {
            let Some(Served { consumer, .. }) = self.poller.rings.get_mut(at) else { break };
            let Request { number, args, taken } = match consumer.take(&words) {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(broken) => {
                    log::info!(
                        "core {}: a ring ends, what stands in it is no request: {broken:?}",
                        self.ctx.core().0
                    );
                    self.end(at, Error::BadArgument);
                    break;
                }
            };
            if made == 0 {
                self.take_the_part_of(at, arguments);
            }
            let result = if SyscallInfo::is_for_rings(number) {
                from_registers(dispatch(Gate { core: self, inside }, number, args))
            } else {
                Err(Error::Unsupported)
            };
            if let Some(Served { consumer, .. }) = self.poller.rings.get_mut(at) {
                consumer.complete(&words, taken, result);
            }
            made += 1;
            self.ctx.local.serve_mailbox();
        }
        if made != 0 {
            self.take_the_part_of(at, Link::NULL);
            self.ctx.local.counters.ring_calls += u64::from(made);
            if let Some(Served { consumer, .. }) = self.poller.rings.get_mut(at) {
                consumer.flush(&words);
            }
        }
        made
    }

    /// From here on calls are made in the name of the ring's shares, or of the core's own again.
    fn take_the_part_of(&mut self, at: usize, arguments: Link) {
        if let Some(served) = self.poller.rings.get_mut(at) {
            self.held.exchange(&mut served.held);
        }
        self.ctx.arguments = arguments;
    }

    /// Notes that a ring is to end.
    #[cold]
    fn end(&mut self, at: usize, why: Error) {
        if let Some(served) = self.poller.rings.get_mut(at) {
            served.over = Some(why);
        }
        self.ctx.local.attention = true;
    }

    /// Whether nothing was to do for long, and nothing came since every ring was told.
    fn may_sleep(&mut self, inside: &Entered<'static>) -> bool {
        let ticks = self.microseconds(PATIENCE);
        if self.ctx.local.platform.tsc().saturating_sub(self.poller.busy) < ticks {
            return false;
        }
        let platform = self.ctx.local.platform.clone();
        let quiet = self.poller.rings.iter_mut().all(|served| {
            let Served { ring, consumer, .. } = served;
            ring.words(&platform, inside).is_none_or(|words| consumer.arm(&words))
        });
        if !quiet || self.poller.cards.is_empty() {
            return quiet;
        }
        self.arm(inside);
        let came = self.look_at_cards(inside);
        if came {
            self.disarm(inside);
            self.awake();
        }
        !came
    }

    /// Lets the cards interrupt this core.
    #[cold]
    fn arm(&mut self, inside: &Entered<'static>) {
        // One of before, that came when nobody waited for it, would keep all others away.
        self.ctx.local.platform.end_card_interrupt();
        self.poller.armed = true;
        self.poller.needs_timer = false;
        for link in &self.poller.cards {
            if let Some(device) = link.resolve::<Device>(inside) {
                self.poller.needs_timer |= device.arm(&mut self.ctx.local) == Armed::ByTimer;
            }
        }
    }

    /// From here on the cards are polled. One that died meanwhile was stopped.
    fn disarm(&mut self, inside: &Entered<'static>) {
        if !core::mem::take(&mut self.poller.armed) {
            return;
        }
        for link in &self.poller.cards {
            if let Some(device) = link.resolve::<Device>(inside) {
                device.disarm(&mut self.ctx.local);
            }
        }
        let came = self.system.devices.leave_lines(&mut self.ctx.local);
        self.ctx.local.counters.interrupts += u64::from(came);
    }

    /// Sleeps until a message or a card's interrupt comes; with a card that cannot interrupt, not for long.
    fn nap(&mut self) {
        if !self.poller.cards.is_empty() && self.poller.needs_timer {
            self.poller.nap = (2 * self.poller.nap).clamp(NAP, LONGEST_NAP);
            let until = self.ctx.local.platform.tsc().saturating_add(self.microseconds(self.poller.nap));
            self.ctx.local.set_timer(Some(until));
        }
        self.ctx.local.platform.sleep();
        self.ctx.local.set_timer(None);
    }

    fn microseconds(&self, count: u64) -> u64 {
        count.saturating_mul(self.system.info.tsc_hz) / 1_000_000
    }

    /// At the kernel exit: ends rings that are over, all of them when no kernel core runs here, and takes up what is on the
    /// list of devices. One ring an exit ends: what it held is dropped before the next one's is.
    #[cold]
    #[inline(never)]
    pub(crate) fn attend(&mut self, inside: &Entered<'static>) {
        let current = self.current.filter(Current::is_kernel_core);
        if !self.dropped.is_empty() {
            self.ctx.local.attention = true;
            return;
        }
        let all = current.is_none();
        if let Some(at) = self.poller.rings.iter().position(|served| all || served.over.is_some()) {
            self.end_ring(inside, at);
            self.ctx.local.attention = true;
            return;
        }
        if let Some(current) = current {
            self.look_for_devices(inside, &current);
        }
    }

    /// Ends a ring: what is in flight fails, its pages are let go, its shares are dropped.
    fn end_ring(&mut self, inside: &Entered<'static>, at: usize) {
        let Served { device, ring, consumer, held, over } = self.poller.rings.swap_remove(at);
        let platform = self.ctx.local.platform.clone();
        if let Some(words) = ring.words(&platform, inside) {
            consumer.end(&words, over.unwrap_or(Error::DeviceFailed));
        }
        ring.let_go(&platform, inside);
        if let Some(device) = device.resolve::<Device>(inside) {
            device.end_ring(&mut self.ctx);
        }
        for link in held.iter() {
            // Empty so far, and as many fit as a ring can have.
            let _ = self.dropped.add(link);
        }
    }

    /// Takes up the devices of this core's pcore.
    fn look_for_devices(&mut self, inside: &Entered<'static>, current: &Current) {
        self.poller.cards.clear();
        let Some(pcore) = current.pcore.resolve::<Pcore>(inside) else { return };
        for link in pcore.devices(&mut self.ctx.local).iter() {
            let Some(device) = link.resolve::<Device>(inside) else { continue };
            // Noted before it is used: whoever ends it waits for this core.
            device.header().seen().insert(self.ctx.core());
            if !device.is_for_calls() {
                // As many as a list has.
                let _ = self.poller.cards.push(link);
            } else if !self.poller.rings.iter().any(|served| served.device == link)
                && let Some(ring) = device.take_ring(&mut self.ctx)
            {
                self.begin_ring(inside, link, ring);
            }
        }
    }

    /// Serves a ring from now on.
    fn begin_ring(&mut self, inside: &Entered<'static>, device: Link, ring: Ring) {
        let mut held = Authority::default();
        for link in &ring.shares {
            let has = self.held.holds(link.id()) || self.poller.holds(*link);
            let core = self.ctx.core();
            // One that died since then is none of the ring's.
            if has || link.resolve::<Share>(inside).is_some_and(|share| Share::hold(share, core)) {
                // Fewer than an authority has room for.
                let _ = held.add(*link);
            }
        }
        let over = (!ring.begin(self.ctx.core(), inside)).then_some(Error::DeviceFailed);
        self.ctx.local.attention |= over.is_some();
        let consumer = Consumer::new(ring.shape);
        // As many as a list has.
        let _ = self.poller.rings.push(Served { device, ring, consumer, held, over });
    }
}
