//! Every state × every combination of flags × where the numbers lie × with and without data, against RFC 9293 §3.10.7 written
//! down a second time: as rules over classes of numbers, not as code over numbers.

use super::listen;
use super::segment::{ACK, FIN, Header, RST, SYN, Segment, Tuple};
use super::seq::Seq;
use super::tcb::{Answer, Due, Env, State, Tcb};
use super::time_wait::{self, TimeWait};
use crate::config::{Config, TcpConfig};
use crate::error::Error;
use crate::pool::Pool;
use crate::stats::Stats;
use crate::time::Instant;
use core::net::Ipv4Addr;

const ISS: Seq = Seq(0xffff_fff0);
const IRS: Seq = Seq(0x7fff_fffa);
const MSS: u16 = 1460;

/// Where a segment's first number lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// A thousand before the window.
    Old,
    /// The last one received.
    JustBefore,
    Left,
    Inside,
    /// The last number of the window.
    Last,
    /// The first behind it.
    Behind,
    Future,
}

/// What a segment acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acks {
    /// So old that no window was so large.
    Ancient,
    /// Once more what was acknowledged before.
    Again,
    /// All that was sent.
    All,
    Unsent,
}

const ATS: [At; 7] = [At::Old, At::JustBefore, At::Left, At::Inside, At::Last, At::Behind, At::Future];
const ACKS: [Acks; 4] = [Acks::Ancient, Acks::Again, Acks::All, Acks::Unsent];

/// How a connection came to where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    SynSent,
    PassiveSynReceived,
    ActiveSynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
}

const STARTS: [Start; 9] = [
    Start::SynSent,
    Start::PassiveSynReceived,
    Start::ActiveSynReceived,
    Start::Established,
    Start::FinWait1,
    Start::FinWait2,
    Start::CloseWait,
    Start::Closing,
    Start::LastAck,
];

impl Start {
    fn state(self) -> State {
        match self {
            Self::SynSent => State::SynSent,
            Self::PassiveSynReceived | Self::ActiveSynReceived => State::SynReceived,
            Self::Established => State::Established,
            Self::FinWait1 => State::FinWait1,
            Self::FinWait2 => State::FinWait2,
            Self::CloseWait => State::CloseWait,
            Self::Closing => State::Closing,
            Self::LastAck => State::LastAck,
        }
    }
}

/// What comes back, as the peer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    Nothing,
    Ack,
    SynAck,
    /// RST with the number that was acknowledged.
    Reset,
}

struct World {
    pool: Pool,
    stats: Stats,
    config: TcpConfig,
}

impl World {
    fn new() -> Self {
        Self {
            pool: Pool::new(1 << 20),
            stats: Stats::default(),
            config: Config::at(Ipv4Addr::LOCALHOST, 8, [0; 2]).tcp,
        }
    }

    fn env(&mut self) -> Env<'_> {
        let Self { pool, stats, config } = self;
        Env { now: Instant::from_micros(10_000_000), pool, config, stats }
    }

    /// Sends all that the connection has to say; the flags of each.
    fn drain(&mut self, tcb: &mut Tcb) -> Vec<u8> {
        let mut flags = Vec::new();
        while let Some(sending) = tcb.next_segment(&self.config) {
            flags.push(sending.header.flags);
            tcb.sent(&sending, &mut self.env());
            assert!(flags.len() < 10, "it never ends");
        }
        flags
    }

    fn give(&mut self, tcb: &mut Tcb, flags: u8, seq: Seq, ack: Seq, payload: &[u8]) -> Answer {
        let header = Header { seq, ack, flags, window: 1000, mss: Some(MSS), scale: Some(0) };
        tcb.on_segment(&Segment { header, payload }, &mut self.env())
    }

    /// Brings a connection to where it starts, by segments and calls only.
    fn start(&mut self, start: Start) -> Tcb {
        let passive = start == Start::PassiveSynReceived;
        let syn = Header { seq: IRS, ack: Seq(0), flags: SYN, window: 1000, mss: Some(MSS), scale: Some(0) };
        let mut tcb = if passive {
            Tcb::answer(&Segment { header: syn, payload: &[] }, ISS, MSS, &self.config)
        } else {
            Tcb::connect(ISS, MSS, &self.config)
        };
        self.drain(&mut tcb);
        match start {
            Start::SynSent | Start::PassiveSynReceived => return tcb,
            Start::ActiveSynReceived => {
                self.give(&mut tcb, SYN, IRS, Seq(0), &[]);
                self.drain(&mut tcb);
                return tcb;
            }
            _ => {}
        }
        self.give(&mut tcb, SYN | ACK, IRS, ISS.plus(1), &[]);
        let fin = |world: &mut Self, tcb: &mut Tcb, ack| {
            let seq = tcb.rcv_nxt;
            world.give(tcb, FIN | ACK, seq, ack, &[]);
        };
        let data = |world: &mut Self, tcb: &mut Tcb| {
            assert_eq!(tcb.write(&[1; 10], &mut world.env()), Ok(10));
        };
        let unacknowledged = ISS.plus(1);
        match start {
            Start::Established => data(self, &mut tcb),
            Start::FinWait1 | Start::FinWait2 | Start::Closing => {
                data(self, &mut tcb);
                tcb.shutdown().expect("once");
            }
            Start::CloseWait | Start::LastAck => {
                fin(self, &mut tcb, unacknowledged);
                data(self, &mut tcb);
                if start == Start::LastAck {
                    tcb.shutdown().expect("once");
                }
            }
            _ => {}
        }
        self.drain(&mut tcb);
        match start {
            Start::FinWait2 => {
                let (seq, ack) = (tcb.rcv_nxt, tcb.nxt);
                self.give(&mut tcb, ACK, seq, ack, &[]);
            }
            Start::Closing => fin(self, &mut tcb, unacknowledged),
            _ => {}
        }
        self.drain(&mut tcb);
        assert_eq!(tcb.state, start.state(), "{start:?}");
        tcb
    }
}

