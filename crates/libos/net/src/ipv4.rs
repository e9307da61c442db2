//! IPv4 (RFC 791) over Ethernet: which packets are ours, and where a packet goes.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetProtocol, IpProtocol, Ipv4Packet,
};

use crate::arp::{Neighbours, Work};
use crate::checksum;
use crate::frame::{ETHERNET, ethernet, transmit};
use crate::link::{Full, Link};
use crate::random::Random;
use crate::stats::Stats;
use crate::tcp::segment::Tuple;
use crate::time::Instant;

/// Bytes of an IPv4 header without options.
pub(crate) const HEADER: usize = 20;
const ARP: usize = 28;
const TIME_TO_LIVE: u8 = 64;

/// The address of a stack and its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
}

impl Interface {
    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0)
    }

    fn is_neighbour(&self, address: Ipv4Addr) -> bool {
        (u32::from(address) ^ u32::from(self.address)) & self.mask() == 0
    }

    /// Whether `address` means everyone on this network.
    pub(crate) fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        address.is_broadcast()
            || self.prefix < 31 && self.is_neighbour(address) && u32::from(address) | self.mask() == u32::MAX
    }

    /// Whether one host can have `address`, as far as this network can tell.
    pub(crate) fn is_host(&self, address: Ipv4Addr) -> bool {
        !(address.is_unspecified()
            || address.is_multicast()
            || address.is_loopback()
            || u32::from(address) >= 0xf000_0000
            || self.is_broadcast(address))
    }
}

/// A packet to send, without its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: IpProtocol,
    pub(crate) fragmenting: Fragmenting,
    /// Bytes of the payload.
    pub(crate) length: usize,
}

/// Whether routers may split a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragmenting {
    Allowed,
    /// They say how much fits instead (RFC 1191).
    Forbidden,
}

impl Packet {
    pub(crate) const fn tcp(tuple: &Tuple, length: usize) -> Self {
        Self {
            source: tuple.local,
            destination: tuple.remote,
            protocol: IpProtocol::Tcp,
            fragmenting: Fragmenting::Forbidden,
            length,
        }
    }

    fn emit(&self, identification: u16, packet: &mut [u8]) {
        let mut header = Ipv4Packet::new_unchecked([0; HEADER]);
        header.set_version(4);
        header.set_header_len(HEADER as u8);
        header.set_total_len((HEADER + self.length) as u16);
        header.set_dont_frag(self.fragmenting == Fragmenting::Forbidden);
        header.set_ident(identification);
        header.set_hop_limit(TIME_TO_LIVE);
        header.set_next_header(self.protocol);
        header.set_src_addr(self.source);
        header.set_dst_addr(self.destination);
        let sum = !checksum::sum(header.as_ref());
        header.set_checksum(sum);
        if let Some(into) = packet.first_chunk_mut::<HEADER>() {
            *into = header.into_inner();
        }
    }
}

/// Why a packet was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The link has no buffer; the packet was not written.
    Full,
    NoRoute,
}

/// A received packet that is ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: IpProtocol,
    /// It went to everyone.
    pub(crate) to_all: bool,
    pub(crate) payload: &'a [u8],
    /// Header and payload.
    pub(crate) packet: &'a [u8],
}

/// The interface as IPv4 sees it.
pub(crate) struct Network {
    pub(crate) station: EthernetAddress,
    pub(crate) interface: Option<Interface>,
    pub(crate) mtu: usize,
    neighbours: Neighbours,
    identification: u16,
    /// ARP answers that a link without a buffer delays would come too late; an announcement is worth a second try.
    announce: bool,
}

impl Network {
    pub(crate) fn new(station: EthernetAddress, mtu: usize, random: &mut Random) -> Self {
        Self {
            station,
            interface: None,
            mtu: mtu.clamp(576, 9000),
            neighbours: Neighbours::new(random),
            identification: random.next() as u16,
            announce: false,
        }
    }

