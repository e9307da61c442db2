//! Requests that come back as they are.

use corey_lib_bench::served::{Load, REQUEST};
use corey_libos_net::{Connection, Error, Event, Link, Listener, Stack};

use crate::server::Service;

/// Sends back what comes, on all connections.
#[derive(Default)]
pub(crate) struct Echo {
    /// Bytes that were sent back.
    bytes: u64,
}

impl Echo {
    /// Sends back what came. An end, or a failure, ends the connection: the client counts what it lacks.
    fn answer<L: Link>(&mut self, stack: &mut Stack<L>, connection: Connection) {
        let mut bytes = [0; REQUEST];
        loop {
            let came = match stack.read(connection, &mut bytes) {
                Ok(count @ 1..) => bytes.get(..count).unwrap_or(&[]),
                Err(Error::WouldBlock) => return,
                Ok(0) | Err(_) => break,
            };
            // A request is under way at a time, so there is room.
            if stack.write(connection, came) != Ok(came.len()) {
                break;
            }
            self.bytes += came.len() as u64;
        }
        let _ = stack.close(connection);
    }
}

impl Service for Echo {
    const LOAD: Load = Load::Echo;

    #[inline(always)]
    fn hear<L: Link>(&mut self, stack: &mut Stack<L>, listener: Listener, event: Event) {
        match event {
            // What is there to read is said of each.
            Event::Accept(_) => while stack.accept(listener).is_ok() {},
            Event::Connection(connection, _) => self.answer(stack, connection),
            _ => {}
        }
    }

    #[inline(always)]
    fn done(&self) -> u64 {
        self.bytes / REQUEST as u64
    }
}
