//! Names for what the meter saw: which function moved which object's line.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::objects::{self, Map, hexadecimal};
use crate::symbols::Symbols;

use super::guest::Said;
use super::records::Row;

/// Pairs shown for each row.
const SHOWN: usize = 8;

/// The named pairs of one guest.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Row → (function, object) → events.
    rows: BTreeMap<Row, BTreeMap<(String, String), u64>>,
    /// Line of the meter → names to add to it.
    names: BTreeMap<String, String>,
}

/// Whether a line is of the kernel's object map.
pub(super) fn is_map(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|value| objects::is_map(&value))
}

impl List {
    /// Names every `hot` line of `metered`.
    pub(super) fn new(said: &Said, metered: &str, symbols: &Symbols) -> Self {
        let (records, maps) = split(said);
        let mut list = Self::default();
        for line in metered.lines() {
            let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
            let report = value["report"].as_u64().and_then(|n| usize::try_from(n).ok());
            if value["record"] != "hot" {
                continue;
            }
            let Some(report) = report else { continue };
            let Some(row) = records.get(report).and_then(Row::of) else { continue };
            let row = row.for_line(&value);
            let number = |key: &str| hexadecimal(&value[key]).unwrap_or(0);
            let function = symbols.name(number("symbol_pc")).unwrap_or("?").to_owned();
            // A map is printed beside its record, before or after it.
            let near = [report, report + 1].into_iter().filter_map(|n| maps.get(&n));
            // The line, and in it the byte that was touched last.
            let at = number("line") + number("vaddr") % 64;
            let object = near.chain(maps.values()).find_map(|map| map.name(at));
            let object = object.unwrap_or_else(|| place(number("line"), number("vaddr"), symbols));
            let text = |s: &str| Value::String(s.to_owned()).to_string();
            let more = format!(",\"function\":{},\"object\":{}", text(&function), text(&object));
            list.names.insert(line.to_owned(), more);
            let events = value["events"].as_u64().unwrap_or(0);
            *list.rows.entry(row).or_default().entry((function, object)).or_default() += events;
        }
        list
    }

    /// The fields `function` and `object` for a line of the meter; nothing for other lines.
    pub(super) fn more(&self, line: &str) -> &str {
        self.names.get(line).map_or("", String::as_str)
    }
}

/// The guest's benchmark records, and its object maps by how many records came before.
fn split(said: &Said) -> (Vec<Value>, BTreeMap<usize, Map>) {
    let (mut records, mut maps) = (Vec::new(), BTreeMap::<usize, Map>::new());
    for line in &said.lines {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        if value["record"] == "bench" {
            records.push(value);
        } else if objects::is_map(&value) {
            maps.entry(records.len()).or_default().add(&value);
        }
    }
    (records, maps)
}

/// What can be said of a line that no object covers.
fn place(line: u64, vaddr: u64, symbols: &Symbols) -> String {
    if vaddr < 1 << 63 {
        // A program's pages are many and alike; the record keeps the address.
        "user memory".to_owned()
    } else {
        match symbols.data(vaddr) {
            Some(name) => format!("static {name}"),
            None => format!("line {line:#x}"),
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.values().all(BTreeMap::is_empty) {
            return writeln!(f, "  nowhere");
        }
        for (row, pairs) in &self.rows {
            let mut sorted: Vec<_> = pairs.iter().collect();
            sorted.sort_by_key(|(pair, events)| (std::cmp::Reverse(**events), *pair));
            writeln!(f, "  {} at {} cores", row.name, row.cores)?;
            for ((function, object), events) in sorted.iter().take(SHOWN) {
                writeln!(f, "    {events:>9}  {function}  —  {object}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_line_gets_function_and_object() {
        let lines = [
            "{\"record\":\"objmap\",\"addr\":\"0xffff800000001000\",\"len\":128,\"name\":\"share.table\"}",
            "{\"record\":\"bench\",\"bench\":\"null\",\"variant\":\"nbytes\",\"cores\":2}",
        ];
        let said = Said { lines: lines.map(str::to_owned).to_vec(), failure: None };
        let hot = |pc: &str, line: &str, vaddr: &str| {
            format!(
                "{{\"record\":\"hot\",\"report\":0,\"symbol_pc\":\"{pc}\",\"line\":\"{line}\",\"vaddr\":\"{vaddr}\",\"events\":7}}"
            )
        };
        let mut symbols = Symbols::default();
        symbols.add_kallsyms(["1000 t lookup"].into_iter());
        let first = hot("0x1004", "0x1040", "0xffff800000001040");
        let metered = format!("{first}\n{}", hot("0x1008", "0x5000", "0x7000"));
        let list = List::new(&said, &metered, &symbols);
        assert_eq!(list.more(&first), ",\"function\":\"lookup\",\"object\":\"share.table\"");
        let text = list.to_string();
        assert!(text.contains("lookup  —  share.table"), "{text}");
        assert!(text.contains("user memory"), "{text}");
    }
}
