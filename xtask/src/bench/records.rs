//! Records: what xtask adds to each, and how rows are told apart.

use std::process::Command;

use serde_json::Value;

use crate::process::quiet;
use crate::qemu::{self, Execution};
use crate::{paths, toolchain};

/// A row of a table: benchmark, variant, cores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    /// The benchmark's number, for the order of rows.
    pub(super) number: u32,
    /// The variant's number.
    pub(super) variant_number: u32,
    /// Cores that took part.
    pub(super) cores: u64,
    /// `bench/variant`.
    pub(super) name: String,
}

impl Row {
    /// The row a `bench` or `count` record belongs to.
    pub(super) fn of(record: &Value) -> Option<Self> {
        let (bench, variant) = (record["bench"].as_str()?, record["variant"].as_str()?);
        let row = corey_lib_bench::Benchmark::by_name(bench)?;
        let variant_number = row.variants.iter().position(|v| *v == variant)?;
        Some(Self {
            number: row.number,
            variant_number: u32::try_from(variant_number).ok()?,
            cores: record["cores"].as_u64()?,
            name: format!("{bench}/{variant}"),
        })
    }
}

impl Row {
    /// Whether its times mean nothing under an emulator.
    pub(super) fn hardware_only(&self) -> bool {
        corey_lib_bench::BENCHMARKS.iter().any(|b| b.number == self.number && b.hardware_only())
    }

    /// The row of machine-wide operations beside this one; `line` is a line of the meter.
    pub(super) fn for_line(mut self, line: &Value) -> Self {
        match &line["machine"] {
            Value::Null => {}
            Value::String(ends) if ends == "ends" => self.name += " (both ends)",
            _ => self.name += " (machine)",
        }
        self
    }
}

/// What every record gets: accelerator, mode, versions.
#[derive(Debug)]
pub(crate) struct Stamp(String);

impl Stamp {
    /// Looks versions up once.
    pub(crate) fn new(execution: Execution) -> Self {
        let thread = match execution {
            Execution::Multi => "multi",
            Execution::Single | Execution::Counted => "single",
        };
        let icount = u8::from(execution == Execution::Counted);
        let text = |s: String| Value::String(s).to_string();
        Self(format!(
            ",\"accel\":\"tcg\",\"thread\":\"{thread}\",\"icount\":{icount},\"qemu\":{}{}}}",
            text(qemu::version()),
            versions(),
        ))
    }

    /// For a record of this machine's own processors.
    pub(super) fn hosted() -> Self {
        Self(format!(",\"accel\":\"hosted\"{}}}", versions()))
    }

    /// The stamp for people.
    pub(crate) fn words(&self) -> String {
        let fields = self.0.trim_matches([',', '}']).replace("\":", " ").replace('"', "");
        fields.replace(',', ", ")
    }

    /// `line`, a JSON object, with `more` fields (each as `,"key":value`) and the stamp at its end.
    pub(crate) fn add(&self, line: &str, more: &str) -> String {
        match line.trim_end().strip_suffix('}') {
            Some(open) => format!("{open}{more}{}", self.0),
            None => line.to_owned(),
        }
    }
}

/// The fields `git` and `toolchain`.
fn versions() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(paths::root());
    let git = quiet("", &mut git).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned());
    let text = |s: String| Value::String(s).to_string();
    format!(",\"git\":{},\"toolchain\":{}", text(git), text(toolchain::version()))
}

/// The middle value; of an even number the mean of both.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let high = *sorted.get(sorted.len() / 2)?;
    let low = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(low, high))
}

/// A number with three significant digits where it is small, whole where it is large.
pub(super) fn short(n: f64) -> String {
    if n == n.trunc() || n >= 100.0 {
        format!("{n:.0}")
    } else if n >= 10.0 {
        format!("{n:.1}")
    } else {
        format!("{n:.2}")
    }
}

/// `–` for what is not there.
pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_record_is_still_one_object() {
        let stamp = Stamp(",\"accel\":\"tcg\"}".to_owned());
        let line = stamp.add("{\"seq\":0}\r", ",\"system\":\"corey\"");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["system"], &value["accel"]), (&"corey".into(), &"tcg".into()));
    }

    #[test]
    fn machine_wide_operations_have_rows_behind_their_benchmark() {
        let record = serde_json::json!({"bench": "run", "variant": "default", "cores": 2});
        let row = |line: Value| Row::of(&record).unwrap().for_line(&line);
        let rows = [
            row(serde_json::json!({"core": 1})),
            row(serde_json::json!({"machine": "ends"})),
            row(serde_json::json!({"machine": true})),
        ];
        assert!(rows.is_sorted());
        let names = rows.map(|row| row.name);
        assert_eq!(names, ["run/default", "run/default (both ends)", "run/default (machine)"]);
    }

    #[test]
    fn rows_follow_the_table_of_benchmarks() {
        let row = |bench: &str, variant: &str, cores: u64| {
            Row::of(&serde_json::json!({"bench": bench, "variant": variant, "cores": cores}))
        };
        assert!(row("null", "nbytes", 16) < row("memclone", "interior", 1));
        assert!(row("memclone", "shared", 2) < row("memclone", "shared", 4));
        assert_eq!(row("memclone", "none", 2), None);
    }

    #[test]
    fn the_median_of_five_is_the_third() {
        assert_eq!(median(&[5.0, 1.0, 3.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }
}
