//! A machine that serves, and Linux's sockets on this one as its clients: `images/netserver` behind QEMU's user network.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::Result;
use crate::qemu::{Boot, Forward, Machine};

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

/// Starts the server and tries everything.
pub(super) fn cases(built: &Built) -> Result<Vec<Case>> {
    let [bytes, echo, discard, characters] = free()?;
    let datagrams = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let ports = Ports { bytes, echo, discard, characters, datagrams };
    let (kernel, archive) = (built.medium.kernel.clone(), built.medium.archive.clone());
    let mut machine =
        Machine::new(1, "512M", Boot::Direct(kernel, Some(archive), "init=netserver".to_owned()));
    machine.cards = vec!["e1000"];
    machine.forwards = [(bytes, 7000), (echo, 7), (discard, 9), (characters, 19)]
        .map(|(from, to)| Forward { protocol: "tcp", from, to })
        .to_vec();
    machine.forwards.push(Forward { protocol: "udp", from: datagrams, to: 7 });
    let start = Instant::now();
    // Killed when it goes out of scope.
    let (_child, lines) = machine.start()?;
    let mut heard = Vec::new();
    while !heard
        .iter()
        .any(|line: &String| line.contains("\"record\":\"net\"") && line.contains("\"ready\":true"))
    {
        match lines.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
            Ok(line) => heard.push(line),
            Err(_) => {
                let wrong = format!("no address after {PATIENCE:?}; it said\n{}", heard.join("\n"));
                let case = ("netserver: an address by DHCP".to_owned(), Verdict::Failed(wrong));
                show(&case, Some(start));
                return Ok(vec![case]);
            }
        }
    }
    let mut cases = vec![("netserver: an address by DHCP".to_owned(), Verdict::Passed)];
    for (name, check) in CHECKS {
        let verdict = check(ports).map_or_else(|e| Verdict::Failed(e.to_string()), |()| Verdict::Passed);
        cases.push((format!("netserver: {name}"), verdict));
    }
    cases.iter().for_each(|case| show(case, None));
    Ok(cases)
}

/// Ports that nobody has now.
fn free() -> Result<[u16; 4]> {
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 4];
    for (port, held) in ports.iter_mut().zip(held) {
        *port = held?.local_addr()?.port();
    }
    Ok(ports)
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

/// Character `at` of port 7000 and of port 19.
fn character(at: usize) -> u8 {
    b'!' + (at % 94) as u8
}

fn bytes(ports: Ports) -> std::io::Result<()> {
    let (mut stream, mut got) = (connect(ports.bytes)?, Vec::new());
    stream.read_to_end(&mut got)?;
    same(&got, &(0..128).map(character).collect::<Vec<_>>())
}

fn at_once(ports: Ports, count: usize) -> std::io::Result<()> {
    let streams = (0..count).map(|_| connect(ports.bytes)).collect::<std::io::Result<Vec<_>>>()?;
    for mut stream in streams {
        let mut got = Vec::new();
        stream.read_to_end(&mut got)?;
        same(&got, &(0..128).map(character).collect::<Vec<_>>())?;
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
