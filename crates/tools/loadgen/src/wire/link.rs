//! One end of a wire, as a link.

use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use corey_libos_net::{EthernetAddress, Full, Link};

/// Bytes before a frame: its length, most significant first.
const HEAD: usize = 4;
/// Longest frame that QEMU sends.
const LONGEST: usize = 69_632;
/// Bytes taken from the socket at once.
const ROOM: usize = 256 << 10;
/// Longest wait for a frame: how late a timer of the stack may be.
const PATIENCE: Duration = Duration::from_millis(5);

/// One end of the wire.
pub(super) struct Wire {
    socket: UnixStream,
    station: [u8; 6],
    /// What came, and how much of it was read.
    came: Vec<u8>,
    read: usize,
    /// What goes out at the next flush.
    out: Vec<u8>,
    /// The other end is gone, or speaks something else.
    pub(super) cut: bool,
}

impl Wire {
    /// The end with this address; frames wait at most so long to be taken by the other one.
    pub(super) fn new(socket: UnixStream, address: Ipv4Addr, deadline: Duration) -> std::io::Result<Self> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(deadline))?;
        let [.., last] = address.octets();
        let station = [2, 0, 0, 0, 1, last];
        Ok(Self { socket, station, came: Vec::new(), read: 0, out: Vec::new(), cut: false })
    }

    /// The next frame's place in what came, if all of it came.
    fn next(&mut self) -> Option<std::ops::Range<usize>> {
        let head = self.came.get(self.read..)?.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes(*head) as usize;
        if length > LONGEST {
            self.cut = true;
            return None;
        }
        let from = self.read + HEAD;
        (from + length <= self.came.len()).then_some(from..from + length)
    }

    /// Waits for bytes, unless a frame is there.
    pub(super) fn wait(&mut self) {
        if self.next().is_some() || self.cut {
            return;
        }
        self.came.drain(..self.read);
        self.read = 0;
        let had = self.came.len();
        self.came.resize(had + ROOM, 0);
        let got = self.socket.read(self.came.get_mut(had..).unwrap_or(&mut []));
        self.came.truncate(had + got.as_ref().copied().unwrap_or(0));
        match got {
            Ok(0) => self.cut = true,
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.cut = true;
            }
            _ => {}
        }
    }
}

impl Link for Wire {
    fn address(&self) -> EthernetAddress {
        EthernetAddress(self.station)
    }

    fn receive<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let frame = self.next()?;
        self.read = frame.end;
        self.came.get(frame).map(take)
    }

    fn transmit(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Full> {
        let head = u32::try_from(length).map_err(|_| Full)?;
        self.out.extend_from_slice(&head.to_be_bytes());
        let from = self.out.len();
        self.out.resize(from + length, 0);
        fill(self.out.get_mut(from..).unwrap_or(&mut []));
        Ok(())
    }

    fn flush(&mut self) {
        if !self.out.is_empty() && self.socket.write_all(&self.out).is_err() {
            self.cut = true;
        }
        self.out.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_no_frame_has_cuts_the_wire() {
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(&u32::MAX.to_be_bytes()).unwrap();
        let mut wire = Wire::new(here, Ipv4Addr::LOCALHOST, Duration::from_secs(1)).unwrap();
        wire.wait();
        assert!(wire.next().is_none() && wire.cut);
    }
}
