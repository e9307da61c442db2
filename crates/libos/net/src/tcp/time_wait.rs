//! Connections in TIME_WAIT, 36 bytes each, oldest first: all wait equally long, so nothing is sorted and nothing is searched.

use alloc::vec::Vec;

use super::segment::{ACK, FIN, RST, SYN, Segment, Tuple};
use super::seq::Seq;
use crate::time::Instant;

const NONE: u32 = u32::MAX;

/// One connection that waits.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) tuple: Tuple,
    pub(crate) hash: u32,
    pub(crate) snd_nxt: Seq,
    pub(crate) rcv_nxt: Seq,
    /// In units of 1,024 µs, modulo 2³².
    expires: u32,
    next: u32,
    previous: u32,
}

/// What a segment asks of a connection that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ignore,
    Acknowledge,
    /// Acknowledge, and wait from now on: the peer did not see our last acknowledgement.
    Restart,
    /// The peer opens the connection anew.
    Reopen,
}

impl Entry {
    /// RFC 9293 §3.10.7.4 in TIME_WAIT. A reset changes nothing (RFC 1337), and a SYN behind the old connection's numbers
    /// begins a new one (RFC 1122 §4.2.2.13).
    pub(crate) fn verdict(&self, segment: &Segment) -> Verdict {
        let seq = segment.header.seq;
        if segment.has(RST) {
            Verdict::Ignore
        } else if segment.has(SYN) {
            if seq.is_after(self.rcv_nxt) && !segment.has(ACK) && !segment.has(FIN) {
                Verdict::Reopen
            } else {
                Verdict::Acknowledge
            }
        } else if seq == self.rcv_nxt && segment.len() == 0 {
            Verdict::Ignore
        } else if segment.has(FIN) {
            Verdict::Restart
        } else {
            Verdict::Acknowledge
        }
    }
}

pub(crate) struct TimeWait {
    entries: Vec<Entry>,
    free: u32,
    oldest: u32,
    newest: u32,
    used: usize,
    limit: usize,
}

fn ticks(now: Instant) -> u32 {
    (now.micros() >> 10) as u32
}

impl TimeWait {
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: Vec::new(), free: NONE, oldest: NONE, newest: NONE, used: 0, limit: limit.max(1) }
    }

    pub(crate) fn len(&self) -> usize {
        self.used
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)
    }

    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.used > 0).then_some(self.oldest)
    }

    /// The one to give up before another comes, if the table is full.
    pub(crate) fn must_go(&self) -> Option<u32> {
        (self.used >= self.limit).then_some(self.oldest)
    }

    /// Adds a connection; its place. There is room: [`TimeWait::must_go`] was asked.
    pub(crate) fn insert(
        &mut self,
        tuple: Tuple,
        hash: u32,
        snd_nxt: Seq,
        rcv_nxt: Seq,
        until: Instant,
    ) -> u32 {
        let entry =
            Entry { tuple, hash, snd_nxt, rcv_nxt, expires: ticks(until), next: NONE, previous: NONE };
        let index = self.free;
        let index = match self.entries.get_mut(index as usize) {
            Some(place) => {
                self.free = place.next;
                *place = entry;
                index
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.append(index);
        self.used += 1;
        index
    }

    /// Waits from now on.
    pub(crate) fn restart(&mut self, index: u32, until: Instant) {
        self.unlink(index);
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.expires = ticks(until);
        }
        self.append(index);
    }

    pub(crate) fn remove(&mut self, index: u32) {
        self.unlink(index);
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.next = core::mem::replace(&mut self.free, index);
            self.used -= 1;
        }
    }

    /// The oldest, if its time is over.
    pub(crate) fn expired(&self, now: Instant) -> Option<u32> {
        let entry = self.get(self.oldest)?;
        (ticks(now).wrapping_sub(entry.expires) as i32 > 0).then_some(self.oldest)
    }

    /// When the oldest's time is over.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        match self.get(self.oldest) {
            Some(entry) => {
                let left = (entry.expires.wrapping_sub(ticks(now)) as i32).max(0) as u64 + 1;
                now.after(left << 10)
            }
            None => Instant::NEVER,
        }
    }

    fn append(&mut self, index: u32) {
        let last = core::mem::replace(&mut self.newest, index);
        match self.entries.get_mut(last as usize) {
            Some(entry) => entry.next = index,
            None => self.oldest = index,
        }
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.previous = last;
            entry.next = NONE;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(&Entry { next, previous, .. }) = self.get(index) else { return };
        match self.entries.get_mut(previous as usize) {
            Some(entry) => entry.next = next,
            None => self.oldest = next,
        }
        match self.entries.get_mut(next as usize) {
            Some(entry) => entry.previous = previous,
            None => self.newest = previous,
        }
    }

    #[cfg(test)]
    pub(crate) fn check(&self) -> Vec<u32> {
        let (mut found, mut at, mut previous) = (Vec::new(), self.oldest, NONE);
        while at != NONE {
            let entry = &self.entries[at as usize];
            assert_eq!(entry.previous, previous);
            found.push(at);
            (previous, at) = (at, entry.next);
        }
        assert_eq!((found.len(), self.newest), (self.used, previous));
        found
    }
}

const _: () = assert!(size_of::<Entry>() == 36);
