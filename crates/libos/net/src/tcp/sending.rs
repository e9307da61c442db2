//! Segments onto the link: what connections have to say, and answers at once.

use super::connections::{Owner, Reply, Tcp};
use super::tcb::{Due, Env, State};
use crate::error::Error;
use crate::events::Events;
use crate::ipv4::{Network, Packet, SendError};
use crate::link::{Full, Link};

/// Timeouts in a row after which the neighbour's address is doubted.
const DOUBT: u8 = 3;

impl Tcp {
    /// Sends what the connections in the queue have to say.
    pub(crate) fn output<L: Link>(
        &mut self,
        network: &mut Network,
        link: &mut L,
        env: &mut Env,
        events: &mut Events,
    ) -> Result<(), Full> {
        while let Some(&index) = self.output.front() {
            let Some(slot) = self.slots.0.get_mut(index as usize) else { break };
            while let Some(sending) = slot.tcb.next_segment(env.config) {
                let (tuple, tcb) = (&slot.tuple, &mut slot.tcb);
                let header = sending.header.wire_len();
                let packet = Packet::tcp(tuple, header + sending.length);
                let fill = |into: &mut [u8]| {
                    if let Some(payload) = into.get_mut(header..) {
                        tcb.copy(env.pool, &sending, payload);
                    }
                    sending.header.emit(tuple, into);
                };
                match network.send(link, env.now, env.stats, &packet, fill) {
                    Ok(()) => {
                        env.stats.tcp_out += 1;
                        tcb.sent(&sending, env);
                        if tcb.retries >= DOUBT {
                            network.doubt(tuple.remote, env.now);
                        }
                    }
                    Err(SendError::Full) => return Err(Full),
                    Err(SendError::NoRoute) => tcb.end(Some(Error::NetworkUnreachable), env.pool),
                }
            }
            slot.tcb.after_output(env.now);
            slot.sending = false;
            let deadline = slot.tcb.deadline();
            self.output.pop_front();
            if slot.tcb.state == State::Closed && slot.owner != Owner::Free {
                self.on_closed(index, env, events);
            } else {
                self.wheel.arm(index, deadline);
            }
        }
        Ok(())
    }

    /// Sends an answer at once.
    pub(crate) fn reply<L: Link>(
        &mut self,
        reply: Reply,
        network: &mut Network,
        link: &mut L,
        env: &mut Env,
    ) {
        match reply {
            Reply::Segment(tuple, header) => {
                let packet = Packet::tcp(&tuple, header.wire_len());
                if network.send(link, env.now, env.stats, &packet, |into| header.emit(&tuple, into)).is_ok() {
                    env.stats.tcp_out += 1;
                }
            }
            Reply::Acknowledge(index) => {
                let Some(slot) = self.slots.0.get_mut(index as usize) else { return };
                let sending = slot.tcb.acknowledgement(env.config);
                let packet = Packet::tcp(&slot.tuple, sending.header.wire_len());
                let fill = |into: &mut [u8]| sending.header.emit(&slot.tuple, into);
                if network.send(link, env.now, env.stats, &packet, fill).is_ok() {
                    env.stats.tcp_out += 1;
                    slot.tcb.sent(&sending, env);
                } else {
                    slot.tcb.due = Due::Now;
                    self.want_output(index);
                }
            }
        }
    }
}
