//! What servers send: `netserver`, and the benchmark `tcp` on both systems.

use core::net::Ipv4Addr;

/// Character `at` of what is sent, counted from 0: the printable ones from `!` on, again and again.
#[inline(always)]
pub const fn character(at: u64) -> u8 {
    b'!' + (at % 94) as u8
}

/// The bytes of a short connection.
pub const MESSAGE: [u8; 128] = {
    let mut bytes = [0; 128];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = character(at as u64);
        at += 1;
    }
    bytes
};

/// The port that sends [`MESSAGE`] and closes.
pub const PORT: u16 = 7000;

/// Connections in flight to each core of the benchmark `tcp`. Each has at most three frames on the way to the server, so that they
/// fit into the 128 buffers of our card: what finds none is lost, and QEMU loses all that waits behind it.
pub const INFLIGHT: u64 = 32;
/// Its connections before the region, so that it begins in the steady state.
pub const WARM: u64 = 1024;
/// Its connections after the region, so that the load does not ebb before it ends.
pub const COOL: u64 = 2 * INFLIGHT;

/// Connections that each core serves in all.
pub const fn connections(iters: u64) -> u64 {
    WARM.saturating_add(iters).saturating_add(COOL)
}

/// The server on card `card`: each has a network of its own, of 256 addresses.
pub const fn server(card: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, card, 15)
}

/// The client at the other end of card `card`.
pub const fn client(card: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, card, 2)
}

/// What a server of the benchmark `tcp` prints when it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The card, from 0.
    pub card: u8,
    /// Connections until it ends.
    pub connections: u64,
}

impl core::fmt::Display for Served {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { card, connections } = self;
        write!(
            f,
            "{{\"record\":\"net\",\"nic\":{card},\"ip\":\"{}\",\"ready\":true,\"connections\":{connections}}}",
            server(*card)
        )
    }
}
