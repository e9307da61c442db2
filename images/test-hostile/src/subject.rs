//! Which device calls are about: the console, or the network card in each way that it can be used.

use corey_abi::buffer_op;

/// A device, and what is done with it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    /// The console, which this program has.
    Console,
    /// The network card, which nobody has: `device_alloc` gets it.
    FreeCard,
    /// The network card, which the world takes. The row's name, and the operation of `device_buf`.
    Card(&'static str, u64),
}
use Subject::{Card, Console, FreeCard};

/// Rows about the card: the call, and how.
pub(crate) const CARD_ROWS: [(&str, Subject); 8] = [
    ("device_alloc", FreeCard),
    ("device_stat", Card("device_stat: card", buffer_op::POLL)),
    ("device_buf", Card("device_buf: card, out", buffer_op::OUT)),
    ("device_buf", Card("device_buf: card, out, more", buffer_op::OUT | buffer_op::MORE)),
    ("device_buf", Card("device_buf: card, in", buffer_op::IN)),
    ("device_buf", Card("device_buf: card, in, more", buffer_op::IN | buffer_op::MORE)),
    ("device_buf", Card("device_buf: card, reset", buffer_op::RESET)),
    ("device_buf", Card("device_buf: card, poll", buffer_op::POLL)),
];

impl Subject {
    /// The name of `call`'s row.
    pub(crate) fn row(self, call: &'static str) -> &'static str {
        match self {
            Console => call,
            FreeCard => "device_alloc: card",
            Card(name, _) => name,
        }
    }

    /// The operation of `device_buf`.
    pub(crate) fn operation(self) -> u64 {
        if let Card(_, operation) = self { operation } else { buffer_op::OUT }
    }

    /// Whether a call that is allowed leaves things as they were: a world with a card takes milliseconds, as that is reset.
    pub(crate) fn leaves_all(self) -> bool {
        matches!(self, Card(_, buffer_op::RESET | buffer_op::POLL))
    }

    /// Bytes of what is sent: a frame, or a line that is empty.
    pub(crate) fn length(self) -> u32 {
        if matches!(self, Card(..)) { 64 } else { 0 }
    }
}
