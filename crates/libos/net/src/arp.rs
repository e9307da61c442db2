//! Who has which Ethernet address (RFC 826), believed with care.
//!
//! An answer counts only while we ask for it. A request to us may add an entry, because its sender is about to be answered, but
//! never changes one: a claim that differs is counted, and we ask. So a station that shouts cannot redirect what we send.

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use smoltcp::wire::{ArpOperation, ArpRepr, EthernetAddress};

use crate::random::Random;
use crate::stats::Stats;
use crate::time::{Instant, SECOND};

const WAYS: usize = 4;
const SETS: usize = 64;
/// Neighbours asked for at once.
const PENDING: usize = 8;
/// How long an entry is used.
const LIFETIME: u64 = 60 * SECOND;
/// An entry in use that is so old is asked for again, while it is used.
const REFRESH: u64 = 45 * SECOND;
/// Requests for one neighbour, a second apart: one round in two hundred fails on a wire that loses a fifth.
const TRIES: u8 = 5;

#[derive(Clone, Copy)]
struct Entry {
    address: Ipv4Addr,
    station: EthernetAddress,
    learned: Instant,
}

const NOTHING: Entry =
    Entry { address: Ipv4Addr::UNSPECIFIED, station: EthernetAddress([0; 6]), learned: Instant::NEVER };

/// A neighbour that is being asked for, and the packet that waits for it.
pub(crate) struct Pending {
    address: Ipv4Addr,
    /// Requests that may still go out; the place is free when `at` is NEVER.
    tries: u8,
    at: Instant,
    /// An IPv4 packet; empty: none.
    packet: Vec<u8>,
    /// The answer came.
    station: Option<EthernetAddress>,
}

/// What a pending neighbour needs done.
pub(crate) enum Work {
    /// Ask for this address.
    Request(Ipv4Addr),
    /// Send this packet there.
    Send(EthernetAddress, Vec<u8>),
    /// Nobody answered for this packet.
    GiveUp(Vec<u8>),
}

pub(crate) struct Neighbours {
    sets: Vec<[Entry; WAYS]>,
    pending: [Pending; PENDING],
    /// A secret odd number. Multiplication by it spreads addresses evenly enough: who fills one set pushes nobody out.
    multiplier: u64,
}

impl Neighbours {
    pub(crate) fn new(random: &mut Random) -> Self {
        let free = || Pending {
            address: Ipv4Addr::UNSPECIFIED,
            tries: 0,
            at: Instant::NEVER,
            packet: Vec::new(),
            station: None,
        };
        Self {
            sets: vec![[NOTHING; WAYS]; SETS],
            pending: core::array::from_fn(|_| free()),
            multiplier: random.next() | 1,
        }
    }

    fn set(&mut self, address: Ipv4Addr) -> Option<&mut [Entry; WAYS]> {
        let hash = u64::from(u32::from(address)).wrapping_mul(self.multiplier) >> 32;
        self.sets.get_mut(hash as usize % SETS)
    }

    /// The station of `address`, if it is known.
    pub(crate) fn find(&mut self, address: Ipv4Addr, now: Instant) -> Option<EthernetAddress> {
        let entry = *self.set(address)?.iter().find(|entry| entry.address == address)?;
        let age = now.since(entry.learned);
        if age >= REFRESH {
            self.ask(address, now);
        }
        (age < LIFETIME).then_some(entry.station)
    }

    /// Asks for `address`. The place for a packet that waits, if there is one.
    pub(crate) fn ask(&mut self, address: Ipv4Addr, now: Instant) -> Option<&mut Vec<u8>> {
        let known = self.pending.iter().position(|p| p.at != Instant::NEVER && p.address == address);
        let place = known.or_else(|| self.pending.iter().position(|p| p.at == Instant::NEVER))?;
        let pending = self.pending.get_mut(place)?;
        if known.is_none() {
            pending.address = address;
            pending.tries = TRIES;
            pending.at = now;
            pending.station = None;
            pending.packet.clear();
        }
        pending.packet.is_empty().then_some(&mut pending.packet)
    }

    fn learn(&mut self, address: Ipv4Addr, station: EthernetAddress, now: Instant, evict: Evict) {
        let Some(set) = self.set(address) else { return };
        let age =
            |entry: &Entry| if entry.learned == Instant::NEVER { u64::MAX } else { now.since(entry.learned) };
        let place = match set.iter().position(|entry| entry.address == address) {
            Some(place) => place,
            None => {
                let Some((place, oldest)) = set.iter().enumerate().max_by_key(|(_, entry)| age(entry)) else {
                    return;
                };
                if evict == Evict::Expired && age(oldest) < LIFETIME {
                    return;
                }
                place
            }
        };
        if let Some(entry) = set.get_mut(place) {
            *entry = Entry { address, station, learned: now };
        }
    }

