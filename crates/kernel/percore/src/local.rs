//! [`Local`]: what a core needs to wait, to be interrupted in a wait, and to ask other cores.

use crate::epoch::{Epoch, Snapshot};
use crate::fate::{Fate, Losses};
use crate::mailbox::{Delivery, Mailbox, Message, Slots, Taken, Ticket};
use crate::notice::Notice;
use crate::picture::{Numbers, Picture};
use crate::set::CoreSet;
use crate::vigil::{Vigil, Watched};
use crate::words::ObjectWords;
use corey_abi::{RUN_SHARES, core_mode};
use corey_kernel_hal::{Area, BootAlloc, CoreId, Field, Platform, fields};
use corey_lib_sync::Relax;
use crossbeam_utils::CachePadded;

/// The blocks of one core that other cores reach. Each on lines of its own.
#[derive(Debug)]
pub struct PerCore {
    /// Written by the core, read by reclaimers.
    pub epoch: CachePadded<Epoch>,
    /// Written by senders, read by the core.
    pub mailbox: CachePadded<Mailbox>,
    /// Written by the core, read by those whom it notifies.
    pub notice: CachePadded<Notice>,
    /// Written by the core when somebody asks.
    pub picture: CachePadded<Picture>,
    /// Written once, by whoever finds that the core is gone.
    pub fate: CachePadded<Fate>,
    /// What was lost with cores, of the whole machine.
    pub losses: &'static Losses,
    /// What the core remembers of others that it asks.
    pub watched: &'static [Watched],
}

impl PerCore {
    /// The blocks of `cores` cores, from boot memory.
    pub fn new_all(cores: usize, alloc: &mut impl BootAlloc) -> &'static [Self] {
        let slots = Slots::new(cores, alloc);
        let losses: &'static [Losses] = alloc.slice(1, |_| Losses::default());
        let losses = losses.first().expect("one was made");
        let rows: heapless::Vec<&'static [Watched], { corey_kernel_hal::MAX_CORES }> =
            (0..cores).map(|_| &*alloc.slice(cores, |_| Watched::default())).collect();
        alloc.slice(cores, |i| Self {
            epoch: CachePadded::default(),
            mailbox: CachePadded::new(Mailbox::new(&slots, i)),
            notice: CachePadded::default(),
            picture: CachePadded::default(),
            fate: CachePadded::default(),
            losses,
            watched: rows.get(i).copied().unwrap_or_default(),
        })
    }

    /// Whether the core has been outside the kernel since `snapshot`, or is gone: it uses no pointer any more.
    #[must_use]
    pub fn has_passed(&self, snapshot: Snapshot) -> bool {
        self.epoch.passed(snapshot) || self.fate.is_gone()
    }

    /// Areas for the line meter's names.
    pub fn map(cores: &[Self], each: &mut dyn FnMut(Area)) {
        const FIELDS: &[Field] = fields!(PerCore: epoch, mailbox, notice, picture, fate);
        each(Area::of("percore", cores, FIELDS));
        cores.iter().for_each(|core| core.mailbox.map(each));
    }
}

/// The address space that this core runs, as mailbox service needs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paging {
    /// The running root tree.
    pub root: ObjectWords,
    /// Slots that resolved the last fault: in the root, and in an interior tree. Tried first.
    pub hints: [u16; 2],
}

/// Events on this core since boot. Plain words: nobody else reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Page faults from user code.
    pub faults: u64,
    /// Inter-processor interrupts sent.
    pub ipis: u64,
    /// Shootdown rounds waited for.
    pub shootdowns: u64,
    /// System calls by trap.
    pub syscalls: u64,
    /// Turns over devices, as a kernel core.
    pub turns: u64,
    /// Those that found something to do.
    pub useful: u64,
    /// System calls by ring.
    pub ring_calls: u64,
    /// Interrupts of its cards, as a kernel core that slept.
    pub interrupts: u64,
}

/// What runs on this core, as mailbox service needs it.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// The pcore; null for none.
    pub pcore: ObjectWords,
    /// The shares held, for [`Picture`]s.
    pub shares: heapless::Vec<ObjectWords, RUN_SHARES>,
    /// Whether it waits in `core_wait`.
    pub waits: bool,
    /// Set when the word it waits on may have changed.
    pub woken: bool,
    /// Its time slice in ticks of the time-stamp counter, 0 for none, and when that ends.
    pub slice: [u64; 2],
}

/// Serves one message. Takes no lock, waits for nothing, changes paging state only.
pub type Serve<P> = fn(&mut Local<P>, CoreId, &Message) -> Delivery;