    /// Changes the address, and tells the neighbours.
    pub(crate) fn set_interface(&mut self, interface: Option<Interface>) {
        self.interface = interface;
        self.neighbours.clear();
        self.announce = interface.is_some();
    }

    /// What the largest segment carries.
    pub(crate) fn mss(&self) -> u16 {
        (self.mtu - HEADER - crate::tcp::segment::HEADER) as u16
    }

    /// Reads a packet that came to `station`; `None`, and counted, unless it is ours and whole.
    pub(crate) fn receive<'a>(
        &self,
        station: EthernetAddress,
        bytes: &'a [u8],
        stats: &mut Stats,
    ) -> Option<Received<'a>> {
        let packet = match Ipv4Packet::new_checked(bytes) {
            Ok(packet) if packet.version() == 4 => packet,
            _ => {
                stats.malformed += 1;
                return None;
            }
        };
        let (header, total) = (usize::from(packet.header_len()), usize::from(packet.total_len()));
        if checksum::sum(bytes.get(..header)?) != !0 {
            stats.ipv4_checksum += 1;
            return None;
        }
        let (source, destination) = (packet.src_addr(), packet.dst_addr());
        let to_all = match &self.interface {
            Some(interface) => {
                let to_all = interface.is_broadcast(destination);
                if destination != interface.address && !to_all {
                    stats.not_for_us += 1;
                    return None;
                }
                if !interface.is_host(source) || source == interface.address {
                    stats.bad_source += 1;
                    return None;
                }
                to_all
            }
            // Before there is an address only a DHCP server has something to say, to everyone or to the address it offers.
            None if packet.next_header() == IpProtocol::Udp => true,
            None => {
                stats.not_for_us += 1;
                return None;
            }
        };
        if packet.more_frags() || packet.frag_offset() != 0 {
            stats.fragments += 1;
            return None;
        }
        Some(Received {
            source,
            destination,
            protocol: packet.next_header(),
            to_all: to_all || station.is_broadcast(),
            payload: bytes.get(header..total)?,
            packet: bytes.get(..total)?,
        })
    }

    /// Takes an ARP packet; the answer to send.
    pub(crate) fn on_arp(&mut self, bytes: &[u8], now: Instant, stats: &mut Stats) -> Option<ArpRepr> {
        let Ok(packet) = ArpPacket::new_checked(bytes).and_then(|packet| ArpRepr::parse(&packet)) else {
            stats.malformed += 1;
            return None;
        };
        let interface = self.interface?;
        if let ArpRepr::EthernetIpv4 { source_protocol_addr, .. } = packet
            && !source_protocol_addr.is_unspecified()
            && !(interface.is_neighbour(source_protocol_addr) && interface.is_host(source_protocol_addr))
        {
            stats.arp_ignored += 1;
            return None;
        }
        self.neighbours.on_packet(&packet, (interface.address, self.station), now, stats)
    }

    pub(crate) fn has_route(&self, destination: Ipv4Addr) -> bool {
        self.interface.is_some_and(|interface| self.hop(&interface, destination).is_some())
    }

    fn hop(&self, interface: &Interface, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        if interface.is_neighbour(destination) { Some(destination) } else { interface.gateway }
    }

    /// Sends a packet whose payload `fill` writes, or keeps it until its neighbour has answered.
    pub(crate) fn send<L: Link>(
        &mut self,
        link: &mut L,
        now: Instant,
        stats: &mut Stats,
        packet: &Packet,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), SendError> {
        let identification = match packet.fragmenting {
            // RFC 6864: what is never split needs no number.
            Fragmenting::Forbidden => 0,
            Fragmenting::Allowed => {
                self.identification = self.identification.wrapping_add(1);
                self.identification
            }
        };
        let station = match self.interface {
            _ if packet.destination.is_broadcast() => EthernetAddress::BROADCAST,
            None => return Err(SendError::NoRoute),
            Some(interface) if interface.is_broadcast(packet.destination) => EthernetAddress::BROADCAST,
            Some(interface) => {
                let Some(hop) = self.hop(&interface, packet.destination) else {
                    stats.no_route += 1;
                    return Err(SendError::NoRoute);
                };
                match self.neighbours.find(hop, now) {
                    Some(station) => station,
                    None => {
                        match self.neighbours.ask(hop, now) {
                            Some(waiting) => {
                                waiting.resize(HEADER + packet.length, 0);
                                write(packet, identification, waiting, fill);
                            }
                            None => stats.arp_queue_full += 1,
                        }
                        return Ok(());
                    }
                }
            }
        };
        let own = self.station;
        let length = HEADER + packet.length;
        let frame = |frame: &mut [u8]| {
            if let Some(into) = ethernet(frame, own, station, EthernetProtocol::Ipv4).get_mut(..length) {
                write(packet, identification, into, fill);
            }
        };
        transmit(link, stats, ETHERNET + length, frame)
    }

    /// Packets to `destination` seem to get lost: its neighbour may have moved, and is asked.
    pub(crate) fn doubt(&mut self, destination: Ipv4Addr, now: Instant) {
        if let Some(hop) = self.interface.and_then(|interface| self.hop(&interface, destination)) {
            self.neighbours.ask(hop, now);
        }
    }

    /// Sends an ARP packet.
    pub(crate) fn send_arp<L: Link>(
        &self,
        link: &mut L,
        stats: &mut Stats,
        packet: &ArpRepr,
    ) -> Result<(), SendError> {
        let station = match packet {
            ArpRepr::EthernetIpv4 { operation: ArpOperation::Reply, target_hardware_addr, .. } => {
                *target_hardware_addr
            }
            _ => EthernetAddress::BROADCAST,
        };
        let own = self.station;
        transmit(link, stats, ETHERNET + ARP, |frame| {
            if let Some(into) = ethernet(frame, own, station, EthernetProtocol::Arp).get_mut(..ARP) {
                packet.emit(&mut ArpPacket::new_unchecked(into));
            }
        })
    }

    fn request(&self, source: Ipv4Addr, target: Ipv4Addr) -> ArpRepr {
        ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: self.station,
            source_protocol_addr: source,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: target,
        }
    }

    /// Asks for neighbours and sends what waited for them. A packet whose neighbour does not answer comes back.
    pub(crate) fn output<L: Link>(
        &mut self,
        link: &mut L,
        now: Instant,
        stats: &mut Stats,
    ) -> Result<Option<Vec<u8>>, Full> {
        let Some(interface) = self.interface else { return Ok(None) };
        if self.announce {
            // RFC 5227: a request for one's own address tells everyone.
            let packet = self.request(interface.address, interface.address);
            self.send_arp(link, stats, &packet).map_err(|_| Full)?;
            self.announce = false;
        }
        while self.neighbours.next() <= now {
            match self.neighbours.work(now, stats) {
                Some(Work::Request(address)) => {
                    // A request that finds no buffer is one of several.
                    let packet = self.request(interface.address, address);
                    self.send_arp(link, stats, &packet).map_err(|_| Full)?;
                }
                Some(Work::Send(station, packet)) => {
                    let own = self.station;
                    // Lost with a full link, like on any full queue: its sender sends it again.
                    let fill = |frame: &mut [u8]| {
                        let into =
                            ethernet(frame, own, station, EthernetProtocol::Ipv4).get_mut(..packet.len());
                        if let Some(into) = into {
                            into.copy_from_slice(&packet);
                        }
                    };
                    transmit(link, stats, ETHERNET + packet.len(), fill).map_err(|_| Full)?;
                }
                Some(Work::GiveUp(packet)) => return Ok(Some(packet)),
                None => {}
            }
        }
        Ok(None)
    }

    /// When [`Network::output`] has something to do.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        if self.announce { now } else { self.neighbours.next() }
    }
}

fn write(packet: &Packet, identification: u16, into: &mut [u8], fill: impl FnOnce(&mut [u8])) {
    if let Some((header, payload)) = into.split_at_mut_checked(HEADER) {
        packet.emit(identification, header);
        fill(payload);
    }
}
