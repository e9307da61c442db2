//! What a stack is made with.

use core::net::Ipv4Addr;

use crate::time::{MILLISECOND, SECOND};

/// Where the stack's address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// A fixed address.
    Static {
        /// The stack's own address.
        address: Ipv4Addr,
        /// Leading bits that the network's hosts share, 0 to 32.
        prefix: u8,
        /// The router to everywhere else.
        gateway: Option<Ipv4Addr>,
    },
    /// A lease from a DHCP server.
    Dhcp,
}

/// What a stack is made with. Sizes are limits: memory is taken when it is first needed.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Where the address comes from.
    pub addressing: Addressing,
    /// Secret random bits, for sequence numbers, ports and hashing: from a hardware generator, and new at each start.
    pub seed: [u64; 2],
    /// Bytes of all connections' and sockets' data.
    pub buffers: usize,
    /// Connections at once, without those in TIME_WAIT.
    pub connections: usize,
    /// Connections in TIME_WAIT at once; the oldest gives way.
    pub time_wait_entries: usize,
    /// What concerns each connection.
    pub tcp: TcpConfig,
}

/// What concerns each connection. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub struct TcpConfig {
    /// Bytes accepted from the application before they are acknowledged.
    pub send_buffer: u32,
    /// Bytes received before the application reads them; the largest window. At most 1 GiB.
    pub receive_buffer: u32,
    /// The shortest retransmission timeout. RFC 6298 asks for a second; 200 ms is what others use.
    pub least_timeout: u64,
    /// How long an acknowledgement waits for data to ride on. RFC 1122: below 500 ms.
    pub acknowledgement_delay: u64,
    /// How long TIME_WAIT lasts: twice the longest life of a segment.
    pub time_wait: u64,
    /// Retransmissions before a connection is given up.
    pub retries: u8,
    /// Retransmissions of a SYN before the attempt is given up.
    pub syn_retries: u8,
    /// Keep-alive probes start when nothing was heard for so long; `None`: never (RFC 1122's default).
    pub keep_alive: Option<u64>,
}

impl Config {
    /// A stack at a fixed address, with room for 4,096 connections and 16 MiB of data.
    #[must_use]
    pub const fn at(address: Ipv4Addr, prefix: u8, seed: [u64; 2]) -> Self {
        Self::new(Addressing::Static { address, prefix, gateway: None }, seed)
    }

    /// A stack with room for 4,096 connections and 16 MiB of data.
    #[must_use]
    pub const fn new(addressing: Addressing, seed: [u64; 2]) -> Self {
        Self {
            addressing,
            seed,
            buffers: 16 << 20,
            connections: 4096,
            time_wait_entries: 4096,
            tcp: TcpConfig {
                send_buffer: 64 << 10,
                receive_buffer: 64 << 10,
                least_timeout: 200 * MILLISECOND,
                acknowledgement_delay: 40 * MILLISECOND,
                time_wait: 60 * SECOND,
                retries: 12,
                syn_retries: 6,
                keep_alive: None,
            },
        }
    }
}
