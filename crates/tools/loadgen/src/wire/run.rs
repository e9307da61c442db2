//! What all loads on a wire have: a stack, a clock, and what was good.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corey_lib_bench::served::Load;
use corey_libos_net::{Config, Connection, Error, Event, Ready, Stack};

use super::link::Wire;
use super::{Outcome, Plan, Until};
use crate::failure::Failure;
use crate::report::Report;

/// The shortest retransmission timeout, in microseconds: the longest that a stack takes. A wire loses nothing, an instrument makes
/// guests slow, and a card that was just started hears nothing for a second of its machine's: a stack in a hurry would send again
/// what is under way.
const LEAST_TIMEOUT: u64 = 60_000_000;

/// A load.
pub(super) trait Client {
    /// Deals with what became possible on a connection.
    fn hear(&mut self, run: &mut Run<'_>, connection: Connection, ready: Ready);

    /// Begins what there is room for, and gives up what takes too long.
    fn go_on(&mut self, run: &mut Run<'_>);

    /// Whether all is done.
    fn is_over(&self, run: &Run<'_>) -> bool;
}

/// A load under way.
pub(super) struct Run<'a> {
    pub(super) stack: Stack<Wire>,
    pub(super) plan: &'a Plan,
    /// What the stack's clock showed at the start.
    epoch: Duration,
    start: Instant,
    /// When the first operation was good.
    first: Option<Instant>,
    /// Good ones, and those under way.
    pub(super) operations: u64,
    pub(super) begun: u64,
    pub(super) report: Report,
}

impl<'a> Run<'a> {
    pub(super) fn new(wire: Wire, plan: &'a Plan) -> Self {
        // What a later client on this wire begins is newer than what the server may still remember of this one: the same secret,
        // and a clock that goes on. This end needs no other secrets, as only the guest is on its wire.
        let secret = [u64::from(std::process::id()), u64::from(u32::from(plan.client))];
        let mut config = Config::at(plan.client, 24, secret);
        config.tcp.least_timeout = LEAST_TIMEOUT;
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = Instant::now();
        let now = corey_libos_net::Instant::from_micros(epoch.as_micros() as u64);
        Self {
            stack: Stack::new(wire, &config, now),
            plan,
            epoch,
            start,
            first: None,
            operations: 0,
            begun: 0,
            report: Report::default(),
        }
    }

    /// Runs `client` to its end.
    pub(super) fn drive(mut self, mut client: impl Client) -> Outcome {
        while !client.is_over(&self) && !self.stack.link().cut {
            self.turn(&mut client);
        }
        self.report.elapsed = self.first.unwrap_or(self.start).elapsed();
        let cut = !client.is_over(&self);
        let retransmitted = self.stack.stats().tcp_retransmitted;
        if matches!(self.plan.load, Load::Echo | Load::In) {
            self.linger();
        }
        Outcome { retransmitted, operations: self.operations, report: self.report, cut }
    }

    /// Where this end ended its data first, acknowledges the server's ends, for which the server waits.
    fn linger(&mut self) {
        let until = Instant::now() + self.plan.deadline;
        while self.stack.in_use().connections != 0 && !self.stack.link().cut && Instant::now() < until {
            self.turn(&mut Nobody);
        }
    }

    fn turn(&mut self, client: &mut impl Client) {
        let now = (self.epoch + self.start.elapsed()).as_micros() as u64;
        let now = corey_libos_net::Instant::from_micros(now);
        self.stack.poll(now);
        while let Some(event) = self.stack.event() {
            if let Event::Connection(connection, ready) = event {
                client.hear(self, connection, ready);
            }
        }
        client.go_on(self);
        self.stack.flush(now);
        self.stack.link().wait();
    }

    /// Whether more operations are wanted than are good or under way.
    pub(super) fn wants_more(&self) -> bool {
        match self.plan.until {
            Until::Operations(all) => self.operations + self.begun < all,
            Until::Time(time) => self.start.elapsed() < time,
        }
    }

    /// Connections at once. The first one goes alone: until its neighbour is known, a stack keeps one packet.
    pub(super) fn room(&self) -> usize {
        if self.first.is_some() { self.plan.inflight } else { 1 }
    }

    /// Begins a connection.
    pub(super) fn connect(&mut self) -> Option<Connection> {
        let begun = self.stack.connect(self.plan.server.into());
        if begun.is_err() {
            self.report.failures.count(Failure::Local);
        }
        begun.ok()
    }

    /// Counts a good operation.
    pub(super) fn good(&mut self) {
        self.first.get_or_insert_with(Instant::now);
        self.operations += 1;
    }

    /// Ends a connection that failed. Whether that counts: before the server's card hears anything nobody answers for its
    /// address, and the next connection asks again.
    pub(super) fn fail(&mut self, connection: Connection, failure: Failure) -> bool {
        let _ = self.stack.abort(connection);
        let is_early = self.first.is_none() && self.start.elapsed() < self.plan.deadline;
        let counts = !(failure == Failure::Silent && is_early);
        if counts {
            self.report.failures.count(failure);
        }
        counts
    }
}

/// Only what is under way goes on.
struct Nobody;

impl Client for Nobody {
    fn hear(&mut self, _: &mut Run<'_>, _: Connection, _: Ready) {}

    fn go_on(&mut self, _: &mut Run<'_>) {}

    fn is_over(&self, _: &Run<'_>) -> bool {
        true
    }
}

/// What a stack's error means for a connection.
pub(super) fn failure(error: Error) -> Failure {
    match error {
        Error::ConnectionRefused => Failure::Refused,
        Error::ConnectionReset => Failure::Reset,
        Error::TimedOut | Error::HostUnreachable => Failure::Silent,
        _ => Failure::Local,
    }
}

/// What belongs to open connections.
pub(super) struct Open<T> {
    /// By [`Connection::index`].
    places: Vec<Option<(Connection, T)>>,
    count: usize,
}

impl<T> Default for Open<T> {
    fn default() -> Self {
        Self { places: Vec::new(), count: 0 }
    }
}

impl<T> Open<T> {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn put(&mut self, connection: Connection, value: T) {
        let at = connection.index();
        if self.places.len() <= at {
            self.places.resize_with(at + 1, || None);
        }
        if let Some(place) = self.places.get_mut(at) {
            *place = Some((connection, value));
            self.count += 1;
        }
    }

    pub(super) fn get(&mut self, connection: Connection) -> Option<&mut T> {
        let place = self.places.get_mut(connection.index())?.as_mut();
        place.filter(|(known, _)| *known == connection).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, connection: Connection) {
        if self.get(connection).is_some()
            && let Some(place) = self.places.get_mut(connection.index())
        {
            *place = None;
            self.count -= 1;
        }
    }

    /// The connections of which `holds` is true.
    pub(super) fn those(&self, holds: impl Fn(&T) -> bool) -> Vec<Connection> {
        let open = self.places.iter().flatten();
        open.filter(|(_, value)| holds(value)).map(|(connection, _)| *connection).collect()
    }
}
