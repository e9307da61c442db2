//! A station that sends whatever it likes, and programs that call whatever they like: nothing panics, every list, table, timer
//! and block agrees with every other, and when all is closed nothing is left.

use std::collections::VecDeque;

use corey_test_host_net::{Malformed, Random, Station};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet,
    TcpPacket, TcpSeqNumber, UdpPacket,
};

use super::*;
use crate::{Addressing, Event, Socket};

/// A link that gives what it was handed, and keeps the last frames that were sent.
struct Script {
    frames: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
    full: bool,
}

impl Link for Script {
    fn address(&self) -> EthernetAddress {
        EthernetAddress(station(1))
    }

    fn receive<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.frames.pop_front().map(|frame| take(&frame))
    }

    fn transmit(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Full> {
        if self.full {
            return Err(Full);
        }
        let mut frame = vec![0xa5; length];
        fill(&mut frame);
        check_sent(&frame);
        if self.sent.len() == 16 {
            self.sent.pop_front();
        }
        self.sent.push_back(frame);
        Ok(())
    }

    fn flush(&mut self) {}
}

/// Whatever was received, what is sent is whole.
fn check_sent(frame: &[u8]) {
    let ethernet = EthernetFrame::new_checked(frame).expect("an Ethernet frame");
    assert!((60..=1514).contains(&frame.len()));
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        assert!(ArpPacket::new_checked(ethernet.payload()).is_ok());
        return;
    }
    let packet = Ipv4Packet::new_checked(ethernet.payload()).expect("an IPv4 packet");
    assert!(packet.verify_checksum());
    let end = 14 + usize::from(packet.total_len());
    assert!(frame[end..].iter().all(|byte| *byte == 0), "padding tells nothing");
    let (source, destination) = (IpAddress::from(packet.src_addr()), IpAddress::from(packet.dst_addr()));
    match packet.next_header() {
        IpProtocol::Tcp => {
            let segment = TcpPacket::new_checked(packet.payload()).expect("a segment");
            assert!(segment.verify_checksum(&source, &destination));
        }
        IpProtocol::Udp => {
            let datagram = UdpPacket::new_checked(packet.payload()).expect("a datagram");
            assert!(datagram.verify_checksum(&source, &destination));
        }
        _ => {}
    }
}

struct Attacker {
    random: Random,
    stack: Stack<Script>,
    now: u64,
    listener: Option<crate::Listener>,
    socket: Option<Socket>,
    connections: Vec<Connection>,
}

const PORTS: [u16; 3] = [7, 8, 68];

impl Attacker {
    fn new(seed: u64, addressing: Option<Addressing>) -> Self {
        let mut config = config(1, seed);
        config.addressing = addressing.unwrap_or(config.addressing);
        config.buffers = 192 << 10;
        config.connections = 24;
        config.time_wait_entries = 2;
        config.tcp.keep_alive = Some(20_000_000);
        config.tcp.time_wait = 5_000_000;
        config.tcp.receive_buffer = 9_000;
        config.tcp.send_buffer = 9_000;
        let script = Script { frames: VecDeque::new(), sent: VecDeque::new(), full: false };
        let mut stack = Stack::new(script, &config, Instant::from_micros(0));
        let listener = stack.listen(7, 4).ok();
        let socket = stack.bind(8).ok();
        Self { random: Random::new(seed), stack, now: 0, listener, socket, connections: Vec::new() }
    }

    fn pick(&mut self, limit: usize) -> usize {
        self.random.below(limit as u64) as usize
    }

    /// A frame of any bytes, with an Ethernet header that leads somewhere, mostly.
    fn noise(&mut self) -> Vec<u8> {
        let length = self.pick(200);
        let mut frame: Vec<u8> = (0..length).map(|_| self.random.draw() as u8).collect();
        if length >= 15 && self.pick(4) > 0 {
            frame[..6].copy_from_slice(&station(1));
            let protocol = [[8, 0], [8, 6], [0x86, 0xdd]][self.pick(3)];
            frame[12..14].copy_from_slice(&protocol);
            if protocol == [8, 0] {
                frame[14] = 0x45;
            }
        }
        frame
    }

