//! Segments as values: parsed from a packet, or to be written into one (RFC 9293 §3.1).

use core::net::Ipv4Addr;

use smoltcp::wire::{IpProtocol, TcpOption, TcpPacket, TcpSeqNumber};

use super::seq::Seq;
use crate::checksum;
use crate::stats::Stats;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
/// The bits that RFC 9293 §3.10 looks at. Urgent data is data like all other.
const KNOWN: u8 = 0x3f;

/// Bytes of a header without options.
pub(crate) const HEADER: usize = 20;
/// Bytes of a SYN's options: maximum segment size, a filler, window scale.
const SYN_OPTIONS: [u8; 8] = [2, 4, 0, 0, 1, 3, 3, 0];

/// Which connection: the four numbers that name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub(crate) local: Ipv4Addr,
    pub(crate) remote: Ipv4Addr,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

/// A header's fields, without the ports. Of a received segment the options are those that a SYN may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) seq: Seq,
    /// Means something with [`ACK`].
    pub(crate) ack: Seq,
    pub(crate) flags: u8,
    /// As it is in the header: not scaled.
    pub(crate) window: u16,
    pub(crate) mss: Option<u16>,
    pub(crate) scale: Option<u8>,
}

/// A received segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) header: Header,
    pub(crate) payload: &'a [u8],
}

impl Segment<'_> {
    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.header.flags & flag != 0
    }

    /// Sequence numbers it takes: its data, SYN and FIN.
    pub(crate) const fn len(&self) -> u32 {
        self.payload.len() as u32 + self.has(SYN) as u32 + self.has(FIN) as u32
    }
}

impl Header {
    /// A header without options, whose window means nothing.
    pub(crate) const fn bare(flags: u8, seq: Seq, ack: Seq) -> Self {
        Self { seq, ack, flags, window: 0, mss: None, scale: None }
    }

    /// The reset that answers a segment which belongs to no connection (RFC 9293 §3.5.2).
    pub(crate) fn reset_for(segment: &Segment) -> Option<Self> {
        if segment.has(RST) {
            None
        } else if segment.has(ACK) {
            Some(Self::bare(RST, segment.header.ack, Seq(0)))
        } else {
            Some(Self::bare(RST | ACK, Seq(0), segment.header.seq.plus(segment.len())))
        }
    }

    /// Bytes it takes on the wire.
    pub(crate) const fn wire_len(&self) -> usize {
        if self.flags & SYN != 0 && self.mss.is_some() { HEADER + SYN_OPTIONS.len() } else { HEADER }
    }

    /// Writes header and checksum before a payload that is there already. `segment` is the whole segment.
    pub(crate) fn emit(&self, tuple: &Tuple, segment: &mut [u8]) {
        // In an array, whose length the compiler knows: the setters' bounds checks are gone.
        let mut header = TcpPacket::new_unchecked([0; HEADER]);
        header.set_src_port(tuple.local_port);
        header.set_dst_port(tuple.remote_port);
        header.set_seq_number(TcpSeqNumber(self.seq.0 as i32));
        header.set_ack_number(TcpSeqNumber(self.ack.0 as i32));
        header.set_window_len(self.window);
        let mut header = header.into_inner();
        header[12] = (self.wire_len() as u8) << 2;
        header[13] = self.flags;
        let Some((into, rest)) = segment.split_first_chunk_mut::<HEADER>() else { return };
        *into = header;
        if let (true, Some(mss)) = (self.wire_len() > HEADER, self.mss)
            && let Some(options) = rest.first_chunk_mut::<8>()
        {
            let [high, low] = mss.to_be_bytes();
            *options = SYN_OPTIONS;
            options[2] = high;
            options[3] = low;
            match self.scale {
                Some(scale) => options[7] = scale,
                // Fillers and the end of the list instead.
                None => *options.last_chunk_mut::<4>().expect("four of eight bytes") = [1, 1, 1, 0],
            }
        }
        let sum = !checksum::of(tuple.local, tuple.remote, IpProtocol::Tcp, segment);
        if let Some(place) = segment.get_mut(16..18) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// Reads a segment; counts why not.
pub(crate) fn parse<'a>(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    bytes: &'a [u8],
    stats: &mut Stats,
) -> Option<(Tuple, Segment<'a>)> {
    let Ok(packet) = TcpPacket::new_checked(bytes) else {
        stats.malformed += 1;
        return None;
    };
    if checksum::of(source, destination, IpProtocol::Tcp, bytes) != !0 {
        stats.transport_checksum += 1;
        return None;
    }
    let tuple = Tuple {
        local: destination,
        remote: source,
        local_port: packet.dst_port(),
        remote_port: packet.src_port(),
    };
    if tuple.local_port == 0 || tuple.remote_port == 0 {
        stats.malformed += 1;
        return None;
    }
    let mut header = Header {
        seq: Seq(packet.seq_number().0 as u32),
        ack: Seq(packet.ack_number().0 as u32),
        flags: bytes.get(13).map_or(0, |flags| flags & KNOWN),
        window: packet.window_len(),
        mss: None,
        scale: None,
    };
    if header.flags & SYN != 0 {
        read_options(packet.options(), &mut header);
    }
    Some((tuple, Segment { header, payload: packet.payload() }))
}

/// Reads the options up to the first that is broken.
fn read_options(mut options: &[u8], header: &mut Header) {
    while !options.is_empty() {
        let Ok((rest, option)) = TcpOption::parse(options) else { return };
        match option {
            TcpOption::EndOfList => return,
            TcpOption::MaxSegmentSize(mss) => header.mss = Some(mss),
            // RFC 7323 §2.3: above 14 means 14.
            TcpOption::WindowScale(scale) => header.scale = Some(scale.min(14)),
            _ => {}
        }
        options = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_emitted_is_parsed_again_and_no_flipped_bit_passes() {
        let a = Ipv4Addr::new(10, 0, 0, 1);
        let b = Ipv4Addr::new(10, 0, 0, 2);
        let tuple = Tuple { local: a, remote: b, local_port: 7, remote_port: 65535 };
        for (flags, scale) in [(ACK | PSH, None), (SYN, Some(9)), (SYN | ACK, None)] {
            let header =
                Header { seq: Seq(0xffff_0001), ack: Seq(5), flags, window: 77, mss: Some(1460), scale };
            let mut bytes = vec![0x5a; header.wire_len() + 33];
            header.emit(&tuple, &mut bytes);
            let (seen, segment) = parse(a, b, &bytes, &mut Stats::default()).expect("it is whole");
            assert_eq!((seen.local, seen.remote_port, segment.payload), (b, 7, &[0x5a; 33][..]));
            let mss = header.mss.filter(|_| flags & SYN != 0);
            assert_eq!(segment.header, Header { mss, ..header });
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(parse(a, b, &bytes, &mut Stats::default()).is_none(), "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
