//! What an application asks of TCP.

use core::net::Ipv4Addr;

use super::connections::{Listening, Owner, Slot, Tcp};
use super::list::{List, NONE};
use super::segment::{ACK, Header, RST, Tuple};
use super::tcb::{Coalescing, Due, Env, Fin, Reader, State, Tcb};
use crate::error::Error;
use crate::events::{Connection, Events, Listener};
use crate::pool::Claim;
use crate::random::Random;
use crate::ready::Ready;

/// RFC 6335: the ports that nobody registers.
const FIRST_EPHEMERAL: u16 = 49_152;
const EPHEMERAL: u16 = 16_384;

impl Tcb {
    /// How many bytes of `data` were taken.
    pub(super) fn write(&mut self, data: &[u8], env: &mut Env) -> Result<usize, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.fin != Fin::No || matches!(self.state, State::Closed | State::TimeWait) {
            return Err(Error::Closed);
        }
        if matches!(self.state, State::SynSent | State::SynReceived) {
            self.writer_waits = true;
            return Err(Error::WouldBlock);
        }
        let room = env.config.send_buffer.saturating_sub(self.send_len) as usize;
        let taking = data.get(..room.min(data.len())).unwrap_or(data);
        self.writer_waits = taking.len() < data.len();
        if taking.is_empty() && !data.is_empty() {
            return Err(Error::WouldBlock);
        }
        let taken = self.send.write(env.pool, self.send_len as usize, taking, Claim::Spare);
        self.send_len += taken as u32;
        if taken < taking.len() {
            env.stats.tcp_no_buffers += 1;
            self.writer_waits = true;
            if taken == 0 {
                return Err(Error::NoBuffers);
            }
        }
        Ok(taken)
    }

    fn read(&mut self, into: &mut [u8], env: &mut Env) -> Result<usize, Error> {
        let count = into.len().min(self.receive_len as usize);
        if let (Some(part), true) = (into.get_mut(..count), count > 0) {
            self.receive.read(env.pool, 0, part);
            self.receive_len -= count as u32;
            if self.receive_len == 0 && self.ranges.is_empty() {
                self.receive.clear(env.pool);
            } else {
                self.receive.consume(env.pool, count);
            }
            self.tell_window(env);
            return Ok(count);
        }
        if self.receive_len > 0 {
            return Ok(0);
        }
        match (self.error, self.state) {
            (Some(error), _) => Err(error),
            (None, State::Closed | State::TimeWait | State::CloseWait | State::LastAck | State::Closing) => {
                Ok(0)
            }
            _ => Err(Error::WouldBlock),
        }
    }

    /// Half a buffer or two segments more than the peer knows of are worth a segment.
    fn tell_window(&mut self, env: &Env) {
        if !matches!(self.state, State::Established | State::FinWait1 | State::FinWait2) {
            return;
        }
        let free = env.config.receive_buffer.saturating_sub(self.receive_len);
        let news = free.saturating_sub(self.receive_window());
        if news >= (2 * u32::from(self.mss)).min(env.config.receive_buffer / 2) {
            self.due = Due::Now;
        }
    }

    /// Ends this side's data.
    pub(super) fn shutdown(&mut self) -> Result<(), Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.fin != Fin::No || matches!(self.state, State::Closed | State::TimeWait) {
            return Err(Error::Closed);
        }
        self.fin = Fin::Queued;
        match self.state {
            State::Established => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            _ => {}
        }
        Ok(())
    }
}

impl Tcp {
    /// Takes `port` for a listener.
    pub(crate) fn listen(&mut self, port: u16, backlog: usize) -> Result<Listener, Error> {
        if port == 0 {
            return Err(Error::InvalidAddress);
        }
        let Err(at) = self.ports.binary_search_by_key(&port, |(port, _)| *port) else {
            return Err(Error::AddressInUse);
        };
        let fresh = |generation| Listening {
            port,
            generation,
            backlog: backlog.max(1),
            half_open: List::new(),
            complete: List::new(),
            told: false,
        };
        // A place that had port 0 is free.
        let index = match self.listeners.iter().position(|listening| listening.port == 0) {
            Some(index) => {
                let place = self.listeners.get_mut(index).ok_or(Error::NoBuffers)?;
                let told = place.told;
                *place = Listening { told, ..fresh(place.generation) };
                index
            }
            None => {
                self.listeners.push(fresh(self.generation));
                self.listeners.len() - 1
            }
        } as u32;
        self.ports.insert(at, (port, index));
        let generation = self.listeners.get(index as usize).map_or(0, |listening| listening.generation);
        Ok(Listener { index, generation })
    }