    fn arp(&mut self) -> Vec<u8> {
        let who = 2 + self.pick(4) as u8;
        let sender = if self.pick(8) == 0 { station(66) } else { station(who) };
        let operation = if self.pick(2) == 0 { ArpOperation::Request } else { ArpOperation::Reply };
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(sender),
            source_protocol_addr: ip(who),
            target_hardware_addr: EthernetAddress(station(1)),
            target_protocol_addr: ip(1),
        };
        let mut frame = vec![0; 60];
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
        ethernet.set_dst_addr(EthernetAddress(station(1)));
        ethernet.set_src_addr(EthernetAddress(sender));
        ethernet.set_ethertype(EthernetProtocol::Arp);
        repr.emit(&mut ArpPacket::new_unchecked(ethernet.payload_mut()));
        frame
    }

    /// A segment that answers one the stack has sent, nearly; or one of no connection.
    fn segment(&mut self) -> Vec<u8> {
        let mut tuple = (ip(2 + self.pick(4) as u8), 1000 + self.pick(6) as u16, PORTS[self.pick(3)]);
        let (mut seq, mut ack) = (self.random.draw() as i32, self.random.draw() as i32);
        let at = self.pick(16);
        if self.pick(10) > 0
            && let Some((theirs, sent)) = self.stack.link().sent.get(at).and_then(|frame| sent_segment(frame))
        {
            tuple = theirs;
            (ack, seq) = sent;
        }
        for number in [&mut seq, &mut ack] {
            let off = match self.random.below(8) {
                0 => self.random.below(20_000) as i32 - 5_000,
                1 => self.random.below(3) as i32 - 1,
                _ => 0,
            };
            *number = number.wrapping_add(off);
        }
        let any = self.random.draw() as u8;
        let flags = [0x10, 0x10, 0x10, 0x18, 0x11, 0x11, 0x11, 0x12, 0x02, 0x02, 0x14, any][self.pick(12)];
        let payload = if self.pick(2) == 0 { 0 } else { self.pick(1500) };
        let options = if flags & 2 != 0 { self.pick(6) * 4 } else { 0 };
        let mut bytes = vec![0; 20 + options + payload];
        bytes[20..20 + options].fill_with(|| self.random.below(10) as u8);
        let mut segment = TcpPacket::new_unchecked(&mut bytes[..]);
        segment.set_src_port(tuple.1);
        segment.set_dst_port(tuple.2);
        segment.set_seq_number(TcpSeqNumber(seq));
        segment.set_ack_number(TcpSeqNumber(ack));
        segment.set_header_len(20 + options as u8);
        segment.set_window_len([0, 1, 500, 65_535][self.random.below(4) as usize]);
        segment.into_inner()[13] = flags;
        TcpPacket::new_unchecked(&mut bytes[..]).fill_checksum(&tuple.0.into(), &ip(1).into());
        packet(tuple.0, IpProtocol::Tcp, &bytes)
    }

    /// A datagram, to the DHCP client's port, too, or an ICMP message about something the stack has sent.
    fn datagram(&mut self) -> Vec<u8> {
        let source = ip(2 + self.pick(4) as u8);
        if self.pick(3) == 0 {
            let mut message =
                vec![[3, 8, 0][self.pick(3)], self.pick(6) as u8, 0, 0, 0, 0, 2, self.random.draw() as u8];
            let at = self.pick(16);
            if let Some(frame) = self.stack.link().sent.get(at) {
                message.extend_from_slice(&frame[14..42]);
            }
            smoltcp::wire::Icmpv4Packet::new_unchecked(&mut message[..]).fill_checksum();
            return packet(source, IpProtocol::Icmp, &message);
        }
        let mut bytes = vec![0; 8 + self.pick(400)];
        bytes[8..].fill_with(|| if self.random.below(3) == 0 { self.random.draw() as u8 } else { 0 });
        let mut port = PORTS[self.pick(3)];
        let mut from = 67;
        let at = self.pick(16);
        if port == 68
            && let Some(frame) = self.stack.link().sent.get(at)
            && frame.len() >= 342
            && frame[34..36] == [0, 68]
        {
            // Its own message as if a server had answered.
            bytes = frame[34..].to_vec();
            bytes[8] = 2;
            let kind = bytes[8 + 240..].iter().position(|byte| *byte == 53);
            if let Some(place) = kind.and_then(|at| bytes.get_mut(8 + 240 + at + 2)) {
                *place = [2, 5, 6][self.random.below(3) as usize];
            }
            let options: &[u8] =
                &[54, 4, 10, 0, 0, 9, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 0, 9, 51, 4, 0, 0, 0, 60, 255];
            bytes[8 + 16..8 + 20].copy_from_slice(&ip(1).octets());
            bytes[8 + 243..8 + 243 + options.len()].copy_from_slice(options);
        } else if self.pick(4) == 0 {
            (port, from) = (self.random.draw() as u16, self.random.draw() as u16);
        }
        let mut datagram = UdpPacket::new_unchecked(&mut bytes[..]);
        datagram.set_src_port(from);
        datagram.set_dst_port(port);
        datagram.set_len(datagram.as_ref().len() as u16);
        datagram.fill_checksum(&source.into(), &ip(1).into());
        packet(source, IpProtocol::Udp, &bytes)
    }

    fn frame(&mut self) -> Vec<u8> {
        let mut frame = match self.pick(20) {
            0 => self.noise(),
            1 => self.arp(),
            2 | 3 => self.datagram(),
            _ => self.segment(),
        };
        if self.pick(30) == 0 && !frame.is_empty() {
            let at = self.pick(frame.len());
            frame[at] ^= 1 << self.pick(8);
        }
        if self.pick(60) == 0 {
            frame.truncate(self.pick(frame.len() + 1));
        }
        frame
    }

    /// One call by a program, right or wrong.
    fn call(&mut self) {
        let at_random = self.pick(self.connections.len().max(1));
        let stale = Connection { index: self.pick(30) as u32, generation: self.pick(3) as u32 };
        let any = self.connections.get(at_random).copied().unwrap_or(stale);
        let length = self.pick(4000);
        let mut bytes = vec![9; length];
        let stack = &mut self.stack;
        match self.random.below(14) {
            0 | 1 => self.connections.extend(self.listener.and_then(|listener| stack.accept(listener).ok())),
            2 => self
                .connections
                .extend(stack.connect(at(2 + length as u8 % 4, 1000 + length as u16 % 6)).ok()),
            3..=5 => drop(stack.read(any, &mut bytes)),
            6 | 7 => drop(stack.write(any, &bytes)),
            8 => drop(stack.shutdown(any)),
            9 => drop(stack.close(any)),
            10 => drop(stack.abort(any)),
            11 => drop(self.socket.map(|socket| stack.recv_from(socket, &mut bytes))),
            12 => drop(self.socket.map(|socket| stack.send_to(socket, at(2, 9), &bytes))),
            _ => stack.link().full = length.is_multiple_of(4),
        }
        self.connections.retain(|connection| self.stack.state(*connection).is_ok());
        while let Some(event) = self.stack.event() {
            if let Event::Connection(connection, _) = event {
                assert!(self.stack.state(connection).is_ok(), "an event names what is open");
            }
        }
    }

    fn attack(&mut self, frames: u32) {
        for step in 0..frames {
            let frame = self.frame();
            self.stack.link().frames.push_back(frame);
            if self.pick(4) == 0 {
                let most = 1 << self.random.below(22);
                self.now += self.random.below(most);
                self.stack.poll(Instant::from_micros(self.now));
            }
            if self.pick(4) == 0 {
                self.call();
            }
            if step % 64 == 0 {
                self.stack.check_all();
            }
        }
    }

    /// Closes everything, and waits until it is gone.
    fn leave(mut self) -> crate::Stats {
        self.stack.link().frames.clear();
        self.stack.link().full = false;
        for connection in core::mem::take(&mut self.connections) {
            self.stack.close(connection).expect("it is open");
        }
        self.listener.map(|listener| self.stack.unlisten(listener)).expect("one").expect("ours");
        self.socket.map(|socket| self.stack.unbind(socket)).expect("one").expect("ours");
        for _ in 0..2000 {
            self.now += 1_000_000;
            self.stack.poll(Instant::from_micros(self.now));
            while self.stack.event().is_some() {}
        }
        self.stack.check_all();
        assert_eq!(used(&self.stack), (0, 0, 0));
        *self.stack.stats()
    }
}

