//! Clients of `images/netserver`, of Linux's sockets; every byte is checked.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use corey_lib_bench::served::{MESSAGE, character};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Ipv4Packet};
use socket2::{Domain, Protocol, Socket, Type};

/// How long an answer to a datagram is waited for; it may be lost.
const TURN: Duration = Duration::from_millis(500);

/// Where a server's services are, and how long each may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    pub(super) bytes: SocketAddr,
    pub(super) echo: SocketAddr,
    pub(super) discard: SocketAddr,
    pub(super) characters: SocketAddr,
    pub(super) datagrams: SocketAddr,
    /// The longest that a whole exchange may take.
    pub(super) patience: Duration,
}

impl Server {
    fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&to, self.patience)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(stream)
    }

    /// Does `work`, in time.
    pub(super) fn in_time(&self, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let (start, patience) = (Instant::now(), self.patience);
        work(self).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => {
                Error::new(ErrorKind::TimedOut, format!("nothing moved for {patience:.1?}"))
            }
            _ => error,
        })?;
        let took = start.elapsed();
        if took <= patience {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TimedOut, format!("it took {took:.1?}, and may take {patience:.1?}")))
    }
}

fn same(got: &[u8], wanted: &[u8]) -> Result<()> {
    match got.iter().zip(wanted).position(|(got, wanted)| got != wanted) {
        None if got.len() == wanted.len() => Ok(()),
        None => Err(Error::other(format!("{} bytes came, {} were wanted", got.len(), wanted.len()))),
        Some(at) => Err(Error::other(format!("byte {at} is another one"))),
    }
}

/// A byte of a stream that no shift leaves the same.
fn pattern(at: usize) -> u8 {
    (at * 7 + at / 251) as u8
}

/// `count` connections, one after the other.
pub(super) fn bytes(server: &Server, count: usize) -> Result<()> {
    (0..count).try_for_each(|_| at_once(server, 1))
}

/// `count` connections that are open together.
pub(super) fn at_once(server: &Server, count: usize) -> Result<()> {
    let streams = (0..count).map(|_| server.connect(server.bytes)).collect::<Result<Vec<_>>>()?;
    for mut stream in streams {
        let mut got = Vec::new();
        stream.read_to_end(&mut got)?;
        same(&got, &MESSAGE)?;
    }
    Ok(())
}

/// Bytes that come back.
pub(super) fn echo(server: &Server, count: usize) -> Result<()> {
    let stream = server.connect(server.echo)?;
    let sent: Vec<u8> = (0..count).map(pattern).collect();
    let mut got = Vec::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (&stream).write_all(&sent)?;
            stream.shutdown(Shutdown::Write)
        });
        (&stream).read_to_end(&mut got)?;
        writer.join().expect("it does not panic")
    })?;
    same(&got, &sent)
}

/// Bytes that are taken and forgotten: the connection ends when the last one is acknowledged.
pub(super) fn discard(server: &Server, count: usize) -> Result<()> {
    let mut stream = server.connect(server.discard)?;
    stream.write_all(&vec![1; count])?;
    stream.shutdown(Shutdown::Write)?;
    let mut got = Vec::new();
    stream.read_to_end(&mut got)?;
    same(&got, &[])
}

/// Characters in their order, as many as are read.
pub(super) fn characters(server: &Server, count: usize) -> Result<()> {
    let mut stream = server.connect(server.characters)?;
    let mut got = vec![0; count];
    stream.read_exact(&mut got)?;
    same(&got, &(0..count as u64).map(character).collect::<Vec<_>>())
}

/// Sends `messages`, each again and again until it comes back, and nothing but what was sent.
fn come_back(
    messages: &[Vec<u8>],
    patience: Duration,
    mut send: impl FnMut(&[u8]) -> Result<()>,
    mut receive: impl FnMut() -> Result<Vec<u8>>,
) -> Result<()> {
    for (at, message) in messages.iter().enumerate() {
        let start = Instant::now();
        loop {
            send(message)?;
            match receive() {
                Ok(got) if got == *message => break,
                // One that came late, or twice.
                Ok(got) if messages[..at].contains(&got) => {}
                Ok(got) => same(&got, message)?,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
            if start.elapsed() > patience {
                let text = format!("{} bytes: no answer in {patience:.1?}", message.len());
                return Err(Error::new(ErrorKind::TimedOut, text));
            }
        }
    }
    Ok(())
}

/// Datagrams of several sizes.
pub(super) fn datagrams(server: &Server) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server.datagrams)?;
    socket.set_read_timeout(Some(TURN))?;
    let messages = [1, 100, 1400].map(|size| (0..size).map(pattern).collect());
    let receive = || {
        let mut got = vec![0; 2048];
        let length = socket.recv(&mut got)?;
        got.truncate(length);
        Ok(got)
    };
    come_back(&messages, server.patience, |message| socket.send(message).map(|_| ()), receive)
}

/// ICMP echo requests of several sizes. Needs the right to open a raw socket.
pub(super) fn echo_requests(server: &Server) -> Result<()> {
    const IDENT: u16 = 0x4352;
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.connect(&server.bytes.into())?;
    socket.set_read_timeout(Some(TURN))?;
    let payloads = [1, 56, 1400].map(|size: usize| (0..size).map(pattern).collect::<Vec<u8>>());
    let send = |payload: &[u8]| {
        let request = Icmpv4Repr::EchoRequest { ident: IDENT, seq_no: payload.len() as u16, data: payload };
        let mut packet = vec![0; request.buffer_len()];
        let checksums = ChecksumCapabilities::default();
        request.emit(&mut Icmpv4Packet::new_unchecked(&mut packet[..]), &checksums);
        (&socket).write_all(&packet)
    };
    let receive = || {
        let mut got = vec![0; 2048];
        let length = (&socket).read(&mut got)?;
        answer(&got[..length], IDENT).ok_or_else(|| ErrorKind::WouldBlock.into())
    };
    come_back(&payloads, server.patience, send, receive)
}

/// The payload of an echo reply to `wanted`, as a raw socket receives it.
fn answer(packet: &[u8], wanted: u16) -> Option<Vec<u8>> {
    let packet = Ipv4Packet::new_checked(packet).ok()?;
    let message = Icmpv4Packet::new_checked(packet.payload()).ok()?;
    match Icmpv4Repr::parse(&message, &ChecksumCapabilities::default()).ok()? {
        Icmpv4Repr::EchoReply { ident, data, .. } if ident == wanted => Some(data.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes back of `answers`, in their order.
    fn told(answers: &[&[u8]]) -> Result<()> {
        let mut answers = answers.iter();
        let messages = [vec![1], vec![2, 2]];
        let receive = || answers.next().map_or(Err(ErrorKind::TimedOut.into()), |got| Ok(got.to_vec()));
        come_back(&messages, Duration::from_millis(20), |_| Ok(()), receive)
    }

    #[test]
    fn a_late_answer_is_passed_over_and_a_wrong_one_is_not() {
        assert!(told(&[&[1], &[1], &[2, 2]]).is_ok());
        assert!(told(&[&[1], &[2, 3]]).is_err());
        assert!(told(&[&[2, 2], &[1], &[2, 2]]).is_err(), "nobody sent it yet");
        assert_eq!(told(&[&[1]]).unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn another_byte_or_length_is_an_error() {
        assert!(same(&[1, 2], &[1, 2]).is_ok());
        assert!(same(&[1, 2], &[1, 3]).unwrap_err().to_string().contains("byte 1"));
        assert!(same(&[1], &[1, 2]).is_err() && same(&[1, 2], &[1]).is_err());
    }
}
