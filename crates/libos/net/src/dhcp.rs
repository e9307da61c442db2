//! A DHCP client (RFC 2131): gets an address, keeps it, and gives it up in time.
//!
//! It sees messages and moments only; [`crate::host`] sends and receives. Not there: INIT-REBOOT, DECLINE after a probe of the
//! offered address, options beyond mask, router and times.

use core::net::Ipv4Addr;

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, Ipv4Cidr};

use crate::ipv4::Interface;
use crate::random::Random;
use crate::time::{Instant, SECOND};

/// The client's port.
pub(crate) const CLIENT: u16 = 68;
/// The server's port.
pub(crate) const SERVER: u16 = 67;
/// The least bytes of a message that every relay passes on (RFC 1542 §2.1).
pub(crate) const MESSAGE: usize = 300;
/// Requests before another server may answer.
const TRIES: u32 = 4;
/// The options we ask for: mask, router, times.
const PARAMETERS: &[u8] = &[1, 3, 51, 58, 59];
/// A shorter lease would be all renewing.
const LEAST_LEASE: u64 = 10 * SECOND;

#[derive(Clone, Copy)]
struct Lease {
    interface: Interface,
    server: Ipv4Addr,
    renew: Instant,
    rebind: Instant,
    end: Instant,
}

#[derive(Clone, Copy)]
enum State {
    Selecting,
    Requesting { address: Ipv4Addr, server: Ipv4Addr },
    Bound(Lease),
    Renewing(Lease),
    Rebinding(Lease),
}

/// A message to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    kind: DhcpMessageType,
    /// Our address, once we have one; it is the packet's source, too.
    pub(crate) client: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    transaction: u32,
    seconds: u16,
}

/// What became of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    Bound(Interface),
    Lost,
}

pub(crate) struct Dhcp {
    station: EthernetAddress,
    state: State,
    transaction: u32,
    /// When this exchange began.
    started: Instant,
    tries: u32,
    /// When [`Dhcp::on_time`] has something to do.
    at: Instant,
}

impl Dhcp {
    pub(crate) fn new(station: EthernetAddress, now: Instant, random: &mut Random) -> Self {
        let transaction = random.next() as u32;
        Self { station, state: State::Selecting, transaction, started: now, tries: 0, at: now }
    }

    pub(crate) fn next(&self) -> Instant {
        self.at
    }

    /// RFC 2131 §4.1: 4, 8, 16, 32, 64 seconds, each give or take one.
    fn back_off(&mut self, now: Instant, random: &mut Random) {
        let seconds = 4 << self.tries.min(4);
        self.tries += 1;
        self.at = now.after(seconds * SECOND - SECOND + u64::from(random.below(2 * SECOND as u32)));
    }

    fn restart(&mut self, at: Instant, random: &mut Random) {
        self.state = State::Selecting;
        self.transaction = random.next() as u32;
        self.started = at;
        self.tries = 0;
        self.at = at;
    }

    /// RFC 2131 §4.4.5: half of what is left, a minute at least.
    fn half_way(&mut self, now: Instant, until: Instant) {
        self.at = now.after((until.since(now) / 2).max(60 * SECOND)).min(until);
    }

    /// Does what is due: a message to send, and what became of the address.
    pub(crate) fn on_time(&mut self, now: Instant, random: &mut Random) -> (Option<Message>, Change) {
        if now < self.at {
            return (None, Change::Nothing);
        }
        let mut change = Change::Nothing;
        match self.state {
            State::Requesting { .. } if self.tries >= TRIES => self.restart(now, random),
            State::Bound(lease) if now >= lease.renew => {
                self.state = State::Renewing(lease);
                self.transaction = random.next() as u32;
                self.started = now;
            }
            State::Renewing(lease) if now >= lease.rebind => self.state = State::Rebinding(lease),
            State::Rebinding(lease) if now >= lease.end => {
                change = Change::Lost;
                self.restart(now, random);
            }
            _ => {}
        }
        let mut message = Message {
            kind: DhcpMessageType::Request,
            client: Ipv4Addr::UNSPECIFIED,
            destination: Ipv4Addr::BROADCAST,
            requested: None,
            server: None,
            transaction: self.transaction,
            seconds: (now.since(self.started) / SECOND).min(0xffff) as u16,
        };
        match self.state {
            State::Selecting => {
                message.kind = DhcpMessageType::Discover;
                self.back_off(now, random);
            }
            State::Requesting { address, server } => {
                (message.requested, message.server) = (Some(address), Some(server));
                self.back_off(now, random);
            }
            State::Bound(lease) => {
                self.at = lease.renew;
                return (None, change);
            }
            State::Renewing(lease) => {
                (message.client, message.destination) = (lease.interface.address, lease.server);
                self.half_way(now, lease.rebind);
            }
            State::Rebinding(lease) => {
                message.client = lease.interface.address;
                self.half_way(now, lease.end);
            }
        }
        (Some(message), change)
    }

