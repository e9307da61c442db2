//! What a load gave: a table for people, one JSON object for programs.

use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::failure::Tally;

/// What a load gave.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Good connections.
    pub connections: u64,
    /// The others.
    pub failures: Tally,
    /// From the first connection's begin to the last one's end.
    pub elapsed: Duration,
    /// Bytes that went one way: in an echo those that came back.
    pub bytes: u64,
    /// Microseconds from connecting, or asking, to the last byte, of the good ones: 4 bytes of memory each.
    pub latencies: Vec<u32>,
}

impl Report {
    /// Adds what another thread did meanwhile.
    pub fn add(&mut self, mut other: Self) {
        self.connections += other.connections;
        self.failures.add(&other.failures);
        self.elapsed = self.elapsed.max(other.elapsed);
        self.bytes += other.bytes;
        self.latencies.append(&mut other.latencies);
    }

    /// Counts a good connection that took so long.
    pub fn good(&mut self, took: Duration, bytes: usize) {
        self.connections += 1;
        self.answer(took, bytes);
    }

    /// Counts what came, and how long it took.
    pub fn answer(&mut self, took: Duration, bytes: usize) {
        self.bytes += bytes as u64;
        self.latencies.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// Good connections in a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.connections as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// MiB in a second.
    #[must_use]
    pub fn mib_per_second(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20) / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The latency that `percent` of the good connections did not exceed; `None` without any.
    #[must_use]
    pub fn latency(&self, percent: usize) -> Option<u32> {
        let mut sorted = self.latencies.clone();
        let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        (rank < sorted.len()).then(|| *sorted.select_nth_unstable(rank).1)
    }

    /// One JSON object.
    #[must_use]
    pub fn json(&self, mode: &str) -> Value {
        let failures: serde_json::Map<String, Value> =
            self.failures.iter().map(|(kind, count)| (kind.name().to_owned(), count.into())).collect();
        json!({
            "record": "load",
            "mode": mode,
            "connections": self.connections,
            "failed": self.failures.total(),
            "failures": failures,
            "seconds": self.elapsed.as_secs_f64(),
            "connections_per_s": self.per_second(),
            "bytes": self.bytes,
            "mib_per_s": self.mib_per_second(),
            "p50_us": self.latency(50),
            "p99_us": self.latency(99),
            "max_us": self.latency(100),
        })
    }

    /// A table of two rows.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(["good", "failed", "seconds", "a second", "MiB/s", "p50 µs", "p99 µs", "max µs"]);
        let failed = self.failures.iter().map(|(kind, count)| format!(" {} {count}", kind.name()));
        let failed = format!("{}{}", self.failures.total(), failed.collect::<String>());
        let latency =
            |percent| self.latency(percent).map_or_else(|| "–".to_owned(), |micros| micros.to_string());
        table.add_row([
            self.connections.to_string(),
            failed,
            format!("{:.2}", self.elapsed.as_secs_f64()),
            format!("{:.0}", self.per_second()),
            format!("{:.2}", self.mib_per_second()),
            latency(50),
            latency(99),
            latency(100),
        ]);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn percentiles_are_latencies_that_occurred() {
        let mut report = Report::default();
        assert_eq!(report.latency(50), None);
        (1..=200).rev().for_each(|n| report.good(Duration::from_micros(n), 128));
        assert_eq!([50, 99, 100].map(|p| report.latency(p)), [Some(100), Some(198), Some(200)]);
    }

    #[test]
    fn failures_stand_by_kind_in_table_and_record() {
        let mut report = Report { elapsed: Duration::from_secs(2), ..Report::default() };
        report.good(Duration::from_micros(7), 128);
        report.good(Duration::from_micros(9), 128);
        report.failures.count(Failure::Silent);
        let record = report.json("tcp");
        assert_eq!((&record["connections_per_s"], &record["failures"]["silent"]), (&json!(1.0), &json!(1)));
        assert_eq!((&record["p99_us"], &record["max_us"]), (&json!(9), &json!(9)));
        assert!(report.table().to_string().contains("1 silent 1"));
    }
}
