//! What the application is told, each source at most once until it is asked.

use alloc::collections::VecDeque;

use core::net::Ipv4Addr;

use crate::ready::Ready;

/// A connection of one stack. A handle that was closed is refused, also when its place is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A listener of one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A UDP socket of one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Connection {
    /// A small number, which no other open connection of the stack has: for a table of the application's own.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// Something changed. It is said once: go on until a call says [`crate::Error::WouldBlock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A listener has connections to accept.
    Accept(Listener),
    /// Something became possible on a connection.
    Connection(Connection, Ready),
    /// A socket has datagrams.
    Datagram(Socket),
    /// The stack's address is new, or gone. A fixed one is new at the start.
    Address(Option<Ipv4Addr>),
}

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Connection(u32),
    Listener(u32),
    Socket(u32),
    Address,
}

/// Sources with something to say. Each knows whether it is in the queue.
pub(crate) type Events = VecDeque<Source>;
