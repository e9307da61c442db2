//! The connections of one stack: which segment belongs to which.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::list::{Linked, Links, List, NONE};
use super::listen::{self, Verdict};
use super::segment::{ACK, Header, RST, Segment, Tuple};
use super::seq::Seq;
use super::tcb::{Answer, Env, Tcb};
use super::time_wait::{self, TimeWait};
use crate::error::Error;
use crate::events::Events;
use crate::random::{Key, Random, sip};
use crate::rate::Bucket;
use crate::table::Table;
use crate::time::Instant;
use crate::wheel::Wheel;

/// In the table: the number is a place in TIME_WAIT's.
pub(super) const WAITING: u32 = 1 << 31;

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Nobody's: the place is free.
    Free,
    /// A listener's, before the handshake is complete.
    HalfOpen(u32),
    /// A listener's, complete.
    Complete(u32),
    Application,
    /// It was closed, and ends by itself.
    Nobody,
}

pub(super) struct Slot {
    pub(super) tcb: Tcb,
    pub(super) tuple: Tuple,
    pub(super) hash: u32,
    pub(super) generation: u32,
    pub(super) owner: Owner,
    pub(super) links: Links,
    /// It is in the table.
    pub(super) hashed: bool,
    /// It is in the queue of those that may have something to send.
    pub(super) sending: bool,
    /// It is in the queue of events.
    pub(super) told: bool,
}

/// What an open connection costs, besides its data and 24 bytes of its timer.
const _: () = assert!(size_of::<Slot>() <= 352);

pub(super) struct Slots(pub(super) Vec<Slot>);

impl Linked for Slots {
    fn links(&mut self, index: u32) -> Option<&mut Links> {
        self.0.get_mut(index as usize).map(|slot| &mut slot.links)
    }
}

pub(super) struct Listening {
    pub(super) port: u16,
    pub(super) generation: u32,
    pub(super) backlog: usize,
    pub(super) half_open: List,
    pub(super) complete: List,
    pub(super) told: bool,
}

/// What answers a segment at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// A segment of no connection.
    Segment(Tuple, Header),
    /// An acknowledgement by a connection.
    Acknowledge(u32),
}

pub(crate) struct Tcp {
    pub(super) slots: Slots,
    pub(super) free: Vec<u32>,
    limit: usize,
    pub(super) table: Table,
    pub(super) time_wait: TimeWait,
    pub(super) wheel: Wheel,
    /// Connections that may have something to send, each once.
    pub(super) output: VecDeque<u32>,
    pub(super) listeners: Vec<Listening>,
    /// Ports with a listener, in order, and which.
    pub(super) ports: Vec<(u16, u32)>,
    /// The first of every handle's generations: a stack that began anew refuses handles from before.
    pub(super) generation: u32,
    hash_key: Key,
    iss_key: Key,
    /// Answers in TIME_WAIT, where two confused ends could answer each other for ever.
    waiting_answers: Bucket,
}

impl Tcp {
    pub(crate) fn new(connections: usize, time_wait: usize, random: &mut Random, now: Instant) -> Self {
        Self {
            slots: Slots(Vec::new()),
            free: Vec::new(),
            limit: connections.min(WAITING as usize - 1),
            table: Table::new(),
            time_wait: TimeWait::new(time_wait),
            wheel: Wheel::new(now),
            output: VecDeque::new(),
            listeners: Vec::new(),
            ports: Vec::new(),
            generation: random.next() as u32,
            hash_key: random.key(),
            iss_key: random.key(),
            waiting_answers: Bucket::new(100, 1000),
        }
    }

    pub(super) fn hash(&self, tuple: &Tuple) -> u32 {
        sip::<1, 3>(self.hash_key, &words(tuple)) as u32
    }

    /// RFC 6528: a clock of 4 µs and a keyed function of the connection.
    pub(super) fn iss(&self, tuple: &Tuple, now: Instant) -> Seq {
        Seq((sip::<2, 4>(self.iss_key, &words(tuple)) as u32).wrapping_add((now.micros() / 4) as u32))
    }

