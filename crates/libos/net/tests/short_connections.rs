//! A hundred thousand short connections: accept, write 128 bytes, close. What one costs the server, in time and allocations.
//!
//! `cargo test --release -p corey-libos-net --test short_connections -- --nocapture` shows the time.
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use corey_libos_net::{Config, Connection, EthernetAddress, Event, Full, InUse, Instant, Link, Ready, Stack};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames on their way in one direction; used buffers come back.
struct Lane {
    full: VecDeque<Vec<u8>>,
    empty: Vec<Vec<u8>>,
}

impl Lane {
    /// With more buffers than are ever under way: it allocates nothing later.
    fn new() -> Rc<RefCell<Self>> {
        let empty = (0..8192).map(|_| Vec::with_capacity(1514)).collect();
        Rc::new(RefCell::new(Self { full: VecDeque::with_capacity(8192), empty }))
    }
}

/// A link to a stack of the same process.
struct Loop {
    station: [u8; 6],
    out: Rc<RefCell<Lane>>,
    into: Rc<RefCell<Lane>>,
}

impl Link for Loop {
    fn address(&self) -> EthernetAddress {
        EthernetAddress(self.station)
    }

    fn receive<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let mut into = self.into.borrow_mut();
        let frame = into.full.pop_front()?;
        let result = take(&frame);
        into.empty.push(frame);
        Some(result)
    }

    fn transmit(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Full> {
        let mut out = self.out.borrow_mut();
        let mut frame = out.empty.pop().ok_or(Full)?;
        frame.resize(length, 0);
        fill(&mut frame);
        out.full.push_back(frame);
        Ok(())
    }

    fn flush(&mut self) {}
}

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

struct World {
    client: Stack<Loop>,
    server: Stack<Loop>,
    listener: corey_libos_net::Listener,
    now: u64,
    open: usize,
    done: u64,
    /// What the server's turns took, and how many allocations they made.
    time: Duration,
    allocations: u64,
}

impl World {
    fn new() -> Self {
        let (up, down) = (Lane::new(), Lane::new());
        let start = Instant::from_micros(0);
        let stack = |address, host, out: &Rc<RefCell<Lane>>, into: &Rc<RefCell<Lane>>| {
            let link = Loop { station: [2, 0, 0, 0, 0, host], out: out.clone(), into: into.clone() };
            Stack::new(link, &Config::at(address, 24, [17, u64::from(host)]), start)
        };
        let client = stack(CLIENT, 1, &up, &down);
        let mut server = stack(SERVER, 2, &down, &up);
        let listener = server.listen(80, 1024).expect("free");
        Self { client, server, listener, now: 0, open: 0, done: 0, time: Duration::ZERO, allocations: 0 }
    }

    #[inline(never)]
    fn serve(&mut self) {
        let now = Instant::from_micros(self.now);
        let (start, before) = (std::time::Instant::now(), ALLOCATIONS.with(Cell::get));
        self.server.poll(now);
        while let Some(event) = self.server.event() {
            if event == Event::Accept(self.listener) {
                while let Ok(connection) = self.server.accept(self.listener) {
                    self.server.write(connection, &[42; 128]).expect("room");
                    self.server.close(connection).expect("open");
                }
            }
        }
        self.server.flush(now);
        self.time += start.elapsed();
        self.allocations += ALLOCATIONS.with(Cell::get) - before;
    }

    fn ask(&mut self, at_once: usize) {
        let now = Instant::from_micros(self.now);
        self.client.poll(now);
        while let Some(event) = self.client.event() {
            if let Event::Connection(connection, ready) = event
                && ready.contains(Ready::READABLE)
            {
                self.take(connection);
            }
        }
        while self.open < at_once {
            self.client.connect((SERVER, 80).into()).expect("a port");
            self.open += 1;
        }
        self.client.flush(now);
    }

    fn take(&mut self, connection: Connection) {
        let mut bytes = [0; 200];
        assert_eq!(self.client.read(connection, &mut bytes), Ok(128));
        assert_eq!(self.client.read(connection, &mut bytes), Ok(0));
        self.client.close(connection).expect("open");
        self.open -= 1;
        self.done += 1;
    }

    fn run(&mut self, connections: u64, at_once: usize) {
        let end = self.done + connections;
        while self.done < end {
            self.ask(at_once);
            self.serve();
            self.now += 20;
            assert!(self.server.in_use().time_wait <= 4096, "TIME_WAIT is bounded");
        }
        while self.open > 0 {
            self.ask(0);
            self.serve();
            self.now += 20;
        }
    }
}

#[test]
fn a_short_connection_allocates_nothing_after_the_first_ones_and_leaves_nothing() {
    for at_once in [1, 32, 1000] {
        let mut world = World::new();
        world.run(10_000, at_once);
        (world.time, world.allocations) = (Duration::ZERO, 0);
        let (frames, before) = (*world.server.stats(), world.done);
        world.run(100_000, at_once);
        let (done, after) = (world.done - before, *world.server.stats());
        let frames = (after.frames_in - frames.frames_in) + (after.frames_out - frames.frames_out);
        println!(
            "{at_once} at once: {} ns a connection on the server, {:.2} frames, {} allocations in all; SYNs that took over TIME_WAIT: {}",
            world.time.as_nanos() as u64 / done,
            frames as f64 / done as f64,
            world.allocations,
            after.tcp_time_wait_reused,
        );
        assert_eq!(world.allocations, 0);
        for wait in [20, 61_000_000] {
            // A poll takes 64 frames.
            for _ in 0..200 {
                world.ask(0);
                world.serve();
            }
            world.now += wait;
        }
        world.serve();
        assert_eq!((world.server.in_use(), world.client.in_use()), (InUse::default(), InUse::default()));
        assert_eq!((after.tcp_retransmitted, after.tcp_resets_out, after.tcp_challenges), (0, 0, 0));
    }
}