/// The peer's address and port, and ours.
type Ends = (Ipv4Addr, u16, u16);

/// From an outgoing segment: its ends, and the numbers a good answer has (acknowledgement, sequence).
fn sent_segment(frame: &[u8]) -> Option<(Ends, (i32, i32))> {
    let packet = Ipv4Packet::new_checked(frame.get(14..)?).ok()?;
    if packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    let length = segment.segment_len() as i32;
    let peer = (packet.dst_addr(), segment.dst_port(), segment.src_port());
    Some((peer, (segment.seq_number().0.wrapping_add(length), segment.ack_number().0)))
}

#[test]
fn a_million_hostile_frames_and_calls_break_nothing() {
    let mut total = crate::Stats::default();
    for seed in 0..20 {
        let mut attacker = Attacker::new(seed, None);
        attacker.attack(50_000);
        let stats = attacker.leave();
        total.frames_in += stats.frames_in;
        total.tcp_established += stats.tcp_established;
        total.tcp_resets_in += stats.tcp_resets_in;
        total.tcp_timeouts += stats.tcp_timeouts;
        total.tcp_out_of_order += stats.tcp_out_of_order;
        total.tcp_challenges += stats.tcp_challenges;
        total.tcp_no_connection += stats.tcp_no_connection;
        total.tcp_half_open_dropped += stats.tcp_half_open_dropped;
        total.tcp_time_wait_evicted += stats.tcp_time_wait_evicted;
        total.tcp_time_wait_reused += stats.tcp_time_wait_reused;
        total.udp_in += stats.udp_in;
        total.arp_conflicts += stats.arp_conflicts;
        total.tcp_no_buffers += stats.tcp_no_buffers;
    }
    println!("{total:?}");
    // It got everywhere.
    assert!(total.frames_in > 900_000 && total.tcp_established > 1000 && total.tcp_resets_in > 100);
    assert!(total.tcp_timeouts > 1000 && total.tcp_out_of_order > 500 && total.tcp_challenges > 1000);
    assert!(total.tcp_half_open_dropped > 100 && total.udp_in > 1000 && total.arp_conflicts > 100);
    assert!(total.tcp_time_wait_evicted > 10 && total.tcp_time_wait_reused > 0);
}

