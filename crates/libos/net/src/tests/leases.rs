//! The DHCP client on a wire with a server of the test's own.

use corey_test_host_net::Faults;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetFrame, EthernetProtocol,
    IpProtocol, Ipv4Packet, UdpPacket,
};

use super::*;
use crate::{Addressing, Event};

/// What the server does with requests.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Willing,
    Refusing,
    Silent,
}

struct Server {
    port: Port,
    mood: Mood,
    offers: u8,
    seconds: u32,
    /// What was asked, in order, and at which second.
    asked: Vec<(DhcpMessageType, u64)>,
    transactions: Vec<u32>,
}

impl Server {
    fn serve(&mut self, now: u64) {
        while let Some(frame) = self.port.receive() {
            let Some(answer) = self.answer(&frame, now) else { continue };
            self.port.send(&answer);
        }
    }

    fn answer(&mut self, frame: &[u8], now: u64) -> Option<Vec<u8>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        if ethernet.ethertype() == EthernetProtocol::Arp {
            return self.whereabouts(ethernet.payload());
        }
        let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
        let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
        if (datagram.src_port(), datagram.dst_port()) != (68, 67) {
            return None;
        }
        if !datagram.verify_checksum(&packet.src_addr().into(), &packet.dst_addr().into()) {
            return None;
        }
        let message = DhcpPacket::new_checked(datagram.payload()).ok()?;
        let asked = DhcpRepr::parse(&message).ok()?;
        self.asked.push((asked.message_type, now / 1_000_000));
        self.transactions.push(asked.transaction_id);
        let kind = match (asked.message_type, self.mood) {
            (_, Mood::Silent) => return None,
            (DhcpMessageType::Discover, _) => DhcpMessageType::Offer,
            (DhcpMessageType::Request, Mood::Willing) => DhcpMessageType::Ack,
            _ => DhcpMessageType::Nak,
        };
        let reply = DhcpRepr {
            message_type: kind,
            your_ip: ip(self.offers),
            client_ip: Ipv4Addr::UNSPECIFIED,
            router: Some(ip(9)),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            server_identifier: Some(ip(9)),
            lease_duration: Some(self.seconds),
            requested_ip: None,
            client_identifier: None,
            parameter_request_list: None,
            max_size: None,
            ..asked
        };
        let mut frame = vec![0; 42 + reply.buffer_len()];
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
        ethernet.set_dst_addr(EthernetAddress::BROADCAST);
        ethernet.set_src_addr(EthernetAddress(station(9)));
        ethernet.set_ethertype(EthernetProtocol::Ipv4);
        let mut packet = Ipv4Packet::new_unchecked(ethernet.payload_mut());
        packet.set_version(4);
        packet.set_header_len(20);
        packet.set_total_len(28 + reply.buffer_len() as u16);
        packet.set_hop_limit(1);
        packet.set_next_header(IpProtocol::Udp);
        packet.set_src_addr(ip(9));
        packet.set_dst_addr(Ipv4Addr::BROADCAST);
        let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
        datagram.set_src_port(67);
        datagram.set_dst_port(68);
        datagram.set_len(8 + reply.buffer_len() as u16);
        reply.emit(&mut DhcpPacket::new_unchecked(datagram.payload_mut())).expect("room");
        datagram.fill_checksum(&ip(9).into(), &Ipv4Addr::BROADCAST.into());
        packet.fill_checksum();
        Some(frame)
    }
}

impl Server {
    /// The answer to who asks by ARP for the server.
    fn whereabouts(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let asked = ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?).ok()?;
        let ArpRepr::EthernetIpv4 {
            source_hardware_addr, source_protocol_addr, target_protocol_addr, ..
        } = asked
        else {
            return None;
        };
        let answer = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(station(9)),
            source_protocol_addr: ip(9),
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        let mut frame = vec![0; 60];
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
        ethernet.set_dst_addr(source_hardware_addr);
        ethernet.set_src_addr(EthernetAddress(station(9)));
        ethernet.set_ethertype(EthernetProtocol::Arp);
        answer.emit(&mut ArpPacket::new_unchecked(ethernet.payload_mut()));
        (target_protocol_addr == ip(9)).then_some(frame)
    }
}

