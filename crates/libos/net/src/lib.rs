//! TCP/IP over one link, for one core: no core shares a stack unless the application wants it to.
//!
//! **Paper.** §4.3: each core runs a stack of its own over a device of its own, or several share one. The paper's is lwIP; ours
//! is written anew, over smoltcp's wire formats. IPv4 only. Not there: IPv6, reassembly of fragments, timestamps, selective
//! acknowledgements, SYN cookies (a full listener drops its oldest half-open connection), connections to oneself.
//!
//! **Invariants.**
//! 1. What the wire, a device or a program says is checked before it is used: it leads to an error or a counter, never a panic.
//! 2. Nothing walks all connections: a segment finds its own by a keyed hash, a timer by a wheel, output and events by queues
//!    in which a source is once.
//! 3. A block of memory is in one chain or free; a connection without data has none.
//! 4. TCP's machine sends nothing: it says what it would send, and is told when that went out.
//! 5. Nobody learns or changes a neighbour's address unless we asked, but for a first request to us.
//!
//! **Sharing.** None: a [`Stack`] belongs to one core, and is `Send`. Several cores may share one in a
//! [`Shared`](corey_lib_sync::Shared): one lock around each turn. Events are the stack's, not a core's, so each core asks for
//! connections itself. One core at a time works, whatever the stack touches moves to it (`benches/tcp`, `shared`, has how many lines), and
//! a holder that is gone costs every connection: a stack for each core has none of that.
//!
//! **Testing.** Every state with every flag against RFC 9293's rules, hostile frames with every list checked, and wires that
//! lose, repeat, reorder and corrupt, in virtual time, against itself and against smoltcp (`test/host-net`).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

extern crate alloc;

mod arp;
mod checksum;
mod config;
mod dhcp;
mod error;
mod events;
mod frame;
mod host;
mod icmp;
mod ipv4;
mod link;
mod pool;
mod random;
mod rate;
mod ready;
mod stack;
mod stats;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod time;
mod udp;
mod wheel;

pub use config::{Addressing, Config, TcpConfig};
pub use error::Error;
pub use events::{Connection, Event, Listener, Socket};
pub use link::{Capabilities, Checksums, Full, Link};
pub use ready::Ready;
pub use smoltcp::wire::EthernetAddress;
pub use stack::Stack;
pub use stats::{InUse, Stats};
pub use tcp::tcb::{Coalescing, State};
pub use time::Instant;
