//! Requests on long connections, each after the answer to the one before.

use std::time::{Duration, Instant};

use corey_lib_bench::served::{REQUEST, character};
use corey_libos_net::{Connection, Error, Ready};

use super::run::{Client, Open, Run, failure};
use crate::failure::Failure;

/// A connection, and its request under way.
struct Asked {
    /// When it was sent, or its connection begun.
    begun: Instant,
    /// Its first character, counted: the next request begins with the next one.
    first: u64,
    /// Whether it was sent.
    sent: bool,
    /// One byte more than there are, to see whether more come.
    bytes: [u8; REQUEST + 1],
    came: usize,
}

impl Asked {
    fn new(first: u64) -> Self {
        Self { begun: Instant::now(), first, sent: false, bytes: [0; REQUEST + 1], came: 0 }
    }

    fn request(&self) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        bytes.iter_mut().zip(self.first..).for_each(|(byte, at)| *byte = character(at));
        bytes
    }

    /// What is wrong with what came, if anything is.
    fn compare(&self) -> Result<(), Failure> {
        let came = self.bytes.get(..self.came).unwrap_or(&[]);
        if came.iter().zip(&self.request()).any(|(came, wanted)| came != wanted) {
            return Err(Failure::Wrong);
        }
        if self.came > REQUEST { Err(Failure::Long) } else { Ok(()) }
    }
}

/// The connections.
#[derive(Default)]
pub(super) struct Echo {
    open: Open<Asked>,
    /// Requests so far.
    asked: u64,
}

impl Echo {
    /// The next request.
    fn next(&mut self, run: &mut Run<'_>) -> Asked {
        self.asked += 1;
        run.begun += 1;
        Asked::new(self.asked)
    }

    /// Sends the request if that is still to be done, and reads what there is of the answer: how long it took, if all is there.
    fn step(&mut self, run: &mut Run<'_>, connection: Connection) -> Result<Option<Duration>, Failure> {
        let Some(asked) = self.open.get(connection) else { return Ok(None) };
        if !asked.sent {
            match run.stack.write(connection, &asked.request()) {
                Ok(REQUEST) => asked.sent = true,
                Err(Error::WouldBlock) => return Ok(None),
                Ok(_) => return Err(Failure::Local),
                Err(error) => return Err(failure(error)),
            }
            asked.begun = Instant::now();
        }
        loop {
            let room = asked.bytes.get_mut(asked.came..).unwrap_or(&mut []);
            match run.stack.read(connection, room) {
                Ok(0) => return Err(Failure::Short),
                Ok(count) => asked.came += count,
                Err(Error::WouldBlock) => break,
                Err(error) => return Err(failure(error)),
            }
            asked.compare()?;
        }
        Ok((asked.came == REQUEST).then(|| asked.begun.elapsed()))
    }

    fn fail(&mut self, run: &mut Run<'_>, connection: Connection, failure: Failure) {
        self.open.remove(connection);
        run.begun -= 1;
        run.fail(connection, failure);
    }
}

impl Client for Echo {
    fn hear(&mut self, run: &mut Run<'_>, connection: Connection, _: Ready) {
        loop {
            match self.step(run, connection) {
                Ok(None) => return,
                Err(failure) => return self.fail(run, connection, failure),
                Ok(Some(took)) => {
                    run.begun -= 1;
                    run.good();
                    run.report.answer(took, REQUEST);
                }
            }
            if !run.wants_more() {
                self.open.remove(connection);
                run.report.connections += 1;
                let _ = run.stack.close(connection);
                return;
            }
            let next = self.next(run);
            if let Some(asked) = self.open.get(connection) {
                *asked = next;
            }
        }
    }

    fn go_on(&mut self, run: &mut Run<'_>) {
        let deadline = run.plan.deadline;
        for connection in self.open.those(|asked| asked.begun.elapsed() >= deadline) {
            self.fail(run, connection, Failure::Silent);
        }
        while self.open.count() < run.room() && run.wants_more() {
            let Some(connection) = run.connect() else { return };
            let first = self.next(run);
            self.open.put(connection, first);
        }
    }

    fn is_over(&self, run: &Run<'_>) -> bool {
        self.open.count() == 0 && !run.wants_more()
    }
}
