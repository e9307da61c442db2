//! Short connections over a wire of our own: raw frames, and `libos/net` as the client's stack.
//!
//! The wire is a stream socket of QEMU's (`-netdev stream`): each frame behind its length. Nothing of this machine's network
//! takes part, so neither it nor QEMU's user network limits what a guest can serve.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corey_lib_bench::served::MESSAGE;
use corey_libos_net::{Config, Connection, Error, EthernetAddress, Event, Full, Link, Ready, Stack};

use crate::failure::Failure;
use crate::report::Report;
use crate::short::compare;

/// Bytes before a frame: its length, most significant first.
const HEAD: usize = 4;
/// Longest frame that QEMU sends.
const LONGEST: usize = 69_632;
/// Bytes taken from the socket at once.
const ROOM: usize = 256 << 10;
/// Longest wait for a frame: how late a timer of the stack may be.
const PATIENCE: Duration = Duration::from_millis(5);
/// The shortest retransmission timeout, in microseconds. A wire loses nothing, an instrument makes guests slow, and a card that
/// was just started hears nothing for a second of its machine's: a stack in a hurry would send again what is under way.
const LEAST_TIMEOUT: u64 = 30_000_000;

/// A load on one wire.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// This end's address, in a network of 256.
    pub client: Ipv4Addr,
    /// The server.
    pub server: SocketAddrV4,
    /// Good connections until it is over.
    pub connections: u64,
    /// Connections at once.
    pub inflight: usize,
    /// How long a connection may take.
    pub deadline: Duration,
}

/// What a load on a wire gave.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Connections, failures, latencies.
    pub report: Report,
    /// Segments that this end sent again: 0, or what was measured is not what was meant.
    pub retransmitted: u64,
    /// The wire ended before the load was over.
    pub cut: bool,
}

/// Makes the connections of `plan` over `socket`, whose other end is a card of QEMU's.
///
/// # Errors
///
/// A socket whose options cannot be set.
pub fn run(socket: UnixStream, plan: &Plan) -> std::io::Result<Outcome> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(plan.deadline))?;
    let [.., last] = plan.client.octets();
    let wire = Wire {
        socket,
        station: [2, 0, 0, 0, 1, last],
        came: Vec::new(),
        read: 0,
        out: Vec::new(),
        cut: false,
    };
    // What a later client on this wire begins is newer than what the server may still remember of this one: the same secret, and
    // a clock that goes on. This end needs no other secrets, as only the guest is on its wire.
    let mut config = Config::at(plan.client, 24, [u64::from(std::process::id()), u64::from(last)]);
    config.tcp.least_timeout = LEAST_TIMEOUT;
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = Instant::now();
    let stack = Stack::new(wire, &config, corey_libos_net::Instant::from_micros(epoch.as_micros() as u64));
    let mut client = Client {
        stack,
        plan,
        epoch,
        start,
        first: None,
        open: Vec::new(),
        begun: VecDeque::new(),
        inflight: 0,
        report: Report::default(),
    };
    while client.report.connections < plan.connections && !client.stack.link().cut {
        client.turn();
    }
    client.report.elapsed = client.first.unwrap_or(start).elapsed();
    let cut = client.report.connections < plan.connections;
    Ok(Outcome { retransmitted: client.stack.stats().tcp_retransmitted, report: client.report, cut })
}

/// One end of the wire.
struct Wire {
    socket: UnixStream,
    station: [u8; 6],
    /// What came, and how much of it was read.
    came: Vec<u8>,
    read: usize,
    /// What goes out at the next flush.
    out: Vec<u8>,
    /// The other end is gone, or speaks something else.
    cut: bool,
}

impl Wire {
    /// The next frame's place in what came, if all of it came.
    fn next(&mut self) -> Option<std::ops::Range<usize>> {
        let head = self.came.get(self.read..)?.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes(*head) as usize;
        if length > LONGEST {
            self.cut = true;
            return None;
        }
        let from = self.read + HEAD;
        (from + length <= self.came.len()).then_some(from..from + length)
    }

    /// Waits for bytes.
    fn wait(&mut self) {
        self.came.drain(..self.read);
        self.read = 0;
        let had = self.came.len();
        self.came.resize(had + ROOM, 0);
        let got = self.socket.read(self.came.get_mut(had..).unwrap_or(&mut []));
        self.came.truncate(had + got.as_ref().copied().unwrap_or(0));
        match got {
            Ok(0) => self.cut = true,
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.cut = true;
            }
            _ => {}
        }
    }
}

impl Link for Wire {
    fn address(&self) -> EthernetAddress {
        EthernetAddress(self.station)
    }

