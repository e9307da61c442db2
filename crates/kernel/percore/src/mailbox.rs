//! Acknowledged messages between cores.
//!
//! ```text
//! sender   slot: IDLE → words → POSTED ─ pending |= bit (was the word 0? interrupt) ………… DONE → IDLE
//! owner                                    pending → 0 ─ handle ─ reply, DONE
//! ```
//!
//! One slot per (sender, owner): a full queue cannot happen, and an answer goes to a line only the two
//! touch. An interrupt is sent only when the pending summary was zero: otherwise one is on its way, or the
//! owner has not yet looked.
//!
//! A run is no message ([`crate::RunPlace`]): it lies beside the summary, so that the line that says "look" carries
//! most of it, and nobody waits for its answer.

use crate::run_place::RunPlace;
use crate::set::CoreSet;
use crate::words::ObjectWords;
use corey_kernel_hal::{CoreId, MAX_CORES};
use corey_lib_sync::atomic::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

const IDLE: u64 = 0;
const POSTED: u64 = 1;
const TAKEN: u64 = 2;
const DONE: u64 = 3;

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum MessageKind {
    /// Forget pages `words[0] .. +words[1]` of this segment.
    ForgetSegment = 1,
    /// Forget pages `words[0] .. +words[1]`, counted from its start, of this attached interior tree.
    ForgetTree = 2,
    /// Unlink this interior tree, and forget all of it.
    Unlink = 3,
    /// Halt this pcore with value `words[0]`. Answered when it has halted.
    Halt = 5,
    /// Halt at your kernel exit if what you run on is dead. Answered at once: the sender looks again.
    Recheck = 6,
    /// Stop: answer when the sender's audit is over.
    Stop = 7,
    /// Take write permission from pages `words[0] .. +words[1]` of this segment.
    ProtectSegment = 8,
    /// Fence stores against later loads.
    Fence = 9,
    /// Do step `words[0]` of the change that was prepared for slot `words[1]` of this root, if you run it.
    ChangeRoot = 10,
    /// Leave a picture of yourself in your [`crate::Picture`].
    Stat = 11,
    /// The word you wait on may have changed.
    Wake = 12,
    /// Set the time slice of this pcore, if you run it, to `words[0]` ticks of the time-stamp counter.
    Interval = 13,
}

impl MessageKind {
    /// Whether its service ends it and says nothing: then one message serves many cores ([`crate::Notice`]).
    #[must_use]
    pub fn is_notice(self) -> bool {
        match self {
            Self::ForgetSegment
            | Self::ForgetTree
            | Self::Unlink
            | Self::ProtectSegment
            | Self::Fence
            | Self::Recheck
            | Self::Wake => true,
            Self::Halt | Self::Stop | Self::ChangeRoot | Self::Stat | Self::Interval => false,
        }
    }

    pub(crate) fn from_word(word: u64) -> Option<Self> {
        [
            Self::ForgetSegment,
            Self::ForgetTree,
            Self::Unlink,
            Self::Halt,
            Self::Recheck,
            Self::Stop,
            Self::ProtectSegment,
            Self::Fence,
            Self::ChangeRoot,
            Self::Stat,
            Self::Wake,
            Self::Interval,
        ]
        .into_iter()
        .find(|kind| *kind as u64 == word)
    }
}

/// A request to another core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is asked.
    pub kind: MessageKind,
    /// The object it is about.
    pub object: ObjectWords,
    /// Meaning by kind.
    pub words: [u64; 2],
}

/// How a handler answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Done; this is the reply.
    Done(u64),
    /// Noted; [`Mailbox::answer`] follows, before the core leaves the kernel.
    Later,
}

/// A posted message, to be waited for.
#[derive(Clone, Copy, Debug)]
#[must_use = "a message's answer must be waited for"]
pub struct Ticket {
    target: CoreId,
}

