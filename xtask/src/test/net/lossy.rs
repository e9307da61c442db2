//! Linux's network stack as the peer, over a wire that loses, repeats and reorders.
//!
//! ```text
//! sockets ─ Linux ─ tap device ─ QEMU ─ relay, with faults ─ QEMU ─ e1000 ─ netserver
//! ╰──────── a network namespace of the test's own ────────────────────────────────╯
//! ```
//!
//! In that namespace a second `xtask` runs ([`inside`]); it prints a record for each case. The faults are a relay's, as not every
//! kernel has `netem`; they are the same in both directions.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use corey_lib_bench::served::MESSAGE;
use corey_test_host_net::Faults;
use serde_json::{Value, json};

use crate::process::{Owned, interrupted, line, on_path, tied};
use crate::qemu::{Cable, lines_of};
use crate::setup::{self, Need};
use crate::{Result, paths};

use super::clients::{self, Server};
use super::relay::{End, Relay};
use super::{Built, Case, machine, wait_until_it_serves};
use crate::test::{Verdict, show, vm};

/// The tap device, and the two ends' addresses.
const TAP: &str = "corey0";
const HERE: Ipv4Addr = Ipv4Addr::new(10, 67, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 67, 0, 2);
/// How long a frame takes; one that is reordered up to eight times as long.
const DELAY: Duration = Duration::from_millis(2);
/// Longest wait where nothing is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Times that something which took too long is tried on a wire that loses. A SYN or its answer is sent again after 1, 2, 4, 8 …
/// seconds (RFC 6298): at 20 % each way one handshake of 500 takes more than a minute, whoever's stacks they are.
const TRIES: u32 = 3;

/// Of a thousand frames those lost, in each direction; and bytes of a transfer.
const RATES: [(u32, usize); 4] = [(0, 1 << 20), (10, 1 << 20), (50, 1 << 20), (200, 1 << 16)];
/// The same for `--full`.
const FULL_RATES: [(u32, usize); 4] = [(0, 8 << 20), (10, 8 << 20), (50, 2 << 20), (200, 1 << 20)];

/// Words of the xtask in the namespace.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Inside {
    #[arg(long)]
    kernel: PathBuf,
    #[arg(long)]
    archive: PathBuf,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    full: bool,
}

/// Runs everything in a namespace; where there is none, it is skipped.
pub(super) fn cases(built: &Built, full: bool, seed: u64) -> Result<Vec<Case>> {
    let Some(way) = way() else {
        let why = "a network namespace needs root or user namespaces (unshare -n, unshare -Urn)";
        let case = ("Linux as the peer".to_owned(), Verdict::Skipped(why.to_owned()));
        show(&case, None);
        return Ok(vec![case]);
    };
    if let Err(error) = setup::ensure(&[Need::Peers]) {
        // What is missing is skipped, by its name.
        println!("  {error}");
    }
    let within = tied(&std::env::current_exe()?.display().to_string());
    let mut command = Command::new("unshare");
    command.args(way).arg(within.get_program()).args(within.get_args());
    command.arg("namespace").args(["--seed", &seed.to_string()]);
    command.arg("--kernel").arg(&built.medium.kernel).arg("--archive").arg(&built.medium.archive);
    command.args(full.then_some("--full"));
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = Owned(spawned.map_err(|error| format!("{}: {error}", line(&command)))?);
    let lines = lines_of(child.0.stdout.take().expect("it is piped"));
    let mut cases = Vec::new();
    loop {
        let line = match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) if interrupted() => return Err("interrupted".into()),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let record = serde_json::from_str::<Value>(&line).ok();
        match record.as_ref().and_then(|record| vm::case("Linux as the peer", record)) {
            Some(case) => {
                show(&case, None);
                cases.push(case);
            }
            None => println!("  {line}"),
        }
    }
    let status = child.0.wait()?;
    if !status.success() || cases.is_empty() {
        return Err(format!("{} cases, then {status}: {}", cases.len(), line(&command)).into());
    }
    Ok(cases)
}

