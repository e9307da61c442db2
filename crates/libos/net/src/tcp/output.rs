//! What a connection sends next, and what changes when it was sent (RFC 9293 §3.8).

use super::segment::{ACK, FIN, Header, PSH, SYN};
use super::seq::Seq;
use super::tcb::{Coalescing, Due, Env, Fin, State, Tcb};
use crate::config::TcpConfig;
use crate::pool::Pool;
use crate::time::Instant;

/// One segment to send: its header, and which of the bytes that wait for their acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) header: Header,
    pub(crate) offset: usize,
    pub(crate) length: usize,
    /// The advertised right edge that goes with it.
    edge: Seq,
}

impl Tcb {
    /// Whether [`Tcb::next_segment`] has something to say, most likely.
    pub(crate) fn wants_output(&self) -> bool {
        matches!(self.due, Due::Now | Due::Probe)
            || self.retransmit_first
            || self.probe
            || self.resend != self.nxt
            || (self.una == self.nxt || self.window > self.flight()) && self.has_unsent()
    }

    fn has_unsent(&self) -> bool {
        match self.state {
            State::SynSent | State::SynReceived => self.resend == self.iss,
            State::Closed | State::TimeWait | State::FinWait2 => false,
            _ => self.fin == Fin::Queued || self.nxt.is_before(self.una.plus(self.send_len)),
        }
    }

    /// The next segment, if one may go out now. Call [`Tcb::sent`] when it did.
    pub(crate) fn next_segment(&self, config: &TcpConfig) -> Option<Sending> {
        match self.state {
            State::Closed => None,
            State::SynSent if self.resend == self.iss => Some(self.syn(SYN, config)),
            State::SynReceived if self.resend == self.iss => Some(self.syn(SYN | ACK, config)),
            State::SynSent => None,
            State::SynReceived | State::FinWait2 | State::TimeWait => self.acknowledgement_due(config),
            _ => self.data(config).or_else(|| self.acknowledgement_due(config)),
        }
    }

    fn syn(&self, flags: u8, config: &TcpConfig) -> Sending {
        // A scale is offered; in an answer only if the peer offered one.
        let scale = (self.state == State::SynSent || self.receive_scale > 0 || self.send_scale > 0)
            .then_some(self.receive_scale);
        let window = config.receive_buffer.min(0xffff);
        Sending {
            header: Header {
                seq: self.iss,
                ack: if flags & ACK != 0 { self.rcv_nxt } else { Seq(0) },
                flags,
                window: window as u16,
                mss: Some(self.link_mss),
                scale,
            },
            offset: 0,
            length: 0,
            edge: self.rcv_nxt.plus(window),
        }
    }

    fn data(&self, config: &TcpConfig) -> Option<Sending> {
        let mss = u32::from(self.mss);
        let end = self.una.plus(self.send_len);
        let first = self.retransmit_first && self.flight() > 0;
        let position = if first { self.una } else { self.resend };
        let is_new = position == self.nxt;
        let available = end.since(position);
        // Behind the FIN there is nothing.
        if self.fin == Fin::Sent && position.is_after(end) {
            return None;
        }
        let allowed = self.window.min(self.congestion.window(mss));
        let mut room = self.una.plus(allowed).since(position);
        if position == self.una && (first || self.probe || !is_new) {
            // The first segment may always go out again, and a probe into a closed window: one byte of it at least.
            room = room.max(if first { mss } else { 1 });
        }
        let length = available.min(room).min(mss);
        let last = length == available;
        if length == 0 && available > 0 {
            return None;
        }
        if is_new && length > 0 && length < mss && !self.probe && !self.may_send_small(length, available) {
            return None;
        }
        let fin = last && self.fin != Fin::No;
        if length == 0 && !fin {
            return None;
        }
        let flags = ACK | if last && length > 0 { PSH } else { 0 } | if fin { FIN } else { 0 };
        Some(self.sending(flags, position, position.since(self.una) as usize, length as usize, config))
    }

    /// Nagle's algorithm, and no small segments because of a small window (RFC 9293 §3.8.6.2.1).
    fn may_send_small(&self, length: u32, available: u32) -> bool {
        let quiet = self.una == self.nxt;
        length == available && (quiet || self.coalescing == Coalescing::Off || self.fin == Fin::Queued)
            || length >= self.largest_window / 2 && self.largest_window > 0
    }

