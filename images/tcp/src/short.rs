//! Connections that get 128 bytes.

use corey_lib_bench::served::{Load, MESSAGE};
use corey_libos_net::{Connection, Event, Link, Listener, Stack};

use crate::server::Service;

/// Accepts, writes, closes.
#[derive(Default)]
pub(crate) struct Short {
    done: u64,
}

/// What each connection is given.
#[inline(always)]
pub(crate) fn serve<L: Link>(stack: &mut Stack<L>, connection: Connection) {
    // A new connection's buffer takes them all; one that is gone by now is counted by its client.
    let _ = stack.write(connection, &MESSAGE);
    let _ = stack.close(connection);
}

impl Service for Short {
    const LOAD: Load = Load::Short;

    #[inline(always)]
    fn hear<L: Link>(&mut self, stack: &mut Stack<L>, listener: Listener, event: Event) {
        if event == Event::Accept(listener) {
            while let Ok(connection) = stack.accept(listener) {
                serve(stack, connection);
                self.done += 1;
            }
        }
    }

    #[inline(always)]
    fn done(&self) -> u64 {
        self.done
    }
}
