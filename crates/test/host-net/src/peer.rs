//! smoltcp's own stack on a port: another reading of the same RFCs.

use std::net::Ipv4Addr;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr};

use crate::Port;

/// A received frame.
pub struct Received(Vec<u8>);

/// A frame to send.
pub struct Sending<'a>(&'a Port);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        self.0.send(&frame);
        result
    }
}

impl Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = Port::receive(self)?;
        Some((Received(frame), Sending(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// smoltcp's stack with TCP sockets.
pub struct Peer {
    port: Port,
    interface: Interface,
    /// Its sockets.
    pub sockets: SocketSet<'static>,
}

impl Peer {
    /// A peer at `address` of a network of 24 bits.
    #[must_use]
    pub fn new(mut port: Port, address: Ipv4Addr, station: [u8; 6], seed: u64) -> Self {
        let mut config = Config::new(EthernetAddress(station).into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut port, Instant::from_micros(0));
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(address.into(), 24)).expect("room for one address");
        });
        Self { port, interface, sockets: SocketSet::new(Vec::new()) }
    }

    /// A TCP socket with 64 KiB each way.
    pub fn tcp(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 65_536]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    /// A socket that listens on `port`.
    ///
    /// # Panics
    ///
    /// For port 0.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let handle = self.tcp();
        self.socket(handle).listen(port).expect("a port and a fresh socket");
        handle
    }

    /// A socket that connects from `local` to `remote`.
    ///
    /// # Panics
    ///
    /// When it cannot.
    pub fn connect(&mut self, remote: (Ipv4Addr, u16), local: u16) -> SocketHandle {
        let handle = self.tcp();
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        socket.connect(self.interface.context(), remote, local).expect("a fresh socket");
        handle
    }

    /// One of its sockets.
    pub fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Takes frames and sends; when it wants to be called again, in microseconds.
    pub fn poll(&mut self, now: u64) -> u64 {
        let moment = Instant::from_micros(now as i64);
        self.interface.poll(moment, &mut self.port, &mut self.sockets);
        let next = self.interface.poll_at(moment, &self.sockets);
        next.map_or(u64::MAX, |next| (next.total_micros() as u64).max(now))
    }
}
