//! The long run: servers on eight processors, loaded over wires, for minutes. No connection may fail, and no memory be lost.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use corey_lib_bench::served::{INFLIGHT, Load, PORT};
use corey_tools_loadgen::wire::{self, Outcome, Plan, Until};
use serde_json::Value;

use crate::process::interrupted;
use crate::wires::Wires;
use crate::{Result, paths};

use super::{Built, Case, machine, wait_until_it_serves};
use crate::test::{Verdict, show};

/// Virtual processors.
const PROCESSORS: u32 = 8;
/// Machines: words, cards.
const MACHINES: [(&str, u32); 2] = [("cores=4 kernel=on", 4), ("cores=8", 8)];
/// How long a connection may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for an address, and for two reports.
const PATIENCE: Duration = Duration::from_secs(60);
/// Seconds between the server's reports.
const REPORT: u64 = 2;
/// Connections to each card before its memory is looked at: twice as many as it remembers, so that its tables are as large as they
/// get.
const WARM: u64 = 8192;

/// Every machine for `time`.
pub(in crate::test) fn cases(built: &Built, time: Duration) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (words, cards) in MACHINES {
        cases.extend(soaked(built, words, cards, time)?);
        if interrupted() {
            return Err("interrupted".into());
        }
    }
    Ok(cases)
}

/// The machine with kernel cores, for a moment.
pub(super) fn short(built: &Built) -> Result<Vec<Case>> {
    let [(words, cards), ..] = MACHINES;
    soaked(built, words, cards, Duration::from_secs(10))
}

/// One machine, loaded for `time`.
fn soaked(built: &Built, words: &str, cards: u32, time: Duration) -> Result<Vec<Case>> {
    let mut wires = Wires::new(&paths::work("soak")?, cards)?;
    let serves = format!("{words} report={REPORT} ip={}/24", server(0));
    let mut machine = machine(&built.medium.kernel, &built.medium.archive, &serves);
    machine.cores = PROCESSORS;
    machine.cards = vec!["e1000"; cards as usize];
    machine.wires = wires.paths().to_vec();
    // Killed when it goes out of scope.
    let (_child, lines) = machine.start()?;
    wait_until_it_serves(&lines, cards as usize, PATIENCE)?;
    let who = format!("netserver {words}, {PROCESSORS} processors");
    let mut cases = Vec::new();
    let mut tell = |what: String, wrong: Option<String>| {
        let case = (format!("{who}: {what}"), wrong.map_or(Verdict::Passed, Verdict::Failed));
        show(&case, None);
        cases.push(case);
    };
    let warm = load(&mut wires, cards, Until::Operations(WARM))?;
    let before = memory_at_rest(&lines, cards)?;
    let start = Instant::now();
    let all = load(&mut wires, cards, Until::Time(time))?;
    let took = start.elapsed().as_secs_f64();
    let (warm, all) = (sum(warm), sum(all));
    let longest = f64::from(all.report.latency(100).unwrap_or(0)) / 1000.0;
    tell(
        format!(
            "{} connections in {took:.0} s on {cards} cards, {:.0} a second, the longest {longest:.0} ms",
            all.operations,
            all.report.per_second(),
        ),
        wrong(&warm).or_else(|| wrong(&all)),
    );
    let after = memory_at_rest(&lines, cards)?;
    let lost = before.saturating_sub(after);
    let is_less = (lost != 0).then(|| format!("{lost} bytes are not back"));
    tell(format!("{before} bytes were free before, {after} are after"), is_less);
    Ok(cases)
}

/// The server on card `card`; each is alone with its client on its wire.
fn server(card: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 15 + card)
}

/// A client on every wire, all at once.
fn load(wires: &mut Wires, cards: u32, until: Until) -> Result<Vec<Outcome>> {
    let mut clients = Vec::new();
    for card in 0..cards as u8 {
        let socket = wires.socket(usize::from(card))?;
        let plan = Plan {
            client: Ipv4Addr::new(10, 0, 0, 2),
            server: SocketAddrV4::new(server(card), PORT),
            load: Load::Short,
            until,
            inflight: INFLIGHT as usize,
            deadline: DEADLINE,
        };
        clients.push(std::thread::spawn(move || wire::run(socket, &plan)));
    }
    clients.into_iter().map(|client| Ok(client.join().expect("it does not panic")?)).collect()
}