    /// Takes a message from port [`SERVER`].
    pub(crate) fn on_message(&mut self, bytes: &[u8], now: Instant, random: &mut Random) -> Change {
        let Ok(packet) = DhcpPacket::new_checked(bytes) else { return Change::Nothing };
        let Ok(message) = DhcpRepr::parse(&packet) else { return Change::Nothing };
        if message.transaction_id != self.transaction || message.client_hardware_address != self.station {
            return Change::Nothing;
        }
        match (message.message_type, self.state) {
            (DhcpMessageType::Offer, State::Selecting) => {
                if let (Some(server), Some(_)) = (message.server_identifier, lease(&message, now)) {
                    self.state = State::Requesting { address: message.your_ip, server };
                    (self.tries, self.at) = (0, now);
                }
                Change::Nothing
            }
            (DhcpMessageType::Ack, State::Requesting { server, .. }) => {
                if message.server_identifier.is_some_and(|other| other != server) {
                    return Change::Nothing;
                }
                self.bind(&message, now)
            }
            (DhcpMessageType::Ack, State::Renewing(_) | State::Rebinding(_)) => self.bind(&message, now),
            (DhcpMessageType::Nak, State::Requesting { server, .. }) => {
                if message.server_identifier == Some(server) {
                    self.restart(now.after(SECOND), random);
                }
                Change::Nothing
            }
            (DhcpMessageType::Nak, State::Renewing(_) | State::Rebinding(_)) => {
                self.restart(now, random);
                Change::Lost
            }
            _ => Change::Nothing,
        }
    }

    fn bind(&mut self, message: &DhcpRepr, now: Instant) -> Change {
        let Some(lease) = lease(message, now) else { return Change::Nothing };
        self.state = State::Bound(lease);
        (self.tries, self.at) = (0, lease.renew);
        Change::Bound(lease.interface)
    }

    /// Writes `message`; its bytes, of [`MESSAGE`] at least.
    pub(crate) fn emit(&self, message: &Message, into: &mut [u8]) -> Option<usize> {
        let repr = DhcpRepr {
            message_type: message.kind,
            transaction_id: message.transaction,
            secs: message.seconds,
            client_hardware_address: self.station,
            client_ip: message.client,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            // We take what is for everyone, and nothing else before we have an address.
            broadcast: message.client.is_unspecified(),
            requested_ip: message.requested,
            client_identifier: Some(self.station),
            server_identifier: message.server,
            parameter_request_list: Some(PARAMETERS),
            dns_servers: None,
            max_size: Some(576),
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let length = repr.buffer_len().max(MESSAGE);
        let bytes = into.get_mut(..length)?;
        bytes.fill(0);
        repr.emit(&mut DhcpPacket::new_unchecked(bytes)).ok()?;
        Some(length)
    }
}

/// The lease a server grants, if it makes sense.
fn lease(message: &DhcpRepr, now: Instant) -> Option<Lease> {
    let address = message.your_ip;
    let mask = message.subnet_mask?;
    let prefix = Ipv4Cidr::from_netmask(address, mask).ok()?.prefix_len();
    let mut interface = Interface { address, prefix, gateway: None };
    if !interface.is_host(address) {
        return None;
    }
    interface.gateway = message.router.filter(|router| interface.is_host(*router) && *router != address);
    let seconds = u64::from(message.lease_duration?);
    let length = (seconds * SECOND).max(LEAST_LEASE);
    // RFC 2131 §4.4.5: a half and seven eighths of it, unless the server says something that makes sense.
    let part = |given: Option<u32>, usual: u64| given.map_or(usual, |seconds| u64::from(seconds) * SECOND);
    let rebind = part(message.rebind_duration, length / 8 * 7).min(length);
    let renew = part(message.renew_duration, length / 2).clamp(SECOND, rebind.max(SECOND));
    let forever = seconds == u64::from(u32::MAX);
    let at = |wait| if forever { Instant::NEVER } else { now.after(wait) };
    let server = message.server_identifier?;
    Some(Lease { interface, server, renew: at(renew), rebind: at(rebind), end: at(length) })
}
