//! ICMP (RFC 792, RFC 1122 §3.2.2): echo, errors about datagrams, and what routers say about TCP.

use core::net::Ipv4Addr;

use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet};

use crate::checksum;
use crate::error::Error;
use crate::ipv4::{HEADER, Received};
use crate::stats::Stats;
use crate::tcp::segment::Tuple;
use crate::tcp::seq::Seq;

const ICMP: usize = 8;
/// Of the packet an error is about: header and the first 8 bytes of the payload.
const QUOTED: usize = 8;

/// What an ICMP message leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Nothing,
    /// So many bytes of the scratch buffer go back.
    Reply(usize),
    /// A segment with this number did not get through.
    Unreachable(Tuple, Seq, Error),
    /// A segment with this number was too large; this fits.
    TooLarge(Tuple, Seq, u16),
}

/// Takes a message. An answer is written to `scratch`.
pub(crate) fn on_packet(received: &Received, scratch: &mut [u8], stats: &mut Stats) -> Outcome {
    let Ok(packet) = Icmpv4Packet::new_checked(received.payload) else {
        stats.malformed += 1;
        return Outcome::Nothing;
    };
    if checksum::sum(received.payload) != !0 {
        stats.transport_checksum += 1;
        return Outcome::Nothing;
    }
    match packet.msg_type() {
        // RFC 1122 §3.2.2.6 lets hosts ignore echoes to everyone.
        Icmpv4Message::EchoRequest if !received.to_all && packet.msg_code() == 0 => {
            let Some(answer) = scratch.get_mut(..received.payload.len()) else {
                stats.icmp_ignored += 1;
                return Outcome::Nothing;
            };
            answer.copy_from_slice(received.payload);
            let mut answer = Icmpv4Packet::new_unchecked(answer);
            answer.set_msg_type(Icmpv4Message::EchoReply);
            answer.fill_checksum();
            stats.echoes += 1;
            Outcome::Reply(received.payload.len())
        }
        Icmpv4Message::DstUnreachable => {
            let outcome = unreachable(received, packet.msg_code());
            stats.icmp_ignored += u64::from(outcome == Outcome::Nothing);
            outcome
        }
        _ => {
            stats.icmp_ignored += 1;
            Outcome::Nothing
        }
    }
}

/// What an error says about one of our segments: it quotes the segment's beginning.
fn unreachable(received: &Received, code: u8) -> Outcome {
    let quoted = || {
        let bytes = received.payload.get(ICMP..)?;
        // The quoted packet is cut off, so only its header is checked.
        let packet = Ipv4Packet::new_unchecked(bytes.get(..HEADER)?);
        let header = usize::from(packet.header_len());
        let segment = bytes.get(header..)?.first_chunk::<QUOTED>()?;
        let ours = packet.version() == 4
            && header >= HEADER
            && packet.next_header() == IpProtocol::Tcp
            && packet.src_addr() == received.destination;
        let [a, b, c, d, seq @ ..] = *segment;
        let tuple = Tuple {
            local: packet.src_addr(),
            remote: packet.dst_addr(),
            local_port: u16::from_be_bytes([a, b]),
            remote_port: u16::from_be_bytes([c, d]),
        };
        ours.then_some((tuple, Seq(u32::from_be_bytes(seq))))
    };
    let Some((tuple, seq)) = quoted() else { return Outcome::Nothing };
    match Icmpv4DstUnreachable::from(code) {
        Icmpv4DstUnreachable::FragRequired => {
            let bytes = received.payload.get(6..8).and_then(|bytes| bytes.first_chunk());
            let mtu = bytes.map_or(0, |mtu| usize::from(u16::from_be_bytes(*mtu)));
            // Routers that name no size are older than RFC 1191.
            let mss = mtu.saturating_sub(HEADER + crate::tcp::segment::HEADER);
            if mss == 0 { Outcome::Nothing } else { Outcome::TooLarge(tuple, seq, mss as u16) }
        }
        Icmpv4DstUnreachable::PortUnreachable | Icmpv4DstUnreachable::ProtoUnreachable => {
            Outcome::Unreachable(tuple, seq, Error::ConnectionRefused)
        }
        Icmpv4DstUnreachable::NetUnreachable => Outcome::Unreachable(tuple, seq, Error::NetworkUnreachable),
        Icmpv4DstUnreachable::HostUnreachable => Outcome::Unreachable(tuple, seq, Error::HostUnreachable),
        _ => Outcome::Nothing,
    }
}

/// Writes the error that a datagram found no socket; its bytes, or `None` when nobody may be told.
pub(crate) fn port_unreachable(received: &Received, scratch: &mut [u8]) -> Option<usize> {
    if received.to_all {
        return None;
    }
    let header = received.packet.len() - received.payload.len();
    let quote = received.packet.get(..received.packet.len().min(header + QUOTED))?;
    let length = ICMP + quote.len();
    let message = scratch.get_mut(..length)?;
    message.fill(0);
    message.get_mut(ICMP..)?.copy_from_slice(quote);
    let mut message = Icmpv4Packet::new_unchecked(message);
    message.set_msg_type(Icmpv4Message::DstUnreachable);
    message.set_msg_code(Icmpv4DstUnreachable::PortUnreachable.into());
    message.fill_checksum();
    Some(length)
}

/// The connection and number of a SYN that could not be sent: the packet never left.
pub(crate) fn unsent(packet: &[u8]) -> Option<(Tuple, Seq)> {
    let header = Ipv4Packet::new_checked(packet).ok()?;
    if header.next_header() != IpProtocol::Tcp {
        return None;
    }
    let [a, b, c, d, seq @ ..] = *packet.get(HEADER..)?.first_chunk::<QUOTED>()?;
    let (local, remote): (Ipv4Addr, Ipv4Addr) = (header.src_addr(), header.dst_addr());
    let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some((Tuple { local, remote, local_port: ports.0, remote_port: ports.1 }, Seq(u32::from_be_bytes(seq))))
}
