//! A host as RFC 1122 sees it: every protocol of one stack, without the link.

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use smoltcp::wire::{ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol};

use crate::config::{Addressing, Config, TcpConfig};
use crate::dhcp::{self, Change, Dhcp, Message};
use crate::error::Error;
use crate::events::{Event, Events, Source};
use crate::icmp::{self, Outcome};
use crate::ipv4::{Fragmenting, Interface, Network, Packet, Received, SendError};
use crate::link::{Full, Link};
use crate::pool::Pool;
use crate::random::Random;
use crate::rate::Bucket;
use crate::stats::Stats;
use crate::tcp::segment;
use crate::tcp::tcb::Env;
use crate::tcp::{self, Tcp};
use crate::time::Instant;
use crate::udp::{self, Udp};

/// What answers a frame as soon as its buffer is given back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Arp(ArpRepr),
    Tcp(tcp::Reply),
    /// So many bytes of the scratch buffer.
    Icmp(Ipv4Addr, usize),
}

pub(crate) struct Host {
    pub(crate) network: Network,
    pub(crate) tcp: Tcp,
    pub(crate) udp: Udp,
    dhcp: Option<Dhcp>,
    /// What DHCP wants sent, until the link takes it.
    message: Option<Message>,
    pub(crate) pool: Pool,
    pub(crate) random: Random,
    pub(crate) stats: Stats,
    pub(crate) events: Events,
    pub(crate) config: TcpConfig,
    scratch: Vec<u8>,
    icmp_errors: Bucket,
    /// The application does not know the address yet.
    address_news: bool,
}

impl Host {
    pub(crate) fn new(station: EthernetAddress, mtu: usize, config: &Config, now: Instant) -> Self {
        let mut random = Random::new(config.seed);
        let network = Network::new(station, mtu, &mut random);
        let tcp = Tcp::new(config.connections, config.time_wait_entries, &mut random, now);
        let limits = TcpConfig {
            send_buffer: config.tcp.send_buffer.clamp(1, 1 << 30),
            receive_buffer: config.tcp.receive_buffer.clamp(1, 1 << 30),
            ..config.tcp
        };
        let mut host = Self {
            scratch: vec![0; network.mtu - crate::ipv4::HEADER],
            network,
            tcp,
            udp: Udp::new(&mut random),
            dhcp: None,
            message: None,
            pool: Pool::new(config.buffers),
            random,
            stats: Stats::default(),
            events: Events::new(),
            config: limits,
            icmp_errors: Bucket::new(10, 50),
            address_news: false,
        };
        match config.addressing {
            Addressing::Static { address, prefix, gateway } => {
                host.network.set_interface(Some(Interface { address, prefix: prefix.min(32), gateway }));
                host.tell_address();
            }
            Addressing::Dhcp => host.dhcp = Some(Dhcp::new(station, now, &mut host.random)),
        }
        host
    }

    /// Everything that a step of TCP touches, each on its own.
    pub(crate) fn parts(
        &mut self,
        now: Instant,
    ) -> (Env<'_>, &mut Tcp, &mut Network, &mut Events, &mut Random) {
        let Self { network, tcp, pool, random, stats, events, config, .. } = self;
        (Env { now, pool, config, stats }, tcp, network, events, random)
    }