#[test]
fn hostile_servers_break_no_dhcp_client() {
    let mut bound = 0;
    for seed in 0..4 {
        let mut attacker = Attacker::new(seed, Some(Addressing::Dhcp));
        for _ in 0..50 {
            attacker.attack(400);
            bound += u32::from(attacker.stack.address().is_some());
        }
        attacker.leave();
    }
    assert!((1..200).contains(&bound), "it had an address, and lost it: {bound}");
}

/// The frames that a machine is given by `cargo xtask test --only net`.
#[test]
fn a_million_malformed_frames_break_nothing() {
    let of = |number| Station { ethernet: station(number), address: ip(number) };
    let stats = [0, 1, 2, 3].map(|seed| {
        let mut attacker = Attacker::new(seed, None);
        let mut malformed = Malformed::new(seed, of(1), of(2));
        for step in 0..250_000 {
            attacker.stack.link().frames.push_back(malformed.frame());
            if step % 4 == 0 {
                attacker.now += 300;
                attacker.stack.poll(Instant::from_micros(attacker.now));
                attacker.stack.link().sent.drain(..).for_each(|frame| malformed.hear(&frame));
                attacker.call();
            }
            if step % 512 == 0 {
                attacker.stack.check_all();
            }
        }
        attacker.leave()
    });
    println!("{stats:#?}");
    // It got everywhere.
    let least = |of: fn(&crate::Stats) -> u64| stats.iter().map(of).min().unwrap_or(0);
    assert!(least(|stats| stats.frames_in) > 249_000 && least(|stats| stats.malformed) > 1000);
    assert!(least(|stats| stats.ipv4_checksum) > 1000 && least(|stats| stats.transport_checksum) > 1000);
    assert!(least(|stats| stats.fragments) > 1000 && least(|stats| stats.echoes) > 1000);
    assert!(least(|stats| stats.udp_in) > 1000 && least(|stats| stats.arp_ignored) > 1000);
    assert!(least(|stats| stats.tcp_established) > 100 && least(|stats| stats.tcp_challenges) > 1000);
    assert!(least(|stats| stats.tcp_out_of_order) > 20 && least(|stats| stats.tcp_resets_in) > 100);
}
