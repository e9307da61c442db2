//! From figures to what the model takes, and its predictions.

use corey_tools_model::paper::Point;
use corey_tools_model::{CORES, Cost, MACHINES, curve};
use corey_tools_model::{Counts, Own, Series};

use crate::records::{Figures, Records};
use crate::rows::{Row, System};

/// The benchmark whose operation is the paper's read, to calibrate by.
const READ: &str = "pread/same";

/// What every prediction says.
pub const NOTE: &str = "Predictions are no measurements. They take what a core counts in its own operations while cores take turns: the target of \
                        cfork and run, waiting inside locks and what caches do not hold are not in them. The paper's machines have 16 \
                        cores; beyond, chips are added as far away as the farthest. Between counted core counts figures lie on a line; beyond \
                        the last they stay, at worst rise on. docs/model.md has constants, method and where it misses.";

/// Returns why the model says nothing of a row (`bench/variant`) whose operations it would misread.
pub fn unpredicted(row: &str) -> Option<&'static str> {
    match row.split_once('/') {
        Some(("pagepass", _)) => {
            Some("pages go from core to core one at a time; the model is of cores that work at once")
        }
        Some(("tcp", "kernelcore")) => Some(
            "the counts are of the server's core; what it and its second core make is said where the model is",
        ),
        _ => None,
    }
}

/// Returns the means of one operation.
pub(crate) fn counts(figures: &Figures) -> Option<Counts> {
    let insn = figures.mean("insn_user_mean")? + figures.mean("insn_kernel_mean")?;
    let mean = |key: &str| figures.mean(key).unwrap_or(0.0);
    Some(Counts {
        own: Own::Instructions(insn),
        rep: mean("rep_mean"),
        locked: mean("locked_mean"),
        events: mean("events_mean"),
        hottest: figures.hottest(),
        interrupts: mean("icr_mean"),
    })
}

impl Records {
    /// Returns the counts of `name` (`bench/variant`) at all core counts.
    pub fn series(&self, name: &str, system: System) -> Series {
        let of = |(row, systems): (&Row, &std::collections::BTreeMap<System, Figures>)| {
            let counts = counts(systems.get(&system)?)?;
            (row.name == name).then_some((u32::try_from(row.cores).ok()?, counts))
        };
        Series::new(self.rows.iter().filter_map(of))
    }

    /// Returns the costs, calibrated where these records have a read of both systems.
    pub fn cost(&self) -> Cost {
        let read = |system: System| Some((Point::of(system.name())?, self.series(READ, system).at(1)?.0));
        let calibrated = || {
            let ((ours, a), (linux, b)) = (read(System::Corey)?, read(System::Linux)?);
            Cost::DECLARED.calibrated([(ours, &a), (linux, &b)])
        };
        calibrated().unwrap_or(Cost::DECLARED)
    }

    /// Returns the names `bench/variant` that have counts and a prediction, in order.
    pub fn predicted(&self) -> Vec<String> {
        let counted = |row: &&Row| {
            let figures = System::ALL.into_iter().filter_map(|system| self.of(row, system));
            !row.is_wide() && unpredicted(&row.name).is_none() && figures.into_iter().any(Figures::is_counted)
        };
        let mut names: Vec<String> = self.rows.keys().filter(counted).map(|row| row.name.clone()).collect();
        names.dedup();
        names
    }

    /// Returns predictions as a table: machine, benchmark, system, and a column for each of [`CORES`].
    pub fn predictions(&self) -> String {
        let mut rows = Vec::new();
        for (machine, name) in MACHINES.iter().flat_map(|m| self.predicted().into_iter().map(move |n| (m, n)))
        {
            for system in System::ALL {
                let points = curve(machine, &self.cost(), &self.series(&name, system));
                if points.is_empty() {
                    continue;
                }
                let shown = points.iter().filter(|(cores, _)| CORES.contains(cores));
                let mut row = vec![machine.name.to_owned(), name.clone(), system.title().to_owned()];
                row.extend(shown.map(|(_, span)| corey_tools_model::table::band(*span)));
                rows.push(row);
            }
        }
        let cores = CORES.map(|cores| cores.to_string());
        let head = ["machine", "benchmark", "system"].into_iter().chain(cores.iter().map(String::as_str));
        corey_tools_model::table::markdown(&head.collect::<Vec<_>>(), &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::counted;

    #[test]
    fn counted_rows_become_a_series_and_a_table() {
        let lines = [
            counted("corey", "shared", 1, 300, 0),
            counted("corey", "shared", 2, 300, 0),
            counted("linux", "shared", 2, 2600, 2),
        ]
        .concat();
        let records = Records::read(lines.iter().map(String::as_str));
        let series = records.series("memclone/shared", System::Linux);
        let (counts, _) = series.at(2).unwrap();
        assert_eq!((counts.own, counts.events), (Own::Instructions(2604.5), 2.0));
        assert_eq!(counts.hottest, Some(2.0));
        assert_eq!(records.predicted(), ["memclone/shared"]);
        let text = records.predictions();
        assert_eq!(text.lines().count(), 2 + 2 * 2, "{text}");
        assert_eq!(records.cost(), Cost::DECLARED);
    }
}