    /// Takes one frame.
    pub(crate) fn receive(&mut self, frame: &[u8], now: Instant) -> Option<Reply> {
        self.stats.frames_in += 1;
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
            self.stats.malformed += 1;
            return None;
        };
        let destination = ethernet.dst_addr();
        if destination != self.network.station && !destination.is_broadcast() {
            self.stats.not_for_us += 1;
            return None;
        }
        match ethernet.ethertype() {
            EthernetProtocol::Ipv4 => {
                let received = self.network.receive(destination, ethernet.payload(), &mut self.stats)?;
                self.on_ipv4(&received, now)
            }
            EthernetProtocol::Arp => {
                self.network.on_arp(ethernet.payload(), now, &mut self.stats).map(Reply::Arp)
            }
            _ => {
                self.stats.unknown_ethertype += 1;
                None
            }
        }
    }

    fn on_ipv4(&mut self, received: &Received, now: Instant) -> Option<Reply> {
        match received.protocol {
            IpProtocol::Tcp if received.to_all => {
                // RFC 9293 §3.9.2.3: a connection has two ends.
                self.stats.not_for_us += 1;
                None
            }
            IpProtocol::Tcp => {
                let (source, destination) = (received.source, received.destination);
                let (tuple, segment) =
                    segment::parse(source, destination, received.payload, &mut self.stats)?;
                let mss = self.network.mss();
                let (mut env, tcp, _, events, _) = self.parts(now);
                tcp.on_packet(&tuple, &segment, mss, &mut env, events).map(Reply::Tcp)
            }
            IpProtocol::Udp => self.on_udp(received, now),
            IpProtocol::Icmp => self.on_icmp(received, now),
            _ => {
                self.stats.unknown_protocol += 1;
                None
            }
        }
    }

    fn on_udp(&mut self, received: &Received, now: Instant) -> Option<Reply> {
        let arrived = udp::parse(received, &mut self.stats)?;
        if let Some(dhcp) = &mut self.dhcp
            && (arrived.port, arrived.from.port()) == (dhcp::CLIENT, dhcp::SERVER)
        {
            let change = dhcp.on_message(arrived.payload, now, &mut self.random);
            self.on_change(change, now);
            return None;
        }
        if self.network.interface.is_none() {
            self.stats.not_for_us += 1;
            return None;
        }
        if self.udp.deliver(&arrived, &mut self.pool, &mut self.stats, &mut self.events).is_ok() {
            return None;
        }
        self.stats.udp_no_socket += 1;
        let length = icmp::port_unreachable(received, &mut self.scratch)?;
        if !self.icmp_errors.take(now) {
            self.stats.icmp_limited += 1;
            return None;
        }
        Some(Reply::Icmp(received.source, length))
    }

    fn on_icmp(&mut self, received: &Received, now: Instant) -> Option<Reply> {
        match icmp::on_packet(received, &mut self.scratch, &mut self.stats) {
            Outcome::Reply(length) => return Some(Reply::Icmp(received.source, length)),
            Outcome::Unreachable(tuple, seq, error) => {
                let (mut env, tcp, _, events, _) = self.parts(now);
                tcp.on_unreachable(&tuple, seq, error, &mut env, events);
            }
            Outcome::TooLarge(tuple, seq, mss) => self.tcp.on_smaller_mss(&tuple, seq, mss),
            Outcome::Nothing => {}
        }
        None
    }

    fn on_change(&mut self, change: Change, now: Instant) {
        let interface = match change {
            Change::Nothing => return,
            Change::Bound(interface) => Some(interface),
            Change::Lost => None,
        };
        if interface == self.network.interface {
            return;
        }
        if self.network.interface.map(|old| old.address) != interface.map(|new| new.address) {
            let (mut env, tcp, _, events, _) = self.parts(now);
            tcp.lose_address(&mut env, events);
            self.tell_address();
        }
        self.network.set_interface(interface);
    }

    fn tell_address(&mut self) {
        if !core::mem::replace(&mut self.address_news, true) {
            self.events.push_back(Source::Address);
        }
    }

    /// Sends an answer.
    pub(crate) fn reply<L: Link>(&mut self, reply: Reply, link: &mut L, now: Instant) {
        match reply {
            Reply::Arp(packet) => {
                // Without a buffer it is lost, and asked for again.
                let _ = self.network.send_arp(link, &mut self.stats, &packet);
            }
            Reply::Tcp(reply) => {
                let (mut env, tcp, network, _, _) = self.parts(now);
                tcp.reply(reply, network, link, &mut env);
            }
            Reply::Icmp(to, length) => {
                let Some(interface) = self.network.interface else { return };
                let packet = Packet {
                    source: interface.address,
                    destination: to,
                    protocol: IpProtocol::Icmp,
                    fragmenting: Fragmenting::Allowed,
                    length,
                };
                let Self { network, stats, scratch, .. } = self;
                // Lost like any packet, if it is.
                let _ = network.send(link, now, stats, &packet, |into| {
                    if let Some(message) = scratch.get(..into.len()) {
                        into.copy_from_slice(message);
                    }
                });
            }
        }
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, now: Instant) {
        if let Some(dhcp) = &mut self.dhcp {
            let (message, change) = dhcp.on_time(now, &mut self.random);
            self.message = message.or(self.message);
            self.on_change(change, now);
        }
        let (mut env, tcp, _, events, _) = self.parts(now);
        tcp.on_time(&mut env, events);
    }

    /// Sends what waits.
    pub(crate) fn output<L: Link>(&mut self, link: &mut L, now: Instant) -> Result<(), Full> {
        self.send_dhcp(link, now)?;
        self.ask_neighbours(link, now)?;
        let (mut env, tcp, network, events, _) = self.parts(now);
        tcp.output(network, link, &mut env, events)?;
        // What was sent just now may have found that its neighbour is unknown.
        self.ask_neighbours(link, now)
    }

    fn ask_neighbours<L: Link>(&mut self, link: &mut L, now: Instant) -> Result<(), Full> {
        if self.network.next(now) > now {
            return Ok(());
        }
        while let Some(packet) = self.network.output(link, now, &mut self.stats)? {
            if let Some((tuple, seq)) = icmp::unsent(&packet) {
                let (mut env, tcp, _, events, _) = self.parts(now);
                tcp.on_unreachable(&tuple, seq, Error::HostUnreachable, &mut env, events);
            }
        }
        Ok(())
    }

    fn send_dhcp<L: Link>(&mut self, link: &mut L, now: Instant) -> Result<(), Full> {
        let (Some(dhcp), Some(message)) = (&self.dhcp, self.message) else { return Ok(()) };
        let Some(payload) = self.scratch.get_mut(udp::HEADER..) else { return Ok(()) };
        let Some(length) = dhcp.emit(&message, payload) else { return Ok(()) };
        let source = core::net::SocketAddrV4::new(message.client, dhcp::CLIENT);
        let destination = core::net::SocketAddrV4::new(message.destination, dhcp::SERVER);
        let packet = Packet {
            source: message.client,
            destination: message.destination,
            protocol: IpProtocol::Udp,
            fragmenting: Fragmenting::Allowed,
            length: udp::HEADER + length,
        };
        let Self { network, stats, scratch, .. } = self;
        let sent = network.send(link, now, stats, &packet, |into| {
            if let Some(datagram) = scratch.get(..into.len()) {
                into.copy_from_slice(datagram);
            }
            udp::emit(source, destination, into);
        });
        if sent == Err(SendError::Full) {
            return Err(Full);
        }
        self.message = None;
        Ok(())
    }

    /// When something is due.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        let dhcp = self.dhcp.as_ref().map_or(Instant::NEVER, Dhcp::next);
        if !self.events.is_empty() || self.message.is_some() {
            return now;
        }
        dhcp.min(self.network.next(now)).min(self.tcp.next(now))
    }

    pub(crate) fn event(&mut self) -> Option<Event> {
        loop {
            let event = match self.events.pop_front()? {
                Source::Connection(index) => {
                    self.tcp.take_event(index).map(|(connection, ready)| Event::Connection(connection, ready))
                }
                Source::Listener(index) => self.tcp.take_accept(index).map(Event::Accept),
                Source::Socket(index) => self.udp.take_event(index).map(Event::Datagram),
                Source::Address => {
                    self.address_news = false;
                    Some(Event::Address(self.network.interface.map(|interface| interface.address)))
                }
            };
            if event.is_some() {
                return event;
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.pool.check();
        assert_eq!(self.tcp.check(&self.config) + self.udp.blocks(), self.pool.used());
        for source in &self.events {
            assert_eq!(self.events.iter().filter(|other| *other == source).count(), 1);
        }
    }
}
