//! A machine that serves, and Linux's sockets on this one as its clients: `images/netserver` behind QEMU's user network.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use corey_lib_bench::served::{MESSAGE, character};

use crate::Result;
use crate::qemu::{Boot, End, Forward, Machine};

use super::{Built, Case, Verdict, show};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ports of this machine that lead to the server's.
#[derive(Clone, Copy)]
struct Ports {
    bytes: u16,
    echo: u16,
    discard: u16,
    characters: u16,
    datagrams: u16,
}

type Check = fn(Ports) -> std::io::Result<()>;

const CHECKS: [(&str, Check); 6] = [
    ("300 connections get their 128 bytes", |ports| (0..300).try_for_each(|_| bytes(ports))),
    ("32 at once get them", |ports| at_once(ports, 32)),
    ("a MiB comes back from the echo", |ports| echo(ports, 1 << 20)),
    ("datagrams come back", datagrams),
    ("a MiB is taken and forgotten", discard),
    ("characters come in order, as many as are read", characters),
];

/// Machines: words, processors, cards.
const MACHINES: [(&str, u32, usize); 2] = [("init=netserver", 1, 1), ("init=netserver cores=2", 2, 2)];

/// Words that a machine with two processors and one card refuses, and what it says.
const REFUSED: [(&str, &str); 4] = [
    ("cores=0", "cores=0: wanted how many cores serve, as in cores=2"),
    ("cores=2", "cores=2: valid: 1 to 1; here are 1 network cards and 2 free cores"),
    ("ip=10.0.2.15", "wanted ip=dhcp or ip=ADDRESS/LEN[,GATEWAY]"),
    ("core=1", "core=1: unknown word; valid: ip cores"),
];

/// Starts servers and tries everything on each of their cards.
pub(super) fn cases(built: &Built) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (words, cores, cards) in MACHINES {
        cases.extend(served(built, words, cores, cards)?);
    }
    for (word, text) in REFUSED {
        cases.push(refused(built, word, text)?);
    }
    Ok(cases)
}

fn machine(built: &Built, words: &str, cores: u32, cards: usize) -> Machine {
    let (kernel, archive) = (built.medium.kernel.clone(), built.medium.archive.clone());
    let mut machine = Machine::new(cores, "512M", Boot::Direct(kernel, Some(archive), words.to_owned()));
    machine.cards = vec!["e1000"; cards];
    machine
}

fn served(built: &Built, words: &str, cores: u32, cards: usize) -> Result<Vec<Case>> {
    let ports: Vec<Ports> = (0..cards).map(|_| free()).collect::<Result<_>>()?;
    let mut machine = machine(built, words, cores, cards);
    machine.forwards = ports.iter().enumerate().flat_map(|(card, ports)| ports.forwards(card)).collect();
    let start = Instant::now();
    // Killed when it goes out of scope.
    let (_child, lines) = machine.start()?;
    let (mut heard, mut waiting) = (Vec::new(), (0..cards).collect::<Vec<_>>());
    while !waiting.is_empty() {
        match lines.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
            Ok(line) => {
                waiting.retain(|card| !is_ready(&line, *card));
                heard.push(line);
            }
            Err(_) => {
                let wrong = format!(
                    "no address of cards {waiting:?} after {PATIENCE:?}; it said\n{}",
                    heard.join("\n")
                );
                let case = (format!("{words}: addresses by DHCP"), Verdict::Failed(wrong));
                show(&case, Some(start));
                return Ok(vec![case]);
            }
        }
    }
    let mut cases = vec![(format!("{words}: addresses by DHCP"), Verdict::Passed)];
    for (card, ports) in ports.iter().enumerate() {
        for (name, check) in CHECKS {
            let verdict = check(*ports).map_or_else(|e| Verdict::Failed(e.to_string()), |()| Verdict::Passed);
            cases.push((format!("{words}: card {card}: {name}"), verdict));
        }
    }
    cases.iter().for_each(|case| show(case, None));
    Ok(cases)
}

