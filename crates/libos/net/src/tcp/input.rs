//! A segment arrives (RFC 9293 §3.10.7.3 and .4; RFC 5961 for what a blind attacker could send).

use super::congestion::Advice;
use super::reassembly::Ranges;
use super::segment::{ACK, FIN, Header, RST, SYN, Segment};
use super::seq::Seq;
use super::tcb::{Answer, Due, Env, Fin, LEAST_PATH_MSS, Reader, Side, State, Tcb};
use crate::error::Error;
use crate::pool::Claim;
use crate::ready::Ready;
use crate::time::{Instant, MILLISECOND};

/// At most one answer in so long to segments that carry nothing and are not acceptable: two confused ends must not answer each
/// other for ever.
const CHALLENGE_INTERVAL: u64 = 100 * MILLISECOND;

impl Tcb {
    /// Takes one segment of this connection.
    pub(crate) fn on_segment(&mut self, segment: &Segment, env: &mut Env) -> Answer {
        match self.state {
            State::Closed | State::TimeWait => Answer::Nothing,
            State::SynSent => self.in_syn_sent(segment, env),
            _ => self.in_synchronized(segment, env),
        }
    }

    fn in_syn_sent(&mut self, segment: &Segment, env: &mut Env) -> Answer {
        let header = &segment.header;
        let acknowledged = segment.has(ACK);
        if acknowledged && (!header.ack.is_after(self.iss) || header.ack.is_after(self.nxt)) {
            return Header::reset_for(segment).map_or(Answer::Nothing, Answer::Reset);
        }
        if segment.has(RST) {
            if acknowledged {
                env.stats.tcp_resets_in += 1;
                self.end(Some(Error::ConnectionRefused), env.pool);
            }
            return Answer::Nothing;
        }
        if !segment.has(SYN) {
            return Answer::Nothing;
        }
        self.synchronize(segment, env.config);
        if !acknowledged {
            // Both sides opened: our SYN goes out again, with an acknowledgement.
            self.state = State::SynReceived;
            self.resend = self.iss;
            return Answer::Nothing;
        }
        self.heard(env);
        self.establish(header, env);
        self.due = Due::Now;
        self.on_acknowledgement(segment, env);
        // The SYN took the first number; what is behind it is processed as ever.
        self.on_text(segment, header.seq.plus(1), env)
    }

    fn heard(&mut self, env: &Env) {
        if let Some(idle) = env.config.keep_alive {
            self.keep_alive_at = env.now.after(idle);
            self.silences = 0;
        }
    }

    fn establish(&mut self, header: &Header, env: &mut Env) {
        self.state = State::Established;
        self.wl1 = header.seq;
        self.wl2 = header.ack;
        self.events |= Ready::CONNECTED | Ready::WRITABLE;
        env.stats.tcp_established += 1;
        if self.fin == Fin::Queued {
            self.state = State::FinWait1;
        }
    }

    fn in_synchronized(&mut self, segment: &Segment, env: &mut Env) -> Answer {
        let header = &segment.header;
        if !self.is_acceptable(segment) {
            return self.on_unacceptable(segment, env);
        }
        if segment.has(RST) {
            if header.seq != self.rcv_nxt {
                return self.challenge(env);
            }
            env.stats.tcp_resets_in += 1;
            let error = match (self.state, self.side) {
                (State::SynReceived, Side::Active) => Error::ConnectionRefused,
                _ => Error::ConnectionReset,
            };
            self.end(Some(error), env.pool);
            return Answer::Nothing;
        }
        if segment.has(SYN) {
            if self.state == State::SynReceived && self.side == Side::Passive {
                self.end(None, env.pool);
                return Answer::Nothing;
            }
            return self.challenge(env);
        }
        if !segment.has(ACK) {
            return Answer::Nothing;
        }
        self.heard(env);
        if self.state == State::SynReceived {
            if !header.ack.is_after(self.una) || header.ack.is_after(self.nxt) {
                return Answer::Reset(Header::bare(RST, header.ack, Seq(0)));
            }
            self.establish(header, env);
        } else if header.ack.is_after(self.nxt) || header.ack.is_before(self.una.minus(self.largest_window)) {
            return self.challenge(env);
        }
        self.on_acknowledgement(segment, env);
        if self.fin == Fin::Sent && self.una == self.nxt {
            match self.state {
                State::FinWait1 => {
                    self.state = State::FinWait2;
                    if self.reader == Reader::Nobody {
                        self.linger_at = env.now.after(env.config.time_wait);
                    }
                }
                State::Closing => self.enter_time_wait(),
                State::LastAck => {
                    self.end(None, env.pool);
                    return Answer::Nothing;
                }
                _ => {}
            }
        }
        self.on_text(segment, header.seq, env)
    }