/// One core's own state below the object layer.
#[derive(Debug)]
pub struct Local<P> {
    /// The machine as this core sees it.
    pub platform: P,
    /// This core.
    pub id: CoreId,
    /// The set of this core.
    pub only: CoreSet,
    /// The cores that have answered this core's notices an odd number of times.
    odd: CoreSet,
    own: &'static PerCore,
    /// Every core's shared blocks.
    pub cores: &'static [PerCore],
    /// Event counts.
    pub counters: Counters,
    /// The running address space.
    pub paging: Paging,
    /// What runs here.
    pub running: Running,
    /// Messages that wait for the kernel exit: halts and what comes after a run, by sender.
    pub deferred: CoreSet,
    /// Whether a run waits for the kernel exit.
    pub run_pending: bool,
    /// Whether a halt is among them: this core abandons its own waits for pcores.
    pub halt_pending: bool,
    /// Whether another core's audit is among them.
    pub audit_pending: bool,
    /// Whether something waits for the kernel exit: a deferred message, a dropped share, a dying object.
    pub attention: bool,
    /// Whether there is something in `found` or `taken_over`.
    pub inherits: bool,
    /// Cores that this core found to be gone, and has yet to see to at its kernel exit.
    pub found: CoreSet,
    /// A lock that this core took over, to be told at its kernel exit.
    pub taken_over: Option<(&'static str, u16)>,
    /// This core as the word of a lock names it.
    holder: u16,
    pub(crate) vigil: Vigil,
    serve: Serve<P>,
}

impl<P: Platform> Local<P> {
    /// The state of the core that `platform` belongs to.
    pub fn new(platform: P, cores: &'static [PerCore], serve: Serve<P>) -> Self {
        Self {
            id: platform.core(),
            only: CoreSet::only(platform.core()),
            holder: platform.core().0 + 1,
            odd: CoreSet::EMPTY,
            own: cores.get(platform.core().index()).expect("a core's number is below the number of cores"),
            platform,
            cores,
            counters: Counters::default(),
            paging: Paging::default(),
            running: Running::default(),
            deferred: CoreSet::EMPTY,
            run_pending: false,
            halt_pending: false,
            audit_pending: false,
            attention: false,
            inherits: false,
            found: CoreSet::EMPTY,
            taken_over: None,
            vigil: Vigil::default(),
            serve,
        }
    }

    /// This core's shared blocks.
    #[inline(always)]
    pub fn own(&self) -> &'static PerCore {
        self.own
    }

    /// Writes this core's picture.
    pub fn draw(&self) {
        let mode = match (self.paging.root == ObjectWords::NULL, self.running.waits) {
            // A kernel core has no address space.
            (true, _) if self.running.pcore != ObjectWords::NULL => core_mode::KERNEL_CORE,
            (true, _) => core_mode::IDLE,
            (false, true) => core_mode::WAITING,
            (false, false) => core_mode::USER,
        };
        let numbers =
            Numbers { mode, tsc: self.platform.tsc(), tree: self.paging.root.id(), counters: self.counters };
        self.own().picture.store(numbers, &self.running.shares);
    }

    /// Sets the time slice of what runs here; 0 for none.
    pub fn set_slice(&mut self, ticks: u64) {
        let end = self.platform.tsc().saturating_add(ticks);
        let before = core::mem::replace(&mut self.running.slice, [ticks, end]);
        if ticks != 0 || before != [0, 0] {
            self.set_timer(None);
        }
    }

    /// Sets the timer to the end of the time slice, or `earlier`.
    pub fn set_timer(&self, earlier: Option<u64>) {
        let [ticks, end] = self.running.slice;
        let slice = (ticks != 0).then_some(end);
        let at = match (slice, earlier) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.platform.set_timer(at);
    }

    /// Whether the time slice is over; then the next one begins.
    pub fn slice_is_over(&mut self) -> bool {
        let [ticks, end] = self.running.slice;
        let now = self.platform.tsc();
        let over = ticks != 0 && now >= end;
        if over {
            self.running.slice = [ticks, now.saturating_add(ticks)];
        }
        over
    }

    /// Serves the mailbox if something waits.
    #[inline(always)]
    pub fn serve_mailbox(&mut self) {
        if self.own().mailbox.is_pending() {
            self.serve_all();
        }
    }