    fn acknowledgement_due(&self, config: &TcpConfig) -> Option<Sending> {
        matches!(self.due, Due::Now | Due::Probe).then(|| self.acknowledgement(config))
    }

    /// An acknowledgement without data.
    pub(crate) fn acknowledgement(&self, config: &TcpConfig) -> Sending {
        // A number that the peer has acknowledged already makes it answer.
        let seq = if self.due == Due::Probe { self.nxt.minus(1) } else { self.nxt };
        self.sending(ACK, seq, 0, 0, config)
    }

    fn sending(&self, flags: u8, seq: Seq, offset: usize, length: usize, config: &TcpConfig) -> Sending {
        let (window, edge) = self.advertise(config);
        let header = Header { seq, ack: self.rcv_nxt, flags, window, mss: None, scale: None };
        Sending { header, offset, length, edge }
    }

    /// The window to tell, and the right edge that the peer makes of it. The edge moves on by a segment at least, and never
    /// back (RFC 9293 §3.8.6.2.2).
    fn advertise(&self, config: &TcpConfig) -> (u16, Seq) {
        let free = config.receive_buffer.saturating_sub(self.receive_len);
        let edge = self.rcv_nxt.plus(free);
        let told = self.receive_window();
        let step = u32::from(self.mss).min(config.receive_buffer / 2).max(1);
        let window = if edge.from(self.rcv_edge) >= step as i32 { free } else { told };
        // While the handshake lasts the window is not scaled; it was told in the SYN.
        let field = (window >> self.receive_scale).min(0xffff);
        (field as u16, self.rcv_edge.latest(self.rcv_nxt.plus(field << self.receive_scale)))
    }

    /// Copies a segment's bytes.
    pub(crate) fn copy(&mut self, pool: &Pool, sending: &Sending, into: &mut [u8]) {
        self.send.read(pool, sending.offset, into);
    }

    /// The segment went out.
    pub(crate) fn sent(&mut self, sending: &Sending, env: &mut Env) {
        let header = &sending.header;
        let controls = u32::from(header.flags & SYN != 0) + u32::from(header.flags & FIN != 0);
        let end = header.seq.plus(sending.length as u32).plus(controls);
        debug_assert!(!sending.edge.is_before(self.rcv_edge), "the right edge of the window moved back");
        self.rcv_edge = sending.edge;
        self.sent_acknowledgement();
        if end == header.seq {
            return;
        }
        if header.flags & FIN != 0 && self.fin == Fin::Queued {
            self.fin = Fin::Sent;
        }
        if core::mem::take(&mut self.probe) {
            env.stats.tcp_probes += 1;
        }
        self.persist_at = Instant::NEVER;
        if end.is_after(self.nxt) {
            // Karn: only what goes out for the first time is timed.
            if self.timed.is_none() && header.seq == self.nxt {
                self.timed = Some((end, env.now));
            }
            if self.una == self.nxt && env.now.since(self.last_sent) > self.rtt.timeout() {
                self.congestion.restart(u32::from(self.mss));
            }
            self.nxt = end;
        } else {
            env.stats.tcp_retransmitted += 1;
            self.timed = None;
        }
        if self.retransmit_first && header.seq == self.una {
            self.retransmit_first = false;
            self.retransmit_at = Instant::NEVER;
            self.resend = self.resend.latest(end);
        } else {
            self.resend = end;
        }
        self.last_sent = env.now;
        if self.retransmit_at == Instant::NEVER {
            self.retransmit_at = env.now.after(self.rtt.timeout());
        }
    }

    /// Whatever goes out carries the acknowledgement.
    pub(super) fn sent_acknowledgement(&mut self) {
        self.due = Due::No;
        self.unacknowledged = 0;
        self.acknowledge_at = Instant::NEVER;
    }

    /// Nothing more may go out now: if data waits for the peer's window, the persist timer asks (RFC 9293 §3.8.6.1).
    pub(crate) fn after_output(&mut self, now: Instant) {
        if self.flight() == 0 && self.persist_at == Instant::NEVER && self.has_unsent() {
            let shift = u32::from(self.probes.min(6));
            self.persist_at = now.after((self.rtt.timeout() << shift).min(60 * crate::time::SECOND));
        }
    }
}