    /// RFC 9293 §3.4's test. At the left edge everything passes, also while the window is closed: its text is cut off, and what
    /// else it says counts.
    fn is_acceptable(&self, segment: &Segment) -> bool {
        let (seq, window) = (segment.header.seq, self.receive_window());
        let inside = |number: Seq| {
            let distance = number.from(self.rcv_nxt);
            distance >= 0 && (distance as u32) < window
        };
        seq == self.rcv_nxt || inside(seq) || (segment.len() > 0 && inside(seq.plus(segment.len() - 1)))
    }

    fn on_unacceptable(&mut self, segment: &Segment, env: &mut Env) -> Answer {
        env.stats.tcp_out_of_window += 1;
        if segment.has(RST) {
            return Answer::Nothing;
        }
        if self.state == State::SynReceived && segment.has(SYN) && segment.header.seq == self.irs {
            // Its SYN again: ours was lost.
            self.resend = self.iss;
            return Answer::Nothing;
        }
        if segment.len() > 0 && !segment.has(SYN) {
            self.sent_acknowledgement();
            return Answer::Acknowledge;
        }
        self.challenge(env)
    }

    fn challenge(&mut self, env: &mut Env) -> Answer {
        env.stats.tcp_challenges += 1;
        if env.now < self.next_challenge {
            return Answer::Nothing;
        }
        self.next_challenge = env.now.after(CHALLENGE_INTERVAL);
        self.sent_acknowledgement();
        Answer::Acknowledge
    }

    /// The fifth step: what the acknowledgement number and the window say.
    fn on_acknowledgement(&mut self, segment: &Segment, env: &mut Env) {
        let header = &segment.header;
        let window = u32::from(header.window) << if segment.has(SYN) { 0 } else { self.send_scale };
        if header.ack.is_after(self.una) {
            self.on_progress(header.ack, env);
        } else if header.ack == self.una
            && self.flight() > 0
            && segment.len() == 0
            && window == self.window
            && window > 0
        {
            let (flight, mss) = (self.flight(), u32::from(self.mss));
            if self.congestion.duplicate(flight, self.nxt, mss) == Advice::Retransmit {
                env.stats.tcp_fast_retransmits += 1;
                self.retransmit_first = true;
            }
        }
        if header.ack.is_before(self.una) {
            return;
        }
        if self.wl1.is_before(header.seq) || (self.wl1 == header.seq && !header.ack.is_before(self.wl2)) {
            let closed = self.window == 0;
            self.set_window(window, header);
            if window == 0 && self.reader == Reader::Application {
                // It lives, and will open its window in its own time. What was closed does not wait for ever.
                self.retries = 0;
            } else if closed && window > 0 && self.flight() > 0 {
                // What probed the closed window was not taken; no need to wait for a timeout that grew long.
                self.resend = self.una;
                self.rtt.settle(env.config.least_timeout);
                self.retransmit_at = env.now.after(self.rtt.timeout());
            }
        }
    }

    fn on_progress(&mut self, ack: Seq, env: &mut Env) {
        let flight = self.flight();
        let acked = ack.since(self.una);
        let controls = u32::from(core::mem::take(&mut self.syn_in_flight))
            + u32::from(self.fin == Fin::Sent && ack == self.nxt);
        let bytes = acked.saturating_sub(controls).min(self.send_len);
        self.una = ack;
        self.resend = self.resend.latest(ack);
        self.retransmit_first = false;
        self.send_len -= bytes;
        if self.send_len == 0 {
            self.send.clear(env.pool);
        } else {
            self.send.consume(env.pool, bytes as usize);
        }
        match self.timed {
            Some((number, since)) if !ack.is_before(number) => {
                self.rtt.sample(env.now.since(since), env.config.least_timeout);
                self.timed = None;
            }
            _ if self.retries > 0 => self.rtt.settle(env.config.least_timeout),
            _ => {}
        }
        self.retries = 0;
        self.probes = 0;
        if bytes > 0
            && self.congestion.acknowledged(bytes, ack, flight, u32::from(self.mss)) == Advice::Retransmit
        {
            self.retransmit_first = true;
        }
        self.retransmit_at = if ack == self.nxt { Instant::NEVER } else { env.now.after(self.rtt.timeout()) };
        if bytes > 0 && core::mem::take(&mut self.writer_waits) {
            self.events |= Ready::WRITABLE;
        }
    }

