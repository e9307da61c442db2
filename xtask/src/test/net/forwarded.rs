//! The server behind QEMU's user network: ports of this machine's loopback lead to it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use crate::Result;
use crate::qemu::Forward;

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

/// Starts the server and tries everything.
pub(super) fn cases(built: &Built) -> Result<Vec<Case>> {
    let [bytes, echo, discard, characters] = free()?;
    let datagrams = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut machine = machine(&built.medium.kernel, &built.medium.archive, "");
    machine.forwards = [(bytes, 7000), (echo, 7), (discard, 9), (characters, 19)]
        .map(|(from, to)| Forward { protocol: "tcp", from, to })
        .to_vec();
    machine.forwards.push(Forward { protocol: "udp", from: datagrams, to: 7 });
    // Killed when it goes out of scope.
    let (_child, lines) = machine.start()?;
    let served = wait_until_it_serves(&lines, PATIENCE);
    let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = Server {
        bytes: here(bytes),
        echo: here(echo),
        discard: here(discard),
        characters: here(characters),
        datagrams: here(datagrams),
        patience: PATIENCE,
    };
    let verdict = |error: Option<String>| error.map_or(Verdict::Passed, Verdict::Failed);
    let served = served.err().map(|error| error.to_string());
    let is_there = served.is_none();
    let mut cases = vec![("netserver: an address by DHCP".to_owned(), verdict(served))];
    for (name, check) in CHECKS.iter().filter(|_| is_there) {
        let error = check(&server).err().map(|error| error.to_string());
        cases.push((format!("netserver: {name}"), verdict(error)));
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