/// What RFC 9293 §3.10.7.4 says: the state afterwards, and what comes back.
fn expected(start: Start, flags: u8, at: At, acks: Acks, payload: &[u8]) -> (State, Back) {
    let has = |flag| flags & flag != 0;
    let stays = start.state();
    if start == Start::SynSent {
        // §3.10.7.3. Where the segment begins does not matter, only what it acknowledges.
        let good = acks == Acks::All;
        return match () {
            () if has(ACK) && !good => (stays, if has(RST) { Back::Nothing } else { Back::Reset }),
            () if has(RST) && has(ACK) => (State::Closed, Back::Nothing),
            () if has(RST) || !has(SYN) => (stays, Back::Nothing),
            () if !has(ACK) => (State::SynReceived, Back::SynAck),
            () if has(FIN) => (State::CloseWait, Back::Ack),
            () => (State::Established, Back::Ack),
        };
    }
    let data = !payload.is_empty();
    let length = payload.len() as u32 + u32::from(has(SYN)) + u32::from(has(FIN));
    // First, the number. What begins just before the window is acceptable if it reaches into it.
    let acceptable = match at {
        At::Left | At::Inside | At::Last => true,
        At::JustBefore => length >= 2,
        At::Old | At::Behind | At::Future => false,
    };
    if !acceptable {
        let syn_again = stays == State::SynReceived && has(SYN) && at == At::JustBefore;
        return match () {
            () if has(RST) => (stays, Back::Nothing),
            () if syn_again => (stays, Back::SynAck),
            () => (stays, Back::Ack),
        };
    }
    // Second, RST: only at the very edge (RFC 5961 §3).
    if has(RST) {
        return if at == At::Left { (State::Closed, Back::Nothing) } else { (stays, Back::Ack) };
    }
    // Fourth, SYN: a passive half-open connection goes back to LISTEN; others challenge (RFC 5961 §4).
    if has(SYN) {
        let listens = start == Start::PassiveSynReceived;
        return if listens { (State::Closed, Back::Nothing) } else { (stays, Back::Ack) };
    }
    // Fifth, ACK.
    if !has(ACK) {
        return (stays, Back::Nothing);
    }
    let mut state = stays;
    if stays == State::SynReceived {
        if acks != Acks::All {
            return (stays, Back::Reset);
        }
        state = State::Established;
    } else if matches!(acks, Acks::Unsent | Acks::Ancient) {
        return (stays, Back::Ack);
    }
    // In FIN_WAIT_2 everything is acknowledged already.
    if acks == Acks::All {
        state = match state {
            State::FinWait1 => State::FinWait2,
            State::Closing => State::TimeWait,
            State::LastAck => return (State::Closed, Back::Nothing),
            other => other,
        };
    }
    // Seventh and eighth: text, and FIN once everything before it is there.
    if !matches!(state, State::Established | State::FinWait1 | State::FinWait2) || !(data || has(FIN)) {
        return (state, Back::Nothing);
    }
    let complete = matches!(at, At::Left | At::JustBefore);
    if has(FIN) && complete {
        state = match state {
            State::Established => State::CloseWait,
            State::FinWait1 => State::Closing,
            State::FinWait2 => State::TimeWait,
            other => other,
        };
        return (state, Back::Ack);
    }
    // Data in order may be acknowledged later.
    (state, if complete { Back::Nothing } else { Back::Ack })
}

