//! A connection's moments, and what happens then.

use super::tcb::{Due, Env, State, Tcb};
use crate::error::Error;
use crate::time::{Instant, SECOND};

/// Keep-alive probes that may stay unanswered, and the time between them.
const KEEP_ALIVE_PROBES: u8 = 9;
const KEEP_ALIVE_INTERVAL: u64 = 75 * SECOND;

impl Tcb {
    /// When [`Tcb::on_time`] is wanted.
    pub(crate) fn deadline(&self) -> Instant {
        self.retransmit_at
            .min(self.persist_at)
            .min(self.acknowledge_at)
            .min(self.keep_alive_at)
            .min(self.linger_at)
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, env: &mut Env) {
        let now = env.now;
        let due = |at: Instant| at <= now;
        if due(self.acknowledge_at) {
            self.acknowledge_at = Instant::NEVER;
            self.due = Due::Now;
        }
        if due(self.linger_at) {
            self.end(None, env.pool);
            return;
        }
        if due(self.persist_at) {
            self.persist_at = Instant::NEVER;
            self.probes = self.probes.saturating_add(1);
            self.probe = true;
        }
        if due(self.retransmit_at) {
            self.on_timeout(env);
        }
        if due(self.keep_alive_at) {
            self.on_silence(env);
        }
    }

    fn on_timeout(&mut self, env: &mut Env) {
        let limit = match self.state {
            State::SynSent | State::SynReceived => env.config.syn_retries,
            _ => env.config.retries,
        };
        if self.retries >= limit {
            env.stats.tcp_failed += 1;
            self.end(Some(Error::TimedOut), env.pool);
            return;
        }
        env.stats.tcp_timeouts += 1;
        self.retries += 1;
        self.timed = None;
        self.retransmit_first = false;
        self.resend = self.una;
        // A closed window is no congestion.
        if self.window > 0 {
            let flight = self.flight();
            self.congestion.timeout(flight, self.nxt, u32::from(self.mss));
        }
        self.rtt.back_off();
        self.retransmit_at = env.now.after(self.rtt.timeout());
    }

    /// Nothing was heard for long: a segment outside the window makes the peer answer (RFC 9293 §3.8.4).
    fn on_silence(&mut self, env: &mut Env) {
        if self.silences >= KEEP_ALIVE_PROBES {
            env.stats.tcp_failed += 1;
            self.end(Some(Error::TimedOut), env.pool);
            return;
        }
        self.silences += 1;
        self.keep_alive_at = env.now.after(KEEP_ALIVE_INTERVAL);
        self.due = Due::Probe;
    }
}
