//! Whole stacks on a wire in virtual time.

mod basics;
mod hostile;
mod leases;
mod raw;
mod transfer;

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::vec::Vec;

use corey_test_host_net::{Faults, Port, Wire};
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet};

use crate::{Config, Connection, Error, EthernetAddress, Full, InUse, Instant, Link, Listener, Stack};

/// A wire's port as a link that holds `room` frames until its doorbell rings.
pub(crate) struct Nic {
    port: Port,
    station: EthernetAddress,
    queued: Vec<Vec<u8>>,
    room: usize,
}

impl Link for Nic {
    fn address(&self) -> EthernetAddress {
        self.station
    }

    fn receive<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.port.receive().map(|frame| take(&frame))
    }

    fn transmit(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Full> {
        if self.queued.len() >= self.room {
            return Err(Full);
        }
        // What a used buffer holds.
        let mut frame = vec![0xa5; length];
        fill(&mut frame);
        self.queued.push(frame);
        Ok(())
    }

    fn flush(&mut self) {
        self.queued.drain(..).for_each(|frame| self.port.send(&frame));
    }
}

pub(crate) const fn ip(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host)
}

pub(crate) const fn at(host: u8, port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(ip(host), port))
}

pub(crate) const fn station(host: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, host]
}

pub(crate) fn config(host: u8, seed: u64) -> Config {
    Config::at(ip(host), 24, [seed, u64::from(host)])
}

pub(crate) fn stack_of(wire: &Wire, host: u8, config: &Config) -> Stack<Nic> {
    let nic = Nic { port: wire.port(), station: EthernetAddress(station(host)), queued: Vec::new(), room: 6 };
    Stack::new(nic, config, Instant::from_micros(wire.now()))
}

/// Two stacks on one wire.
pub(crate) struct Pair {
    pub(crate) wire: Wire,
    pub(crate) a: Stack<Nic>,
    pub(crate) b: Stack<Nic>,
    /// On port 7 of `b`, once [`Pair::connected`] was called.
    pub(crate) listener: Option<Listener>,
}

impl Pair {
    pub(crate) fn new(faults: Faults, seed: u64) -> Self {
        Self::with(faults, seed, |_| {})
    }

    pub(crate) fn with(faults: Faults, seed: u64, change: impl Fn(&mut Config)) -> Self {
        let wire = Wire::new(500, faults, seed);
        let make = |host| {
            let mut config = config(host, seed);
            change(&mut config);
            stack_of(&wire, host, &config)
        };
        Self { a: make(1), b: make(2), listener: None, wire }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_micros(self.wire.now())
    }

    /// Polls both, and moves time on to whatever comes next, at most by `step`.
    pub(crate) fn step(&mut self, step: u64) {
        let now = self.now();
        let next = self.a.poll(now).min(self.b.poll(now));
        if self.a.link().port.has_arrived() || self.b.link().port.has_arrived() {
            return;
        }
        let until = (self.wire.now() + step).min(next.micros().max(self.wire.now() + 1));
        self.wire.advance(until);
    }

    /// Lets `micros` microseconds pass.
    pub(crate) fn run(&mut self, micros: u64) {
        let end = self.wire.now() + micros;
        while self.wire.now() < end {
            self.step(end - self.wire.now());
            while self.a.event().is_some() || self.b.event().is_some() {}
        }
    }

    /// A connection from `a` to port 7 of `b`: both ends.
    pub(crate) fn connected(&mut self) -> (Connection, Connection) {
        let listener = self.b.listen(7, 8).expect("the port is free");
        self.listener = Some(listener);
        let mut client = self.a.connect(at(2, 7)).expect("there is a route");
        loop {
            self.step(1_000_000);
            while self.a.event().is_some() || self.b.event().is_some() {}
            match self.b.accept(listener) {
                Ok(server) => return (client, server),
                Err(error) => assert_eq!(error, Error::WouldBlock),
            }
            // Where every other frame is hurt ARP may fail; an application tries again.
            if self.a.read(client, &mut []) == Err(Error::HostUnreachable) {
                self.a.close(client).expect("ours");
                client = self.a.connect(at(2, 7)).expect("there is a route");
            }
            assert!(self.wire.now() < 120_000_000, "no connection in two minutes");
        }
    }

    pub(crate) fn check(&self) {
        self.a.check_all();
        self.b.check_all();
    }
}

/// Connections, those in TIME_WAIT, blocks.
pub(crate) fn used<L: Link>(stack: &Stack<L>) -> (usize, usize, usize) {
    let InUse { connections, time_wait, blocks } = stack.in_use();
    (connections, time_wait, blocks)
}

/// The byte at `position` of a stream that no shift or repetition leaves the same.
pub(crate) fn pattern(position: u64) -> u8 {
    let mixed = position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// A frame of station 2 to station 1 with an IPv4 packet from `from`.
fn packet(from: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 34 + payload.len()];
    let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
    ethernet.set_dst_addr(EthernetAddress(station(1)));
    ethernet.set_src_addr(EthernetAddress(station(2)));
    ethernet.set_ethertype(EthernetProtocol::Ipv4);
    let mut packet = Ipv4Packet::new_unchecked(ethernet.payload_mut());
    packet.set_version(4);
    packet.set_header_len(20);
    packet.set_total_len(20 + payload.len() as u16);
    packet.set_hop_limit(9);
    packet.set_next_header(protocol);
    packet.set_src_addr(from);
    packet.set_dst_addr(ip(1));
    packet.payload_mut().copy_from_slice(payload);
    packet.fill_checksum();
    frame
}
