//! Rows of tables, the two systems, and how numbers are shown.

use serde_json::Value;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// Ours.
    Corey,
    /// The peer.
    Linux,
}

impl System {
    /// Both, ours first.
    pub const ALL: [Self; 2] = [Self::Corey, Self::Linux];

    /// Returns the name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Corey => "corey",
            Self::Linux => "linux",
        }
    }

    /// Returns the name on pages.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Corey => "ours",
            Self::Linux => "Linux",
        }
    }

    /// Returns the system a record is of.
    pub fn of(record: &Value) -> Option<Self> {
        Self::ALL.into_iter().find(|system| record["system"] == system.name())
    }
}

/// A row of a table: benchmark, variant, cores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The benchmark's number, for the order of rows.
    pub number: u32,
    /// The variant's number.
    pub variant_number: u32,
    /// Cores that took part.
    pub cores: u64,
    /// `bench/variant`.
    pub name: String,
}

impl Row {
    /// The row a `bench` or `count` record belongs to.
    pub fn of(record: &Value) -> Option<Self> {
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

    /// The row a `hot` record belongs to: it says its marker.
    pub fn of_marker(record: &Value) -> Option<Self> {
        let id = u32::try_from(record["bench"].as_u64()?).ok()?;
        let (bench, variant) = corey_lib_bench::table::names(id)?;
        Some(Self {
            number: id / 16,
            variant_number: id % 16,
            cores: record["cores"].as_u64()?,
            name: format!("{bench}/{variant}"),
        })
    }

    /// Whether its times mean nothing under an emulator.
    pub fn hardware_only(&self) -> bool {
        corey_lib_bench::BENCHMARKS.iter().any(|b| b.number == self.number && b.hardware_only())
    }

    /// The row of machine-wide operations beside this one; `line` is a line of the meter.
    #[must_use]
    pub fn for_line(mut self, line: &Value) -> Self {
        match &line["machine"] {
            Value::Null => {}
            Value::String(ends) if ends == "ends" => self.name += " (both ends)",
            _ => self.name += " (machine)",
        }
        self
    }

    /// Whether it is of machine-wide operations.
    pub fn is_wide(&self) -> bool {
        self.name.ends_with(')')
    }

    /// The benchmark's name.
    pub fn bench(&self) -> &str {
        self.name.split_once('/').map_or(self.name.as_str(), |(bench, _)| bench)
    }

    /// The variant's name, with what is added for machine-wide operations.
    pub fn variant(&self) -> &str {
        self.name.split_once('/').map_or("", |(_, variant)| variant)
    }
}

/// The middle value; of an even number the mean of both.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let high = *sorted.get(sorted.len() / 2)?;
    let low = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(low, high))
}

/// A number with three significant digits where it is small, whole where it is large.
pub fn short(n: f64) -> String {
    if n == n.trunc() || n >= 100.0 {
        format!("{n:.0}")
    } else if n >= 10.0 {
        format!("{n:.1}")
    } else {
        format!("{n:.2}")
    }
}

/// `–` for what is not there.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

/// Median and, of several values, the range around it.
pub fn spread(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.collect();
    or_dash(median(&values).map(|middle| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        match values.len() {
            1 => short(middle),
            _ => format!("{} ({}–{})", short(middle), short(low), short(high)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(rows.each_ref().map(Row::is_wide), [false, true, true]);
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
        let hot = serde_json::json!({"bench": corey_lib_bench::table::MEMCLONE_SHARED, "cores": 2});
        assert_eq!(Row::of_marker(&hot), row("memclone", "shared", 2));
    }

    #[test]
    fn the_median_of_five_is_the_third() {
        assert_eq!(median(&[5.0, 1.0, 3.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(&[]), None);
        assert_eq!(spread([3.0, 1.0, 2.0].into_iter()), "2 (1–3)");
    }
}
