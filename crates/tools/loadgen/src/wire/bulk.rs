//! One stream of characters, to the server or from it.

use std::time::Instant;

use corey_lib_bench::served::{Load, PIECE, piece};
use corey_libos_net::{Connection, Error, Ready};

use super::run::{Client, Run, failure};
use crate::failure::Failure;

/// The stream, and how far it is.
pub(super) struct Bulk {
    /// [`Load::In`] or [`Load::Out`].
    load: Load,
    connection: Option<Connection>,
    /// Bytes so far.
    at: u64,
    /// When the last one moved.
    moved: Instant,
    /// This end has sent all it has.
    ended: bool,
    over: bool,
    bytes: Vec<u8>,
}

impl Bulk {
    pub(super) fn new(load: Load) -> Self {
        let bytes = vec![0; PIECE];
        Self { load, connection: None, at: 0, moved: Instant::now(), ended: false, over: false, bytes }
    }

    /// Takes note of bytes that moved.
    fn note(&mut self, run: &mut Run<'_>, count: usize) {
        self.moved = Instant::now();
        let before = self.at / PIECE as u64;
        self.at += count as u64;
        run.report.bytes += count as u64;
        (before..self.at / PIECE as u64).for_each(|_| run.good());
    }

    /// Sends as long as there is room, and ends its data when it is enough.
    fn send(&mut self, run: &mut Run<'_>, connection: Connection) -> Result<(), Failure> {
        while !self.ended {
            let part = (self.at % PIECE as u64) as usize;
            if part == 0 && !run.wants_more() {
                self.ended = true;
                return run.stack.shutdown(connection).map_err(failure);
            }
            let bytes = piece(self.at - part as u64).get(part..).unwrap_or(&[]);
            match run.stack.write(connection, bytes) {
                Ok(count) => self.note(run, count),
                Err(Error::WouldBlock) => return Ok(()),
                Err(error) => return Err(failure(error)),
            }
        }
        Ok(())
    }

    /// Whether the server's end came; what came before it is compared.
    fn receive(&mut self, run: &mut Run<'_>, connection: Connection) -> Result<bool, Failure> {
        loop {
            let count = match run.stack.read(connection, &mut self.bytes) {
                Ok(0) => return Ok(true),
                Ok(count) => count,
                Err(Error::WouldBlock) => return Ok(false),
                Err(error) => return Err(failure(error)),
            };
            if self.load == Load::In || !run.wants_more() {
                return Err(Failure::Long);
            }
            if self.bytes.iter().zip(piece(self.at)).take(count).any(|(came, wanted)| came != wanted) {
                return Err(Failure::Wrong);
            }
            self.note(run, count);
        }
    }

    fn step(&mut self, run: &mut Run<'_>, connection: Connection) {
        let sent = if self.load == Load::In { self.send(run, connection) } else { Ok(()) };
        match sent.and_then(|()| self.receive(run, connection)) {
            Ok(false) => {}
            Ok(true) if self.at.is_multiple_of(PIECE as u64) && !run.wants_more() => {
                run.report.connections += 1;
                let _ = run.stack.close(connection);
                self.over = true;
            }
            Ok(true) => self.fail(run, connection, Failure::Short),
            Err(failure) => self.fail(run, connection, failure),
        }
    }

    /// The server is in the middle of the stream: there is no second try, unless it never began.
    fn fail(&mut self, run: &mut Run<'_>, connection: Connection, failure: Failure) {
        self.connection = None;
        self.over = run.fail(connection, failure);
    }
}

impl Client for Bulk {
    fn hear(&mut self, run: &mut Run<'_>, connection: Connection, _: Ready) {
        if self.connection == Some(connection) {
            self.step(run, connection);
        }
    }

    fn go_on(&mut self, run: &mut Run<'_>) {
        match self.connection {
            None => {
                self.connection = run.connect();
                self.moved = Instant::now();
            }
            Some(connection) if self.moved.elapsed() >= run.plan.deadline => {
                self.fail(run, connection, Failure::Silent);
            }
            Some(_) => {}
        }
    }

    fn is_over(&self, _: &Run<'_>) -> bool {
        self.over
    }
}
