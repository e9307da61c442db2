//! From JSON Lines to figures.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::rows::{Row, System, median};

/// What was measured of one row of one system.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// `count` records, one for each core.
    cores: Vec<Value>,
    /// Events of each line that moved, all operations together.
    lines: BTreeMap<String, f64>,
    /// Whether the meter told lines: it did where there is a `meter` record.
    metered: bool,
    /// Nanoseconds per operation of one core, of each timed run.
    pub times: Vec<f64>,
    /// Page faults of each run.
    pub faults: Vec<f64>,
}

/// All rows, and how they were measured.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Row → system → figures.
    pub rows: BTreeMap<Row, BTreeMap<System, Figures>>,
    /// Records by their stamps, for provenance.
    pub(crate) stamps: BTreeMap<Vec<String>, u64>,
    /// Records of the machine's own processors: ours, and Linux's own.
    pub(crate) hosted: Vec<Value>,
    /// Lines that are no record this page shows.
    pub ignored: u64,
}

/// Fields that say how a record came about, in the order of the page.
pub(crate) const STAMP: [&str; 13] = [
    "record",
    "system",
    "turn",
    "accel",
    "thread",
    "icount",
    "cpu",
    "kernel",
    "mitigations",
    "thp",
    "qemu",
    "toolchain",
    "git",
];

impl Records {
    /// Reads lines; those that are none of ours are counted.
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut records = Self::default();
        for line in lines.into_iter().filter(|line| !line.trim().is_empty()) {
            let value = serde_json::from_str::<Value>(line).unwrap_or_default();
            if records.take(value).is_none() {
                records.ignored += 1;
            }
        }
        records
    }

    fn take(&mut self, value: Value) -> Option<()> {
        let system = System::of(&value)?;
        match value["record"].as_str()? {
            "bench" if value["accel"] == "hosted" => {
                self.stamp(&value);
                self.hosted.push(value);
            }
            "bench" => {
                let row = Row::of(&value)?;
                let timed = value["thread"] == "multi" && !row.hardware_only();
                self.stamp(&value);
                let figures = self.figures(row, system);
                let per_operation = value["ns"].as_f64().zip(value["iters"].as_f64()).map(|(ns, n)| ns / n);
                figures.times.extend(per_operation.filter(|ns| timed && ns.is_finite()));
                figures.faults.extend(value["faults"].as_f64());
            }
            "count" => {
                let row = Row::of(&value)?.for_line(&value);
                self.stamp(&value);
                self.figures(row, system).cores.push(value);
            }
            "hot" if value["machine"].is_null() => {
                let (row, events) = (Row::of_marker(&value)?, value["events"].as_f64()?);
                let line = value["line"].as_str()?.to_owned();
                *self.figures(row, system).lines.entry(line).or_default() += events;
            }
            "meter" => self.figures(Row::of_marker(&value)?, system).metered = true,
            // Others stand beside these: lines of the machine, profiles.
            "hot" | "insn" => {}
            _ => return None,
        }
        Some(())
    }

    fn figures(&mut self, row: Row, system: System) -> &mut Figures {
        self.rows.entry(row).or_default().entry(system).or_default()
    }

    fn stamp(&mut self, value: &Value) {
        let text = |key: &&str| match &value[*key] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        *self.stamps.entry(STAMP.iter().map(text).collect()).or_default() += 1;
    }

    /// Returns the benchmarks that have rows, in the order of their numbers, each with its rows.
    pub fn benches(&self) -> Vec<(&'static str, Vec<&Row>)> {
        let of = |bench: &'static corey_lib_bench::Benchmark| {
            let rows: Vec<&Row> = self.rows.keys().filter(|row| row.number == bench.number).collect();
            (!rows.is_empty()).then_some((bench.name, rows))
        };
        corey_lib_bench::BENCHMARKS.iter().filter_map(of).collect()
    }

    /// Returns the figures of a row.
    pub fn of(&self, row: &Row, system: System) -> Option<&Figures> {
        self.rows.get(row)?.get(&system)
    }

    /// Returns Linux's time divided by ours, of each pair of runs.
    pub fn ratios(&self, row: &Row) -> Vec<f64> {
        let times = |system| self.of(row, system).map_or(&[][..], |figures| figures.times.as_slice());
        times(System::Corey).iter().zip(times(System::Linux)).map(|(ours, linux)| linux / ours).collect()
    }
}

impl Figures {
    /// Says whether it was counted.
    pub fn is_counted(&self) -> bool {
        !self.cores.is_empty()
    }

