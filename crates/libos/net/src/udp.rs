//! UDP (RFC 768): sockets with a bounded queue of datagrams.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddrV4;

use smoltcp::wire::{IpProtocol, UdpPacket};

use crate::checksum;
use crate::error::Error;
use crate::events::{Events, Socket, Source};
use crate::ipv4::Received;
use crate::pool::{Chain, Claim, Pool};
use crate::random::Random;
use crate::stats::Stats;

/// Bytes of a header.
pub(crate) const HEADER: usize = 8;
/// Datagrams that wait at one socket.
const QUEUE: usize = 64;

struct Datagram {
    from: SocketAddrV4,
    length: u16,
    bytes: Chain,
}

struct Bound {
    /// 0: the place is free.
    port: u16,
    generation: u32,
    queue: VecDeque<Datagram>,
    told: bool,
}

pub(crate) struct Udp {
    sockets: Vec<Bound>,
    /// Ports with a socket, in order, and which.
    ports: Vec<(u16, u32)>,
    /// The first of every handle's generations.
    generation: u32,
}

/// A received datagram.
pub(crate) struct Arrived<'a> {
    pub(crate) from: SocketAddrV4,
    pub(crate) port: u16,
    pub(crate) payload: &'a [u8],
}

/// Reads a datagram; counts why not.
pub(crate) fn parse<'a>(received: &Received<'a>, stats: &mut Stats) -> Option<Arrived<'a>> {
    let Ok(packet) = UdpPacket::new_checked(received.payload) else {
        stats.malformed += 1;
        return None;
    };
    let datagram = received.payload.get(..usize::from(packet.len()))?;
    // 0: the sender computed none.
    if packet.checksum() != 0
        && checksum::of(received.source, received.destination, IpProtocol::Udp, datagram) != !0
    {
        stats.transport_checksum += 1;
        return None;
    }
    stats.udp_in += 1;
    let from = SocketAddrV4::new(received.source, packet.src_port());
    Some(Arrived { from, port: packet.dst_port(), payload: datagram.get(HEADER..)? })
}

/// Writes the header before a payload that is there already.
pub(crate) fn emit(source: SocketAddrV4, destination: SocketAddrV4, datagram: &mut [u8]) {
    let mut header = UdpPacket::new_unchecked([0; HEADER]);
    header.set_src_port(source.port());
    header.set_dst_port(destination.port());
    header.set_len(datagram.len() as u16);
    if let Some(into) = datagram.first_chunk_mut::<HEADER>() {
        *into = header.into_inner();
    }
    let sum = match !checksum::of(*source.ip(), *destination.ip(), IpProtocol::Udp, datagram) {
        // 0 would mean that there is none.
        0 => !0,
        sum => sum,
    };
    if let Some(place) = datagram.get_mut(6..8) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
}

impl Udp {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self { sockets: Vec::new(), ports: Vec::new(), generation: random.next() as u32 }
    }

    /// Takes `port`, or with 0 any that is free.
    pub(crate) fn bind(&mut self, port: u16, random: &mut Random) -> Result<Socket, Error> {
        let port = match port {
            0 => {
                let start = random.below(16_384);
                let mut ports = (0..16_384).map(|step| 49_152 + ((start + step) % 16_384) as u16);
                ports.find(|port| self.find(*port).is_none()).ok_or(Error::AddressInUse)?
            }
            port => port,
        };
        let Err(at) = self.ports.binary_search_by_key(&port, |(port, _)| *port) else {
            return Err(Error::AddressInUse);
        };
        let index = match self.sockets.iter().position(|socket| socket.port == 0) {
            Some(index) => index,
            None => {
                let queue = VecDeque::with_capacity(QUEUE);
                self.sockets.push(Bound { port, generation: self.generation, queue, told: false });
                self.sockets.len() - 1
            }
        };
        self.ports.insert(at, (port, index as u32));
        let bound = self.sockets.get_mut(index).ok_or(Error::NoBuffers)?;
        bound.port = port;
        Ok(Socket { index: index as u32, generation: bound.generation })
    }

    fn find(&self, port: u16) -> Option<u32> {
        let at = self.ports.binary_search_by_key(&port, |(port, _)| *port).ok()?;
        self.ports.get(at).map(|(_, socket)| *socket)
    }

    fn bound(&mut self, socket: Socket) -> Result<&mut Bound, Error> {
        let found = self.sockets.get_mut(socket.index as usize);
        found.filter(|s| s.generation == socket.generation && s.port != 0).ok_or(Error::StaleHandle)
    }

    pub(crate) fn port(&mut self, socket: Socket) -> Result<u16, Error> {
        self.bound(socket).map(|bound| bound.port)
    }

    pub(crate) fn close(&mut self, socket: Socket, pool: &mut Pool) -> Result<(), Error> {
        let bound = self.bound(socket)?;
        for mut datagram in bound.queue.drain(..) {
            datagram.bytes.clear(pool);
        }
        bound.generation = bound.generation.wrapping_add(1);
        let port = core::mem::replace(&mut bound.port, 0);
        self.ports.retain(|(other, _)| *other != port);
        Ok(())
    }

    /// Queues a datagram; whether there is a socket for it.
    pub(crate) fn deliver(
        &mut self,
        arrived: &Arrived,
        pool: &mut Pool,
        stats: &mut Stats,
        events: &mut Events,
    ) -> Result<(), NoSocket> {
        let index = self.find(arrived.port).ok_or(NoSocket)?;
        let bound = self.sockets.get_mut(index as usize).ok_or(NoSocket)?;
        let mut bytes = Chain::new();
        if bound.queue.len() >= QUEUE {
            stats.udp_queue_full += 1;
            return Ok(());
        }
        if bytes.write(pool, 0, arrived.payload, Claim::Spare) < arrived.payload.len() {
            bytes.clear(pool);
            stats.udp_queue_full += 1;
            return Ok(());
        }
        bound.queue.push_back(Datagram { from: arrived.from, length: arrived.payload.len() as u16, bytes });
        if !core::mem::replace(&mut bound.told, true) {
            events.push_back(Source::Socket(index));
        }
        Ok(())
    }

    /// Takes the oldest datagram: how long it was, also when `into` is shorter and the rest is lost, and from whom.
    pub(crate) fn receive(
        &mut self,
        socket: Socket,
        into: &mut [u8],
        pool: &mut Pool,
    ) -> Result<(usize, SocketAddrV4), Error> {
        let mut datagram = self.bound(socket)?.queue.pop_front().ok_or(Error::WouldBlock)?;
        let length = usize::from(datagram.length);
        let room = into.len().min(length);
        if let Some(part) = into.get_mut(..room) {
            datagram.bytes.read(pool, 0, part);
        }
        datagram.bytes.clear(pool);
        Ok((length, datagram.from))
    }

    pub(crate) fn take_event(&mut self, index: u32) -> Option<Socket> {
        let bound = self.sockets.get_mut(index as usize)?;
        bound.told = false;
        let socket = Socket { index, generation: bound.generation };
        (bound.port != 0 && !bound.queue.is_empty()).then_some(socket)
    }

    #[cfg(test)]
    pub(crate) fn blocks(&self) -> usize {
        self.sockets.iter().flat_map(|socket| &socket.queue).map(|datagram| datagram.bytes.blocks()).sum()
    }
}

/// Nothing listens on that port.
pub(crate) struct NoSocket;
