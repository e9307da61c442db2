//! Where instructions go: functions, inlined ones told apart, of each row's operations.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::lines::Lines;
use crate::objects::hexadecimal;
use crate::symbols::Symbols;

use super::guest::Said;
use super::records::Row;

/// Functions shown for each row.
const SHOWN: usize = 24;
/// The profile of one guest.
#[derive(Debug, Default)]
pub(super) struct Profile {
    /// Row → function, and the one it was inlined in → instructions.
    rows: BTreeMap<Row, BTreeMap<(String, String), u64>>,
    /// Row → folder of a crate → instructions.
    folders: BTreeMap<Row, BTreeMap<String, u64>>,
    operations: BTreeMap<Row, u64>,
}

impl Profile {
    /// Names every `insn` line of `metered`.
    pub(super) fn new(said: &Said, metered: &str, symbols: &Symbols, lines: &Lines) -> Self {
        let parsed = |line: &str| serde_json::from_str::<Value>(line).ok();
        let records: Vec<Value> =
            said.lines.iter().filter_map(|l| parsed(l)).filter(|r| r["record"] == "bench").collect();
        let mut profile = Self::default();
        for line in metered.lines().filter_map(parsed) {
            let report = line["report"].as_u64().and_then(|n| usize::try_from(n).ok());
            let Some(row) = report.and_then(|n| records.get(n)).and_then(Row::of) else { continue };
            let row = row.for_line(&line);
            if line["record"] == "count" {
                *profile.operations.entry(row).or_default() += line["ops"].as_u64().unwrap_or(0);
            } else if line["record"] == "insn"
                && let Some(pc) = hexadecimal(&line["symbol_pc"])
            {
                let outer = symbols.name(pc).unwrap_or("?").to_owned();
                let place = lines.place(pc);
                let count = line["count"].as_u64().unwrap_or(0);
                if let Some(place) = &place {
                    let folder = place.folder().to_owned();
                    *profile.folders.entry(row.clone()).or_default().entry(folder).or_default() += count;
                }
                // The symbol table names what was not inlined better.
                let inner =
                    place.filter(|place| place.inlined).map_or_else(String::new, |place| place.function);
                *profile.rows.entry(row).or_default().entry((inner, outer)).or_default() += count;
            }
        }
        profile
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, functions) in &self.rows {
            let operations = self.operations.get(row).copied().unwrap_or(0).max(1) as f64;
            let all: u64 = functions.values().sum();
            writeln!(f, "  {} at {} cores: {:.0} each", row.name, row.cores, all as f64 / operations)?;
            let mut sorted: Vec<_> = functions.iter().collect();
            sorted.sort_by_key(|(names, count)| (std::cmp::Reverse(**count), *names));
            for ((inner, outer), count) in sorted.iter().take(SHOWN) {
                let each = **count as f64 / operations;
                let share = **count as f64 * 100.0 / all as f64;
                let inlined = if inner.is_empty() { String::new() } else { format!("{inner}  in  ") };
                writeln!(f, "    {each:>9.1} {share:>5.1} %  {inlined}{outer}")?;
            }
            let rest: u64 = sorted.iter().skip(SHOWN).map(|(_, count)| **count).sum();
            if rest > 0 {
                let more = sorted.len() - SHOWN;
                writeln!(f, "    {:>9.1}          in {more} more", rest as f64 / operations)?;
            }
            let mut folders: Vec<_> = self.folders.get(row).into_iter().flatten().collect();
            folders.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
            for (place, (name, count)) in folders.into_iter().enumerate() {
                let title = if place == 0 { "by crate" } else { "" };
                writeln!(f, "    {title:<9} {:>9.1}  {name}", *count as f64 / operations)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_divided_by_operations_and_named() {
        let record = "{\"record\":\"bench\",\"bench\":\"null\",\"variant\":\"current\",\"cores\":2}";
        let said = Said { lines: vec![record.to_owned()], failure: None };
        let head = "\"report\":0,\"bench\":\"null\",\"variant\":\"current\"";
        let metered = format!(
            "{{\"record\":\"count\",{head},\"core\":0,\"ops\":10}}\n{{\"record\":\"count\",{head},\"core\":1,\"ops\":10}}\n\
             {{\"record\":\"insn\",\"report\":0,\"symbol_pc\":\"0x1004\",\"count\":30}}\n\
             {{\"record\":\"insn\",\"report\":0,\"symbol_pc\":\"0x2000\",\"count\":10}}"
        );
        let mut symbols = Symbols::default();
        symbols.add_kallsyms(["1000 t lookup", "2000 t entry"].into_iter());
        let text = Profile::new(&said, &metered, &symbols, &Lines::none()).to_string();
        assert!(text.contains("null/current at 2 cores: 2 each"), "{text}");
        assert!(text.contains("1.5  75.0 %  lookup\n"), "{text}");
        assert!(text.contains("0.5  25.0 %  entry\n"), "{text}");
    }
}