struct Lan {
    wire: Wire,
    stack: Stack<Nic>,
    server: Server,
    news: Vec<Option<Ipv4Addr>>,
}

impl Lan {
    fn new(mood: Mood, faults: Faults) -> Self {
        let wire = Wire::new(500, faults, 21);
        let config = Config::new(Addressing::Dhcp, [21, 22]);
        let stack = stack_of(&wire, 1, &config);
        let server = Server {
            port: wire.port(),
            mood,
            offers: 77,
            seconds: 600,
            asked: Vec::new(),
            transactions: Vec::new(),
        };
        Self { wire, stack, server, news: Vec::new() }
    }

    /// Lets time pass until so many seconds after the start.
    fn until(&mut self, second: u64) {
        while self.wire.now() < second * 1_000_000 {
            let now = self.wire.now();
            let next = self.stack.poll(Instant::from_micros(now)).micros();
            self.server.serve(now);
            while let Some(event) = self.stack.event() {
                if let Event::Address(address) = event {
                    self.news.push(address);
                }
            }
            self.wire.advance(next.clamp(now + 1, second * 1_000_000));
        }
    }

    fn kinds(&self) -> Vec<DhcpMessageType> {
        self.server.asked.iter().map(|(kind, _)| *kind).collect()
    }
}

use DhcpMessageType::{Discover, Request};

#[test]
fn a_lease_is_taken_renewed_and_given_up_when_the_server_falls_silent() {
    let mut lan = Lan::new(Mood::Willing, Faults::default());
    lan.until(1);
    assert_eq!((lan.kinds(), lan.stack.address()), (vec![Discover, Request], Some(ip(77))));
    assert_eq!(lan.server.transactions[0], lan.server.transactions[1]);
    lan.until(599);
    assert_eq!(lan.kinds(), [Discover, Request, Request], "renewed at half the time");
    lan.server.mood = Mood::Silent;
    lan.until(899);
    assert_eq!(lan.stack.address(), Some(ip(77)));
    lan.until(902);
    assert_eq!(
        (lan.stack.address(), lan.news.clone()),
        (None, vec![Some(ip(77)), None]),
        "the second lease has ended"
    );
    let renewals = lan.server.asked.iter().filter(|(kind, second)| *kind == Request && *second > 590).count();
    assert!(
        (4..=8).contains(&renewals),
        "RFC 2131 §4.4.5: half of what is left, a minute at least: {renewals}"
    );
    assert_eq!(lan.stack.connect(at(2, 7)), Err(Error::NoAddress));
    lan.server.mood = Mood::Willing;
    lan.until(980);
    assert_eq!(lan.stack.address(), Some(ip(77)));
}

#[test]
fn a_refusal_starts_again_and_another_address_ends_connections() {
    let mut lan = Lan::new(Mood::Refusing, Faults::default());
    lan.until(5);
    assert_eq!((lan.stack.address(), &lan.kinds()[..4]), (None, &[Discover, Request, Discover, Request][..]));
    lan.server.mood = Mood::Willing;
    lan.until(10);
    let connection = lan.stack.connect(at(2, 7)).expect("an address, and the network");
    lan.server.offers = 78;
    lan.until(320);
    assert_eq!((lan.stack.address(), lan.news.clone()), (Some(ip(78)), vec![Some(ip(77)), Some(ip(78))]));
    assert!(matches!(lan.stack.read(connection, &mut [0]), Err(Error::HostUnreachable | Error::NoAddress)));
    lan.server.mood = Mood::Refusing;
    lan.until(700);
    assert_eq!(lan.news.last(), Some(&None), "refused at renewal");
}

#[test]
fn without_a_server_requests_become_rarer_and_loss_only_delays() {
    let mut lan = Lan::new(Mood::Silent, Faults::default());
    lan.until(300);
    let asked: Vec<u64> = lan.server.asked.iter().map(|(_, second)| *second).collect();
    let gaps: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (gap, usual) in gaps.iter().zip([4, 8, 16, 32, 64, 64]) {
        assert!(gap.abs_diff(usual) <= 2, "{gaps:?}");
    }
    let mut lan = Lan::new(Mood::Willing, Faults::all(200));
    lan.until(120);
    assert_eq!(lan.stack.address(), Some(ip(77)));
}
