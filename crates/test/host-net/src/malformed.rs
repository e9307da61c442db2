//! Frames that are wrong: valid ones of every kind a stack understands with a mistake in them, segments of connections that nobody
//! meant, and noise.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame,
    EthernetProtocol, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, TcpPacket, TcpSeqNumber, UdpPacket,
};

use crate::Random;

const ETHERNET: usize = 14;
/// Bytes of an IPv4 header without options, and of a TCP header.
const HEADER: usize = 20;
/// Ports that a server may have, and one that nobody has.
const PORTS: [u16; 6] = [7000, 7, 9, 19, 68, 5];
/// Segments that are remembered.
const HEARD: usize = 16;

/// A station: its Ethernet address and its IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// On the wire.
    pub ethernet: [u8; 6],
    /// On the network.
    pub address: Ipv4Addr,
}

/// A segment that was received: its ends as its sender saw them, and the numbers that a good answer has.
#[derive(Clone, Copy)]
struct Heard {
    from_port: u16,
    to: (Ipv4Addr, u16),
    seq: TcpSeqNumber,
    ack: TcpSeqNumber,
}

/// A generator of such frames. The same seed and the same frames heard give the same frames.
pub struct Malformed {
    random: Random,
    victim: Station,
    /// A neighbour of the victim's: no frame says that its address is elsewhere.
    spared: Station,
    heard: VecDeque<Heard>,
    /// Flags of the next segment: all combinations, one after the other.
    flags: u8,
}

impl Malformed {
    /// Frames to `victim`, from stations that have addresses near that of `spared` but are not it.
    #[must_use]
    pub fn new(seed: u64, victim: Station, spared: Station) -> Self {
        Self { random: Random::new(seed), victim, spared, heard: VecDeque::new(), flags: 0 }
    }

    fn pick(&mut self, limit: usize) -> usize {
        self.random.below(limit as u64) as usize
    }