    fn listening(&mut self, listener: Listener) -> Result<&mut Listening, Error> {
        let found = self.listeners.get_mut(listener.index as usize);
        found.filter(|l| l.generation == listener.generation && l.port != 0).ok_or(Error::StaleHandle)
    }

    /// Ends a listener, and resets what nobody accepted.
    pub(crate) fn unlisten(
        &mut self,
        listener: Listener,
        env: &mut Env,
    ) -> Result<Option<(Tuple, Header)>, Error> {
        let listening = self.listening(listener)?;
        let (half_open, complete) = (listening.half_open.first, listening.complete.first);
        let oldest = if half_open == NONE { complete } else { half_open };
        if let Some(slot) = self.slots.0.get(oldest as usize) {
            // One at a time: the caller sends the reset, and asks again.
            let reset = (slot.tuple, reset_of(&slot.tcb));
            self.discard(oldest, env);
            return Ok(Some(reset));
        }
        let listening = self.listening(listener)?;
        let port = core::mem::replace(&mut listening.port, 0);
        listening.generation = listening.generation.wrapping_add(1);
        self.ports.retain(|(other, _)| *other != port);
        Ok(None)
    }

    /// The oldest complete connection.
    pub(crate) fn accept(&mut self, listener: Listener, events: &mut Events) -> Result<Connection, Error> {
        let first = self.listening(listener)?.complete.first;
        let slot = self.slots.0.get_mut(first as usize).ok_or(Error::WouldBlock)?;
        slot.owner = Owner::Application;
        // That it is there is no news; that it brought data is.
        let arrived = slot.tcb.receive_len > 0 || slot.tcb.peer_fin.is_some();
        slot.tcb.events = if arrived { Ready::READABLE } else { Ready::NONE };
        let connection = Connection { index: first, generation: slot.generation };
        if let Some(listening) = self.listeners.get_mut(listener.index as usize) {
            listening.complete.remove(&mut self.slots, first);
        }
        self.tell(first, events);
        Ok(connection)
    }

    /// Begins a connection.
    pub(crate) fn connect(
        &mut self,
        local: Ipv4Addr,
        remote: (Ipv4Addr, u16),
        mss: u16,
        random: &mut Random,
        env: &mut Env,
    ) -> Result<Connection, Error> {
        // RFC 6056: from a port nobody can guess, the next that is free.
        let start = random.below(u32::from(EPHEMERAL)) as u16;
        let tuple = |step: u16| Tuple {
            local,
            remote: remote.0,
            local_port: FIRST_EPHEMERAL + start.wrapping_add(step) % EPHEMERAL,
            remote_port: remote.1,
        };
        let free = (0..EPHEMERAL).map(tuple).find(|tuple| self.find(self.hash(tuple), tuple).is_none());
        let tuple = free.ok_or(Error::AddressInUse)?;
        let hash = self.hash(&tuple);
        let tcb = Tcb::connect(self.iss(&tuple, env.now), mss, env.config);
        let index = self.add(tcb, Owner::Application, hash, tuple).ok_or(Error::NoBuffers)?;
        self.want_output(index);
        let generation = self.slots.0.get(index as usize).map_or(0, |slot| slot.generation);
        Ok(Connection { index, generation })
    }

    fn slot(&mut self, connection: Connection) -> Result<&mut Slot, Error> {
        let slot = self.slots.0.get_mut(connection.index as usize);
        slot.filter(|slot| slot.generation == connection.generation && slot.owner == Owner::Application)
            .ok_or(Error::StaleHandle)
    }