    /// Serves the mailbox without looking first whether something waits: after an interrupt something does, and to
    /// look would fetch the line once more.
    #[cold]
    #[inline(never)]
    pub fn serve_all(&mut self) {
        let mailbox = &self.own().mailbox;
        let Taken { posts, notices, run } = mailbox.take();
        for sender in notices.iter() {
            if let Some(message) = self.cores.get(sender.index()).and_then(|core| core.notice.get()) {
                let delivery = (self.serve)(self, sender, &message);
                debug_assert!(matches!(delivery, Delivery::Done(_)), "{message:?} is no notice");
            }
            mailbox.noticed(sender);
        }
        // Before the posts: what was posted behind a run is about what it began.
        self.run_pending |= run;
        self.attention |= run;
        for sender in posts.iter() {
            let Some(message) = mailbox.read(sender) else {
                continue;
            };
            match (self.serve)(self, sender, &message) {
                Delivery::Done(reply) => mailbox.answer(sender, reply),
                Delivery::Later => {
                    self.deferred.insert(sender);
                    self.attention = true;
                }
            }
        }
    }

    /// Sends `message` to `target`. Waits, serving, while an abandoned message occupies the slot. `None` when there is
    /// no such core any more.
    pub fn post(&mut self, target: CoreId, message: Message) -> Option<Ticket> {
        let mailbox = &self.cores.get(target.index())?.mailbox;
        while !mailbox.is_free(self.id) {
            if self.has_lost(target) {
                return None;
            }
            self.relax();
        }
        let (ticket, interrupt) = mailbox.post(target, self.id, message);
        if interrupt {
            self.counters.ipis += 1;
            self.platform.send_ipi(target);
        }
        Some(ticket)
    }

    /// Says to `target`, whose blocks are `per_core`, that its run place, which this core claimed, was filled.
    pub fn ring(&mut self, target: CoreId, per_core: &PerCore) {
        if per_core.mailbox.ring() {
            self.counters.ipis += 1;
            self.platform.send_ipi(target);
        }
    }

    /// Waits for the answer to `ticket`, serving. `None` when the core that was asked is gone.
    #[must_use]
    pub fn answer(&mut self, ticket: Ticket) -> Option<u64> {
        loop {
            if let Some(reply) = self.poll(ticket) {
                return Some(reply);
            }
            if self.has_lost(ticket.target()) {
                return None;
            }
            self.relax();
        }
    }

    /// The answer to `ticket`, once it is there.
    #[must_use]
    pub fn poll(&self, ticket: Ticket) -> Option<u64> {
        self.cores.get(ticket.target().index())?.mailbox.poll(self.id)
    }

    /// Sends `message` to every core of `targets` but this one, and waits until all have answered that are not gone.
    pub fn broadcast(&mut self, targets: CoreSet, message: Message) {
        let targets = targets.without(self.id);
        if message.kind.is_notice() {
            self.notify(targets, message);
            return;
        }
        let mut waiting = CoreSet::EMPTY;
        for target in targets.iter() {
            if self.post(target, message).is_some() {
                waiting.insert(target);
            }
        }
        for target in waiting.iter() {
            let Some(per_core) = self.cores.get(target.index()) else {
                continue;
            };
            while per_core.mailbox.poll(self.id).is_none() && !per_core.fate.is_gone() {
                self.relax();
            }
        }
    }

    /// As [`Local::broadcast`], for what needs no reply: one message for all. Nothing that runs in its waits
    /// notifies: service waits for nothing.
    fn notify(&mut self, targets: CoreSet, message: Message) {
        self.own().notice.set(message);
        for target in targets.iter() {
            if self.cores.get(target.index()).is_some_and(|core| core.mailbox.notify(self.id)) {
                self.counters.ipis += 1;
                self.platform.send_ipi(target);
            }
        }
        for target in targets.iter() {
            let Some(per_core) = self.cores.get(target.index()) else {
                continue;
            };
            let before = self.odd.contains(target);
            while per_core.mailbox.is_odd(self.id) == before {
                if per_core.fate.is_gone() {
                    break;
                }
                self.relax();
            }
            if before {
                self.odd.remove(target);
            } else {
                self.odd.insert(target);
            }
        }
    }
}

impl<P: Platform> Relax for Local<P> {
    fn relax(&mut self) {
        self.platform.pause();
        self.serve_mailbox();
        self.keep_vigil();
    }
    #[inline(always)]
    fn holder(&self) -> u16 {
        self.holder
    }
    fn is_gone(&self, holder: u16) -> bool {
        holder.checked_sub(1).is_some_and(|core| self.has_lost(CoreId(core)))
    }
    fn took_over(&mut self, name: &'static str, home: u16) {
        self.note_taken(name, home);
    }
}