    /// Takes a packet; the answer, if it asks for us.
    pub(crate) fn on_packet(
        &mut self,
        packet: &ArpRepr,
        ours: (Ipv4Addr, EthernetAddress),
        now: Instant,
        stats: &mut Stats,
    ) -> Option<ArpRepr> {
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: station,
            source_protocol_addr: address,
            target_hardware_addr: target_station,
            target_protocol_addr: target,
        } = *packet
        else {
            stats.arp_ignored += 1;
            return None;
        };
        if !station.is_unicast() || station == ours.1 {
            stats.arp_ignored += 1;
            return None;
        }
        if address == ours.0 {
            stats.arp_conflicts += 1;
            return None;
        }
        match operation {
            ArpOperation::Reply => {
                let pending =
                    self.pending.iter_mut().find(|p| p.at != Instant::NEVER && p.address == address);
                match pending {
                    Some(pending)
                        if target == ours.0 && target_station == ours.1 && pending.station.is_none() =>
                    {
                        pending.station = Some(station);
                        pending.at = now;
                        self.learn(address, station, now, Evict::Oldest);
                    }
                    _ => stats.arp_ignored += 1,
                }
                None
            }
            ArpOperation::Request if target == ours.0 => {
                if !address.is_unspecified() {
                    self.on_asked(address, station, now, stats);
                }
                Some(ArpRepr::EthernetIpv4 {
                    operation: ArpOperation::Reply,
                    source_hardware_addr: ours.1,
                    source_protocol_addr: ours.0,
                    target_hardware_addr: station,
                    target_protocol_addr: address,
                })
            }
            _ => {
                stats.arp_ignored += 1;
                None
            }
        }
    }

    /// `address` asks for us, and says where it is.
    fn on_asked(&mut self, address: Ipv4Addr, station: EthernetAddress, now: Instant, stats: &mut Stats) {
        let known =
            self.set(address).and_then(|set| set.iter().find(|entry| entry.address == address)).copied();
        match known {
            Some(entry) if now.since(entry.learned) < LIFETIME => {
                if entry.station != station {
                    stats.arp_conflicts += 1;
                    self.ask(address, now);
                }
            }
            _ => self.learn(address, station, now, Evict::Expired),
        }
    }

    /// One thing that is to be done now.
    pub(crate) fn work(&mut self, now: Instant, stats: &mut Stats) -> Option<Work> {
        loop {
            let pending = self.pending.iter_mut().find(|pending| pending.at <= now)?;
            let packet = |pending: &mut Pending| {
                pending.at = Instant::NEVER;
                core::mem::take(&mut pending.packet)
            };
            if let Some(station) = pending.station {
                let packet = packet(pending);
                if packet.is_empty() {
                    continue;
                }
                return Some(Work::Send(station, packet));
            }
            if pending.tries == 0 {
                stats.arp_unanswered += 1;
                return Some(Work::GiveUp(packet(pending)));
            }
            pending.tries -= 1;
            pending.at = now.after(SECOND);
            return Some(Work::Request(pending.address));
        }
    }

    /// When [`Neighbours::work`] has something to do.
    pub(crate) fn next(&self) -> Instant {
        self.pending.iter().map(|pending| pending.at).min().unwrap_or(Instant::NEVER)
    }

    /// Forgets everything: the network may be another one.
    pub(crate) fn clear(&mut self) {
        self.sets.fill([NOTHING; WAYS]);
        for pending in &mut self.pending {
            pending.at = Instant::NEVER;
            pending.packet.clear();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Evict {
    Oldest,
    /// Who was not asked for pushes nobody out.
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: (Ipv4Addr, EthernetAddress) = (Ipv4Addr::new(10, 0, 0, 1), EthernetAddress([2, 0, 0, 0, 0, 1]));
    const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const GOOD: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);
    const EVIL: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 66]);

    fn says(operation: ArpOperation, station: EthernetAddress) -> ArpRepr {
        ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: station,
            source_protocol_addr: PEER,
            target_hardware_addr: US.1,
            target_protocol_addr: US.0,
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * SECOND)
    }

    #[test]
    fn an_answer_nobody_asked_for_changes_nothing() {
        let (mut table, mut stats) = (Neighbours::new(&mut Random::new([1, 1])), Stats::default());
        table.on_packet(&says(ArpOperation::Reply, EVIL), US, at(1), &mut stats);
        assert_eq!((table.find(PEER, at(1)), stats.arp_ignored), (None, 1));
        table.ask(PEER, at(1)).expect("a place").push(1);
        assert!(matches!(table.work(at(1), &mut stats), Some(Work::Request(PEER))));
        table.on_packet(&says(ArpOperation::Reply, GOOD), US, at(2), &mut stats);
        table.on_packet(&says(ArpOperation::Reply, EVIL), US, at(2), &mut stats);
        assert_eq!((table.find(PEER, at(2)), stats.arp_ignored), (Some(GOOD), 2));
        assert!(matches!(table.work(at(2), &mut stats), Some(Work::Send(GOOD, packet)) if packet == [1]));
        assert_eq!(table.next(), Instant::NEVER);
    }

    #[test]
    fn a_request_adds_its_sender_but_does_not_change_it() {
        let (mut table, mut stats) = (Neighbours::new(&mut Random::new([1, 1])), Stats::default());
        assert!(table.on_packet(&says(ArpOperation::Request, GOOD), US, at(1), &mut stats).is_some());
        assert_eq!(table.find(PEER, at(1)), Some(GOOD));
        assert!(table.on_packet(&says(ArpOperation::Request, EVIL), US, at(2), &mut stats).is_some());
        assert_eq!((table.find(PEER, at(2)), stats.arp_conflicts), (Some(GOOD), 1));
        assert!(matches!(table.work(at(2), &mut stats), Some(Work::Request(PEER))), "it asks who is right");
        assert_eq!(table.find(PEER, at(61)), None, "it has expired");
    }

    #[test]
    fn a_neighbour_that_never_answers_is_given_up_with_its_packet() {
        let (mut table, mut stats) = (Neighbours::new(&mut Random::new([1, 1])), Stats::default());
        table.ask(PEER, at(1)).expect("a place").push(9);
        assert!(table.ask(PEER, at(1)).is_none(), "one packet waits already");
        for second in 1..=5 {
            assert_eq!(table.next(), at(second));
            assert!(matches!(table.work(at(second), &mut stats), Some(Work::Request(PEER))));
            assert!(table.work(at(second), &mut stats).is_none());
        }
        assert!(matches!(table.work(at(6), &mut stats), Some(Work::GiveUp(packet)) if packet == [9]));
        assert_eq!(stats.arp_unanswered, 1);
    }
}
