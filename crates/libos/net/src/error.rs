//! What went wrong, and what may help.

use core::fmt;

/// Why a call did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Nothing to read, no room to write, or nobody to accept, now.
    WouldBlock,
    /// The peer answered the SYN with a reset, or a router said that nobody is there.
    ConnectionRefused,
    /// The peer reset the connection.
    ConnectionReset,
    /// The peer answered no retransmission or keep-alive.
    TimedOut,
    /// No neighbour answered for the destination or for the gateway.
    HostUnreachable,
    /// No route: the destination is on another network and there is no gateway.
    NetworkUnreachable,
    /// The port has a listener or a socket, or every ephemeral port towards that peer is taken.
    AddressInUse,
    /// The stack has no address (yet), or lost the one the connection used.
    NoAddress,
    /// The pool of blocks, or a table of fixed size, is full.
    NoBuffers,
    /// This side has ended its data with `shutdown`.
    Closed,
    /// The handle was closed before.
    StaleHandle,
    /// The datagram fits in no packet of this link.
    MessageTooLong,
    /// A port or address that nothing can have: port 0, a multicast destination.
    InvalidAddress,
    /// IPv6, and connections of a stack to itself.
    Unsupported,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::WouldBlock => "would block: poll, and try again at the event",
            Self::ConnectionRefused => "connection refused: nothing listens on that port",
            Self::ConnectionReset => "connection reset by the peer",
            Self::TimedOut => "timed out: the peer did not answer; is it up, and the address right?",
            Self::HostUnreachable => "host unreachable: no answer to ARP; is it on this network?",
            Self::NetworkUnreachable => "network unreachable: configure a gateway",
            Self::AddressInUse => "address in use: choose another port, or wait for TIME_WAIT to end",
            Self::NoAddress => "no address: wait for DHCP, or configure one",
            Self::NoBuffers => "no buffers: let connections drain, or configure more",
            Self::Closed => "closed: this side has already ended its data",
            Self::StaleHandle => "stale handle: it was closed before",
            Self::MessageTooLong => "message too long: send less in one datagram",
            Self::InvalidAddress => "invalid address: port 0 or not an address of one host",
            Self::Unsupported => "unsupported: use IPv4, and not this stack's own address",
        })
    }
}

impl core::error::Error for Error {}
