//! The stack as an application uses it.

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use corey_lib_sync::Quarantine;
use smoltcp::wire::IpProtocol;

use crate::config::Config;
use crate::error::Error;
use crate::events::{Connection, Event, Listener, Socket};
use crate::host::{Host, Reply};
use crate::ipv4::{Fragmenting, HEADER, Packet, SendError};
use crate::link::{Full, Link};
use crate::stats::{InUse, Stats};
use crate::tcp;
use crate::tcp::segment::{Header, Tuple};
use crate::tcp::tcb::{Coalescing, State};
use crate::time::Instant;
use crate::udp;

/// Frames taken before what they lead to is sent.
const BATCH: usize = 64;

/// A TCP/IP stack over one link. It does nothing by itself: [`Stack::poll`] is its motor.
///
/// ```text
/// loop {
///     let next = stack.poll(now());
///     while let Some(event) = stack.event() { … accept, read, write, close … }
///     stack.flush(now());        // what the events led to goes out
///     wait for a frame, or until `next`
/// }
/// ```
///
/// It is `Send` where its link is. Cores that want to share one put it into a [`corey_lib_sync::Shared`], and pay for the lock
/// and for the lines that move.
pub struct Stack<L: Link> {
    link: L,
    host: Host,
    config: Config,
    now: Instant,
}

impl<L: Link> Stack<L> {
    /// A stack over `link`. `now` is the moment of the first poll, or before it.
    #[must_use]
    pub fn new(link: L, config: &Config, now: Instant) -> Self {
        let host = Host::new(link.address(), link.capabilities().mtu, config, now);
        Self { link, host, config: *config, now }
    }

    /// Takes received frames, does what is due, and sends: at most 64 frames, one doorbell. When it wants to be called again,
    /// if no frame arrives before: `now` when there is more to do at once.
    pub fn poll(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        let now = self.now;
        self.host.on_time(now);
        let mut left = BATCH;
        while left > 0 {
            let Self { link, host, .. } = self;
            let Some(reply) = link.receive(|frame| host.receive(frame, now)) else { break };
            if let Some(reply) = reply {
                host.reply(reply, link, now);
            }
            left -= 1;
        }
        let next = self.flush(now);
        if left == 0 { now } else { next }
    }

    /// Sends what waits, without a look at what was received. Returns what [`Stack::poll`] returns.
    pub fn flush(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        // A full link is asked again next time: what did not fit stays where it waits.
        let sent = self.host.output(&mut self.link, self.now);
        self.link.flush();
        if sent == Err(Full) { self.now } else { self.host.next(self.now) }
    }

    /// What changed since it was last asked: costs the same however many connections there are.
    pub fn event(&mut self) -> Option<Event> {
        self.host.event()
    }

