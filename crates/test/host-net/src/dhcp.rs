//! A DHCP server with one address to give.

use std::net::Ipv4Addr;

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame,
    EthernetProtocol, IpProtocol, Ipv4Packet, UdpPacket,
};

use crate::Station;

/// What the server does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It grants them.
    Willing,
    /// It offers, and then refuses.
    Refusing,
    /// It says nothing.
    Silent,
}

/// A message that a client sent.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What it wants.
    pub kind: DhcpMessageType,
    /// The exchange it belongs to.
    pub transaction: u32,
    /// The client's Ethernet address.
    pub client: [u8; 6],
    /// The moment that [`DhcpServer::answer`] was told.
    pub at: u64,
}

/// A server; it is the router, too, of a network of 24 bits.
#[derive(Debug)]
pub struct DhcpServer {
    /// Where it is.
    pub station: Station,
    /// What it does.
    pub mood: Mood,
    /// The address that everybody gets.
    pub offers: Ipv4Addr,
    /// Seconds that it is leased for.
    pub seconds: u32,
    /// What was asked, in order.
    pub asked: Vec<Asked>,
}

impl DhcpServer {
    /// A willing one.
    #[must_use]
    pub fn new(station: Station, offers: Ipv4Addr, seconds: u32) -> Self {
        Self { station, mood: Mood::Willing, offers, seconds, asked: Vec::new() }
    }

    /// The answer to a frame, if it is for this server: a DHCP message, or who asks by ARP where it is.
    pub fn answer(&mut self, frame: &[u8], now: u64) -> Option<Vec<u8>> {
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
        self.asked.push(Asked {
            kind: asked.message_type,
            transaction: asked.transaction_id,
            client: asked.client_hardware_address.0,
            at: now,
        });
        let kind = match (asked.message_type, self.mood) {
            (_, Mood::Silent) => return None,
            (DhcpMessageType::Discover, _) => DhcpMessageType::Offer,
            (DhcpMessageType::Request, Mood::Willing) => DhcpMessageType::Ack,
            _ => DhcpMessageType::Nak,
        };
        let reply = DhcpRepr {
            message_type: kind,
            your_ip: self.offers,
            client_ip: Ipv4Addr::UNSPECIFIED,
            router: Some(self.station.address),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            server_identifier: Some(self.station.address),
            lease_duration: Some(self.seconds),
            requested_ip: None,
            client_identifier: None,
            parameter_request_list: None,
            max_size: None,
            ..asked
        };
        Some(self.message(&reply))
    }

    /// A message to everybody.
    fn message(&self, reply: &DhcpRepr) -> Vec<u8> {
        let Station { ethernet: station, address } = self.station;
        let mut frame = vec![0; 42 + reply.buffer_len()];
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
        ethernet.set_dst_addr(EthernetAddress::BROADCAST);
        ethernet.set_src_addr(EthernetAddress(station));
        ethernet.set_ethertype(EthernetProtocol::Ipv4);
        let mut packet = Ipv4Packet::new_unchecked(ethernet.payload_mut());
        packet.set_version(4);
        packet.set_header_len(20);
        packet.set_total_len(28 + reply.buffer_len() as u16);
        packet.set_hop_limit(1);
        packet.set_next_header(IpProtocol::Udp);
        packet.set_src_addr(address);
        packet.set_dst_addr(Ipv4Addr::BROADCAST);
        let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
        datagram.set_src_port(67);
        datagram.set_dst_port(68);
        datagram.set_len(8 + reply.buffer_len() as u16);
        reply.emit(&mut DhcpPacket::new_unchecked(datagram.payload_mut())).expect("room");
        datagram.fill_checksum(&address.into(), &Ipv4Addr::BROADCAST.into());
        packet.fill_checksum();
        frame
    }

    /// The answer to who asks by ARP for the server.
    fn whereabouts(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let asked = ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?).ok()?;
        let ArpRepr::EthernetIpv4 {
            source_hardware_addr, source_protocol_addr, target_protocol_addr, ..
        } = asked
        else {
            return None;
        };
        let own = EthernetAddress(self.station.ethernet);
        let answer = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: own,
            source_protocol_addr: self.station.address,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        let mut frame = vec![0; 60];
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
        ethernet.set_dst_addr(source_hardware_addr);
        ethernet.set_src_addr(own);
        ethernet.set_ethertype(EthernetProtocol::Arp);
        answer.emit(&mut ArpPacket::new_unchecked(ethernet.payload_mut()));
        (target_protocol_addr == self.station.address).then_some(frame)
    }
}