/// Words for `unshare` that lead into a namespace: as root, and as anybody where that is allowed.
fn way() -> Option<&'static [&'static str]> {
    let works = |way: &&[&str]| {
        let tried = Command::new("unshare").args(*way).arg("true").output();
        tried.is_ok_and(|out| out.status.success())
    };
    [&["-n"][..], &["-Urn"]].into_iter().find(works)
}

/// One machine, every rate.
pub(super) fn inside(words: &Inside) -> Result<()> {
    if let Err(error) = plug_in() {
        tell("a tap device", &Verdict::Skipped(error.to_string()));
        return Ok(());
    }
    let dir = paths::work("net")?;
    let cable = |name: &str| Cable {
        machine: dir.join(format!("{name}-machine")),
        here: dir.join(format!("{name}-here")),
    };
    let (tap, card) = (cable("tap"), cable("card"));
    let relay = Relay::start([End::new(&tap)?, End::new(&card)?], DELAY, words.seed)?;
    let mut machine = machine(&words.kernel, &words.archive, &format!("ip={THERE}/24"));
    (machine.cable, machine.tap) = (Some(card), Some((TAP, tap)));
    // Killed when it goes out of scope.
    let (_child, lines) = machine.start()?;
    wait_until_it_serves(&lines, 1, PATIENCE)?;
    for (loss, bytes) in if words.full { FULL_RATES } else { RATES } {
        relay.set_faults(Faults { loss, duplication: 10, reordering: 50, corruption: 0 });
        rate(loss, bytes);
        if interrupted() {
            return Err("interrupted".into());
        }
    }
    Ok(())
}

/// Makes the tap device.
fn plug_in() -> Result<()> {
    let address = format!("{HERE}/24");
    for words in [
        &["link", "set", "lo", "up"][..],
        &["tuntap", "add", "dev", TAP, "mode", "tap"],
        &["address", "add", &address, "dev", TAP],
        &["link", "set", TAP, "up"],
    ] {
        let out = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(format!("ip {}: {}", words.join(" "), said.trim()).into());
        }
    }
    Ok(())
}

/// Everything at one rate: the long transfers together, then the rest.
fn rate(loss: u32, bytes: usize) {
    let at = |port| (THERE, port).into();
    let server = Server {
        bytes: at(7000),
        echo: at(7),
        discard: at(9),
        characters: at(19),
        datagrams: at(7),
        patience: patience(loss, bytes),
    };
    let kib = bytes >> 10;
    type Check<'a> = (String, &'a (dyn Fn(&Server) -> std::io::Result<()> + Sync));
    let transfers: [Check; 3] = [
        (format!("{kib} KiB come back from the echo"), &|server| clients::echo(server, bytes)),
        (format!("{kib} KiB are taken and forgotten"), &|server| clients::discard(server, bytes)),
        (format!("{kib} KiB of characters come in order"), &|server| clients::characters(server, bytes)),
    ];
    let others: [Check; 3] = [
        ("20 connections at once get their 128 bytes".to_owned(), &|server| clients::at_once(server, 20)),
        ("datagrams come back".to_owned(), &clients::datagrams),
        ("echo requests are answered".to_owned(), &clients::echo_requests),
    ];
    let tries = if loss == 0 { 1 } else { TRIES };
    let judge = |(name, check): &Check| {
        let start = Instant::now();
        let late = |tried: &std::io::Result<()>| {
            tried.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut)
        };
        let mut tried = server.in_time(check);
        for _ in 1..tries {
            if late(&tried) {
                tried = server.in_time(check);
            }
        }
        let verdict = tried.map_or_else(|error| Verdict::Failed(error.to_string()), |()| Verdict::Passed);
        let took = start.elapsed();
        let (percent, most) = (f64::from(loss) / 10.0, server.patience);
        tell(
            &format!("{percent} % lost: {name} in {took:.1?} (at most {most:.0?}, {tries} tries)"),
            &verdict,
        );
    };
    std::thread::scope(|scope| {
        for check in &transfers {
            scope.spawn(|| judge(check));
        }
    });
    others.iter().for_each(judge);
    for program in programs(&server, bytes) {
        tell(&format!("{} % lost: {}", f64::from(loss) / 10.0, program.name), &program.run());
    }
}

