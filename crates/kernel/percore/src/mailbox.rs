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

use crate::atomic::{AtomicU64, Ordering};
use crate::set::CoreSet;
use crate::words::ObjectWords;
use corey_kernel_hal::{CoreId, MAX_CORES};
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
    /// Run what this pcore was asked to. Answered when it runs.
    Run = 4,
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
    fn from_word(word: u64) -> Option<Self> {
        [
            Self::ForgetSegment,
            Self::ForgetTree,
            Self::Unlink,
            Self::Run,
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

/// The bits of senders that posted.
#[derive(Debug, Default)]
struct Pending {
    /// Bit w: look at word w. What the owner reads at every entry and exit.
    summary: AtomicU64,
    words: [AtomicU64; MAX_CORES / 64],
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
        let at = sender.index() / 64;
        let word = self.pending.words.get(at).expect("core numbers are below MAX_CORES");
        word.fetch_or(1 << (sender.index() % 64), Ordering::SeqCst);
        // The owner takes the summary first: a bit set before that is seen, one set after asks for a new turn.
        let before = self.pending.summary.fetch_or(1 << at, Ordering::SeqCst);
        (Ticket { target: owner }, before == 0)
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

    /// Owner's side: the senders that posted since the last call.
    pub fn take(&self) -> CoreSet {
        let mut senders = CoreSet::EMPTY;
        let mut summary = self.pending.summary.swap(0, Ordering::SeqCst);
        while summary != 0 {
            let at = summary.trailing_zeros() as usize;
            summary &= summary - 1;
            let mut bits = self.pending.words.get(at).map_or(0, |word| word.swap(0, Ordering::SeqCst));
            while bits != 0 {
                senders.insert(CoreId((at * 64) as u16 + bits.trailing_zeros() as u16));
                bits &= bits - 1;
            }
        }
        senders
    }

    /// Owner's side: reads `sender`'s message. `None` when there is none that was not read before.
    #[must_use]
    pub fn read(&self, sender: CoreId) -> Option<Message> {
        let slot = self.slots.get(sender.index())?;
        if slot.state.load(Ordering::Acquire) != POSTED {
            return None;
        }
        slot.state.store(TAKEN, Ordering::Relaxed);
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

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;

    fn mailbox(senders: usize) -> Mailbox {
        let slots: Vec<_> = (0..senders).map(|_| Slot::default()).collect();
        Mailbox { pending: CachePadded::default(), slots: Vec::leak(slots) }
    }

    /// What follows a noted message is not taken for it: the answer frees the slot while the owner still goes
    /// through what it noted.
    #[test]
    fn a_message_after_the_noted_one_is_read_by_itself() {
        loom::model(|| {
            let owner = Arc::new(mailbox(1));
            let sender = CoreId(0);
            let other = {
                let owner = Arc::clone(&owner);
                loom::thread::spawn(move || {
                    for (kind, word) in [(MessageKind::Run, 1), (MessageKind::Interval, 2)] {
                        let message = Message { kind, object: ObjectWords::NULL, words: [word; 2] };
                        let _ = owner.post(CoreId(0), sender, message);
                        while owner.poll(sender).is_none() {
                            loom::thread::yield_now();
                        }
                    }
                })
            };
            let mut next = 1;
            while next < 3 {
                for sender in owner.take().iter() {
                    let message = owner.read(sender).expect("its bit says so");
                    assert_eq!(message.words, [next; 2], "one after the other");
                    // Noted, then looked at in two passes, as the kernel's exit does.
                    for _ in 0..2 {
                        if let Some(noted) = owner.reread(sender) {
                            assert_eq!(noted, message, "what was noted");
                            owner.answer(sender, 0);
                            next += 1;
                        }
                    }
                }
                loom::thread::yield_now();
            }
            other.join().unwrap();
        });
    }

    /// No message is lost: whoever is told that no interrupt is needed was seen by the owner's turn.
    #[test]
    fn an_interrupt_or_a_turn_serves_every_sender() {
        loom::model(|| {
            let owner = Arc::new(mailbox(2));
            let other = {
                let owner = Arc::clone(&owner);
                loom::thread::spawn(move || {
                    owner
                        .post(
                            CoreId(0),
                            CoreId(1),
                            Message { kind: MessageKind::Recheck, object: ObjectWords::NULL, words: [1; 2] },
                        )
                        .1
                })
            };
            let mine = owner
                .post(
                    CoreId(0),
                    CoreId(0),
                    Message { kind: MessageKind::Recheck, object: ObjectWords::NULL, words: [0; 2] },
                )
                .1;
            let theirs = other.join().unwrap();
            assert!(mine || theirs, "nobody interrupts the owner");
            for sender in owner.take().iter() {
                assert_eq!(owner.read(sender).unwrap().words[0], u64::from(sender.0));
                owner.answer(sender, u64::from(sender.0) + 10);
            }
            assert_eq!(owner.poll(CoreId(0)), Some(10));
            assert_eq!(owner.poll(CoreId(1)), Some(11));
        });
    }
}
