//! What servers send: `netserver`, and the benchmark `tcp` on both systems.

use core::net::Ipv4Addr;

/// Characters before they begin again.
const PERIOD: usize = 94;

/// Character `at` of what is sent, counted from 0: the printable ones from `!` on, again and again.
#[inline(always)]
pub const fn character(at: u64) -> u8 {
    b'!' + (at % PERIOD as u64) as u8
}

const fn characters<const COUNT: usize>() -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    let mut at = 0;
    while at < COUNT {
        bytes[at] = character(at as u64);
        at += 1;
    }
    bytes
}

/// The bytes of a short connection.
pub const MESSAGE: [u8; 128] = characters();

/// The port that sends [`MESSAGE`] and closes; in the benchmark `tcp` the port of every load.
pub const PORT: u16 = 7000;

/// Bytes of a request of [`Load::Echo`], and of its answer.
pub const REQUEST: usize = 64;
/// Bytes of an operation of [`Load::In`] and [`Load::Out`].
pub const PIECE: usize = 64 << 10;

static STREAM: [u8; PIECE + PERIOD] = characters();

/// The [`PIECE`] bytes of a stream of characters from byte `at` on.
pub fn piece(at: u64) -> &'static [u8] {
    let from = (at % PERIOD as u64) as usize;
    STREAM.get(from..from + PIECE).unwrap_or(&[])
}

/// Says whether `bytes` are [`piece`]: by the same code on both systems, whatever their own `memcmp` is.
pub fn is_piece(bytes: &[u8], at: u64) -> bool {
    let (came, _) = bytes.as_chunks::<8>();
    let (wanted, _) = piece(at).as_chunks::<8>();
    bytes.len() == PIECE && came.iter().zip(wanted).all(|(came, wanted)| came == wanted)
}

/// Connections in flight to each card of the benchmark `tcp`. Each has at most three frames on the way to the server, so that they
/// fit into the 128 buffers of our card: what finds none is lost, and QEMU loses all that waits behind it.
pub const INFLIGHT: u64 = 32;

/// What a client of the benchmark `tcp` does, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Connects, gets [`MESSAGE`] and the end, [`INFLIGHT`] at a time. An operation is a connection.
    Short,
    /// Sends a request on each of [`INFLIGHT`] connections and waits until it is back. An operation is a round trip.
    Echo,
    /// Sends characters on one connection. An operation is a [`PIECE`].
    In,
    /// Gets characters on one connection. An operation is a [`PIECE`].
    Out,
}

impl Load {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Short, Self::Echo, Self::In, Self::Out];

    /// Its name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Echo => "echo",
            Self::In => "in",
            Self::Out => "out",
        }
    }

    /// Operations before the region, so that it begins in the steady state.
    pub const fn warm(self) -> u64 {
        match self {
            Self::Short | Self::Echo => 1024,
            Self::In | Self::Out => 64,
        }
    }

    /// Operations after the region, so that the load does not ebb before it ends.
    pub const fn cool(self) -> u64 {
        match self {
            Self::Short | Self::Echo => 2 * INFLIGHT,
            // More than both ends' buffers take.
            Self::In | Self::Out => 4,
        }
    }

    /// Operations in all of a core that has `iters` in its region.
    pub const fn operations(self, iters: u64) -> u64 {
        self.warm().saturating_add(iters).saturating_add(self.cool())
    }
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
    /// What its client does.
    pub load: Load,
    /// Operations until it ends.
    pub operations: u64,
}

impl core::fmt::Display for Served {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { card, load, operations } = self;
        write!(
            f,
            "{{\"record\":\"net\",\"nic\":{card},\"ip\":\"{}\",\"ready\":true,\"load\":\"{}\",\"operations\":{operations}}}",
            server(*card),
            load.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_each_other_like_characters() {
        for at in [0, PIECE as u64, 7 * PIECE as u64, 93, 94] {
            let bytes = piece(at);
            assert_eq!(bytes.len(), PIECE);
            assert!(bytes.iter().zip(at..).all(|(byte, at)| *byte == character(at)));
        }
        assert!(is_piece(piece(94), 0) && !is_piece(piece(1), 0) && !is_piece(&[], 0));
        let mut bytes = piece(5).to_vec();
        bytes[PIECE - 1] ^= 1;
        assert!(!is_piece(&bytes, 5));
    }
}