/// A program that people have.
struct Program {
    name: &'static str,
    words: Vec<String>,
    /// What it must print; anything without.
    prints: Option<Vec<u8>>,
}

impl Program {
    /// It must end well, too.
    fn run(&self) -> Verdict {
        if !on_path(self.name) {
            return Verdict::Skipped(format!("{} is not installed", self.name));
        }
        let mut command = Command::new(self.name);
        let out = match command.args(&self.words).stdin(Stdio::null()).output() {
            Ok(out) => out,
            Err(error) => return Verdict::Failed(format!("{}: {error}", line(&command))),
        };
        if out.status.success() && self.prints.as_ref().is_none_or(|prints| *prints == out.stdout) {
            return Verdict::Passed;
        }
        let said = String::from_utf8_lossy(&out.stderr);
        Verdict::Failed(format!("{}: {}, {} bytes; {said}", line(&command), out.status, out.stdout.len()))
    }
}

fn programs(server: &Server, bytes: usize) -> Vec<Program> {
    let seconds = server.patience.as_secs().to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let there = THERE.to_string();
    let mut programs = vec![
        // Until one answer came.
        Program {
            name: "ping",
            words: words(&["-c", "1", "-w", &seconds, "-i", "0.2", &there]),
            prints: None,
        },
        Program {
            name: "nc",
            words: words(&["-w", &seconds, &there, "7000"]),
            prints: Some(MESSAGE.to_vec()),
        },
    ];
    // The echo makes its request an answer: the method is a status line, and the body comes back.
    let body = vec![b'b'; bytes];
    let file = paths::work("net").map(|dir| dir.join("body"));
    if let Ok(file) = file.and_then(|file| std::fs::write(&file, &body).map(|()| file)) {
        let (data, url) = (format!("@{}", file.display()), format!("http://{THERE}:7/"));
        let method = "HTTP/1.1 200";
        programs.push(Program {
            name: "curl",
            words: words(&[
                "-sS",
                "-m",
                &seconds,
                "-H",
                "Expect:",
                "-X",
                method,
                "--data-binary",
                &data,
                &url,
            ]),
            prints: Some(body),
        });
    }
    programs
}

/// Prints a case for whoever started this.
fn tell(name: &str, verdict: &Verdict) {
    let (ok, detail) = match verdict {
        Verdict::Passed => (json!(true), ""),
        Verdict::Failed(how) => (json!(false), how.as_str()),
        Verdict::Skipped(why) => (Value::Null, why.as_str()),
    };
    println!("{}", json!({ "record": "test", "group": "net", "name": name, "ok": ok, "detail": detail }));
}

/// The longest that `bytes` may take one way when `loss` of a thousand frames are lost each way: what is waited where nothing
/// is lost, and twice what a TCP without selective acknowledgements takes on average, by the model of Padhye, Firoiu, Towsley
/// and Kurose (1998), where a lost acknowledgement counts as a lost segment, too.
fn patience(loss: u32, bytes: usize) -> Duration {
    /// Seconds: a round trip on this wire, and the least time after which Linux and we send again.
    const ROUND: f64 = 0.012;
    const TIMEOUT: f64 = 0.2;
    const SEGMENT: f64 = 1460.0;
    let one_way = f64::from(loss) / 1000.0;
    let lost = 1.0 - (1.0 - one_way) * (1.0 - one_way);
    let recovered = ROUND * (2.0 * lost / 3.0).sqrt();
    let timed_out = TIMEOUT * (3.0 * (3.0 * lost / 8.0).sqrt()).min(1.0) * lost * (1.0 + 32.0 * lost * lost);
    PATIENCE + Duration::from_secs_f64(2.0 * (bytes as f64 / SEGMENT) * (recovered + timed_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_loss_may_take_longer_and_nothing_may_take_for_ever() {
        let seconds = |loss| patience(loss, 1 << 20).as_secs();
        assert_eq!(seconds(0), 20);
        assert!((20..30).contains(&seconds(10)) && (30..60).contains(&seconds(50)));
        assert!((200..900).contains(&seconds(200)), "{}", seconds(200));
    }
}