    fn fill(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.random.draw() as u8).collect()
    }

    /// One of four stations.
    fn sender(&mut self) -> Station {
        let [a, b, c, _] = self.spared.address.octets();
        let number = 200 + self.pick(4) as u8;
        Station { ethernet: [2, 0, 0, 0, 1, number], address: Ipv4Addr::new(a, b, c, number) }
    }

    /// Takes note of what the victim sent: later frames go on from there.
    pub fn hear(&mut self, frame: &[u8]) {
        let Some(heard) = heard(frame).filter(|heard| heard.to.0 != self.spared.address) else { return };
        if self.heard.len() == HEARD {
            self.heard.pop_front();
        }
        self.heard.push_back(heard);
    }

    /// The next frame.
    pub fn frame(&mut self) -> Vec<u8> {
        let mut frame = match self.pick(20) {
            0 => self.noise(),
            1 | 2 => self.arp(),
            3 | 4 => self.icmp(),
            5 | 6 => self.udp(),
            7 | 8 => self.dhcp(),
            _ => self.tcp(),
        };
        for _ in 0..[0, 0, 1, 1, 2, 4][self.pick(6)] {
            self.mutate(&mut frame);
        }
        // Else the first check would be the only one that mistakes reach.
        if self.pick(4) > 0 {
            fill_checksums(&mut frame);
        }
        self.spare(&mut frame);
        frame
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = [self.pick(60), self.pick(1514), 1514 + self.pick(2500)][self.pick(3)];
        let mut frame = self.fill(length);
        if length >= ETHERNET && self.pick(4) > 0 {
            frame[..6].copy_from_slice(&self.victim.ethernet);
            frame[12..14].copy_from_slice(&[[8, 0], [8, 6], [0x86, 0xdd]][self.pick(3)]);
        }
        frame
    }

    fn ethernet(&mut self, from: Station, protocol: EthernetProtocol, payload: usize) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET + payload];
        let mut header = EthernetFrame::new_unchecked(&mut frame[..]);
        let to = if self.pick(10) == 0 { [0xff; 6] } else { self.victim.ethernet };
        header.set_dst_addr(EthernetAddress(to));
        header.set_src_addr(EthernetAddress(from.ethernet));
        header.set_ethertype(protocol);
        frame
    }

    fn arp(&mut self) -> Vec<u8> {
        let from = self.sender();
        let operation = if self.pick(2) == 0 { ArpOperation::Request } else { ArpOperation::Reply };
        let packet = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(from.ethernet),
            source_protocol_addr: from.address,
            target_hardware_addr: EthernetAddress(self.victim.ethernet),
            target_protocol_addr: self.victim.address,
        };
        let mut frame = self.ethernet(from, EthernetProtocol::Arp, 46);
        packet.emit(&mut ArpPacket::new_unchecked(&mut frame[ETHERNET..]));
        frame
    }

    /// A packet with options now and then, and a fragment now and then.
    fn ipv4(&mut self, from: Station, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let options = if self.pick(5) == 0 { 4 * (1 + self.pick(10)) } else { 0 };
        let mut frame = self.ethernet(from, EthernetProtocol::Ipv4, HEADER + options + payload.len());
        let bytes = self.fill(options);
        frame[ETHERNET + HEADER..ETHERNET + HEADER + options].copy_from_slice(&bytes);
        let mut packet = Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]);
        packet.set_version(4);
        packet.set_header_len((HEADER + options) as u8);
        packet.set_total_len((HEADER + options + payload.len()) as u16);
        packet.set_hop_limit(64);
        packet.set_next_header(protocol);
        packet.set_src_addr(from.address);
        packet.set_dst_addr(self.victim.address);
        if self.random.below(20) == 0 {
            packet.set_more_frags(self.random.below(2) == 0);
            packet.set_frag_offset(8 * self.random.below(200) as u16);
        }
        packet.payload_mut().copy_from_slice(payload);
        frame
    }

    /// An echo request, an error about something that the victim sent, or a message of any type.
    fn icmp(&mut self) -> Vec<u8> {
        let length = self.pick(1400);
        let data = self.fill(length);
        let request = Icmpv4Repr::EchoRequest { ident: 1, seq_no: self.random.draw() as u16, data: &data };
        let mut message = vec![0; request.buffer_len()];
        request.emit(&mut Icmpv4Packet::new_unchecked(&mut message[..]), &ChecksumCapabilities::default());
        let from = self.sender();
        let kind = self.pick(3);
        let at = self.pick(HEARD);
        if kind == 1
            && let Some(heard) = self.heard.get(at).copied()
        {
            let mut about = vec![0; 8];
            about[..2].copy_from_slice(&heard.from_port.to_be_bytes());
            about[2..4].copy_from_slice(&heard.to.1.to_be_bytes());
            let quoting = Station { address: heard.to.0, ..from };
            let mut quoted = self.ipv4(quoting, IpProtocol::Tcp, &about).split_off(ETHERNET);
            // Who sent it is the victim.
            quoted.get_mut(12..20).into_iter().for_each(|addresses| addresses.rotate_left(4));
            message = vec![3, self.pick(20) as u8, 0, 0, 0, 0, 5, 0xdc];
            message.extend_from_slice(&quoted);
        } else if kind == 2 {
            message[0] = self.random.draw() as u8;
            message[1] = self.random.draw() as u8;
        }
        self.ipv4(from, IpProtocol::Icmp, &message)
    }

    fn udp_of(&mut self, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 8 + data.len()];
        bytes[8..].copy_from_slice(data);
        let mut datagram = UdpPacket::new_unchecked(&mut bytes[..]);
        datagram.set_src_port(ports.0);
        datagram.set_dst_port(ports.1);
        let length = 8 + data.len();
        // One in ten says that it has another length.
        let off = if self.pick(10) == 0 { self.pick(40) } else { 20 };
        datagram.set_len((length + off).saturating_sub(20) as u16);
        let from = self.sender();
        self.ipv4(from, IpProtocol::Udp, &bytes)
    }

    fn udp(&mut self) -> Vec<u8> {
        let length = self.pick(1400);
        let data = self.fill(length);
        let ports = (self.random.draw() as u16, PORTS[self.pick(6)]);
        self.udp_of(ports, &data)
    }

    /// What a DHCP server says, of another exchange than the victim's.
    fn dhcp(&mut self) -> Vec<u8> {
        let kinds = [DhcpMessageType::Offer, DhcpMessageType::Ack, DhcpMessageType::Nak];
        let any = Ipv4Addr::UNSPECIFIED;
        let message = DhcpRepr {
            message_type: kinds[self.pick(3)],
            transaction_id: self.random.draw() as u32,
            secs: 0,
            client_hardware_address: EthernetAddress(self.victim.ethernet),
            client_ip: any,
            your_ip: self.victim.address,
            server_ip: any,
            router: Some(self.spared.address),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            relay_agent_ip: any,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(self.spared.address),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: Some(self.random.draw() as u32),
            renew_duration: Some(self.random.draw() as u32),
            rebind_duration: None,
            additional_options: &[],
        };
        let mut data = vec![0; message.buffer_len()];
        // As long as it says.
        let _ = message.emit(&mut DhcpPacket::new_unchecked(&mut data[..]));
        // Options begin at 240.
        let noise = self.pick(30);
        let (at, bytes) = (240 + self.pick(20), self.fill(noise));
        if self.pick(3) == 0
            && let Some(options) = data.get_mut(at..at + noise)
        {
            options.copy_from_slice(&bytes);
        }
        self.udp_of((67, 68), &data)
    }

    /// A segment that answers one the victim has sent, nearly; or one of no connection.
    fn tcp(&mut self) -> Vec<u8> {
        let mut from = self.sender();
        let mut ports = (1024 + self.pick(500) as u16, PORTS[self.pick(6)]);
        let mut numbers = [TcpSeqNumber(self.random.draw() as i32), TcpSeqNumber(self.random.draw() as i32)];
        let at = self.pick(HEARD);
        let goes_on = self.pick(4) > 0;
        if goes_on && let Some(heard) = self.heard.get(at).copied() {
            from.address = heard.to.0;
            ports = (heard.to.1, heard.from_port);
            numbers = [heard.seq, heard.ack];
        }
        for number in &mut numbers {
            let off = [0, 0, 0, self.random.below(3) as i32 - 1, self.random.below(20_000) as i32 - 5_000];
            number.0 = number.0.wrapping_add(off[self.pick(5)]);
        }
        self.flags = self.flags.wrapping_add(1);
        let flags = [0x02, 0x10, 0x10, 0x18, 0x11, self.flags, self.flags][self.pick(7)];
        let (options, data) = (4 * self.pick(11), [0, 0, 1, self.pick(1400)][self.pick(4)]);
        let mut bytes = vec![0; HEADER];
        bytes.extend(self.options(options));
        bytes.extend(self.fill(data));
        let mut segment = TcpPacket::new_unchecked(&mut bytes[..]);
        segment.set_src_port(ports.0);
        segment.set_dst_port(ports.1);
        segment.set_seq_number(numbers[0]);
        segment.set_ack_number(numbers[1]);
        segment.set_window_len([0, 1, 500, u16::MAX][self.random.below(4) as usize]);
        segment.set_urgent_at(self.random.below(2) as u16);
        // One in ten says that its data begins elsewhere.
        let words = if self.pick(10) == 0 { self.pick(16) } else { (HEADER + options) / 4 };
        (bytes[12], bytes[13]) = ((words as u8) << 4, flags);
        self.ipv4(from, IpProtocol::Tcp, &bytes)
    }

    /// So many bytes of TCP options: known kinds, mostly, with any length.
    fn options(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let kind = self.pick(9) as u8;
            bytes.push(kind);
            if kind > 1 {
                let said = if self.pick(2) == 0 { 2 + self.pick(9) as u8 } else { self.random.draw() as u8 };
                bytes.push(said);
                let follow = self.pick(9);
                bytes.extend(self.fill(follow));
            }
        }
        bytes.truncate(length);
        bytes
    }

    fn mutate(&mut self, frame: &mut Vec<u8>) {
        if frame.is_empty() {
            return;
        }
        // Headers are where most mistakes matter.
        let reach = if self.pick(3) == 0 { frame.len() } else { frame.len().min(80) };
        let at = self.pick(reach);
        match self.pick(6) {
            0 | 1 => frame[at] ^= 1 << self.pick(8),
            2 => frame[at] = [0, 1, 0x7f, 0x80, 0xff][self.pick(5)],
            3 => frame[at] = self.random.draw() as u8,
            4 => frame.truncate(at),
            _ => {
                let more = self.pick(700);
                let bytes = self.fill(more);
                frame.splice(at..at, bytes);
            }
        }
    }

    /// Nobody but the spared station says where it is: who believes what it was told is not at fault.
    fn spare(&self, frame: &mut [u8]) {
        let address = self.spared.address.octets();
        if let Some(arp) = frame.get_mut(ETHERNET..ETHERNET + 28)
            && (arp[14..18] == address || arp[24..28] == address)
        {
            arp[8..14].copy_from_slice(&self.spared.ethernet);
        }
    }
}