    /// Returns the median over cores of field `key`.
    pub fn middle(&self, key: &str) -> Option<f64> {
        median(&self.values(key))
    }

    /// Returns the mean over cores of field `key`.
    pub fn mean(&self, key: &str) -> Option<f64> {
        let values = self.values(key);
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Returns the highest of field `key`.
    pub fn highest(&self, key: &str) -> Option<f64> {
        self.values(key).into_iter().reduce(f64::max)
    }

    /// Returns instructions of an operation, user and kernel.
    pub fn instructions(&self) -> Option<f64> {
        Some(self.middle("insn_user")? + self.middle("insn_kernel")?)
    }

    /// Returns, of the events of one operation, those on the line that moved most; `None` where lines were not told.
    pub fn hottest(&self) -> Option<f64> {
        let operations: f64 = self.values("ops").iter().sum();
        let most = self.lines.values().copied().fold(0.0, f64::max);
        (self.metered && operations > 0.0).then(|| most / operations)
    }

    fn values(&self, key: &str) -> Vec<f64> {
        self.cores.iter().filter_map(|core| core[key].as_f64()).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Records of a counted row of `system`, and a hot line with `events` events per core.
    pub(crate) fn counted(system: &str, variant: &str, cores: u64, insn: u64, events: u64) -> Vec<String> {
        let id = corey_lib_bench::Benchmark::by_name("memclone").unwrap();
        let id = 16 * id.number as usize + id.variants.iter().position(|v| *v == variant).unwrap();
        let stamp = format!("\"cores\":{cores},\"system\":\"{system}\",\"accel\":\"tcg\"");
        let core = |core: u64| {
            format!(
                "{{\"record\":\"count\",\"bench\":\"memclone\",\"variant\":\"{variant}\",\"core\":{core},\"ops\":10,\
                 \"insn_user\":4,\"insn_user_mean\":4.0,\"insn_kernel\":{insn},\"insn_kernel_mean\":{insn}.5,\
                 \"rep\":512,\"rep_mean\":512.0,\"locked\":3,\"locked_mean\":3.0,\"icr_mean\":0.0,\
                 \"events_mean\":{events}.0,\"events_max\":{events},{stamp}}}"
            )
        };
        let mut lines: Vec<String> = (0..cores).map(core).collect();
        let moved = 10 * events * cores;
        lines.push(format!(
            "{{\"record\":\"hot\",\"bench\":{id},\"line\":\"0x40\",\"events\":{moved},{stamp}}}"
        ));
        lines.push(format!("{{\"record\":\"meter\",\"bench\":{id},{stamp}}}"));
        lines
    }

    /// A timed run.
    pub(crate) fn timed(system: &str, cores: u64, ns: u64) -> String {
        format!(
            "{{\"record\":\"bench\",\"system\":\"{system}\",\"bench\":\"memclone\",\"variant\":\"shared\",\"cores\":{cores},\
             \"iters\":10,\"ns\":{ns},\"faults\":10,\"thread\":\"multi\",\"accel\":\"tcg\",\"cpu\":\"QEMU TCG CPU\"}}"
        )
    }

    #[test]
    fn figures_are_of_rows_and_systems() {
        let lines =
            [counted("corey", "shared", 2, 300, 1), vec!["junk".to_owned(), "{}".to_owned()]].concat();
        let records = Records::read(lines.iter().map(String::as_str));
        assert_eq!((records.rows.len(), records.ignored), (1, 2));
        let row = records.rows.keys().next().unwrap();
        let figures = records.of(row, System::Corey).unwrap();
        assert_eq!((row.bench(), row.variant(), row.cores), ("memclone", "shared", 2));
        assert_eq!((figures.instructions(), figures.mean("events_mean")), (Some(304.0), Some(1.0)));
        assert_eq!(figures.hottest(), Some(1.0));
        assert!(records.of(row, System::Linux).is_none());
    }

    #[test]
    fn ratios_are_of_pairs_in_their_order() {
        let lines =
            [timed("corey", 1, 100), timed("linux", 1, 300), timed("corey", 1, 100), timed("linux", 1, 500)];
        let records = Records::read(lines.iter().map(String::as_str));
        let row = records.rows.keys().next().unwrap();
        assert_eq!(records.ratios(row), [3.0, 5.0]);
        let counted = timed("corey", 1, 100).replace("multi", "single");
        assert!(Records::read([counted.as_str()]).rows.values().all(|r| r[&System::Corey].times.is_empty()));
    }
}
