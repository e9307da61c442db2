//! The server behind QEMU's user network: ports of this machine's loopback lead to its cards.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use crate::Result;
use crate::qemu::{End, Forward, Machine};

use super::clients::{self, Server};
use super::{Built, Case, machine, wait_until_it_serves};
use crate::test::{Verdict, show};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

type Check = fn(&Server) -> std::io::Result<()>;

const CHECKS: [(&str, Check); 6] = [
    ("300 connections get their 128 bytes", |server| clients::bytes(server, 300)),
    ("32 at once get them", |server| clients::at_once(server, 32)),
    ("a MiB comes back from the echo", |server| clients::echo(server, 1 << 20)),
    ("datagrams come back", clients::datagrams),
    ("a MiB is taken and forgotten", |server| clients::discard(server, 1 << 20)),
    ("characters come in order, as many as are read", |server| clients::characters(server, 1 << 20)),
];

/// Machines: words, processors, cards.
const MACHINES: [(&str, u32, usize); 3] = [("", 1, 1), ("cores=2", 2, 2), ("kernel=on", 4, 2)];

/// Words that a machine with two processors and one card refuses, and what it says.
const REFUSED: [(&str, &str); 6] = [
    ("cores=0", "cores=0: wanted how many cores serve, as in cores=2"),
    ("cores=2", "cores=2: valid: 1 to 1; here are 1 network cards and 2 free cores"),
    ("ip=10.0.2.15", "wanted ip=dhcp or ip=ADDRESS/LEN[,GATEWAY]"),
    ("core=1", "core=1: unknown word; valid: ip cores kernel"),
    ("kernel=1", "kernel=1: wanted kernel=on or kernel=off"),
    ("report=0", "report=0: wanted seconds between reports, 1 to 3600"),
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

fn with(built: &Built, words: &str, cores: u32, cards: usize) -> Machine {
    let mut machine = machine(&built.medium.kernel, &built.medium.archive, words);
    machine.cores = cores;
    machine.cards = vec!["e1000"; cards];
    machine
}

fn served(built: &Built, words: &str, cores: u32, cards: usize) -> Result<Vec<Case>> {
    let servers: Vec<Server> = (0..cards).map(|_| free()).collect::<Result<_>>()?;
    let mut machine = with(built, words, cores, cards);
    machine.forwards = servers.iter().enumerate().flat_map(|(card, server)| forwards(server, card)).collect();
    // Killed when it goes out of scope.
    let (_child, lines) = machine.start()?;
    let served = wait_until_it_serves(&lines, cards, PATIENCE).err().map(|error| error.to_string());
    let is_there = served.is_none();
    let verdict = |error: Option<String>| error.map_or(Verdict::Passed, Verdict::Failed);
    let who = format!("netserver {words}");
    let who = who.trim_end();
    let mut cases = vec![(format!("{who}: addresses by DHCP"), verdict(served))];
    for (card, server) in servers.iter().enumerate().filter(|_| is_there) {
        for (name, check) in CHECKS {
            let error = check(server).err().map(|error| error.to_string());
            cases.push((format!("{who}: card {card}: {name}"), verdict(error)));
        }
    }
    cases.iter().for_each(|case| show(case, None));
    Ok(cases)
}

fn refused(built: &Built, word: &str, text: &str) -> Result<Case> {
    let outcome = with(built, word, 2, 1).run(PATIENCE, |_| ())?;
    let good = outcome.end == End::Status(2) && outcome.lines.iter().any(|line| line.contains(text));
    let wrong =
        || Verdict::Failed(format!("wanted status 2 and {text:?}: {:?}\n{}", outcome.end, outcome.tail()));
    let case = (format!("netserver refuses {word}"), if good { Verdict::Passed } else { wrong() });
    show(&case, None);
    Ok(case)
}

/// What leads to the card with this number.
fn forwards(server: &Server, card: usize) -> [Forward; 5] {
    [
        ("tcp", server.bytes, 7000),
        ("tcp", server.echo, 7),
        ("tcp", server.discard, 9),
        ("tcp", server.characters, 19),
        ("udp", server.datagrams, 7),
    ]
    .map(|(protocol, from, to)| Forward { protocol, from: from.port(), to, card })
}

/// A server to be, at ports that nobody has now.
fn free() -> Result<Server> {
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 4];
    for (port, held) in ports.iter_mut().zip(&held) {
        *port = held.as_ref().map_err(ToString::to_string)?.local_addr()?.port();
    }
    let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let [bytes, echo, discard, characters] = ports.map(here);
    let datagrams = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    Ok(Server { bytes, echo, discard, characters, datagrams, patience: PATIENCE })
}