    pub(super) fn find(&self, hash: u32, tuple: &Tuple) -> Option<u32> {
        self.table.find(hash, |value| {
            if value & WAITING == 0 {
                self.slots.0.get(value as usize).is_some_and(|slot| slot.tuple == *tuple)
            } else {
                self.time_wait.get(value & !WAITING).is_some_and(|entry| entry.tuple == *tuple)
            }
        })
    }

    /// Takes one segment. `mss` is what the link carries.
    pub(crate) fn on_packet(
        &mut self,
        tuple: &Tuple,
        segment: &Segment,
        mss: u16,
        env: &mut Env,
        events: &mut Events,
    ) -> Option<Reply> {
        env.stats.tcp_in += 1;
        let hash = self.hash(tuple);
        match self.find(hash, tuple) {
            Some(value) if value & WAITING != 0 => {
                self.on_waiting(value & !WAITING, hash, tuple, segment, mss, env)
            }
            Some(index) => self.on_connection(index, segment, env, events),
            None => self.on_stranger(None, hash, tuple, segment, mss, env),
        }
    }

    fn on_connection(
        &mut self,
        index: u32,
        segment: &Segment,
        env: &mut Env,
        events: &mut Events,
    ) -> Option<Reply> {
        let slot = self.slots.0.get_mut(index as usize)?;
        if let Owner::HalfOpen(listener) = slot.owner
            && segment.has(ACK)
            && !segment.has(RST)
            && self.listeners.get(listener as usize).is_some_and(|l| l.complete.len >= l.backlog)
        {
            // The peer sends it again when the application has accepted some.
            env.stats.tcp_backlog_full += 1;
            return None;
        }
        let answer = slot.tcb.on_segment(segment, env);
        let tuple = slot.tuple;
        let last = self.after(index, env, events);
        match answer {
            Answer::Nothing => last.map(|header| Reply::Segment(tuple, header)),
            Answer::Acknowledge => Some(Reply::Acknowledge(index)),
            Answer::Reset(header) => {
                env.stats.tcp_resets_out += 1;
                Some(Reply::Segment(tuple, header))
            }
        }
    }

    fn on_waiting(
        &mut self,
        index: u32,
        hash: u32,
        tuple: &Tuple,
        segment: &Segment,
        mss: u16,
        env: &mut Env,
    ) -> Option<Reply> {
        let entry = *self.time_wait.get(index)?;
        let verdict = entry.verdict(segment);
        match verdict {
            time_wait::Verdict::Ignore => return None,
            time_wait::Verdict::Reopen => {
                if self.listener_of(tuple.local_port).is_some() {
                    env.stats.tcp_time_wait_reused += 1;
                    self.table.remove(hash, index | WAITING);
                    self.time_wait.remove(index);
                    return self.on_stranger(Some(entry.snd_nxt), hash, tuple, segment, mss, env);
                }
            }
            time_wait::Verdict::Restart => self.time_wait.restart(index, env.now.after(env.config.time_wait)),
            time_wait::Verdict::Acknowledge => {}
        }
        if !self.waiting_answers.take(env.now) {
            return None;
        }
        Some(Reply::Segment(*tuple, Header::bare(ACK, entry.snd_nxt, entry.rcv_nxt)))
    }