    /// The stack's address, if it has one.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.host.network.interface.map(|interface| interface.address)
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.host.stats
    }

    /// What is in use.
    #[must_use]
    pub fn in_use(&self) -> InUse {
        let Host { tcp, pool, .. } = &self.host;
        InUse { connections: tcp.connections(), time_wait: tcp.waiting(), blocks: pool.used() }
    }

    /// The link below.
    pub fn link(&mut self) -> &mut L {
        &mut self.link
    }

    /// Ends the stack and gives the link back: connections are gone, and no peer is told.
    #[must_use]
    pub fn into_link(self) -> L {
        self.link
    }

    /// Waits for connections to `port`. `backlog` is how many may wait to be accepted, and how many may be half-open; another
    /// SYN pushes the oldest half-open one out.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`], [`Error::InvalidAddress`] for port 0.
    pub fn listen(&mut self, port: u16, backlog: usize) -> Result<Listener, Error> {
        self.host.tcp.listen(port, backlog)
    }

    /// Stops listening; what was not accepted is reset.
    ///
    /// # Errors
    ///
    /// [`Error::StaleHandle`].
    pub fn unlisten(&mut self, listener: Listener) -> Result<(), Error> {
        loop {
            let (mut env, tcp, _, _, _) = self.host.parts(self.now);
            match tcp.unlisten(listener, &mut env)? {
                None => return Ok(()),
                reset => self.send_reset(reset),
            }
        }
    }

    /// Takes a connection whose handshake is complete.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`], [`Error::StaleHandle`].
    pub fn accept(&mut self, listener: Listener) -> Result<Connection, Error> {
        self.host.tcp.accept(listener, &mut self.host.events)
    }

    /// Begins a connection; [`crate::Ready::CONNECTED`] or [`crate::Ready::CLOSED`] says how it went. The SYN leaves at the
    /// next poll or flush.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for IPv6 and for this stack's own address, [`Error::InvalidAddress`], [`Error::NoAddress`],
    /// [`Error::NetworkUnreachable`], [`Error::AddressInUse`] when no port is free, [`Error::NoBuffers`].
    pub fn connect(&mut self, peer: SocketAddr) -> Result<Connection, Error> {
        let peer = self.check(peer)?;
        let interface = self.host.network.interface.ok_or(Error::NoAddress)?;
        if interface.is_broadcast(*peer.ip()) {
            return Err(Error::InvalidAddress);
        }
        if !self.host.network.has_route(*peer.ip()) {
            return Err(Error::NetworkUnreachable);
        }
        let mss = self.host.network.mss();
        let (mut env, tcp, _, _, random) = self.host.parts(self.now);
        tcp.connect(interface.address, (*peer.ip(), peer.port()), mss, random, &mut env)
    }

    fn check(&self, peer: SocketAddr) -> Result<SocketAddrV4, Error> {
        let SocketAddr::V4(peer) = peer else { return Err(Error::Unsupported) };
        if peer.port() == 0 || peer.ip().is_multicast() || peer.ip().is_unspecified() {
            return Err(Error::InvalidAddress);
        }
        if peer.ip().is_loopback() || Some(*peer.ip()) == self.address() {
            return Err(Error::Unsupported);
        }
        Ok(peer)
    }

    /// Reads what arrived in order; 0: the peer has ended its data (or `into` is empty).
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`], [`Error::StaleHandle`], or why the connection ended.
    pub fn read(&mut self, connection: Connection, into: &mut [u8]) -> Result<usize, Error> {
        let (mut env, tcp, _, _, _) = self.host.parts(self.now);
        tcp.read(connection, into, &mut env)
    }

    /// Takes data to send: how many bytes. After less than all, [`crate::Ready::WRITABLE`] comes when there is room. It leaves
    /// at the next poll or flush, so a `close` just after it travels with it.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`], [`Error::Closed`] after `shutdown`, [`Error::NoBuffers`] (other connections have the memory: no
    /// event says when it is back, so try again later), [`Error::StaleHandle`], or why the connection ended.
    pub fn write(&mut self, connection: Connection, data: &[u8]) -> Result<usize, Error> {
        let (mut env, tcp, _, _, _) = self.host.parts(self.now);
        tcp.write(connection, data, &mut env)
    }

    /// Ends this side's data; the peer's can still be read.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] the second time, [`Error::StaleHandle`], or why the connection ended.
    pub fn shutdown(&mut self, connection: Connection) -> Result<(), Error> {
        self.host.tcp.shutdown(connection)
    }

    /// Gives the handle up. What was written still arrives; data from the peer that was not read, or comes now, makes it a reset.
    ///
    /// # Errors
    ///
    /// [`Error::StaleHandle`].
    pub fn close(&mut self, connection: Connection) -> Result<(), Error> {
        let (mut env, tcp, _, _, _) = self.host.parts(self.now);
        let reset = tcp.close(connection, &mut env)?;
        self.send_reset(reset);
        Ok(())
    }

    /// Resets the connection and gives the handle up; what was not sent is lost.
    ///
    /// # Errors
    ///
    /// [`Error::StaleHandle`].
    pub fn abort(&mut self, connection: Connection) -> Result<(), Error> {
        let (mut env, tcp, _, _, _) = self.host.parts(self.now);
        let reset = tcp.abort(connection, &mut env)?;
        self.send_reset(reset);
        Ok(())
    }

    fn send_reset(&mut self, reset: Option<(Tuple, Header)>) {
        if let Some((tuple, header)) = reset {
            self.host.stats.tcp_resets_out += 1;
            self.host.reply(Reply::Tcp(tcp::Reply::Segment(tuple, header)), &mut self.link, self.now);
        }
    }

    /// The connection's state.
    ///
    /// # Errors
    ///
    /// [`Error::StaleHandle`].
    pub fn state(&mut self, connection: Connection) -> Result<State, Error> {
        self.host.tcp.state(connection)
    }

    /// The peer's address and port.
    ///
    /// # Errors
    ///
    /// [`Error::StaleHandle`].
    pub fn peer(&mut self, connection: Connection) -> Result<SocketAddrV4, Error> {
        self.host.tcp.tuple(connection).map(|tuple| SocketAddrV4::new(tuple.remote, tuple.remote_port))
    }

    /// This side's address and port.
    ///
    /// # Errors
    ///
    /// [`Error::StaleHandle`].
    pub fn local(&mut self, connection: Connection) -> Result<SocketAddrV4, Error> {
        self.host.tcp.tuple(connection).map(|tuple| SocketAddrV4::new(tuple.local, tuple.local_port))
    }

    /// Says whether small segments wait for acknowledgements; they do at first.
    ///
    /// # Errors
    ///
    /// [`Error::StaleHandle`].
    pub fn set_coalescing(&mut self, connection: Connection, coalescing: Coalescing) -> Result<(), Error> {
        self.host.tcp.set_coalescing(connection, coalescing)
    }

    /// Takes a UDP port; 0: any.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`].
    pub fn bind(&mut self, port: u16) -> Result<Socket, Error> {
        self.host.udp.bind(port, &mut self.host.random)
    }

    /// Sends one datagram, at once; the device hears of it at the next poll or flush.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] when the link is full, [`Error::MessageTooLong`], [`Error::NoAddress`],
    /// [`Error::NetworkUnreachable`], [`Error::InvalidAddress`], [`Error::Unsupported`], [`Error::StaleHandle`].
    pub fn send_to(&mut self, socket: Socket, peer: SocketAddr, data: &[u8]) -> Result<(), Error> {
        let port = self.host.udp.port(socket)?;
        let peer = self.check(peer)?;
        let address = self.address().ok_or(Error::NoAddress)?;
        let length = udp::HEADER + data.len();
        if HEADER + length > self.host.network.mtu {
            return Err(Error::MessageTooLong);
        }
        let packet = Packet {
            source: address,
            destination: *peer.ip(),
            protocol: IpProtocol::Udp,
            fragmenting: Fragmenting::Allowed,
            length,
        };
        let source = SocketAddrV4::new(address, port);
        let Host { network, stats, .. } = &mut self.host;
        let sent = network.send(&mut self.link, self.now, stats, &packet, |into| {
            if let Some(payload) = into.get_mut(udp::HEADER..) {
                payload.copy_from_slice(data);
            }
            udp::emit(source, peer, into);
        });
        match sent {
            Ok(()) => {
                stats.udp_out += 1;
                Ok(())
            }
            Err(SendError::Full) => Err(Error::WouldBlock),
            Err(SendError::NoRoute) => Err(Error::NetworkUnreachable),
        }
    }

    /// Takes the oldest datagram: its length, also when `into` is shorter and the rest is lost, and who sent it.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`], [`Error::StaleHandle`].
    pub fn recv_from(&mut self, socket: Socket, into: &mut [u8]) -> Result<(usize, SocketAddrV4), Error> {
        self.host.udp.receive(socket, into, &mut self.host.pool)
    }

    /// Gives a UDP port back.
    ///
    /// # Errors
    ///
    /// [`Error::StaleHandle`].
    pub fn unbind(&mut self, socket: Socket) -> Result<(), Error> {
        self.host.udp.close(socket, &mut self.host.pool)
    }

    /// Checks that every list, table, timer and block agrees with every other.
    #[cfg(test)]
    pub(crate) fn check_all(&self) {
        self.host.check();
    }
}

impl<L: Link + Quarantine> Quarantine for Stack<L> {
    /// Begins anew: connections, sockets and listeners are gone and their handles refused, and the address is what the configuration
    /// says.
    fn quarantine(&mut self) {
        self.link.quarantine();
        let mut config = self.config;
        config.seed[0] ^= self.now.micros();
        let fresh = Host::new(self.link.address(), self.link.capabilities().mtu, &config, self.now);
        // Half changed, it may not even be safe to free: what it had stays nobody's.
        core::mem::forget(core::mem::replace(&mut self.host, fresh));
    }
}
