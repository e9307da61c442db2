//! A card, its stack, and what is served.

use corey_lib_bench::served::{INFLIGHT, Load, PORT};
use corey_libos_card::{Card, Way};
use corey_libos_net::{Config, Event, Instant, Link, Listener, Stack};
use corey_libos_rt::sys::{pause, rdtsc};

/// What a server does for its client.
pub(crate) trait Service {
    /// What the client does.
    const LOAD: Load;

    /// Deals with what the stack says.
    fn hear<L: Link>(&mut self, stack: &mut Stack<L>, listener: Listener, event: Event);

    /// Operations that are done.
    fn done(&self) -> u64;

    /// Goes on without being told; whether that led anywhere.
    #[inline(always)]
    fn go_on<L: Link>(&mut self, stack: &mut Stack<L>) -> bool {
        let _ = stack;
        false
    }

    /// Looks, after an operation, at what it brought.
    #[inline(always)]
    fn check(&mut self) {}

    /// After the last operation, again and again until no connection is open: ends what this side has to end.
    fn end<L: Link>(&mut self, stack: &mut Stack<L>) {
        let _ = stack;
    }

    /// What was not as it should be.
    fn wrong(&self) -> Option<&'static str> {
        None
    }
}

/// A stack over a card, and its clock.
pub(crate) struct Server<W: Way> {
    stack: Stack<Card<W>>,
    listener: Listener,
    clock: Clock,
}

/// Microseconds since power-on.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    /// Ticks of a microsecond.
    ticks: u64,
}

impl Clock {
    pub(crate) fn new(tsc_hz: u64) -> Self {
        Self { ticks: (tsc_hz / 1_000_000).max(1) }
    }

    #[inline(always)]
    pub(crate) fn now(self) -> Instant {
        Instant::from_micros(rdtsc() / self.ticks)
    }
}

/// A stack over `card`, and the listener that it has. `None` when the port is taken, which it is not in a new stack.
pub(crate) fn listening<W: Way>(
    card: Card<W>,
    config: &Config,
    clock: Clock,
) -> Option<(Stack<Card<W>>, Listener)> {
    let mut stack = Stack::new(card, config, clock.now());
    let listener = stack.listen(PORT, 2 * INFLIGHT as usize).ok()?;
    Some((stack, listener))
}

impl<W: Way> Server<W> {
    /// As [`listening`].
    pub(crate) fn new(card: Card<W>, config: &Config, clock: Clock) -> Option<Self> {
        let (stack, listener) = listening(card, config, clock)?;
        Some(Self { stack, listener, clock })
    }

    /// Serves until `count` operations are done.
    #[inline(always)]
    pub(crate) fn until<S: Service>(&mut self, service: &mut S, count: u64) {
        while service.done() < count {
            if !service.go_on(&mut self.stack) {
                self.turn(service);
            }
        }
    }

    /// The same, and looks at each operation.
    pub(crate) fn until_checked<S: Service>(&mut self, service: &mut S, count: u64) {
        while service.done() < count {
            self.until(service, service.done() + 1);
            service.check();
        }
    }

    /// Serves until no connection is open: the client has all it was sent.
    pub(crate) fn drain<S: Service>(&mut self, service: &mut S) {
        while self.stack.in_use().connections != 0 && service.wrong().is_none() {
            service.end(&mut self.stack);
            self.turn(service);
        }
    }

    fn turn<S: Service>(&mut self, service: &mut S) {
        let now = self.clock.now();
        let before = self.stack.stats().frames_in;
        self.stack.poll(now);
        while let Some(event) = self.stack.event() {
            service.hear(&mut self.stack, self.listener, event);
        }
        self.stack.flush(now);
        if self.stack.stats().frames_in == before {
            // Where processors share one thread of the host, the others run.
            pause();
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