/// Whether a line says that a card's stack serves.
fn is_ready(line: &str, card: usize) -> bool {
    let record: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    record["record"] == "net" && record["nic"] == card && record["ready"] == true
}

fn refused(built: &Built, word: &str, text: &str) -> Result<Case> {
    let outcome = machine(built, &format!("init=netserver {word}"), 2, 1).run(PATIENCE, |_| ())?;
    let good = outcome.end == End::Status(2) && outcome.lines.iter().any(|line| line.contains(text));
    let wrong =
        || Verdict::Failed(format!("wanted status 2 and {text:?}: {:?}\n{}", outcome.end, outcome.tail()));
    let case = (format!("netserver refuses {word}"), if good { Verdict::Passed } else { wrong() });
    show(&case, None);
    Ok(case)
}

impl Ports {
    /// What leads to the card with this number.
    fn forwards(self, card: usize) -> Vec<Forward> {
        let Self { bytes, echo, discard, characters, datagrams } = self;
        [
            ("tcp", bytes, 7000),
            ("tcp", echo, 7),
            ("tcp", discard, 9),
            ("tcp", characters, 19),
            ("udp", datagrams, 7),
        ]
        .map(|(protocol, from, to)| Forward { protocol, from, to, card })
        .to_vec()
    }
}

/// Ports that nobody has now.
fn free() -> Result<Ports> {
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 4];
    for (port, held) in ports.iter_mut().zip(&held) {
        *port = held.as_ref().map_err(ToString::to_string)?.local_addr()?.port();
    }
    let datagrams = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let [bytes, echo, discard, characters] = ports;
    Ok(Ports { bytes, echo, discard, characters, datagrams })
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn same(got: &[u8], wanted: &[u8]) -> std::io::Result<()> {
    match got == wanted {
        true => Ok(()),
        false => Err(std::io::Error::other(format!(
            "{} bytes came, {} were wanted, or others",
            got.len(),
            wanted.len()
        ))),
    }
}

fn bytes(ports: Ports) -> std::io::Result<()> {
    let (mut stream, mut got) = (connect(ports.bytes)?, Vec::new());
    stream.read_to_end(&mut got)?;
    same(&got, &MESSAGE)
}

fn at_once(ports: Ports, count: usize) -> std::io::Result<()> {
    let streams = (0..count).map(|_| connect(ports.bytes)).collect::<std::io::Result<Vec<_>>>()?;
    for mut stream in streams {
        let mut got = Vec::new();
        stream.read_to_end(&mut got)?;
        same(&got, &MESSAGE)?;
    }
    Ok(())
}

fn echo(ports: Ports, count: usize) -> std::io::Result<()> {
    let stream = connect(ports.echo)?;
    let sent: Vec<u8> = (0..count).map(|at| (at * 7 + at / 251) as u8).collect();
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

fn datagrams(ports: Ports) -> std::io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    for size in [1, 100, 1400] {
        let sent = vec![size as u8; size];
        // Datagrams may be lost.
        let mut got = [0; 2048];
        let came = (0..10).find_map(|_| {
            socket.send_to(&sent, ("127.0.0.1", ports.datagrams)).ok()?;
            socket.recv(&mut got).ok()
        });
        same(&got[..came.unwrap_or(usize::MAX).min(2048)], &sent)?;
    }
    Ok(())
}

fn discard(ports: Ports) -> std::io::Result<()> {
    let mut stream = connect(ports.discard)?;
    stream.write_all(&vec![1; 1 << 20])?;
    stream.shutdown(Shutdown::Write)?;
    let mut got = Vec::new();
    stream.read_to_end(&mut got)?;
    same(&got, &[])
}

fn characters(ports: Ports) -> std::io::Result<()> {
    let mut stream = connect(ports.characters)?;
    let mut got = vec![0; 1 << 20];
    stream.read_exact(&mut got)?;
    same(&got, &(0..1 << 20).map(character).collect::<Vec<_>>())
}