impl Ticket {
    /// Whom it was sent to.
    #[must_use]
    pub fn target(self) -> CoreId {
        self.target
    }
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot {
    state: AtomicU64,
    kind: AtomicU64,
    object: [AtomicU64; 2],
    words: [AtomicU64; 2],
    reply: AtomicU64,
}

/// Bits of 64 senders.
#[derive(Debug, Default)]
#[repr(C)]
struct Senders {
    /// Those that posted.
    posts: AtomicU64,
    /// Those that notify.
    notices: AtomicU64,
    /// Changed by the owner, and nobody else, when a notice was served.
    answers: AtomicU64,
}

/// Groups of senders.
const GROUPS: usize = MAX_CORES / 64;
/// Bit of the summary: something lies in the run place.
const RUN: u64 = 1 << 63;

/// Who wants something, and the place for a run. For the first 64 cores the bits and the head of a run are one line.
#[derive(Debug, Default)]
#[repr(C)]
struct Pending {
    /// Bit g: look at the posts of group g; bit `GROUPS + g`: at its notices; [`RUN`]: at the run place. What the owner
    /// reads at every entry and exit.
    summary: AtomicU64,
    first: Senders,
    run: RunPlace,
    others: [Senders; GROUPS - 1],
}

impl Pending {
    /// The bits of senders `64 * number` and the next 63.
    #[inline(always)]
    fn group(&self, number: usize) -> Option<&Senders> {
        match number.checked_sub(1) {
            None => Some(&self.first),
            Some(at) => self.others.get(at),
        }
    }
}

/// What the owner found at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Those with a message in their slot.
    pub posts: CoreSet,
    /// Those with a message in their [`crate::Notice`].
    pub notices: CoreSet,
    /// Whether there is a run to begin.
    pub run: bool,
}

/// The slots of all mailboxes, one per (owner, sender).
pub(crate) struct Slots {
    all: &'static [Slot],
    cores: usize,
}

impl Slots {
    /// Slots for `cores` cores, from boot memory.
    pub(crate) fn new(cores: usize, alloc: &mut impl corey_kernel_hal::BootAlloc) -> Self {
        Self { all: alloc.slice(cores * cores, |_| Slot::default()), cores }
    }
}

/// One core's mailbox.
#[derive(Debug)]
pub struct Mailbox {
    pending: CachePadded<Pending>,
    slots: &'static [Slot],
}

impl Mailbox {
    /// The empty mailbox of core `owner`.
    pub(crate) fn new(slots: &Slots, owner: usize) -> Self {
        let first = owner * slots.cores;
        let own = slots.all.get(first..first + slots.cores).expect("one row of slots per core");
        Self { pending: CachePadded::default(), slots: own }
    }

    /// Its slots, for the line meter's names.
    pub(crate) fn map(&self, each: &mut dyn FnMut(corey_kernel_hal::Area)) {
        each(corey_kernel_hal::Area::of("mailbox.slot", self.slots, &[]));
    }

    /// Whether something waits. Reads one line that only senders write.
    #[must_use]
    #[inline(always)]
    pub fn is_pending(&self) -> bool {
        self.pending.summary.load(Ordering::Relaxed) != 0
    }

    /// Sender's side: whether this sender's slot is free. An abandoned message keeps it taken until the
    /// owner has answered.
    #[must_use]
    pub fn is_free(&self, sender: CoreId) -> bool {
        self.slots.get(sender.index()).is_some_and(|s| matches!(s.state.load(Ordering::Acquire), IDLE | DONE))
    }

    /// Sender's side: posts. Returns the ticket and whether the owner needs an interrupt.
    ///
    /// # Panics
    ///
    /// When the slot is not free ([`Mailbox::is_free`] was not asked).
    pub fn post(&self, owner: CoreId, sender: CoreId, message: Message) -> (Ticket, bool) {
        let slot = self.slots.get(sender.index()).expect("every core has a slot");
        assert!(self.is_free(sender), "one message at a time from a sender");
        slot.kind.store(message.kind as u64, Ordering::Relaxed);
        for (to, from) in slot.words.iter().zip(message.words) {
            to.store(from, Ordering::Relaxed);
        }
        slot.object[0].store(message.object.address(), Ordering::Relaxed);
        slot.object[1].store(message.object.id(), Ordering::Relaxed);
        slot.state.store(POSTED, Ordering::Release);
        (Ticket { target: owner }, self.ask(sender, |group| &group.posts, 0))
    }

    /// Sets `sender`'s bit in a word of its group, and the summary's; true when the owner needs an interrupt.
    #[inline(always)]
    fn ask(&self, sender: CoreId, word: impl Fn(&Senders) -> &AtomicU64, base: usize) -> bool {
        let at = sender.index() / 64;
        let group = self.pending.group(at).expect("core numbers are below MAX_CORES");
        word(group).fetch_or(1 << (sender.index() % 64), Ordering::SeqCst);
        // The owner takes the summary first: a bit set before that is seen, one set after asks for a new turn.
        self.pending.summary.fetch_or(1 << (base + at), Ordering::SeqCst) == 0
    }

    /// Sender's side: tells the owner to look at the sender's notice. True when it needs an interrupt.
    pub(crate) fn notify(&self, sender: CoreId) -> bool {
        self.ask(sender, |group| &group.notices, GROUPS)
    }

