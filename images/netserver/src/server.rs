//! One stack and what it serves.

use alloc::vec::Vec;
use corey_lib_bench::served::{MESSAGE, PORT, character};
use corey_libos_card::{Card, Way};
use corey_libos_net::{Config, Connection, Error, Event, Instant, Listener, Ready, Socket, Stack};
use corey_libos_rt::println;

/// Bytes that an echo may have on its way through this server.
const ROOM: usize = 4096;

/// What a port does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Bytes,
    Echo,
    Discard,
    Characters,
}

const PORTS: [(u16, Service); 4] =
    [(PORT, Service::Bytes), (7, Service::Echo), (9, Service::Discard), (19, Service::Characters)];

/// An open connection.
struct Open {
    connection: Connection,
    service: Service,
    /// What was read and not written yet.
    waiting: Vec<u8>,
    /// Characters sent, modulo their period.
    next: u8,
    /// The peer has ended its data.
    ended: bool,
}

/// A card's server.
pub(crate) struct Server<W: Way> {
    number: u32,
    stack: Stack<Card<W>>,
    listeners: Vec<(Listener, Service)>,
    echo: Option<Socket>,
    /// By [`Connection::index`].
    open: Vec<Option<Open>>,
}

impl<W: Way> Server<W> {
    pub(crate) fn new(number: u32, card: Card<W>, config: &Config, now: Instant) -> Self {
        let mut stack = Stack::new(card, config, now);
        let listen = |(port, service)| Some((stack.listen(port, 1024).ok()?, service));
        let listeners = PORTS.into_iter().filter_map(listen).collect();
        let echo = stack.bind(7).ok();
        Self { number, stack, listeners, echo, open: Vec::new() }
    }

    /// Whether it is that of card 0.
    pub(crate) fn is_first(&self) -> bool {
        self.number == 0
    }

    /// Prints what its stack has in use.
    pub(crate) fn tell(&self) {
        let (used, stats) = (self.stack.in_use(), self.stack.stats());
        println!(
            "{{\"record\":\"stack\",\"nic\":{},\"connections\":{},\"time_wait\":{},\"blocks\":{},\"established\":{},\
             \"retransmitted\":{},\"resets\":{}}}",
            self.number,
            used.connections,
            used.time_wait,
            used.blocks,
            stats.tcp_established,
            stats.tcp_retransmitted,
            stats.tcp_resets_out,
        );
    }

    /// One turn: when the next one is due, and whether anything happened.
    pub(crate) fn turn(&mut self, now: Instant) -> (Instant, bool) {
        let next = self.stack.poll(now);
        let mut useful = next <= now;
        while let Some(event) = self.stack.event() {
            useful = true;
            match event {
                Event::Accept(listener) => self.accept(listener),
                Event::Connection(connection, ready) => self.serve(connection, ready),
                Event::Datagram(socket) => self.answer(socket),
                Event::Address(Some(address)) => {
                    println!(
                        "{{\"record\":\"net\",\"nic\":{},\"ip\":\"{address}\",\"ready\":true}}",
                        self.number
                    );
                }
                Event::Address(None) => {
                    println!("{{\"record\":\"net\",\"nic\":{},\"ip\":\"\",\"ready\":false}}", self.number);
                }
            }
        }
        if useful { (self.stack.flush(now), true) } else { (next, false) }
    }

    fn accept(&mut self, listener: Listener) {
        let service =
            self.listeners.iter().find(|(known, _)| *known == listener).map(|(_, service)| *service);
        let Some(service) = service else { return };
        while let Ok(connection) = self.stack.accept(listener) {
            if service == Service::Bytes {
                // 128 bytes fit into any send buffer; a connection that is gone by now is told nothing.
                let _ = self.stack.write(connection, &MESSAGE);
                let _ = self.stack.close(connection);
                continue;
            }
            let at = connection.index();
            if self.open.len() <= at {
                self.open.resize_with(at + 1, || None);
            }
            let open = Open { connection, service, waiting: Vec::new(), next: 0, ended: false };
            if let Some(place) = self.open.get_mut(at) {
                *place = Some(open);
            }
            self.serve(connection, Ready::READABLE);
        }
    }

    fn serve(&mut self, connection: Connection, ready: Ready) {
        let place = self.open.get_mut(connection.index());
        let Some(open) = place.and_then(|place| place.as_mut()) else { return };
        if open.connection != connection {
            return;
        }
        let done = match open.service {
            Service::Bytes => Ok(true),
            Service::Echo => echo(&mut self.stack, open),
            Service::Discard => discard(&mut self.stack, open),
            Service::Characters => write_characters(&mut self.stack, open),
        };
        if done != Ok(false) || ready.contains(Ready::CLOSED) {
            let _ = self.stack.close(connection);
            if let Some(place) = self.open.get_mut(connection.index()) {
                *place = None;
            }
        }
    }

    fn answer(&mut self, socket: Socket) {
        if Some(socket) != self.echo {
            return;
        }
        let mut bytes = [0; 1500];
        while let Ok((length, from)) = self.stack.recv_from(socket, &mut bytes) {
            if let Some(datagram) = bytes.get(..length) {
                // A datagram that finds no room is lost, as datagrams are.
                let _ = self.stack.send_to(socket, from.into(), datagram);
            }
        }
    }
}

/// Sends back what comes; true when all is done.
fn echo<W: Way>(stack: &mut Stack<Card<W>>, open: &mut Open) -> Result<bool, Error> {
    loop {
        while !open.waiting.is_empty() {
            match stack.write(open.connection, &open.waiting) {
                Ok(count) => drop(open.waiting.drain(..count)),
                Err(Error::WouldBlock) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if open.ended {
            return Ok(true);
        }
        let mut bytes = [0; ROOM];
        match stack.read(open.connection, &mut bytes) {
            Ok(0) => open.ended = true,
            Ok(count) => open.waiting.extend_from_slice(bytes.get(..count).unwrap_or(&[])),
            Err(Error::WouldBlock) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Reads what comes and forgets it.
fn discard<W: Way>(stack: &mut Stack<Card<W>>, open: &mut Open) -> Result<bool, Error> {
    let mut bytes = [0; ROOM];
    loop {
        match stack.read(open.connection, &mut bytes) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(Error::WouldBlock) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Sends characters as long as there is room. What comes is forgotten; its end ends the connection.
fn write_characters<W: Way>(stack: &mut Stack<Card<W>>, open: &mut Open) -> Result<bool, Error> {
    if discard(stack, open)? {
        return Ok(true);
    }
    loop {
        let mut bytes = [0; 1024];
        for (byte, at) in bytes.iter_mut().zip(0..) {
            *byte = character(u64::from(open.next) + at);
        }
        match stack.write(open.connection, &bytes) {
            Ok(count) => open.next = ((usize::from(open.next) + count) % 94) as u8,
            Err(Error::WouldBlock) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
