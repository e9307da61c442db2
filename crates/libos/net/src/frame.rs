//! Ethernet frames onto the link.

use smoltcp::wire::{EthernetAddress, EthernetFrame, EthernetProtocol};

use crate::ipv4::SendError;
use crate::link::{Full, Link};
use crate::stats::Stats;

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;
/// An Ethernet frame's least bytes, without the check sequence.
const LEAST_FRAME: usize = 60;

/// Writes an Ethernet header; what follows it.
pub(crate) fn ethernet(
    frame: &mut [u8],
    source: EthernetAddress,
    destination: EthernetAddress,
    protocol: EthernetProtocol,
) -> &mut [u8] {
    let mut header = EthernetFrame::new_unchecked([0; ETHERNET]);
    header.set_dst_addr(destination);
    header.set_src_addr(source);
    header.set_ethertype(protocol);
    let Some((into, rest)) = frame.split_first_chunk_mut::<ETHERNET>() else { return &mut [] };
    *into = header.into_inner();
    rest
}

/// Queues a frame of `length` bytes, which `fill` writes, padded to what Ethernet wants.
pub(crate) fn transmit<L: Link>(
    link: &mut L,
    stats: &mut Stats,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(), SendError> {
    let padded = length.max(LEAST_FRAME);
    let sent = link.transmit(padded, |frame| {
        let Some((frame, padding)) = frame.split_at_mut_checked(length) else { return };
        // A buffer is used again: what another frame left in it is nobody's business.
        padding.fill(0);
        fill(frame);
    });
    match sent {
        Ok(()) => {
            stats.frames_out += 1;
            Ok(())
        }
        Err(Full) => {
            stats.link_full += 1;
            Err(SendError::Full)
        }
    }
}