    /// A segment of no connection. `after`: a new connection's numbers begin behind this one.
    fn on_stranger(
        &mut self,
        after: Option<Seq>,
        hash: u32,
        tuple: &Tuple,
        segment: &Segment,
        mss: u16,
        env: &mut Env,
    ) -> Option<Reply> {
        let listener = self.listener_of(tuple.local_port);
        let verdict = if listener.is_some() { listen::listen(segment) } else { listen::closed(segment) };
        match (verdict, listener) {
            (Verdict::Reset(header), _) => {
                env.stats.tcp_resets_out += 1;
                Some(Reply::Segment(*tuple, header))
            }
            (Verdict::Open, Some(listener)) => {
                let mut iss = self.iss(tuple, env.now);
                if let Some(old) = after
                    && !iss.is_after(old)
                {
                    iss = old.plus(1 + (iss.0 & 0xffff));
                }
                self.open(listener, iss, hash, tuple, segment, mss, env);
                None
            }
            _ => None,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of on_stranger, with what it found")]
    fn open(
        &mut self,
        listener: u32,
        iss: Seq,
        hash: u32,
        tuple: &Tuple,
        syn: &Segment,
        mss: u16,
        env: &mut Env,
    ) {
        let Some(listening) = self.listeners.get(listener as usize) else { return };
        if listening.complete.len >= listening.backlog {
            env.stats.tcp_backlog_full += 1;
            return;
        }
        if listening.half_open.len >= listening.backlog {
            env.stats.tcp_half_open_dropped += 1;
            let oldest = listening.half_open.first;
            self.discard(oldest, env);
        }
        let tcb = Tcb::answer(syn, iss, mss, env.config);
        let Some(index) = self.add(tcb, Owner::HalfOpen(listener), hash, *tuple) else {
            env.stats.tcp_no_connection += 1;
            return;
        };
        if let Some(listening) = self.listeners.get_mut(listener as usize) {
            listening.half_open.push(&mut self.slots, index);
        }
        self.want_output(index);
    }

    /// Takes a place for a connection and enters it into the table.
    pub(super) fn add(&mut self, tcb: Tcb, owner: Owner, hash: u32, tuple: Tuple) -> Option<u32> {
        let links = Links { next: NONE, previous: NONE };
        let index = match self.free.pop() {
            Some(index) => {
                let slot = self.slots.0.get_mut(index as usize)?;
                slot.tcb = tcb;
                (slot.owner, slot.tuple, slot.hash, slot.links) = (owner, tuple, hash, links);
                slot.hashed = true;
                index
            }
            None => {
                let index = self.slots.0.len();
                if index >= self.limit {
                    return None;
                }
                self.slots.0.push(Slot {
                    tcb,
                    tuple,
                    hash,
                    generation: self.generation,
                    owner,
                    links,
                    hashed: true,
                    sending: false,
                    told: false,
                });
                self.wheel.grow(index + 1);
                // So that giving it back allocates nothing; there is nothing in it now.
                self.free.reserve(index + 1);
                index as u32
            }
        };
        self.table.insert(hash, index);
        Some(index)
    }

    pub(super) fn want_output(&mut self, index: u32) {
        if let Some(slot) = self.slots.0.get_mut(index as usize)
            && !core::mem::replace(&mut slot.sending, true)
        {
            self.output.push_back(index);
        }
    }

    /// A packet that could not be sent, or a router's word about one: the connection attempt it belongs to ends.
    pub(crate) fn on_unreachable(
        &mut self,
        tuple: &Tuple,
        seq: Seq,
        error: Error,
        env: &mut Env,
        events: &mut Events,
    ) {
        if let Some(index) = self.find(self.hash(tuple), tuple)
            && let Some(slot) = self.slots.0.get_mut(index as usize)
        {
            slot.tcb.on_unreachable(seq, error, env);
            self.after(index, env, events);
        }
    }

    /// A router's word that segments are too large.
    pub(crate) fn on_smaller_mss(&mut self, tuple: &Tuple, seq: Seq, mss: u16) {
        if let Some(index) = self.find(self.hash(tuple), tuple)
            && let Some(slot) = self.slots.0.get_mut(index as usize)
        {
            slot.tcb.on_smaller_mss(seq, mss);
            self.want_output(index);
        }
    }

    pub(super) fn listener_of(&self, port: u16) -> Option<u32> {
        let at = self.ports.binary_search_by_key(&port, |(port, _)| *port).ok()?;
        self.ports.get(at).map(|(_, listener)| *listener)
    }

    /// Connections in use, without TIME_WAIT.
    pub(crate) fn connections(&self) -> usize {
        self.slots.0.len() - self.free.len()
    }

    /// Connections in TIME_WAIT.
    pub(crate) fn waiting(&self) -> usize {
        self.time_wait.len()
    }
}

#[inline(always)]
fn words(tuple: &Tuple) -> [u64; 2] {
    let [local, remote] = [u32::from(tuple.local), u32::from(tuple.remote)].map(u64::from);
    [local << 32 | remote, u64::from(tuple.local_port) << 16 | u64::from(tuple.remote_port)]
}
