//! A card, its stack, and what is served.

use corey_lib_bench::served::{INFLIGHT, MESSAGE, PORT};
use corey_libos_card::{Card, Way};
use corey_libos_net::{Config, Event, Instant, Listener, Stack};
use corey_libos_rt::sys::{pause, rdtsc};

/// A server of short connections.
pub(crate) struct Server<W: Way> {
    stack: Stack<Card<W>>,
    listener: Listener,
    /// Connections that were accepted, written to, and closed.
    served: u64,
    /// Ticks of a microsecond.
    ticks: u64,
}

impl<W: Way> Server<W> {
    /// `None` when the port is taken, which it is not in a new stack.
    pub(crate) fn new(card: Card<W>, config: &Config, tsc_hz: u64) -> Option<Self> {
        let ticks = (tsc_hz / 1_000_000).max(1);
        let mut stack = Stack::new(card, config, Instant::from_micros(rdtsc() / ticks));
        let listener = stack.listen(PORT, 2 * INFLIGHT as usize).ok()?;
        Some(Self { stack, listener, served: 0, ticks })
    }

    /// Serves until `count` connections were.
    pub(crate) fn until(&mut self, count: u64) {
        while self.served < count {
            self.turn();
        }
    }

    /// Serves until no connection is open: the client has all it was sent.
    pub(crate) fn drain(&mut self) {
        while self.stack.in_use().connections != 0 {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let now = Instant::from_micros(rdtsc() / self.ticks);
        let before = self.stack.stats().frames_in;
        self.stack.poll(now);
        while let Some(event) = self.stack.event() {
            if event == Event::Accept(self.listener) {
                self.accept();
            }
        }
        self.stack.flush(now);
        if self.stack.stats().frames_in == before {
            // Where processors share one thread of the host, the others run.
            pause();
        }
    }

    fn accept(&mut self) {
        while let Ok(connection) = self.stack.accept(self.listener) {
            // A new connection's buffer takes them all; one that is gone by now is counted by its client.
            let _ = self.stack.write(connection, &MESSAGE);
            let _ = self.stack.close(connection);
            self.served += 1;
        }
    }

    pub(crate) fn card(&mut self) -> &mut Card<W> {
        self.stack.link()
    }

    /// Gives the card back.
    pub(crate) fn end(self) -> Card<W> {
        self.stack.into_link()
    }
}
