//! A server in the machine, `images/netserver`, and this machine's network stack as its clients.

mod clients;
mod forwarded;
mod lossy;
mod malformed;
mod relay;
mod soak;

use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::Result;
use crate::qemu::{Boot, Machine};

use super::{Built, Case, Verdict, show};

pub(crate) use lossy::Inside;
pub(super) use soak::cases as soak;

/// Everything; `seed` of what is drawn at random.
pub(super) fn cases(built: &Built, full: bool, seed: u64) -> Vec<Case> {
    println!("  again: cargo xtask test --only net --seed {seed}");
    let parts = [
        ("netserver", forwarded::cases(built)),
        ("netserver under load", soak::short(built)),
        ("malformed frames", malformed::cases(built, full, seed)),
        ("Linux as the peer", lossy::cases(built, full, seed)),
    ];
    let or_error = |(name, cases): (&str, Result<Vec<Case>>)| {
        cases.unwrap_or_else(|error| {
            let case = (name.to_owned(), Verdict::Failed(error.to_string()));
            show(&case, None);
            vec![case]
        })
    };
    parts.into_iter().flat_map(or_error).collect()
}

/// What the other machine's end of [`lossy::cases`] does.
pub(crate) fn inside(words: &Inside) -> Result<()> {
    lossy::inside(words)
}

/// A machine that serves; `words` are the server's.
fn machine(kernel: &Path, archive: &Path, words: &str) -> Machine {
    let boot = Boot::Direct(kernel.into(), Some(archive.into()), format!("init=netserver {words}"));
    let mut machine = Machine::new(1, "512M", boot);
    machine.cards = vec!["e1000"];
    machine
}

/// Whether a line of the server's says that it has an address.
fn said_ready(line: &str) -> bool {
    line.contains("\"record\":\"net\"") && line.contains("\"ready\":true")
}

/// Waits until the server says that so many cards have an address.
fn wait_until_it_serves(lines: &Receiver<String>, cards: usize, patience: Duration) -> Result<()> {
    let start = Instant::now();
    let (mut heard, mut ready) = (Vec::new(), 0);
    while let Ok(line) = lines.recv_timeout(patience.saturating_sub(start.elapsed())) {
        ready += usize::from(said_ready(&line));
        if ready == cards {
            return Ok(());
        }
        heard.push(line);
    }
    Err(format!("no address after {patience:?}; it said\n{}", heard.join("\n")).into())
}
