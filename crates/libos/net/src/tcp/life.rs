//! What follows from a connection's step: it is accepted, told of, left to wait, or gone.

use super::connections::{Owner, Tcp, WAITING};
use super::segment::Header;
use super::tcb::{Due, Env, State};
use crate::error::Error;
use crate::events::{Events, Source};
use crate::time::Instant;

impl Tcp {
    /// A connection took a step: moves it to where it belongs now. A last segment to send, if it leaves.
    pub(super) fn after(&mut self, index: u32, env: &mut Env, events: &mut Events) -> Option<Header> {
        let slot = self.slots.0.get_mut(index as usize)?;
        match slot.tcb.state {
            State::Closed => {
                self.on_closed(index, env, events);
                return None;
            }
            State::TimeWait => return self.on_time_wait(index, env, events),
            State::SynReceived | State::SynSent => {}
            _ => {
                if let Owner::HalfOpen(listener) = slot.owner {
                    slot.owner = Owner::Complete(listener);
                    if let Some(listening) = self.listeners.get_mut(listener as usize) {
                        listening.half_open.remove(&mut self.slots, index);
                        listening.complete.push(&mut self.slots, index);
                        if !core::mem::replace(&mut listening.told, true) {
                            events.push_back(Source::Listener(listener));
                        }
                    }
                }
            }
        }
        let slot = self.slots.0.get_mut(index as usize)?;
        let (deadline, wants) = (slot.tcb.deadline(), slot.tcb.wants_output());
        self.wheel.arm(index, deadline);
        if wants {
            self.want_output(index);
        }
        self.tell(index, events);
        None
    }

    /// Queues an event if there is something to say.
    pub(super) fn tell(&mut self, index: u32, events: &mut Events) {
        if let Some(slot) = self.slots.0.get_mut(index as usize)
            && slot.owner == Owner::Application
            && !slot.tcb.events.is_empty()
            && !core::mem::replace(&mut slot.told, true)
        {
            events.push_back(Source::Connection(index));
        }
    }

    pub(super) fn on_closed(&mut self, index: u32, env: &mut Env, events: &mut Events) {
        self.unhash(index);
        self.wheel.disarm(index);
        match self.slots.0.get(index as usize).map(|slot| slot.owner) {
            Some(Owner::Application) => self.tell(index, events),
            Some(Owner::Free) | None => {}
            Some(_) => self.discard(index, env),
        }
    }

    /// The connection leaves the table, and a small entry takes its place. Its slot stays only while the application may read.
    pub(super) fn on_time_wait(&mut self, index: u32, env: &mut Env, events: &mut Events) -> Option<Header> {
        let slot = self.slots.0.get_mut(index as usize)?;
        let (tuple, hash) = (slot.tuple, slot.hash);
        let last = (slot.tcb.due != Due::No).then(|| slot.tcb.acknowledgement(env.config).header);
        slot.tcb.due = Due::No;
        let (snd_nxt, rcv_nxt) = (slot.tcb.nxt, slot.tcb.rcv_nxt);
        if slot.hashed {
            slot.hashed = false;
            if let Some(oldest) = self.time_wait.must_go() {
                env.stats.tcp_time_wait_evicted += 1;
                self.forget_waiting(oldest);
            }
            let until = env.now.after(env.config.time_wait);
            let waiting = self.time_wait.insert(tuple, hash, snd_nxt, rcv_nxt, until);
            self.table.replace(hash, index, waiting | WAITING);
        }
        self.wheel.disarm(index);
        match self.slots.0.get(index as usize)?.owner {
            Owner::Nobody => self.discard(index, env),
            _ => self.tell(index, events),
        }
        last
    }

    pub(super) fn forget_waiting(&mut self, waiting: u32) {
        if let Some(entry) = self.time_wait.get(waiting) {
            self.table.remove(entry.hash, waiting | WAITING);
            self.time_wait.remove(waiting);
        }
    }

    pub(super) fn unhash(&mut self, index: u32) {
        if let Some(slot) = self.slots.0.get_mut(index as usize)
            && core::mem::replace(&mut slot.hashed, false)
        {
            self.table.remove(slot.hash, index);
        }
    }

    /// Frees a connection's place and everything it has.
    pub(super) fn discard(&mut self, index: u32, env: &mut Env) {
        self.unhash(index);
        self.wheel.disarm(index);
        let Some(slot) = self.slots.0.get_mut(index as usize) else { return };
        slot.tcb.release(env.pool);
        slot.generation = slot.generation.wrapping_add(1);
        let owner = core::mem::replace(&mut slot.owner, Owner::Free);
        match owner {
            Owner::Free => return,
            Owner::HalfOpen(listener) => {
                if let Some(listening) = self.listeners.get_mut(listener as usize) {
                    listening.half_open.remove(&mut self.slots, index);
                }
            }
            Owner::Complete(listener) => {
                if let Some(listening) = self.listeners.get_mut(listener as usize) {
                    listening.complete.remove(&mut self.slots, index);
                }
            }
            Owner::Application | Owner::Nobody => {}
        }
        self.free.push(index);
    }

    /// Ends every connection and forgets TIME_WAIT: the address they used is gone.
    pub(crate) fn lose_address(&mut self, env: &mut Env, events: &mut Events) {
        for index in 0..self.slots.0.len() {
            if let Some(slot) = self.slots.0.get_mut(index)
                && slot.owner != Owner::Free
                && slot.tcb.state != State::Closed
            {
                slot.tcb.end(Some(Error::NoAddress), env.pool);
                self.on_closed(index as u32, env, events);
            }
        }
        while let Some(oldest) = self.time_wait.oldest() {
            self.forget_waiting(oldest);
        }
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, env: &mut Env, events: &mut Events) {
        while let Some(index) = self.wheel.expire(env.now) {
            if let Some(slot) = self.slots.0.get_mut(index as usize) {
                slot.tcb.on_time(env);
                self.after(index, env, events);
            }
        }
        while let Some(waiting) = self.time_wait.expired(env.now) {
            self.forget_waiting(waiting);
        }
    }

    /// When something is due.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        if self.output.is_empty() { self.wheel.next().min(self.time_wait.next(now)) } else { now }
    }

    #[cfg(test)]
    pub(crate) fn check(&self, config: &crate::config::TcpConfig) -> usize {
        let mut blocks = 0;
        let (mut hashed, mut timers) = (0, 0);
        for (index, slot) in self.slots.0.iter().enumerate() {
            let index = index as u32;
            assert_eq!(slot.sending, self.output.contains(&index));
            assert_eq!(slot.owner == Owner::Free, self.free.contains(&index));
            if slot.owner == Owner::Free {
                assert!(!slot.hashed);
                continue;
            }
            blocks += slot.tcb.check(config);
            hashed += usize::from(slot.hashed);
            assert_eq!(slot.hashed, !matches!(slot.tcb.state, State::Closed | State::TimeWait));
            if slot.hashed {
                assert_eq!(self.find(slot.hash, &slot.tuple), Some(index));
                timers += 1;
                assert!(
                    slot.sending || self.wheel.is_in_time(index, slot.tcb.deadline()),
                    "{:?}",
                    slot.tcb.state
                );
            }
        }
        assert!(self.wheel.check() <= timers);
        for waiting in self.time_wait.check() {
            let entry = self.time_wait.get(waiting).expect("it is in the list");
            assert_eq!(self.find(entry.hash, &entry.tuple), Some(waiting | WAITING));
            hashed += 1;
        }
        assert_eq!(self.table.check(), hashed);
        blocks
    }
}
