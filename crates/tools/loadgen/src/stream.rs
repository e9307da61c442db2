//! Long connections: echo, discard, characters. How many bytes a second, each of them checked.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use corey_lib_bench::served::character;

use crate::failure::Failure;
use crate::report::Report;
use crate::short::left;

/// Bytes of one read or write.
const PIECE: usize = 16 << 10;

/// What the server does with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Sends back what comes.
    Echo,
    /// Takes what comes, and ends its side when that ends.
    Discard,
    /// Sends characters until the connection ends.
    Characters,
}

/// A load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The servers; connections go to each in turn.
    pub to: Vec<SocketAddr>,
    /// Connections, all at once.
    pub connections: usize,
    /// How long each lasts.
    pub time: Duration,
    /// How much longer it may take.
    pub deadline: Duration,
}

/// Makes the connections, each on threads of its own.
#[must_use]
pub fn run(service: Service, plan: &Plan) -> Report {
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let to = plan.to.iter().cycle().take(plan.connections);
        let threads: Vec<_> = to.map(|to| scope.spawn(|| one(service, *to, plan))).collect();
        for thread in threads {
            report.add(thread.join().expect("it does not panic"));
        }
    });
    report
}

/// When a stream stops sending, and when it must be over.
#[derive(Clone, Copy)]
struct Times {
    enough: Instant,
    end: Instant,
}

fn one(service: Service, to: SocketAddr, plan: &Plan) -> Report {
    let start = Instant::now();
    let enough = start + plan.time;
    let times = Times { enough, end: enough + plan.deadline };
    let mut report = Report::default();
    let done =
        TcpStream::connect_timeout(&to, plan.deadline).map_err(Failure::from).and_then(
            |stream| match service {
                Service::Echo => echo(&stream, times),
                Service::Discard => discard(&stream, times),
                Service::Characters => characters(&stream, times),
            },
        );
    match done {
        Ok(bytes) => {
            report.connections = 1;
            report.bytes = bytes;
        }
        Err(failure) => report.failures.count(failure),
    }
    report.elapsed = start.elapsed();
    report
}

/// Byte `at` of what an echo is asked for.
fn sent(at: u64) -> u8 {
    (at.wrapping_mul(7) ^ (at >> 8)) as u8
}

fn echo(stream: &TcpStream, times: Times) -> Result<u64, Failure> {
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let written = write(stream, times, sent);
            // Nothing more comes back to wait for.
            let how = if written.is_ok() { Shutdown::Write } else { Shutdown::Both };
            stream.shutdown(how)?;
            written
        });
        let came = read(stream, times, None, sent);
        if came.is_err() {
            // Neither does the writer go on; it may have ended the stream itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let written = writer.join().expect("it does not panic");
        let came = came?;
        match came.cmp(&written?) {
            std::cmp::Ordering::Less => Err(Failure::Short),
            std::cmp::Ordering::Greater => Err(Failure::Long),
            std::cmp::Ordering::Equal => Ok(came),
        }
    })
}

fn discard(stream: &TcpStream, times: Times) -> Result<u64, Failure> {
    let written = write(stream, times, sent)?;
    stream.shutdown(Shutdown::Write)?;
    match read(stream, times, None, character)? {
        0 => Ok(written),
        _ => Err(Failure::Long),
    }
}

fn characters(stream: &TcpStream, times: Times) -> Result<u64, Failure> {
    let came = read(stream, times, Some(times.enough), character)?;
    // They have no end of their own.
    if Instant::now() < times.enough { Err(Failure::Short) } else { Ok(came) }
}

/// Writes until it is enough: how many bytes.
fn write(mut stream: &TcpStream, times: Times, byte: fn(u64) -> u8) -> Result<u64, Failure> {
    let mut written = 0;
    while Instant::now() < times.enough {
        let piece: Vec<u8> = (written..).take(PIECE).map(byte).collect();
        stream.set_write_timeout(Some(left(times.end)?))?;
        written += stream.write(&piece)? as u64;
    }
    Ok(written)
}

/// Reads to the end, or until it is enough: how many bytes, all as they should be.
fn read(
    mut stream: &TcpStream,
    times: Times,
    enough: Option<Instant>,
    byte: fn(u64) -> u8,
) -> Result<u64, Failure> {
    let mut piece = vec![0; PIECE];
    let mut came = 0;
    while enough.is_none_or(|enough| Instant::now() < enough) {
        stream.set_read_timeout(Some(left(times.end)?))?;
        let count = stream.read(&mut piece)?;
        if count == 0 {
            break;
        }
        if piece.iter().take(count).zip(came..).any(|(came, at)| *came != byte(at)) {
            return Err(Failure::Wrong);
        }
        came += count as u64;
    }
    Ok(came)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn load(service: Service, treat: fn(TcpStream)) -> Report {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|s| drop(std::thread::spawn(move || treat(s))))
        });
        let time = Duration::from_millis(100);
        run(service, &Plan { to: vec![to], connections: 2, time, deadline: Duration::from_millis(400) })
    }

    fn failures(service: Service, treat: fn(TcpStream)) -> Vec<(Failure, u64)> {
        let report = load(service, treat);
        assert_eq!((report.connections, report.bytes), (0, 0));
        report.failures.iter().collect()
    }

    fn back(stream: TcpStream) {
        let _ = std::io::copy(&mut &stream, &mut &stream);
    }

    fn sink(mut stream: TcpStream) {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }

    fn source(mut stream: TcpStream) {
        let bytes: Vec<u8> = (0..94 * 100).map(character).collect();
        while stream.write_all(&bytes).is_ok() {}
    }

    fn silent(stream: TcpStream) {
        std::thread::sleep(Duration::from_secs(5));
        drop(stream);
    }

    #[test]
    fn good_servers_are_measured() {
        let services: [(Service, fn(TcpStream)); 3] =
            [(Service::Echo, back), (Service::Discard, sink), (Service::Characters, source)];
        for (service, treat) in services {
            let report = load(service, treat);
            assert_eq!((report.connections, report.failures.total()), (2, 0), "{service:?}");
            assert!(report.bytes > 1000 && report.mib_per_second() > 0.0, "{service:?}");
        }
    }

    #[test]
    fn an_echo_of_something_else_is_wrong() {
        assert_eq!(failures(Service::Echo, source), [(Failure::Wrong, 2)]);
    }

    #[test]
    fn an_echo_that_ends_early_is_no_good() {
        let first: fn(TcpStream) = |mut stream| {
            let mut bytes = [0; 100];
            stream.read_exact(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        };
        let found = failures(Service::Echo, first);
        assert!(found.iter().all(|(kind, _)| matches!(kind, Failure::Short | Failure::Reset)), "{found:?}");
    }

    #[test]
    fn characters_out_of_order_are_wrong_and_an_end_is_short() {
        assert_eq!(
            failures(Service::Characters, |mut s| s.write_all(b"!\"$").unwrap()),
            [(Failure::Wrong, 2)]
        );
        assert_eq!(
            failures(Service::Characters, |mut s| s.write_all(b"!\"#").unwrap()),
            [(Failure::Short, 2)]
        );
    }

    #[test]
    fn silent_servers_cost_their_deadline_and_no_more() {
        for service in [Service::Echo, Service::Discard, Service::Characters] {
            assert_eq!(failures(service, silent), [(Failure::Silent, 2)], "{service:?}");
        }
    }
}
