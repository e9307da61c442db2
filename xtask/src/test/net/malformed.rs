//! Malformed frames into the running machine, whose other end of the wire this process is: it has the address by a DHCP server of
//! ours, and after every thousand frames a stack of ours, `libos/net`, is its client.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use corey_lib_bench::served::MESSAGE;
use corey_libos_net::{Config, Error, EthernetAddress, Full, Instant as Moment, Link, Stack};
use corey_test_host_net::{DhcpServer, Malformed, Station};

use crate::process::interrupted;
use crate::qemu::Cable;
use crate::{Result, paths};

use super::relay::{End, Incoming};
use super::{Built, Case, machine, said_ready};
use crate::test::{Verdict, show};

const fn station(number: u8) -> Station {
    Station { ethernet: [2, 0, 0, 0, 0, number], address: Ipv4Addr::new(10, 68, 0, number) }
}

/// The DHCP server, the client, and the address that the machine gets.
const SERVER: Station = station(1);
const CLIENT: Station = station(2);
const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 68, 0, 10);
/// Seconds of a lease: it is renewed while frames come.
const LEASE: u32 = 10;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// Frames after which a connection must be served.
const THOUSAND: u32 = 1000;

/// Frames, as CI gives them and as `--full` does.
const FRAMES: [u32; 2] = [100_000, 1_000_000];

/// Runs everything.
pub(super) fn cases(built: &Built, full: bool, seed: u64) -> Result<Vec<Case>> {
    let (start, count) = (Instant::now(), FRAMES[usize::from(full)]);
    let verdict = serves(built, count, seed);
    let verdict = verdict.map_or_else(|error| Verdict::Failed(error.to_string()), |()| Verdict::Passed);
    let case = (format!("a connection is served after each thousand of {count} malformed frames"), verdict);
    show(&case, Some(start));
    Ok(vec![case])
}

fn serves(built: &Built, count: u32, seed: u64) -> Result<()> {
    let dir = paths::work("net")?;
    let cable = Cable { machine: dir.join("malformed-machine"), here: dir.join("malformed-here") };
    let end = End::new(&cable)?;
    let mut machine = machine(&built.medium.kernel, &built.medium.archive, "");
    machine.cable = Some(cable);
    let mut here = Here::new(end, seed)?;
    // Killed when it goes out of scope.
    let (_child, lines) = machine.start()?;
    here.until("no address", |_| Ok(lines.try_iter().any(|line| said_ready(&line)).then_some(())))?;
    let asked = here.server.asked.first().ok_or("it has an address that nobody gave")?;
    let victim = Station { ethernet: asked.client, address: MACHINE };
    here.malformed = Some(Malformed::new(seed, victim, CLIENT));
    for thousand in 0..count / THOUSAND {
        let served = here.attack(THOUSAND).and_then(|()| here.connect());
        let said: Vec<String> = lines.try_iter().collect();
        if let Err(error) = served {
            let after = (thousand + 1) * THOUSAND;
            return Err(format!("after {after} frames: {error}; it said\n{}", said.join("\n")).into());
        }
        if !said.is_empty() {
            return Err(format!("it said\n{}", said.join("\n")).into());
        }
    }
    let renewed = here.server.asked.len();
    println!("  {renewed} DHCP messages, {} frames came back", here.heard);
    Ok(())
}

/// The client's link.
struct Plug {
    end: End,
    arrived: VecDeque<Vec<u8>>,
}

impl Link for Plug {
    fn address(&self) -> EthernetAddress {
        EthernetAddress(CLIENT.ethernet)
    }

    fn receive<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.arrived.pop_front().map(|frame| take(&frame))
    }

    fn transmit(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) -> std::result::Result<(), Full> {
        let mut frame = vec![0; length];
        fill(&mut frame);
        if self.end.send(&frame) { Ok(()) } else { Err(Full) }
    }

    fn flush(&mut self) {}
}

/// Everything at this end of the wire.
struct Here {
    stack: Stack<Plug>,
    incoming: Receiver<Incoming>,
    server: DhcpServer,
    /// Once it is known where the machine is.
    malformed: Option<Malformed>,
    heard: u64,
    start: Instant,
}

impl Here {
    fn new(end: End, seed: u64) -> Result<Self> {
        let (sender, incoming) = channel();
        end.listen(0, sender)?;
        let config = Config::at(CLIENT.address, 24, [seed, !seed]);
        let plug = Plug { end, arrived: VecDeque::new() };
        Ok(Self {
            stack: Stack::new(plug, &config, Moment::from_micros(0)),
            incoming,
            server: DhcpServer::new(SERVER, MACHINE, LEASE),
            malformed: None,
            heard: 0,
            start: Instant::now(),
        })
    }

    /// Hands a frame to everybody at this end.
    fn take(&mut self, frame: Vec<u8>) {
        self.heard += 1;
        if let Some(malformed) = &mut self.malformed {
            malformed.hear(&frame);
        }
        let now = self.start.elapsed().as_secs();
        if let Some(answer) = self.server.answer(&frame, now) {
            // One that is lost is asked for again.
            self.stack.link().end.send(&answer);
        }
        self.stack.link().arrived.push_back(frame);
    }

    /// Waits for a frame, at most until the stack has something to do, and lets everybody work.
    fn turn(&mut self) {
        let now = self.start.elapsed().as_micros() as u64;
        let next = self.stack.poll(Moment::from_micros(now)).micros().saturating_sub(now);
        if let Ok((_, frame)) = self.incoming.recv_timeout(Duration::from_micros(next.min(100_000))) {
            self.take(frame);
        }
        let more: Vec<Incoming> = self.incoming.try_iter().collect();
        more.into_iter().for_each(|(_, frame)| self.take(frame));
        while self.stack.event().is_some() {}
    }

    /// Works until `done` gives something.
    fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Result<Option<T>>) -> Result<T> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if interrupted() {
                return Err("interrupted".into());
            }
            self.turn();
            if let Some(found) = done(self)? {
                return Ok(found);
            }
        }
        Err(format!("{what} in {PATIENCE:?}").into())
    }

    /// Sends `count` malformed frames.
    fn attack(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            let Some(malformed) = &mut self.malformed else { return Err("nobody to attack yet".into()) };
            let frame = malformed.frame();
            let start = Instant::now();
            // An empty one is none: QEMU would read it as the end.
            while !frame.is_empty() && !self.stack.link().end.send(&frame) {
                if start.elapsed() > PATIENCE {
                    return Err(format!("it took no frame for {PATIENCE:?}").into());
                }
            }
            let more: Vec<Incoming> = self.incoming.try_iter().collect();
            more.into_iter().for_each(|(_, frame)| self.take(frame));
        }
        Ok(())
    }

    /// Connects, and gets the 128 bytes and the end.
    fn connect(&mut self) -> Result<()> {
        let connection = self.stack.connect((MACHINE, 7000).into())?;
        let mut got = Vec::new();
        let served = self.until("the 128 bytes did not come", |here| {
            let mut bytes = [0; 256];
            match here.stack.read(connection, &mut bytes) {
                Ok(0) => Ok(Some(())),
                Ok(count) => {
                    got.extend_from_slice(&bytes[..count]);
                    Ok(None)
                }
                Err(Error::WouldBlock) => Ok(None),
                Err(error) => Err(error.into()),
            }
        });
        self.stack.close(connection)?;
        served?;
        if got != MESSAGE {
            return Err(format!("{} other bytes came", got.len()).into());
        }
        Ok(())
    }
}