#[test]
fn every_segment_in_every_state_does_what_the_rfc_says() {
    let mut cases = 0;
    for start in STARTS {
        for flags in 0..64 {
            for at in ATS {
                for acks in ACKS {
                    for payload in [&[][..], &[7; 10]] {
                        case(start, flags, at, acks, payload);
                        cases += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cases, 9 * 64 * 7 * 4 * 2);
}

fn case(start: Start, flags: u8, at: At, acks: Acks, payload: &[u8]) {
    let mut world = World::new();
    let mut tcb = world.start(start);
    let edge = if start == Start::SynSent { IRS } else { tcb.rcv_nxt };
    let window = if start == Start::SynSent { 1000 } else { tcb.receive_window() };
    let seq = match at {
        At::Old => edge.minus(1000),
        At::JustBefore => edge.minus(1),
        At::Left => edge,
        At::Inside => edge.plus(window / 2),
        At::Last => edge.plus(window - 1),
        At::Behind => edge.plus(window),
        At::Future => edge.plus(window + 1000),
    };
    let ack = match acks {
        Acks::Ancient => tcb.una.minus(5000),
        Acks::Again => tcb.una,
        Acks::All => tcb.nxt,
        Acks::Unsent => tcb.nxt.plus(1),
    };
    // In FIN_WAIT_2 nothing is outstanding: again is all.
    let (snd_una, rcv_nxt) = (tcb.una, tcb.rcv_nxt);
    let answer = world.give(&mut tcb, flags, seq, ack, payload);
    let named = format!("{start:?}, flags {flags:06b}, {at:?}, {acks:?}, {} bytes", payload.len());
    let back = match answer {
        Answer::Reset(header) => {
            assert_eq!((header.flags, header.seq), (RST, ack), "{named}");
            Back::Reset
        }
        Answer::Acknowledge => Back::Ack,
        Answer::Nothing if tcb.state == State::Closed => Back::Nothing,
        Answer::Nothing if tcb.due == Due::Now && tcb.state == State::TimeWait => Back::Ack,
        Answer::Nothing => {
            let sent = world.drain(&mut tcb);
            let first = sent.first().copied();
            match first {
                None => Back::Nothing,
                Some(flags) if flags & (SYN | ACK) == SYN | ACK => Back::SynAck,
                Some(flags) if flags & (SYN | ACK) == ACK => Back::Ack,
                Some(flags) => panic!("{named}: sends {flags:06b}"),
            }
        }
    };
    assert_eq!((tcb.state, back), expected(start, flags, at, acks, payload), "{named}");
    // What no acceptable segment said changed nothing.
    if tcb.state == start.state() && !(flags & ACK != 0 && acks == Acks::All) {
        assert_eq!(tcb.una, snd_una, "{named}");
    }
    if flags & RST != 0 && tcb.state != State::Closed {
        assert_eq!(tcb.rcv_nxt, rcv_nxt, "{named}");
    }
    if tcb.state == State::Closed && flags & RST != 0 {
        let opened = matches!(start, Start::SynSent | Start::ActiveSynReceived);
        let error = if opened { Error::ConnectionRefused } else { Error::ConnectionReset };
        assert_eq!(tcb.error, Some(error), "{named}");
    }
    if tcb.state != State::Closed {
        tcb.check(&world.config);
    }
    tcb.release(&mut world.pool);
    assert_eq!(world.pool.used(), 0, "{named}");
}

#[test]
fn listeners_closed_ports_and_time_wait_answer_every_flag_as_the_rfc_says() {
    let tuple =
        Tuple { local: Ipv4Addr::LOCALHOST, remote: Ipv4Addr::LOCALHOST, local_port: 1, remote_port: 2 };
    let mut table = TimeWait::new(1);
    let index = table.insert(tuple, 0, ISS, IRS, Instant::NEVER);
    let entry = *table.get(index).expect("just inserted");
    for flags in 0..64_u8 {
        for offset in [-1000_i32, -1, 0, 1, 1000] {
            for payload in [&[][..], &[7; 10]] {
                let seq = Seq(IRS.0.wrapping_add_signed(offset));
                let header = Header::bare(flags, seq, Seq(99));
                let segment = Segment { header, payload };
                let has = |flag| flags & flag != 0;
                let length = payload.len() as u32 + u32::from(has(SYN)) + u32::from(has(FIN));
                // §3.10.7.1
                let closed = match () {
                    () if has(RST) => listen::Verdict::Ignore,
                    () if has(ACK) => listen::Verdict::Reset(Header::bare(RST, Seq(99), Seq(0))),
                    () => listen::Verdict::Reset(Header::bare(RST | ACK, Seq(0), seq.plus(length))),
                };
                assert_eq!(listen::closed(&segment), closed, "{flags:06b}");
                // §3.10.7.2; a SYN with FIN is nobody's.
                let listening = match () {
                    () if has(RST) => listen::Verdict::Ignore,
                    () if has(ACK) => closed,
                    () if has(SYN) && !has(FIN) => listen::Verdict::Open,
                    () => listen::Verdict::Ignore,
                };
                assert_eq!(listen::listen(&segment), listening, "{flags:06b}");
                // §3.10.7.4 in TIME_WAIT, RFC 1337, RFC 1122 §4.2.2.13.
                let waiting = match () {
                    () if has(RST) => time_wait::Verdict::Ignore,
                    () if has(SYN) && !has(ACK) && !has(FIN) && offset > 0 => time_wait::Verdict::Reopen,
                    () if has(SYN) => time_wait::Verdict::Acknowledge,
                    () if length == 0 && offset == 0 => time_wait::Verdict::Ignore,
                    () if has(FIN) => time_wait::Verdict::Restart,
                    () => time_wait::Verdict::Acknowledge,
                };
                assert_eq!(entry.verdict(&segment), waiting, "{flags:06b} {offset}");
            }
        }
    }
}
