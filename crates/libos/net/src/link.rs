//! The network interface below the stack.

use smoltcp::wire::EthernetAddress;

/// Who computes the checksums of IPv4, UDP and TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checksums {
    /// The stack, both ways.
    Software,
}

/// What a link can do.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// Bytes of the largest IPv4 packet of a frame, 576 to 9,000 (Ethernet: 1,500).
    pub mtu: usize,
    /// Who computes checksums.
    pub checksums: Checksums,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { mtu: 1500, checksums: Checksums::Software }
    }
}

/// No transmit buffer is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// An Ethernet interface: frames without preamble and without frame check sequence.
pub trait Link {
    /// The interface's own address.
    fn address(&self) -> EthernetAddress;

    /// What the interface can do; the same for its whole life.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Shows the next received frame to `take` and gives its buffer back; `None` when there is no frame.
    fn receive<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R>;

    /// Lets `fill` write one frame in place, in a buffer of `length` bytes, and queues it. The device need not see it before
    /// [`Link::flush`].
    ///
    /// # Errors
    ///
    /// [`Full`]: no buffer is free, or none is that long; `fill` was not called.
    fn transmit(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Full>;

    /// Tells the device about every frame queued since the last time: one doorbell.
    fn flush(&mut self);
}
