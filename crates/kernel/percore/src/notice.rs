//! [`Notice`]: one message to many cores.
//!
//! ```text
//! sender   words ─ per target: notices |= bit (was its mailbox empty? interrupt) …… answers changed? ─ next target
//! target                      notices → 0 ─ words ─ handle ─ answers ^= bit
//! ```
//!
//! The message lies once, in a line of the sender's; what is asked and answered of a target lies in the one line that
//! its interrupt makes it fetch. So a target costs four lines that move: that line to it and back, twice.

use crate::mailbox::{Message, MessageKind};
use crate::words::ObjectWords;
use corey_lib_sync::atomic::{AtomicU64, Ordering};

/// What a core asks of all whom it notifies: one message at a time, until the last of them has answered.
#[derive(Debug, Default)]
pub struct Notice {
    kind: AtomicU64,
    object: [AtomicU64; 2],
    words: [AtomicU64; 2],
}

impl Notice {
    /// Sender's side: writes the message. Before any target is told.
    pub(crate) fn set(&self, message: Message) {
        self.kind.store(message.kind as u64, Ordering::Relaxed);
        let object = [message.object.address(), message.object.id()];
        for (to, from) in self.object.iter().chain(&self.words).zip(object.into_iter().chain(message.words)) {
            to.store(from, Ordering::Relaxed);
        }
    }

    /// Target's side: reads it, after it was told and before it answers.
    #[must_use]
    pub(crate) fn get(&self) -> Option<Message> {
        let [address, id] = [0, 1].map(|i: usize| self.object[i].load(Ordering::Relaxed));
        Some(Message {
            kind: MessageKind::from_word(self.kind.load(Ordering::Relaxed))?,
            // SAFETY: `set` stored the words of an `ObjectWords`; being told orders the two.
            object: unsafe { ObjectWords::new(address, id) },
            words: [0, 1].map(|i: usize| self.words[i].load(Ordering::Relaxed)),
        })
    }
}
