//! Short connections by this machine's own sockets: connect, read to the end, compare.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corey_lib_bench::served::MESSAGE;

use crate::failure::Failure;
use crate::report::Report;

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After so many connections, failed ones included.
    Connections(u64),
    /// When so much time is over: what began before is still waited for.
    Time(Duration),
}

/// A load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The servers; connections go to each in turn.
    pub to: Vec<SocketAddr>,
    /// Connections at once.
    pub inflight: usize,
    /// When it ends.
    pub until: Until,
    /// How long a connection may take.
    pub deadline: Duration,
}

/// Makes the connections, each place in flight a thread.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    let (begun, start) = (AtomicU64::new(0), Instant::now());
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..plan.inflight).map(|_| scope.spawn(|| connections(plan, &begun, start))).collect();
        for thread in threads {
            report.add(thread.join().expect("it does not panic"));
        }
    });
    report
}

fn connections(plan: &Plan, begun: &AtomicU64, start: Instant) -> Report {
    let mut report = Report::default();
    loop {
        let number = begun.fetch_add(1, Ordering::Relaxed);
        let over = match plan.until {
            Until::Connections(all) => number >= all,
            Until::Time(time) => start.elapsed() >= time,
        };
        let place = number.checked_rem(plan.to.len() as u64).map_or(0, |at| at as usize);
        let Some(to) = plan.to.get(place).filter(|_| !over) else { return report };
        let from = Instant::now();
        match one(*to, from + plan.deadline) {
            Ok(()) => report.good(from.elapsed(), MESSAGE.len()),
            Err(failure) => report.failures.count(failure),
        }
        report.elapsed = start.elapsed();
    }
}

/// One connection, over by `deadline`.
fn one(to: SocketAddr, deadline: Instant) -> Result<(), Failure> {
    let mut stream = TcpStream::connect_timeout(&to, left(deadline)?)?;
    // One byte more than there are, to see whether more come.
    let mut bytes = [0; MESSAGE.len() + 1];
    let mut came = 0;
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let room = bytes.get_mut(came..).unwrap_or(&mut []);
        let count = stream.read(room)?;
        came += count;
        if count == 0 || came > MESSAGE.len() {
            return compare(bytes.get(..came).unwrap_or(&[]));
        }
    }
}

/// Whether these are the bytes that a server sends.
pub(crate) fn compare(bytes: &[u8]) -> Result<(), Failure> {
    if bytes.iter().zip(&MESSAGE).any(|(came, wanted)| came != wanted) {
        return Err(Failure::Wrong);
    }
    match bytes.len() {
        count if count < MESSAGE.len() => Err(Failure::Short),
        count if count > MESSAGE.len() => Err(Failure::Long),
        _ => Ok(()),
    }
}

/// Time until `deadline`.
pub(crate) fn left(deadline: Instant) -> Result<Duration, Failure> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(Failure::Silent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    /// A server that treats every connection so, until the test ends.
    fn server(treat: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(&treat));
        address
    }

    fn plan(to: Vec<SocketAddr>, connections: u64) -> Plan {
        Plan { to, inflight: 8, until: Until::Connections(connections), deadline: Duration::from_millis(300) }
    }

    fn failures(treat: impl Fn(TcpStream) + Send + 'static) -> Vec<(Failure, u64)> {
        let report = run(&plan(vec![server(treat)], 20));
        assert_eq!(report.connections, 0);
        report.failures.iter().collect()
    }

    #[test]
    fn good_servers_are_asked_in_turn() {
        let good = |mut stream: TcpStream| stream.write_all(&MESSAGE).unwrap();
        let report = run(&plan(vec![server(good), server(good)], 101));
        assert_eq!((report.connections, report.failures.total(), report.bytes), (101, 0, 101 * 128));
        assert!(report.per_second() > 0.0 && report.latency(100).is_some());
    }

    #[test]
    fn a_time_ends_a_load() {
        let to = vec![server(|mut stream| stream.write_all(&MESSAGE).unwrap())];
        let until = Until::Time(Duration::from_millis(100));
        let report = run(&Plan { until, ..plan(to, 0) });
        assert!(report.connections > 0 && report.elapsed < Duration::from_secs(5));
    }

    #[test]
    fn too_little_is_short() {
        assert_eq!(failures(|mut s| s.write_all(&MESSAGE[..127]).unwrap()), [(Failure::Short, 20)]);
    }

    #[test]
    fn a_byte_more_is_long() {
        assert_eq!(failures(|mut s| s.write_all(&long()).unwrap()), [(Failure::Long, 20)]);
    }

    fn long() -> Vec<u8> {
        MESSAGE.iter().copied().chain([0]).collect()
    }

    #[test]
    fn another_byte_is_wrong() {
        let mut bytes = MESSAGE;
        bytes[127] ^= 1;
        assert_eq!(failures(move |mut s| s.write_all(&bytes).unwrap()), [(Failure::Wrong, 20)]);
    }

    #[test]
    fn a_reset_is_counted() {
        // Data that nobody read makes a close a reset.
        let reset = |stream: TcpStream| {
            let mut byte = [0];
            let _ = stream.peek(&mut byte);
        };
        let to = server(reset);
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(&[1]).unwrap();
        let failure: Failure = stream.read_to_end(&mut Vec::new()).unwrap_err().into();
        assert_eq!(failure, Failure::Reset);
    }

    #[test]
    fn nobody_listens_is_refused() {
        let to = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let report = run(&plan(vec![to], 20));
        assert_eq!(report.failures.iter().collect::<Vec<_>>(), [(Failure::Refused, 20)]);
    }

    #[test]
    fn a_silent_server_costs_its_deadline_and_no_more() {
        let start = Instant::now();
        let held = std::sync::Mutex::new(Vec::new());
        let found = failures(move |stream| held.lock().unwrap().push(stream));
        assert_eq!(found, [(Failure::Silent, 20)]);
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_server_that_drips_costs_its_deadline_and_no_more() {
        let drip = |mut stream: TcpStream| {
            std::thread::spawn(move || {
                for byte in MESSAGE {
                    std::thread::sleep(Duration::from_millis(50));
                    if stream.write_all(&[byte]).is_err() {
                        return;
                    }
                }
            });
        };
        assert_eq!(failures(drip), [(Failure::Silent, 20)]);
    }
}
