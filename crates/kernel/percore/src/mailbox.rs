//! Acknowledged messages between cores.
//!
//! ```text
//! sender   slot: IDLE → words → POSTED ─ pending |= bit (was the word 0? interrupt) ………… DONE → IDLE
//! owner                                    pending → 0 ─ handle ─ reply, DONE
//! ```
//!
//! One slot per (sender, owner): a full queue cannot happen, and an answer goes to a line only the two
//! touch. An interrupt is sent only when the pending word was zero: otherwise one is on its way, or the
//! owner has not yet looked.

use crate::atomic::{AtomicU64, Ordering};
use crate::set::CoreSet;
use corey_kernel_hal::{CoreId, MAX_CORES};

const IDLE: u64 = 0;
const POSTED: u64 = 1;
const TAKEN: u64 = 2;
const DONE: u64 = 3;

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum MessageKind {
    /// Forget pages `words[2] .. +words[3]` of segment (pointer `words[0]`, ID `words[1]`).
    ForgetSegment = 1,
    /// Forget pages `words[2] .. +words[3]`, counted from the tree's start, of the attached interior
    /// tree (pointer, ID).
    ForgetTree = 2,
    /// Run the request in pcore (pointer, ID). Answered when it runs.
    Run = 3,
    /// Halt pcore (pointer, ID) with value `words[2]`. Answered when it has halted.
    Halt = 4,
    /// Stop until `words[0]`'s audit is over: answer with the frames in the private cache.
    Count = 5,
    /// Leave the user's context if it lost what it stands on: answered when checked.
    Recheck = 6,
}

impl MessageKind {
    fn from_word(word: u64) -> Option<Self> {
        [
            Self::ForgetSegment,
            Self::ForgetTree,
            Self::Run,
            Self::Halt,
            Self::Count,
            Self::Recheck,
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
    /// Meaning by kind.
    pub words: [u64; 4],
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
    words: [AtomicU64; 4],
    reply: AtomicU64,
}

/// The bits of senders that posted.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Pending([AtomicU64; MAX_CORES / 64]);

/// The slots of all mailboxes, one per (owner, sender).
pub(crate) struct Slots {
    all: &'static [Slot],
    cores: usize,
}

impl Slots {
    /// Slots for `cores` cores, from boot memory.
    pub(crate) fn new(cores: usize, alloc: &mut impl corey_kernel_hal::BootAlloc) -> Self {
        Self {
            all: alloc.slice(cores * cores, |_| Slot::default()),
            cores,
        }
    }
}

/// One core's mailbox.
#[derive(Debug)]
#[repr(align(128))]
pub struct Mailbox {
    pending: Pending,
    slots: &'static [Slot],
}

impl Mailbox {
    /// The empty mailbox of core `owner`.
    pub(crate) fn new(slots: &Slots, owner: usize) -> Self {
        let first = owner * slots.cores;
        let own = slots
            .all
            .get(first..first + slots.cores)
            .expect("one row of slots per core");
        Self {
            pending: Pending::default(),
            slots: own,
        }
    }

    /// Whether something waits. Reads one line that only senders write.
    #[must_use]
    #[inline(always)]
    pub fn is_pending(&self) -> bool {
        let [a, b, c, d] = &self.pending.0;
        a.load(Ordering::Relaxed)
            | b.load(Ordering::Relaxed)
            | c.load(Ordering::Relaxed)
            | d.load(Ordering::Relaxed)
            != 0
    }

    /// Sender's side: whether this sender's slot is free. An abandoned message keeps it taken until the
    /// owner has answered.
    #[must_use]
    pub fn is_free(&self, sender: CoreId) -> bool {
        self.slots
            .get(sender.index())
            .is_some_and(|s| matches!(s.state.load(Ordering::Acquire), IDLE | DONE))
    }

    /// Sender's side: posts. Returns the ticket and whether the owner needs an interrupt.
    ///
    /// # Panics
    ///
    /// When the slot is not free ([`Mailbox::is_free`] was not asked).
    pub fn post(&self, owner: CoreId, sender: CoreId, message: Message) -> (Ticket, bool) {
        let slot = self
            .slots
            .get(sender.index())
            .expect("every core has a slot");
        assert!(self.is_free(sender), "one message at a time from a sender");
        slot.kind.store(message.kind as u64, Ordering::Relaxed);
        for (to, from) in slot.words.iter().zip(message.words) {
            to.store(from, Ordering::Relaxed);
        }
        slot.state.store(POSTED, Ordering::Release);
        let bit = 1 << (sender.index() % 64);
        let word = self
            .pending
            .0
            .get(sender.index() / 64)
            .expect("core numbers are below MAX_CORES");
        let before = word.fetch_or(bit, Ordering::SeqCst);
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
        for (at, word) in self.pending.0.iter().enumerate() {
            if word.load(Ordering::Relaxed) != 0 {
                let mut bits = word.swap(0, Ordering::SeqCst);
                while bits != 0 {
                    senders.insert(CoreId((at * 64) as u16 + bits.trailing_zeros() as u16));
                    bits &= bits - 1;
                }
            }
        }
        senders
    }

    /// Owner's side: reads `sender`'s message.
    #[must_use]
    pub fn read(&self, sender: CoreId) -> Option<Message> {
        let slot = self.slots.get(sender.index())?;
        if slot.state.load(Ordering::Acquire) != POSTED {
            return None;
        }
        slot.state.store(TAKEN, Ordering::Relaxed);
        Some(Message {
            kind: MessageKind::from_word(slot.kind.load(Ordering::Relaxed))?,
            words: core::array::from_fn(|i| slot.words[i].load(Ordering::Relaxed)),
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
        Mailbox {
            pending: Pending::default(),
            slots: Vec::leak(slots),
        }
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
                            Message {
                                kind: MessageKind::Recheck,
                                words: [1; 4],
                            },
                        )
                        .1
                })
            };
            let mine = owner
                .post(
                    CoreId(0),
                    CoreId(0),
                    Message {
                        kind: MessageKind::Recheck,
                        words: [0; 4],
                    },
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