    fn receive<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let frame = self.next()?;
        self.read = frame.end;
        self.came.get(frame).map(take)
    }

    fn transmit(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Full> {
        let head = u32::try_from(length).map_err(|_| Full)?;
        self.out.extend_from_slice(&head.to_be_bytes());
        let from = self.out.len();
        self.out.resize(from + length, 0);
        fill(self.out.get_mut(from..).unwrap_or(&mut []));
        Ok(())
    }

    fn flush(&mut self) {
        if !self.out.is_empty() && self.socket.write_all(&self.out).is_err() {
            self.cut = true;
        }
        self.out.clear();
    }
}

/// A connection under way.
struct Open {
    connection: Connection,
    begun: Instant,
    bytes: [u8; MESSAGE.len() + 1],
    came: usize,
}

struct Client<'a> {
    stack: Stack<Wire>,
    plan: &'a Plan,
    /// What the stack's clock showed at the start.
    epoch: Duration,
    start: Instant,
    /// When the first good connection ended.
    first: Option<Instant>,
    /// By [`Connection::index`].
    open: Vec<Option<Open>>,
    /// All that were begun, the oldest first; such as are over, too, until they are the oldest.
    begun: VecDeque<(Instant, Connection)>,
    inflight: usize,
    report: Report,
}

impl Client<'_> {
    fn now(&self) -> corey_libos_net::Instant {
        corey_libos_net::Instant::from_micros((self.epoch + self.start.elapsed()).as_micros() as u64)
    }

    fn turn(&mut self) {
        let now = self.now();
        self.stack.poll(now);
        while let Some(event) = self.stack.event() {
            if let Event::Connection(connection, ready) = event
                && (ready.contains(Ready::READABLE) || ready.contains(Ready::CLOSED))
            {
                self.serve(connection);
            }
        }
        self.expire();
        self.begin();
        self.stack.flush(now);
        let link = self.stack.link();
        if link.next().is_none() && !link.cut {
            link.wait();
        }
    }

    /// Begins connections where there is room, and as many as are still wanted. The first one goes alone: until its
    /// neighbour is known, a stack keeps one packet.
    fn begin(&mut self) {
        let wanted = self.plan.connections.saturating_sub(self.report.connections);
        let room = if self.report.connections == 0 { 1 } else { self.plan.inflight };
        while self.inflight < room && (self.inflight as u64) < wanted {
            let Ok(connection) = self.stack.connect(self.plan.server.into()) else {
                self.report.failures.count(Failure::Local);
                return;
            };
            let (at, begun) = (connection.index(), Instant::now());
            if self.open.len() <= at {
                self.open.resize_with(at + 1, || None);
            }
            if let Some(place) = self.open.get_mut(at) {
                *place = Some(Open { connection, begun, bytes: [0; MESSAGE.len() + 1], came: 0 });
            }
            self.begun.push_back((begun, connection));
            self.inflight += 1;
        }
    }

    fn serve(&mut self, connection: Connection) {
        let place = self.open.get_mut(connection.index());
        let Some(open) = place.and_then(Option::as_mut).filter(|open| open.connection == connection) else {
            return;
        };
        let end = loop {
            let room = open.bytes.get_mut(open.came..).unwrap_or(&mut []);
            match self.stack.read(connection, room) {
                // No room is left when more came than there is.
                Ok(0) => break compare(open.bytes.get(..open.came).unwrap_or(&[])),
                Ok(count) => open.came += count,
                Err(Error::WouldBlock) => return,
                Err(error) => break Err(failure(error)),
            }
        };
        let took = open.begun.elapsed();
        self.end(connection, end.map(|()| took));
    }

    fn end(&mut self, connection: Connection, how: Result<Duration, Failure>) {
        if let Some(place) = self.open.get_mut(connection.index()) {
            *place = None;
        }
        self.inflight -= 1;
        match how {
            Ok(took) => {
                self.first.get_or_insert_with(Instant::now);
                self.report.good(took, MESSAGE.len());
                // It is ended on the other side, too.
                let _ = self.stack.close(connection);
            }
            Err(failure) => {
                // Nobody answered for the address: the next one asks again.
                if !(failure == Failure::Silent && self.is_early()) {
                    self.report.failures.count(failure);
                }
                let _ = self.stack.abort(connection);
            }
        }
    }

    /// Whether the server's card may not hear anything yet.
    fn is_early(&self) -> bool {
        self.first.is_none() && self.start.elapsed() < self.plan.deadline
    }

    /// Gives up what takes too long.
    fn expire(&mut self) {
        while let Some(&(begun, connection)) = self.begun.front() {
            let open = self.open.get(connection.index()).and_then(Option::as_ref);
            if open.is_some_and(|open| open.connection == connection) {
                if begun.elapsed() < self.plan.deadline {
                    return;
                }
                self.end(connection, Err(Failure::Silent));
            }
            self.begun.pop_front();
        }
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::ConnectionRefused => Failure::Refused,
        Error::ConnectionReset => Failure::Reset,
        Error::TimedOut | Error::HostUnreachable => Failure::Silent,
        _ => Failure::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Tally;
    use corey_libos_net::Listener;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 15);

    /// A server at the other end that treats each connection so, until the wire is cut.
    fn load(connections: u64, treat: fn(&mut Stack<Wire>, Connection)) -> Outcome {
        let (here, there) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || serve(there, treat));
        let plan = Plan {
            client: Ipv4Addr::new(10, 0, 0, 2),
            server: SocketAddrV4::new(SERVER, 7000),
            connections,
            inflight: 32,
            deadline: Duration::from_millis(300),
        };
        let outcome = run(here, &plan).unwrap();
        server.join().unwrap();
        outcome
    }

    fn serve(socket: UnixStream, treat: fn(&mut Stack<Wire>, Connection)) {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let station = [2, 0, 0, 0, 1, 15];
        let wire = Wire { socket, station, came: Vec::new(), read: 0, out: Vec::new(), cut: false };
        let start = Instant::now();
        let now = || corey_libos_net::Instant::from_micros(start.elapsed().as_micros() as u64);
        let mut stack = Stack::new(wire, &Config::at(SERVER, 24, [1, 2]), now());
        let listener: Listener = stack.listen(7000, 1024).unwrap();
        while !stack.link().cut {
            stack.poll(now());
            while stack.event().is_some() {}
            while let Ok(connection) = stack.accept(listener) {
                treat(&mut stack, connection);
            }
            stack.flush(now());
            if stack.link().next().is_none() {
                stack.link().wait();
            }
        }
    }

    fn send(stack: &mut Stack<Wire>, connection: Connection, bytes: &[u8]) {
        assert_eq!(stack.write(connection, bytes), Ok(bytes.len()));
        stack.close(connection).unwrap();
    }

    #[test]
    fn good_connections_are_made_until_there_are_enough() {
        let outcome = load(20_000, |stack, connection| send(stack, connection, &MESSAGE));
        assert_eq!((outcome.report.connections, &outcome.report.failures), (20_000, &Tally::default()));
        assert_eq!((outcome.retransmitted, outcome.cut), (0, false));
    }

    /// Half of a server's connections are good.
    fn every_other(stack: &mut Stack<Wire>, connection: Connection, other: impl Fn(&mut Stack<Wire>)) {
        if stack.peer(connection).is_ok_and(|peer| peer.port() % 2 == 0) {
            send(stack, connection, &MESSAGE);
        } else {
            other(stack);
        }
    }

    fn kinds(outcome: &Outcome) -> Vec<Failure> {
        assert_eq!(outcome.report.connections, 100);
        outcome.report.failures.iter().map(|(kind, _)| kind).collect()
    }

    #[test]
    fn misbehaviour_is_counted_by_kind() {
        let short = load(100, |stack, c| every_other(stack, c, |stack| send(stack, c, &MESSAGE[..5])));
        assert_eq!(kinds(&short), [Failure::Short]);
        let long =
            load(100, |stack, c| every_other(stack, c, |stack| send(stack, c, &[MESSAGE; 2].concat())));
        assert_eq!(kinds(&long), [Failure::Long]);
        let reset = load(100, |stack, c| every_other(stack, c, |stack| stack.abort(c).unwrap()));
        assert_eq!(kinds(&reset), [Failure::Reset]);
        let silent = load(100, |stack, c| every_other(stack, c, |_| ()));
        assert_eq!(kinds(&silent), [Failure::Silent]);
    }

    #[test]
    fn a_cut_wire_ends_a_load() {
        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        let plan = Plan {
            client: Ipv4Addr::new(10, 0, 0, 2),
            server: SocketAddrV4::new(SERVER, 7000),
            connections: 1,
            inflight: 1,
            deadline: Duration::from_millis(300),
        };
        assert!(run(here, &plan).unwrap().cut);
    }

    #[test]
    fn a_length_that_no_frame_has_cuts_the_wire() {
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(&u32::MAX.to_be_bytes()).unwrap();
        let mut wire =
            Wire { socket: here, station: [2; 6], came: Vec::new(), read: 0, out: Vec::new(), cut: false };
        wire.wait();
        assert!(wire.next().is_none() && wire.cut);
    }
}
