//! The clients of a guest with network cards: one at the other end of each card's wire.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use corey_lib_bench::served::{INFLIGHT, Load as Wanted, PORT, client, server};
use corey_tools_loadgen::wire::{self, Outcome, Plan, Until};
use serde_json::Value;

use crate::Result;
use crate::wires::Wires;

use super::folder;
use super::guest::System;

/// How long a connection or an answer may take: an instrument makes guests slow.
const DEADLINE: Duration = Duration::from_secs(600);

type Running = JoinHandle<std::io::Result<Outcome>>;

/// Wires, and a client for each.
#[derive(Debug)]
pub(super) struct Load {
    wires: Wires,
    /// By card: what is done there, and who does it.
    running: Vec<Option<(Wanted, Running)>>,
    /// What was done: card, load, and how it went.
    done: Vec<(usize, Wanted, Outcome)>,
    wrong: Option<String>,
}

impl Load {
    /// So many wires, which the machine finds when it starts.
    pub(super) fn new(cards: u32) -> Result<Self> {
        let wires = Wires::new(&folder()?, cards)?;
        let running = (0..cards).map(|_| None).collect();
        Ok(Self { wires, running, done: Vec::new(), wrong: None })
    }

    /// Their sockets, by card.
    pub(super) fn wires(&self) -> &[PathBuf] {
        self.wires.paths()
    }

    /// Hears a line of the guest's: one that says that a card's server is ready begins its load.
    pub(super) fn hear(&mut self, line: &str) {
        let Some((card, load, operations)) = ready(line) else { return };
        self.gather(usize::from(card));
        let begun = self.begin(card, load, operations);
        if let Err(error) = begun {
            self.wrong.get_or_insert(format!("card {card}: {error}"));
        }
    }

    fn begin(&mut self, card: u8, load: Wanted, operations: u64) -> std::io::Result<()> {
        let socket = self.wires.socket(usize::from(card))?;
        let plan = Plan {
            client: client(card),
            server: SocketAddrV4::new(server(card), PORT),
            load,
            until: Until::Operations(operations),
            inflight: INFLIGHT as usize,
            deadline: DEADLINE,
        };
        if let Some(place) = self.running.get_mut(usize::from(card)) {
            *place = Some((load, std::thread::spawn(move || wire::run(socket, &plan))));
        }
        Ok(())
    }

    /// Takes the result of the load that `card` had last.
    fn gather(&mut self, card: usize) {
        let running = self.running.get_mut(card).and_then(Option::take);
        match running.map(|(load, running)| (load, running.join().expect("it does not panic"))) {
            None => {}
            Some((load, Ok(outcome))) => self.done.push((card, load, outcome)),
            Some((_, Err(error))) => _ = self.wrong.get_or_insert(format!("card {card}: {error}")),
        }
    }

    /// Waits for all clients, whose wires the machine's end has cut: a record for each load, and what was wrong.
    pub(super) fn end(mut self, system: System) -> (Vec<String>, Option<String>) {
        (0..self.running.len()).for_each(|card| self.gather(card));
        let mut wrong = self.wrong.take();
        let mut records = Vec::new();
        for (card, load, outcome) in &self.done {
            let mut record = outcome.report.json("wire");
            record["load"] = load.name().into();
            record["operations"] = outcome.operations.into();
            record["system"] = system.name().into();
            record["nic"] = (*card).into();
            record["retransmitted"] = outcome.retransmitted.into();
            if !outcome.is_clean() {
                wrong.get_or_insert(format!("served its client on card {card} badly: {record}"));
            }
            records.push(record.to_string());
        }
        (records, wrong)
    }
}

/// Card, load and operations of a line that says that a server is ready.
fn ready(line: &str) -> Option<(u8, Wanted, u64)> {
    let record: Value = serde_json::from_str(line).ok()?;
    let ready = record["record"] == "net" && record["ready"] == true;
    let card = record["nic"].as_u64().and_then(|card| u8::try_from(card).ok())?;
    let load = Wanted::ALL.into_iter().find(|load| record["load"] == load.name())?;
    ready.then_some((card, load, record["operations"].as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corey_lib_bench::served::Served;

    #[test]
    fn what_a_server_prints_begins_its_load() {
        for load in Wanted::ALL {
            let line = Served { card: 3, load, operations: 77 }.to_string();
            assert_eq!(ready(&line), Some((3, load, 77)));
            assert_eq!(ready(&line.replace("true", "false")), None);
        }
        assert_eq!(ready("tcp: no card"), None);
    }
}