fn heard(frame: &[u8]) -> Option<Heard> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    if packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    // After a reset there is nothing to go on with.
    let segment = TcpPacket::new_checked(packet.payload()).ok().filter(|segment| !segment.rst())?;
    Some(Heard {
        from_port: segment.src_port(),
        to: (packet.dst_addr(), segment.dst_port()),
        seq: segment.ack_number(),
        ack: segment.seq_number() + segment.segment_len(),
    })
}

/// The Internet checksum (RFC 1071) of all `parts`, each but the last of an even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
    let mut sum = parts.iter().flat_map(|part| part.chunks(2)).map(word).fold(0_u32, u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Makes the checksums of an IPv4 packet right, and of what it carries, as far as there are any.
fn fill_checksums(frame: &mut [u8]) {
    let Some((ethernet, packet)) = frame.split_at_mut_checked(ETHERNET) else { return };
    let length = usize::from(packet.first().copied().unwrap_or(0) & 15) * 4;
    if ethernet[12..] != [8, 0] || length < HEADER || packet.len() < length {
        return;
    }
    packet[10..12].fill(0);
    let sum = checksum(&[&packet[..length]]);
    packet[10..12].copy_from_slice(&sum);
    let end = usize::from(u16::from_be_bytes([packet[2], packet[3]])).clamp(length, packet.len());
    let (header, payload) = packet[..end].split_at_mut(length);
    let protocol = header[9];
    let size = (payload.len() as u16).to_be_bytes();
    let pseudo = [0, protocol, size[0], size[1]];
    let (at, before): (usize, &[&[u8]]) = match protocol {
        1 => (2, &[]),
        6 => (16, &[&header[12..20], &pseudo]),
        17 => (6, &[&header[12..20], &pseudo]),
        _ => return,
    };
    if payload.len() < at + 2 {
        return;
    }
    payload[at..at + 2].fill(0);
    let sum = checksum(&[before, &[&*payload]].concat());
    payload[at..at + 2].copy_from_slice(&sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(seed: u64) -> Malformed {
        let station =
            |number| Station { ethernet: [2, 0, 0, 0, 0, number], address: Ipv4Addr::new(10, 0, 0, number) };
        Malformed::new(seed, station(1), station(2))
    }

    #[test]
    fn the_same_seed_gives_the_same_frames_and_another_one_others() {
        let frames = |seed| {
            let mut generator = generator(seed);
            (0..100).map(|_| generator.frame()).collect::<Vec<_>>()
        };
        assert_eq!(frames(3), frames(3));
        assert_ne!(frames(3), frames(4));
    }

    #[test]
    fn every_combination_of_flags_every_protocol_and_every_length_is_there() {
        let mut generator = generator(1);
        let (mut flags, mut protocols) = ([false; 256], [0; 256]);
        let (mut short, mut long, mut arp, mut whole) = (0, 0, 0, 0);
        for _ in 0..20_000 {
            let frame = generator.frame();
            short += usize::from(frame.len() < 60);
            long += usize::from(frame.len() > 1514);
            arp += usize::from(frame.get(12..14) == Some(&[8, 6]));
            let Some(packet) = frame.get(14..).and_then(|bytes| Ipv4Packet::new_checked(bytes).ok()) else {
                continue;
            };
            whole += usize::from(packet.verify_checksum());
            protocols[usize::from(u8::from(packet.next_header()))] += 1;
            if packet.next_header() == IpProtocol::Tcp && packet.payload().len() >= HEADER {
                flags[usize::from(packet.payload()[13])] = true;
            }
        }
        assert!(flags.iter().all(|seen| *seen), "a combination of flags is missing");
        assert!(protocols[1] > 1000 && protocols[6] > 5000 && protocols[17] > 1000, "{protocols:?}");
        assert!(short > 500 && long > 200 && arp > 1000 && whole > 8000, "{short} {long} {arp} {whole}");
    }

    #[test]
    fn nobody_says_that_the_spared_station_is_elsewhere() {
        let mut generator = generator(2);
        let mut frame = generator.arp();
        frame[28..32].copy_from_slice(&[10, 0, 0, 2]);
        generator.spare(&mut frame);
        assert_eq!(frame[22..28], [2, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn checksums_are_those_that_others_compute() {
        let mut generator = generator(5);
        for _ in 0..500 {
            let mut frame = generator.udp();
            fill_checksums(&mut frame);
            let packet = Ipv4Packet::new_checked(&frame[14..]).expect("not mutated");
            assert!(packet.verify_checksum());
            if let Ok(datagram) = UdpPacket::new_checked(packet.payload())
                && usize::from(datagram.len()) == packet.payload().len()
            {
                let (source, destination) = (packet.src_addr().into(), packet.dst_addr().into());
                assert!(datagram.verify_checksum(&source, &destination));
            }
        }
    }
}
