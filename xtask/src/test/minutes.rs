//! How long each group took: `golden/minutes.jsonl`, a line for each group, written by `cargo xtask test --keep`.

use std::path::PathBuf;

use serde_json::Value;

use crate::{Result, paths};

/// Minutes that all groups of the CI set may take together on two cores.
pub(super) const MOST: f64 = 45.0;

/// One group's time, and how many of its cases ran.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Minutes {
    pub(super) group: String,
    pub(super) minutes: f64,
    pub(super) ran: u64,
    pub(super) of: u64,
    /// Processors of the machine.
    pub(super) cores: u64,
}

fn path() -> PathBuf {
    paths::root().join("golden/minutes.jsonl")
}

/// The file's lines.
///
/// # Errors
///
/// No file, or a line that is none.
pub(super) fn kept() -> Result<Vec<Minutes>> {
    parse(&std::fs::read_to_string(path())?)
}

fn parse(text: &str) -> Result<Vec<Minutes>> {
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line)?;
        let number = |key: &str| value[key].as_u64().ok_or_else(|| format!("{line}: no {key}"));
        Ok(Minutes {
            group: value["group"].as_str().ok_or("no group")?.to_owned(),
            minutes: value["minutes"].as_f64().ok_or("no minutes")?,
            ran: number("ran")?,
            of: number("of")?,
            cores: number("cores")?,
        })
    };
    text.lines().map(line).collect()
}

/// Puts `new` in place of the lines of the same groups; `order` is that of the file.
///
/// # Errors
///
/// The file cannot be written.
pub(super) fn keep(new: &[Minutes], order: &[String]) -> Result<()> {
    let old = kept().unwrap_or_default();
    std::fs::write(path(), merge(&old, new, order))?;
    println!("minutes kept in {}", path().display());
    Ok(())
}

fn merge(old: &[Minutes], new: &[Minutes], order: &[String]) -> String {
    let line = |group: &String| {
        let Minutes { group, minutes, ran, of, cores } = new.iter().chain(old).find(|m| m.group == *group)?;
        let minutes = (minutes * 10.0).ceil() / 10.0;
        // Groups are words.
        let counts = format!("\"ran\":{ran},\"of\":{of},\"cores\":{cores}");
        Some(format!("{{\"group\":\"{group}\",\"minutes\":{minutes},{counts}}}\n"))
    };
    order.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(group: &str, minutes: f64) -> Minutes {
        Minutes { group: group.to_owned(), minutes, ran: 3, of: 4, cores: 2 }
    }

    #[test]
    fn new_times_take_the_place_of_old_ones() {
        let order = ["a", "b", "c"].map(str::to_owned);
        let text = merge(&[minutes("b", 1.0), minutes("a", 2.0)], &[minutes("b", 0.51)], &order);
        assert_eq!(parse(&text).unwrap(), [minutes("a", 2.0), minutes("b", 0.6)]);
    }
}
