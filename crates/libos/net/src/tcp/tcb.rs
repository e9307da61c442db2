//! One connection's state: RFC 9293's transmission control block. It sends and receives nothing itself.

use super::congestion::Congestion;
use super::reassembly::Ranges;
use super::rtt::Rtt;
use super::segment::{Header, Segment};
use super::seq::Seq;
use crate::config::TcpConfig;
use crate::error::Error;
use crate::pool::{Chain, Pool};
use crate::ready::Ready;
use crate::stats::Stats;
use crate::time::Instant;

/// RFC 9293 §3.3.2. LISTEN is a listener's, and a TIME_WAIT that no application looks at is an entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no connection (any more).
    Closed,
    /// A SYN was sent.
    SynSent,
    /// A SYN was received and answered.
    SynReceived,
    /// Data flows both ways.
    Established,
    /// This side ended its data.
    FinWait1,
    /// The peer has acknowledged that, and still sends.
    FinWait2,
    /// The peer ended its data.
    CloseWait,
    /// Both ended their data at the same time.
    Closing,
    /// This side, too, ended its data, after the peer.
    LastAck,
    /// Both ended; old segments may still arrive.
    TimeWait,
}

/// What a step of a connection may use besides the connection.
pub(crate) struct Env<'a> {
    pub(crate) now: Instant,
    pub(crate) pool: &'a mut Pool,
    pub(crate) config: &'a TcpConfig,
    pub(crate) stats: &'a mut Stats,
}

/// How soon an acknowledgement is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    No,
    /// At [`Tcb::acknowledge_at`], unless something is sent before.
    Later,
    Now,
    /// Now, and so that the peer has to answer.
    Probe,
}

/// What to send at once, besides what [`Tcb::next_segment`] says afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    /// An acknowledgement of its own: the peer counts duplicates, and asks with segments outside the window.
    Acknowledge,
    /// A reset; the connection is gone if its state says so.
    Reset(Header),
}

/// Who opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Active,
    Passive,
}

/// Who reads what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Application,
    /// Closed: data that arrives now is answered with a reset (RFC 9293 §3.6.1).
    Nobody,
}

/// Whether small segments wait for acknowledgements (Nagle's algorithm, RFC 9293 §3.7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coalescing {
    /// A small segment waits while data is unacknowledged.
    On,
    /// Data is sent as it is written.
    Off,
}

pub(crate) struct Tcb {
    pub(crate) state: State,
    pub(crate) side: Side,
    pub(crate) reader: Reader,
    pub(crate) coalescing: Coalescing,
    /// Why the connection ended, if not well.
    pub(crate) error: Option<Error>,
    /// What the application was not told yet.
    pub(crate) events: Ready,

    // Sending. una ≤ resend ≤ nxt; the chain's first byte is number `una`, once the SYN is acknowledged.
    pub(crate) iss: Seq,
    pub(crate) una: Seq,
    /// The next number to send, again after a timeout.
    pub(super) resend: Seq,
    /// The first number never sent.
    pub(crate) nxt: Seq,
    /// Bytes from `una` the peer accepts.
    pub(crate) window: u32,
    pub(super) largest_window: u32,
    pub(super) wl1: Seq,
    pub(super) wl2: Seq,
    pub(super) send_scale: u8,
    pub(crate) mss: u16,
    /// What this side's link carries; told to the peer.
    pub(super) link_mss: u16,
    /// The peer has not acknowledged the SYN, which has number `una`.
    pub(super) syn_in_flight: bool,
    pub(super) send: Chain,
    pub(super) send_len: u32,
    /// The application ended its data: a FIN follows the last byte.
    pub(super) fin: Fin,
    /// The application found no room, and wants to hear of it.
    pub(super) writer_waits: bool,
    pub(super) retransmit_first: bool,
    pub(super) probe: bool,

    // Receiving.
    pub(crate) irs: Seq,
    pub(crate) rcv_nxt: Seq,
    /// The right edge of the window as the peer knows it.
    pub(super) rcv_edge: Seq,
    pub(super) receive_scale: u8,
    pub(super) receive: Chain,
    /// Bytes in order that nobody has read.
    pub(super) receive_len: u32,
    pub(super) ranges: Ranges,
    /// Where the peer's FIN is.
    pub(super) peer_fin: Option<Seq>,
    pub(crate) due: Due,
    /// Segments with data since the last acknowledgement.
    pub(super) unacknowledged: u8,

    pub(super) congestion: Congestion,
    pub(super) rtt: Rtt,
    /// A number being timed, and since when.
    pub(super) timed: Option<(Seq, Instant)>,
    /// Timeouts since the peer last acknowledged something.
    pub(super) retries: u8,
    pub(super) probes: u8,
    /// Keep-alive probes without an answer.
    pub(super) silences: u8,