    /// Sender's side: whether its notices were answered an odd number of times.
    pub(crate) fn is_odd(&self, sender: CoreId) -> bool {
        let group = self.pending.group(sender.index() / 64);
        group.is_some_and(|g| g.answers.load(Ordering::Acquire) >> (sender.index() % 64) & 1 == 1)
    }

    /// Owner's side: `sender`'s notice was served.
    pub(crate) fn noticed(&self, sender: CoreId) {
        if let Some(group) = self.pending.group(sender.index() / 64) {
            let answers = group.answers.load(Ordering::Relaxed);
            group.answers.store(answers ^ 1 << (sender.index() % 64), Ordering::Release);
        }
    }

    /// Sender's side: the reply, once it is there.
    #[must_use]
    pub fn poll(&self, sender: CoreId) -> Option<u64> {
        let slot = self.slots.get(sender.index())?;
        (slot.state.load(Ordering::Acquire) == DONE).then(|| {
            slot.state.store(IDLE, Ordering::Relaxed);
            slot.reply.load(Ordering::Relaxed)
        })
    }

    /// The owner's run place.
    #[must_use]
    #[inline(always)]
    pub fn run_place(&self) -> &RunPlace {
        &self.pending.run
    }

    /// Starter's side: says that the run place, which this core claimed, was filled. Returns whether the owner
    /// needs an interrupt.
    #[must_use]
    pub fn ring(&self) -> bool {
        // As in `post`: the owner takes the summary first, so it sees this bit or is asked for a new turn.
        self.pending.summary.fetch_or(RUN, Ordering::SeqCst) == 0
    }

    /// Takes [`Mailbox::ring`] back, or the owner's place in answering it when the owner is gone. Whether it was there:
    /// one of all who call this has it.
    #[must_use]
    pub fn unring(&self) -> bool {
        self.pending.summary.fetch_and(!RUN, Ordering::SeqCst) & RUN != 0
    }

    /// Owner's side: who posted or notified since the last call, and whether there is a run.
    pub fn take(&self) -> Taken {
        let mut taken = Taken::default();
        let mut summary = self.pending.summary.swap(0, Ordering::SeqCst);
        taken.run = summary & RUN != 0;
        summary &= !RUN;
        while summary != 0 {
            let at = summary.trailing_zeros() as usize;
            summary &= summary - 1;
            let Some(group) = self.pending.group(at % GROUPS) else { continue };
            let (word, set) = if at < GROUPS {
                (&group.posts, &mut taken.posts)
            } else {
                (&group.notices, &mut taken.notices)
            };
            let mut bits = word.swap(0, Ordering::SeqCst);
            while bits != 0 {
                set.insert(CoreId((at % GROUPS * 64) as u16 + bits.trailing_zeros() as u16));
                bits &= bits - 1;
            }
        }
        taken
    }

    /// Owner's side: reads `sender`'s message. `None` when there is none that was not read before.
    #[must_use]
    pub fn read(&self, sender: CoreId) -> Option<Message> {
        let slot = self.slots.get(sender.index())?;
        // An exchange at once: a load first would move the line twice.
        slot.state.compare_exchange(POSTED, TAKEN, Ordering::Acquire, Ordering::Relaxed).ok()?;
        self.reread(sender)
    }

    /// Owner's side: a message that was noted, until it is answered. `None` after: the slot is the sender's then,
    /// who may have posted the next message in it. That one comes through [`Mailbox::take`].
    #[must_use]
    pub fn reread(&self, sender: CoreId) -> Option<Message> {
        let slot = self.slots.get(sender.index())?;
        // Only the owner makes it TAKEN, and only the owner ends that: its own last store is what it reads.
        if slot.state.load(Ordering::Relaxed) != TAKEN {
            return None;
        }
        let [address, id] = [0, 1].map(|i: usize| slot.object[i].load(Ordering::Relaxed));
        Some(Message {
            kind: MessageKind::from_word(slot.kind.load(Ordering::Relaxed))?,
            // SAFETY: `post` stored the words of an `ObjectWords`, and the state orders the two.
            object: unsafe { ObjectWords::new(address, id) },
            words: [0, 1].map(|i: usize| slot.words[i].load(Ordering::Relaxed)),
        })
    }

    /// Owner's side: answers `sender`.
    pub fn answer(&self, sender: CoreId, reply: u64) {
        if let Some(slot) = self.slots.get(sender.index()) {
            slot.reply.store(reply, Ordering::Relaxed);
            slot.state.store(DONE, Ordering::Release);
        }
    }
}

#[cfg(all(test, any(loom, shuttle)))]
#[path = "mailbox_models.rs"]
pub(crate) mod models;
