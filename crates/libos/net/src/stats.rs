//! Counters: what came, what went, and why a frame was dropped.

/// One stack's counters since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Frames that waited because the link had no buffer.
    pub link_full: u64,
    /// Dropped: shorter than their headers say, or headers that contradict themselves.
    pub malformed: u64,
    /// Dropped: for another station or another address.
    pub not_for_us: u64,
    /// Dropped: neither ARP nor IPv4 (IPv6 among them).
    pub unknown_ethertype: u64,
    /// Dropped: an IPv4 protocol other than ICMP, UDP and TCP.
    pub unknown_protocol: u64,
    /// Dropped: a source no host can have, or our own.
    pub bad_source: u64,
    /// Dropped: a wrong checksum of IPv4.
    pub ipv4_checksum: u64,
    /// Dropped: a wrong checksum of ICMP, UDP or TCP.
    pub transport_checksum: u64,
    /// Dropped: a fragment; there is no reassembly.
    pub fragments: u64,
    /// ARP packets that were ignored: not asked for, or not for us.
    pub arp_ignored: u64,
    /// ARP packets that claim a known address, or our own, for another station.
    pub arp_conflicts: u64,
    /// Packets dropped because their neighbour's address is not known yet and another packet waits for it.
    pub arp_queue_full: u64,
    /// Neighbours that did not answer.
    pub arp_unanswered: u64,
    /// Packets without a route.
    pub no_route: u64,
    /// ICMP echo requests answered.
    pub echoes: u64,
    /// ICMP errors not sent because of their rate.
    pub icmp_limited: u64,
    /// ICMP messages that were ignored.
    pub icmp_ignored: u64,
    /// Datagrams received.
    pub udp_in: u64,
    /// Datagrams sent.
    pub udp_out: u64,
    /// Dropped: a datagram for a port without a socket.
    pub udp_no_socket: u64,
    /// Dropped: a datagram for a socket whose queue is full.
    pub udp_queue_full: u64,
    /// Segments received with a right checksum.
    pub tcp_in: u64,
    /// Segments sent.
    pub tcp_out: u64,
    /// Segments sent again.
    pub tcp_retransmitted: u64,
    /// Retransmissions after three duplicate acknowledgements.
    pub tcp_fast_retransmits: u64,
    /// Retransmission timeouts.
    pub tcp_timeouts: u64,
    /// Probes of a closed window.
    pub tcp_probes: u64,
    /// Connections that became established.
    pub tcp_established: u64,
    /// Connections given up because the peer did not answer.
    pub tcp_failed: u64,
    /// Resets sent.
    pub tcp_resets_out: u64,
    /// Resets received that were believed.
    pub tcp_resets_in: u64,
    /// Segments outside the window.
    pub tcp_out_of_window: u64,
    /// Challenge acknowledgements sent or suppressed: a SYN, a reset or an acknowledgement that a blind attacker could have sent.
    pub tcp_challenges: u64,
    /// Segments that arrived before an earlier one.
    pub tcp_out_of_order: u64,
    /// Data that found no block, or no place among the ranges kept out of order.
    pub tcp_no_buffers: u64,
    /// Dropped: a SYN for a listener whose queue of accepted connections is full.
    pub tcp_backlog_full: u64,
    /// Half-open connections dropped because the listener had as many as its backlog: the oldest goes.
    pub tcp_half_open_dropped: u64,
    /// SYNs dropped because every connection is in use.
    pub tcp_no_connection: u64,
    /// Connections in TIME_WAIT given up early because the table was full: the oldest goes.
    pub tcp_time_wait_evicted: u64,
    /// Connections in TIME_WAIT whose ports a new SYN took over.
    pub tcp_time_wait_reused: u64,
}

/// What a stack's connections and sockets hold now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Connections, without those in TIME_WAIT.
    pub connections: usize,
    /// Connections in TIME_WAIT.
    pub time_wait: usize,
    /// Blocks of 1,024 bytes with data.
    pub blocks: usize,
}
