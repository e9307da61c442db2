//! The clients of a guest with network cards: one at the other end of each card's wire.

use std::net::SocketAddrV4;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use corey_lib_bench::served::{INFLIGHT, PORT, client, server};
use corey_tools_loadgen::wire::{self, Outcome, Plan};
use serde_json::Value;

use crate::Result;

use super::folder;
use super::guest::System;

/// How long a connection may take: an instrument makes guests slow.
const DEADLINE: Duration = Duration::from_secs(120);

type Running = JoinHandle<std::io::Result<Outcome>>;

/// One wire: where the machine finds it, its own end, and who uses that.
#[derive(Debug)]
struct End {
    listener: UnixListener,
    socket: Option<UnixStream>,
    running: Option<Running>,
}

/// Wires, and a client for each.
#[derive(Debug)]
pub(super) struct Load {
    paths: Vec<PathBuf>,
    ends: Vec<End>,
    /// What was done: card, and how it went.
    done: Vec<(usize, Outcome)>,
    wrong: Option<String>,
}

impl Load {
    /// So many wires, which the machine finds when it starts.
    pub(super) fn new(cards: u32) -> Result<Self> {
        let folder = folder()?;
        let paths: Vec<PathBuf> = (0..cards).map(|card| folder.join(format!("wire{card}"))).collect();
        let ends = paths.iter().map(|path| End::bind(path)).collect::<Result<_>>()?;
        Ok(Self { paths, ends, done: Vec::new(), wrong: None })
    }

    /// Their sockets, by card.
    pub(super) fn wires(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Hears a line of the guest's: one that says that a card's server is ready begins its load.
    pub(super) fn hear(&mut self, line: &str) {
        let Some((card, connections)) = ready(line) else { return };
        self.gather(usize::from(card));
        let begun = match self.ends.get_mut(usize::from(card)) {
            Some(end) => end.begin(card, connections).map_err(|error| error.to_string()),
            None => Err("there is no such card".to_owned()),
        };
        if let Err(error) = begun {
            self.wrong.get_or_insert(format!("card {card}: {error}"));
        }
    }

    /// Takes the result of the load that `card` had last.
    fn gather(&mut self, card: usize) {
        let running = self.ends.get_mut(card).and_then(|end| end.running.take());
        match running.map(|running| running.join().expect("it does not panic")) {
            None => {}
            Some(Ok(outcome)) => self.done.push((card, outcome)),
            Some(Err(error)) => _ = self.wrong.get_or_insert(format!("card {card}: {error}")),
        }
    }

    /// Waits for all clients, whose wires the machine's end has cut: a record for each load, and what was wrong.
    pub(super) fn end(mut self, system: System) -> (Vec<String>, Option<String>) {
        (0..self.ends.len()).for_each(|card| self.gather(card));
        let mut wrong = self.wrong.take();
        let mut records = Vec::new();
        for (card, outcome) in &self.done {
            let mut record = outcome.report.json("wire");
            record["system"] = system.name().into();
            record["nic"] = (*card).into();
            record["retransmitted"] = outcome.retransmitted.into();
            if outcome.cut || outcome.report.failures.total() != 0 || outcome.retransmitted != 0 {
                wrong.get_or_insert(format!("served its client on card {card} badly: {record}"));
            }
            records.push(record.to_string());
        }
        (records, wrong)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for path in &self.paths {
            // It may be gone.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl End {
    fn bind(path: &Path) -> Result<Self> {
        // Of a run that was killed.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).map_err(|error| format!("{}: {error}", path.display()))?;
        // The machine is there before its guest says anything.
        listener.set_nonblocking(true)?;
        Ok(Self { listener, socket: None, running: None })
    }

    fn begin(&mut self, card: u8, connections: u64) -> std::io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket.try_clone()?,
            None => {
                let (socket, _) = self.listener.accept()?;
                socket.set_nonblocking(false)?;
                self.socket.insert(socket).try_clone()?
            }
        };
        let plan = Plan {
            client: client(card),
            server: SocketAddrV4::new(server(card), PORT),
            connections,
            inflight: INFLIGHT as usize,
            deadline: DEADLINE,
        };
        self.running = Some(std::thread::spawn(move || wire::run(socket, &plan)));
        Ok(())
    }
}

/// Card and connections of a line that says that a server is ready.
fn ready(line: &str) -> Option<(u8, u64)> {
    let record: Value = serde_json::from_str(line).ok()?;
    let ready = record["record"] == "net" && record["ready"] == true;
    let card = record["nic"].as_u64().and_then(|card| u8::try_from(card).ok())?;
    ready.then_some((card, record["connections"].as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corey_lib_bench::served::Served;

    #[test]
    fn what_a_server_prints_begins_its_load() {
        let line = Served { card: 3, connections: 77 }.to_string();
        assert_eq!(ready(&line), Some((3, 77)));
        assert_eq!(ready(&line.replace("true", "false")), None);
        assert_eq!(ready("tcp: no card"), None);
    }
}