    /// The seventh and eighth step: data from number `seq` on, and the peer's FIN.
    fn on_text(&mut self, segment: &Segment, seq: Seq, env: &mut Env) -> Answer {
        if !matches!(self.state, State::Established | State::FinWait1 | State::FinWait2) {
            return Answer::Nothing;
        }
        let fin = segment.has(FIN);
        if segment.payload.is_empty() && !fin {
            return Answer::Nothing;
        }
        let end = seq.plus(segment.payload.len() as u32);
        if self.reader == Reader::Nobody && end.is_after(self.rcv_nxt) {
            let reset = Header::bare(RST, self.nxt, Seq(0));
            self.end(Some(Error::ConnectionReset), env.pool);
            return Answer::Reset(reset);
        }
        let before = self.rcv_nxt;
        let in_order = !seq.is_after(before) && self.ranges.is_empty();
        let arrived = self.store(segment.payload, seq, env);
        if fin && self.peer_fin.is_none() && end.from(self.rcv_nxt) >= 0 {
            self.peer_fin = Some(end);
        }
        if self.rcv_nxt != before {
            self.events |= Ready::READABLE;
        }
        if self.peer_fin == Some(self.rcv_nxt) {
            self.on_fin();
            return Answer::Nothing;
        }
        if !arrived || !in_order {
            // A gap, a duplicate, or a closed window: the peer needs to know now, once for each segment.
            self.sent_acknowledgement();
            return Answer::Acknowledge;
        }
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        if self.unacknowledged >= 2 {
            self.due = Due::Now;
        } else if self.due == Due::No {
            self.due = Due::Later;
            self.acknowledge_at = env.now.after(env.config.acknowledgement_delay);
        }
        Answer::Nothing
    }

    /// Keeps what of `payload` lies in the window; whether the stream grew.
    fn store(&mut self, payload: &[u8], seq: Seq, env: &mut Env) -> bool {
        let old = self.rcv_nxt.since(seq) as usize;
        let ahead = seq.since(self.rcv_nxt);
        let room = self.receive_window().saturating_sub(ahead) as usize;
        let fresh = payload.get(old..).unwrap_or(&[]);
        let fresh = fresh.get(..room.min(fresh.len())).unwrap_or(&[]);
        // Nothing is kept behind the end of the peer's data.
        let limit = self.peer_fin.map_or(u32::MAX, |fin| fin.since(self.rcv_nxt.plus(ahead)));
        let fresh = fresh.get(..(limit as usize).min(fresh.len())).unwrap_or(&[]);
        if fresh.is_empty() {
            return false;
        }
        if ahead > 0 {
            env.stats.tcp_out_of_order += 1;
            let start = self.rcv_nxt.plus(ahead);
            if self.ranges.insert(start, start.plus(fresh.len() as u32)).is_err() {
                env.stats.tcp_no_buffers += 1;
                return false;
            }
        }
        let at = self.receive_len as usize + ahead as usize;
        // What came early has no claim to the reserve.
        let claim = if ahead > 0 { Claim::Spare } else { Claim::All };
        let stored = self.receive.write(env.pool, at, fresh, claim);
        if stored < fresh.len() {
            env.stats.tcp_no_buffers += 1;
        }
        if ahead > 0 {
            // A range that is remembered lies in the chain as a whole, or the gap's memory is forgotten with it.
            if stored < fresh.len() {
                self.forget_early(env);
            }
            return false;
        }
        let next = self.ranges.advance(self.rcv_nxt.plus(stored as u32));
        self.receive_len += next.since(self.rcv_nxt);
        self.rcv_nxt = next;
        if self.receive_len == 0 && self.ranges.is_empty() {
            self.receive.clear(env.pool);
        }
        stored > 0
    }

    /// Forgets everything that came early: the peer sends it again.
    fn forget_early(&mut self, env: &mut Env) {
        self.ranges = Ranges::new();
        if self.receive_len == 0 {
            self.receive.clear(env.pool);
        }
    }

    fn on_fin(&mut self) {
        self.rcv_nxt = self.rcv_nxt.plus(1);
        self.rcv_edge = self.rcv_edge.latest(self.rcv_nxt);
        self.due = Due::Now;
        self.events |= Ready::READABLE;
        match self.state {
            State::Established => self.state = State::CloseWait,
            // Had our FIN been acknowledged, this were FIN_WAIT_2.
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(),
            _ => {}
        }
    }

    /// A router says that nothing gets through (RFC 1122 §4.2.3.9, RFC 5927): only an attempt to connect ends.
    pub(crate) fn on_unreachable(&mut self, seq: Seq, error: Error, env: &mut Env) {
        if self.state == State::SynSent && seq == self.iss && self.nxt != self.iss {
            self.end(Some(error), env.pool);
        }
    }

    /// A router's link carries only `mss` bytes of a segment (RFC 1191).
    pub(crate) fn on_smaller_mss(&mut self, seq: Seq, mss: u16) {
        if !seq.is_before(self.una) && seq.is_before(self.nxt) && mss >= LEAST_PATH_MSS && mss < self.mss {
            self.mss = mss;
            self.resend = self.una;
            self.timed = None;
        }
    }
}