fn sum(outcomes: Vec<Outcome>) -> Outcome {
    let mut sum = Outcome::default();
    for outcome in outcomes {
        sum.report.add(outcome.report);
        sum.operations += outcome.operations;
        sum.retransmitted += outcome.retransmitted;
        sum.cut |= outcome.cut;
    }
    sum
}

/// What was wrong with a load.
fn wrong(outcome: &Outcome) -> Option<String> {
    let Outcome { report, operations, retransmitted, cut } = outcome;
    let good = outcome.is_clean() && *operations > 0;
    let kinds: Vec<String> =
        report.failures.iter().map(|(kind, count)| format!("{} {count}", kind.name())).collect();
    (!good).then(|| {
        format!(
            "{operations} good; failed: {}; {retransmitted} segments sent again{}",
            if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") },
            if *cut { "; the machine ended" } else { "" },
        )
    })
}

/// Bytes that the kernel counts as free when every card's server has said that it has no connection and no data.
fn memory_at_rest(lines: &Receiver<String>, cards: u32) -> Result<u64> {
    // What was said under load.
    lines.try_iter().for_each(drop);
    let (start, mut rest) = (Instant::now(), Rest::new(cards));
    let mut heard = Vec::new();
    while let Ok(line) = lines.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
        if let Some(free) = rest.hear(&line)? {
            return Ok(free);
        }
        heard.push(line);
    }
    Err(format!("not at rest after {PATIENCE:?}; it said\n{}", heard.join("\n")).into())
}

/// Which servers have said that they have nothing.
struct Rest(Vec<bool>);

impl Rest {
    fn new(cards: u32) -> Self {
        Self(vec![false; cards as usize])
    }

    /// Takes note of a line; the bytes that are free, when it is the audit of a machine at rest.
    fn hear(&mut self, line: &str) -> Result<Option<u64>> {
        let Ok(record) = serde_json::from_str::<Value>(line) else { return Ok(None) };
        if record["record"] == "stack" {
            let card = record["nic"].as_u64().and_then(|card| self.0.get_mut(card as usize));
            if let Some(rests) = card {
                *rests = record["connections"] == 0 && record["blocks"] == 0;
            }
        }
        if record["record"] != "audit" || self.0.contains(&false) {
            return Ok(None);
        }
        if record["sound"] != true {
            return Err(format!("the kernel's books do not balance: {record}").into());
        }
        Ok(record["free"].as_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corey_tools_loadgen::Failure;

    fn stack(nic: u32, connections: u32) -> String {
        format!("{{\"record\":\"stack\",\"nic\":{nic},\"connections\":{connections},\"blocks\":0}}")
    }

    const AUDIT: &str = "{\"record\":\"audit\",\"sound\":true,\"free\":4096}";

    #[test]
    fn memory_is_looked_at_when_all_servers_rest() {
        let mut rest = Rest::new(2);
        let mut hear = |line: &str| rest.hear(line).unwrap();
        assert_eq!((hear(AUDIT), hear(&stack(0, 0)), hear(AUDIT)), (None, None, None));
        assert_eq!((hear(&stack(1, 3)), hear(AUDIT)), (None, None));
        assert_eq!((hear(&stack(1, 0)), hear(AUDIT)), (None, Some(4096)));
        assert!(rest.hear(&AUDIT.replace("true", "false")).is_err());
    }

    #[test]
    fn a_load_is_good_only_without_failures_and_with_connections() {
        let good = Outcome { operations: 7, ..Outcome::default() };
        assert_eq!(wrong(&good), None);
        assert!(wrong(&Outcome::default()).is_some());
        assert!(wrong(&Outcome { cut: true, ..good.clone() }).is_some());
        assert!(wrong(&Outcome { retransmitted: 1, ..good.clone() }).is_some());
        let mut failed = good;
        failed.report.failures.count(Failure::Silent);
        assert!(wrong(&failed).unwrap().contains("silent 1"));
    }
}
