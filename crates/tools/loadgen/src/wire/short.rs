//! Short connections: connect, read to the end, compare.

use std::time::{Duration, Instant};

use corey_lib_bench::served::MESSAGE;
use corey_libos_net::{Connection, Error, Ready};

use super::run::{Client, Open, Run, failure};
use crate::failure::Failure;
use crate::short::compare;

/// A connection under way.
struct Under {
    begun: Instant,
    /// One byte more than there are, to see whether more come.
    bytes: [u8; MESSAGE.len() + 1],
    came: usize,
}

/// The connections under way.
#[derive(Default)]
pub(super) struct Short(Open<Under>);

impl Short {
    fn end(&mut self, run: &mut Run<'_>, connection: Connection, how: Result<Duration, Failure>) {
        self.0.remove(connection);
        run.begun -= 1;
        match how {
            Ok(took) => {
                run.good();
                run.report.good(took, MESSAGE.len());
                // It is ended on the other side, too.
                let _ = run.stack.close(connection);
            }
            Err(failure) => _ = run.fail(connection, failure),
        }
    }
}

impl Client for Short {
    fn hear(&mut self, run: &mut Run<'_>, connection: Connection, _: Ready) {
        let Some(under) = self.0.get(connection) else { return };
        let end = loop {
            let room = under.bytes.get_mut(under.came..).unwrap_or(&mut []);
            match run.stack.read(connection, room) {
                // No room is left when more came than there is.
                Ok(0) => break compare(under.bytes.get(..under.came).unwrap_or(&[])),
                Ok(count) => under.came += count,
                Err(Error::WouldBlock) => return,
                Err(error) => break Err(failure(error)),
            }
        };
        let took = under.begun.elapsed();
        self.end(run, connection, end.map(|()| took));
    }

    fn go_on(&mut self, run: &mut Run<'_>) {
        let deadline = run.plan.deadline;
        for connection in self.0.those(|under| under.begun.elapsed() >= deadline) {
            self.end(run, connection, Err(Failure::Silent));
        }
        while self.0.count() < run.room() && run.wants_more() {
            let Some(connection) = run.connect() else { return };
            let under = Under { begun: Instant::now(), bytes: [0; MESSAGE.len() + 1], came: 0 };
            self.0.put(connection, under);
            run.begun += 1;
        }
    }

    fn is_over(&self, run: &Run<'_>) -> bool {
        self.0.count() == 0 && !run.wants_more()
    }
}