    // Moments; NEVER: not set.
    pub(super) retransmit_at: Instant,
    pub(super) persist_at: Instant,
    pub(super) acknowledge_at: Instant,
    pub(super) keep_alive_at: Instant,
    /// The end of an orphan's FIN_WAIT_2.
    pub(super) linger_at: Instant,
    /// The earliest next answer to a segment that carries nothing and is not acceptable.
    pub(super) next_challenge: Instant,
    pub(super) last_sent: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fin {
    No,
    Queued,
    /// It has number `nxt` − 1.
    Sent,
}

/// A peer that names no maximum segment size takes this (RFC 9293 §3.7.1).
const DEFAULT_MSS: u16 = 536;
/// The smallest we believe: less would make us work for nothing.
const LEAST_MSS: u16 = 64;
/// The smallest that a router may ask for: what it says could come from anyone.
pub(super) const LEAST_PATH_MSS: u16 = 512;

/// The shift that lets 16 bits speak of `window`.
fn scale_for(window: u32) -> u8 {
    (0..14).find(|shift| window >> shift <= 0xffff).unwrap_or(14)
}

impl Tcb {
    fn new(state: State, side: Side, iss: Seq, mss: u16, config: &TcpConfig) -> Self {
        Self {
            state,
            side,
            reader: Reader::Application,
            coalescing: Coalescing::On,
            error: None,
            events: Ready::NONE,
            iss,
            una: iss,
            resend: iss,
            nxt: iss,
            window: 0,
            largest_window: 0,
            wl1: Seq(0),
            wl2: Seq(0),
            send_scale: 0,
            mss,
            link_mss: mss,
            syn_in_flight: true,
            send: Chain::new(),
            send_len: 0,
            fin: Fin::No,
            writer_waits: false,
            retransmit_first: false,
            probe: false,
            irs: Seq(0),
            rcv_nxt: Seq(0),
            rcv_edge: Seq(0),
            receive_scale: scale_for(config.receive_buffer),
            receive: Chain::new(),
            receive_len: 0,
            ranges: Ranges::new(),
            peer_fin: None,
            due: Due::No,
            unacknowledged: 0,
            congestion: Congestion::new(u32::from(mss)),
            rtt: Rtt::new(config.least_timeout),
            timed: None,
            retries: 0,
            probes: 0,
            silences: 0,
            retransmit_at: Instant::NEVER,
            persist_at: Instant::NEVER,
            acknowledge_at: Instant::NEVER,
            keep_alive_at: Instant::NEVER,
            linger_at: Instant::NEVER,
            next_challenge: Instant::from_micros(0),
            last_sent: Instant::from_micros(0),
        }
    }

    /// A connection that wants to send its SYN. `mss` is what the link carries.
    pub(crate) fn connect(iss: Seq, mss: u16, config: &TcpConfig) -> Self {
        Self::new(State::SynSent, Side::Active, iss, mss, config)
    }

    /// A connection that answers `syn`.
    pub(crate) fn answer(syn: &Segment, iss: Seq, mss: u16, config: &TcpConfig) -> Self {
        let mut tcb = Self::new(State::SynReceived, Side::Passive, iss, mss, config);
        tcb.synchronize(syn, config);
        tcb
    }

    /// Takes the peer's numbers, segment size and scale from its SYN.
    pub(super) fn synchronize(&mut self, syn: &Segment, config: &TcpConfig) {
        let header = &syn.header;
        self.irs = header.seq;
        self.rcv_nxt = header.seq.plus(1);
        self.rcv_edge = self.rcv_nxt.plus(config.receive_buffer.min(0xffff));
        self.mss = self.mss.min(header.mss.unwrap_or(DEFAULT_MSS).max(LEAST_MSS));
        self.congestion = Congestion::new(u32::from(self.mss));
        match header.scale {
            Some(scale) => self.send_scale = scale,
            None => self.receive_scale = 0,
        }
        // The window of a SYN is never scaled.
        self.set_window(u32::from(header.window), header);
    }

    pub(super) fn set_window(&mut self, window: u32, header: &Header) {
        self.window = window;
        self.largest_window = self.largest_window.max(window);
        self.wl1 = header.seq;
        self.wl2 = header.ack;
    }

    /// Bytes from `rcv_nxt` that the peer was told it may send.
    pub(crate) fn receive_window(&self) -> u32 {
        self.rcv_edge.since(self.rcv_nxt)
    }

    /// Bytes and controls sent and not acknowledged.
    pub(super) fn flight(&self) -> u32 {
        self.nxt.since(self.una)
    }

    /// The connection is over.
    pub(crate) fn end(&mut self, error: Option<Error>, pool: &mut Pool) {
        self.state = State::Closed;
        self.error = self.error.or(error);
        self.send.clear(pool);
        self.send_len = 0;
        self.stop_timers();
        if error.is_some() {
            self.receive.clear(pool);
            self.receive_len = 0;
        }
        self.due = Due::No;
        self.events |= Ready::CLOSED | Ready::READABLE | Ready::WRITABLE;
    }

    /// Both sides have ended.
    pub(super) fn enter_time_wait(&mut self) {
        self.state = State::TimeWait;
        self.stop_timers();
    }

    fn stop_timers(&mut self) {
        self.retransmit_at = Instant::NEVER;
        self.persist_at = Instant::NEVER;
        self.acknowledge_at = Instant::NEVER;
        self.keep_alive_at = Instant::NEVER;
        self.linger_at = Instant::NEVER;
    }

    /// Gives its blocks back; nothing more comes from it.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        self.state = State::Closed;
        self.stop_timers();
        self.send.clear(pool);
        self.receive.clear(pool);
        self.send_len = 0;
        self.receive_len = 0;
    }

    #[cfg(test)]
    pub(crate) fn check(&self, config: &TcpConfig) -> usize {
        assert!(!self.resend.is_before(self.una) && !self.nxt.is_before(self.resend), "una ≤ resend ≤ nxt");
        assert!(self.send_len <= config.send_buffer && self.receive_len <= config.receive_buffer);
        assert!(self.receive_window() + self.receive_len <= config.receive_buffer.max(0xffff));
        assert!(self.send.blocks() <= (self.send_len as usize).div_ceil(crate::pool::BLOCK) + 1);
        assert!(self.send_len > 0 || self.send.blocks() == 0);
        assert!(self.receive_len > 0 || !self.ranges.is_empty() || self.receive.blocks() == 0);
        if self.flight() > 0
            && self.resend == self.nxt
            && self.state != State::Closed
            && self.state != State::TimeWait
        {
            assert!(self.retransmit_at != Instant::NEVER, "what is in flight has a timer: {:?}", self.state);
        }
        self.send.blocks() + self.receive.blocks()
    }
}
