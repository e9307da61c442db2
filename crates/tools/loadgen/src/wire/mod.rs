//! Loads over a wire of our own: raw frames, and `libos/net` as the client's stack.
//!
//! The wire is a stream socket of QEMU's (`-netdev stream`): each frame behind its length. Nothing of this machine's network
//! takes part, so neither it nor QEMU's user network limits what a guest can serve.

mod bulk;
mod echo;
mod link;
mod run;
mod short;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use corey_lib_bench::served::Load;

use crate::report::Report;

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After so many good operations.
    Operations(u64),
    /// When so much time is over: what began before is still waited for. Not for [`Load::Out`], whose end is the server's.
    Time(Duration),
}

/// A load on one wire.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// This end's address, in a network of 256.
    pub client: Ipv4Addr,
    /// The server.
    pub server: SocketAddrV4,
    /// What is done.
    pub load: Load,
    /// When it is over.
    pub until: Until,
    /// Connections at once; a stream has one.
    pub inflight: usize,
    /// How long a connection, an answer or the next byte of a stream may take.
    pub deadline: Duration,
}

/// What a load on a wire gave.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Connections that ended well, failures, latencies.
    pub report: Report,
    /// Good operations.
    pub operations: u64,
    /// Segments that this end sent again: 0, or what was measured is not what was meant.
    pub retransmitted: u64,
    /// The wire ended before the load was over.
    pub cut: bool,
}

impl Outcome {
    /// Whether nothing failed, nothing was lost on the way, and the load came to its end.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.cut && self.report.failures.total() == 0 && self.retransmitted == 0
    }
}

/// Does what `plan` says over `socket`, whose other end is a card of QEMU's.
///
/// # Errors
///
/// A socket whose options cannot be set, and a time for [`Load::Out`].
pub fn run(socket: UnixStream, plan: &Plan) -> std::io::Result<Outcome> {
    if plan.load == Load::Out && matches!(plan.until, Until::Time(_)) {
        let text = "a server ends what it sends: say after how many operations";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
    }
    let run = run::Run::new(link::Wire::new(socket, plan.client, plan.deadline)?, plan);
    Ok(match plan.load {
        Load::Short => run.drive(short::Short::default()),
        Load::Echo => run.drive(echo::Echo::default()),
        Load::In | Load::Out => run.drive(bulk::Bulk::new(plan.load)),
    })
}

#[cfg(test)]
mod tests;
