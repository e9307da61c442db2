//! QEMU's monitor: an outside witness of a machine's state.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;

/// What QEMU prints when it waits for a command.
const PROMPT: &str = "(qemu) ";
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the monitor of a machine that runs.
#[derive(Debug)]
pub(crate) struct Monitor(UnixStream);

impl Monitor {
    /// Connects to the socket a machine was started with.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let connection = UnixStream::connect(socket)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut monitor = Self(connection);
        monitor.answer()?;
        Ok(monitor)
    }

    /// Gives a command; returns the lines of its answer.
    pub(crate) fn ask(&mut self, command: &str) -> Result<Vec<String>> {
        writeln!(self.0, "{command}")?;
        let answer = self.answer()?;
        // The first line is the command, as one types it.
        Ok(answer.lines().skip(1).map(|line| line.trim_end().to_owned()).collect())
    }

    /// Ends the machine.
    pub(crate) fn quit(mut self) {
        // It may be gone already.
        let _ = writeln!(self.0, "quit");
        let _ = self.0.read_to_end(&mut Vec::new());
    }

    fn answer(&mut self) -> Result<String> {
        let (mut bytes, mut part, start) = (Vec::new(), [0; 1 << 16], Instant::now());
        while !bytes.ends_with(PROMPT.as_bytes()) {
            let n = self.0.read(&mut part)?;
            if n == 0 || start.elapsed() > PATIENCE {
                return Err("QEMU's monitor does not answer".into());
            }
            bytes.extend_from_slice(&part[..n]);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(text.trim_end_matches(PROMPT).to_owned())
    }
}

/// Values of `key=` (hexadecimal) in an answer, in order.
pub(crate) fn values(answer: &[String], key: &str) -> Vec<u64> {
    let words = answer.iter().flat_map(|line| line.split_whitespace());
    let values = words.filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    values.filter_map(|digits| u64::from_str_radix(digits, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_key() {
        let answer = ["CPU#0", "CR0=80010033 CR2=0 CR4=00300ee0", "CR0=1"].map(str::to_owned);
        assert_eq!(values(&answer, "CR0"), [0x8001_0033, 1]);
        assert_eq!(values(&answer, "CR4"), [0x30_0ee0]);
        assert!(values(&answer, "EFER").is_empty());
    }
}