    pub(crate) fn write(
        &mut self,
        connection: Connection,
        data: &[u8],
        env: &mut Env,
    ) -> Result<usize, Error> {
        let tcb = &mut self.slot(connection)?.tcb;
        let taken = tcb.write(data, env)?;
        if tcb.wants_output() {
            self.want_output(connection.index);
        }
        Ok(taken)
    }

    pub(crate) fn read(
        &mut self,
        connection: Connection,
        into: &mut [u8],
        env: &mut Env,
    ) -> Result<usize, Error> {
        let tcb = &mut self.slot(connection)?.tcb;
        let count = tcb.read(into, env)?;
        if tcb.wants_output() {
            self.want_output(connection.index);
        }
        Ok(count)
    }

    pub(crate) fn shutdown(&mut self, connection: Connection) -> Result<(), Error> {
        self.slot(connection)?.tcb.shutdown()?;
        self.want_output(connection.index);
        Ok(())
    }

    /// Gives the handle up. A reset to send, when the peer's data will not be read.
    pub(crate) fn close(
        &mut self,
        connection: Connection,
        env: &mut Env,
    ) -> Result<Option<(Tuple, Header)>, Error> {
        let slot = self.slot(connection)?;
        if slot.tcb.receive_len > 0 && !matches!(slot.tcb.state, State::Closed | State::TimeWait) {
            // RFC 9293 §3.6.1: the peer must learn that its data was thrown away.
            return self.abort(connection, env);
        }
        match slot.tcb.state {
            State::Closed | State::TimeWait | State::SynSent => {
                self.discard(connection.index, env);
                return Ok(None);
            }
            _ => {}
        }
        // It may have been ended by `shutdown` before; then this only gives it up.
        let _ = slot.tcb.shutdown();
        slot.tcb.reader = Reader::Nobody;
        if slot.tcb.state == State::FinWait2 {
            slot.tcb.linger_at = env.now.after(env.config.time_wait);
        }
        slot.owner = Owner::Nobody;
        slot.generation = slot.generation.wrapping_add(1);
        let deadline = slot.tcb.deadline();
        self.wheel.arm(connection.index, deadline);
        self.want_output(connection.index);
        Ok(None)
    }

    /// Ends a connection at once. The reset to send.
    pub(crate) fn abort(
        &mut self,
        connection: Connection,
        env: &mut Env,
    ) -> Result<Option<(Tuple, Header)>, Error> {
        let slot = self.slot(connection)?;
        let synchronized = !matches!(slot.tcb.state, State::Closed | State::TimeWait | State::SynSent);
        let reset = synchronized.then(|| (slot.tuple, reset_of(&slot.tcb)));
        self.discard(connection.index, env);
        Ok(reset)
    }

    pub(crate) fn state(&mut self, connection: Connection) -> Result<State, Error> {
        Ok(self.slot(connection)?.tcb.state)
    }

    pub(crate) fn tuple(&mut self, connection: Connection) -> Result<Tuple, Error> {
        Ok(self.slot(connection)?.tuple)
    }

    pub(crate) fn set_coalescing(
        &mut self,
        connection: Connection,
        coalescing: Coalescing,
    ) -> Result<(), Error> {
        self.slot(connection)?.tcb.coalescing = coalescing;
        self.want_output(connection.index);
        Ok(())
    }

    /// What a source of events has to say now.
    pub(crate) fn take_event(&mut self, index: u32) -> Option<(Connection, Ready)> {
        let slot = self.slots.0.get_mut(index as usize)?;
        slot.told = false;
        let ready = core::mem::replace(&mut slot.tcb.events, Ready::NONE);
        let connection = Connection { index, generation: slot.generation };
        (slot.owner == Owner::Application && !ready.is_empty()).then_some((connection, ready))
    }

    pub(crate) fn take_accept(&mut self, index: u32) -> Option<Listener> {
        let listening = self.listeners.get_mut(index as usize)?;
        listening.told = false;
        let listener = Listener { index, generation: listening.generation };
        (listening.port != 0 && listening.complete.len > 0).then_some(listener)
    }
}

/// The reset that ends a connection from this side.
fn reset_of(tcb: &Tcb) -> Header {
    Header::bare(RST | ACK, tcb.nxt, tcb.rcv_nxt)
}
