//! The charts of one variant: what was counted, what was timed, what is predicted.

use corey_tools_model::machine::REAL_CORES;
use corey_tools_model::{MACHINES, Machine, curve};

use crate::chart::{Chart, Line, Scale};
use crate::records::{Figures, Records};
use crate::rows::{System, median};
use crate::series::unpredicted;

/// Class in the style sheet.
fn class(system: System) -> &'static str {
    match system {
        System::Corey => "ours",
        System::Linux => "linux",
    }
}

/// Returns the charts of `name` (`bench/variant`), those that have something to show.
pub(crate) fn charts(records: &Records, name: &str) -> String {
    let measured = |title: &str, value: fn(&Figures, f64) -> Option<f64>| {
        let line = |system| {
            let of = |(row, systems): (&crate::Row, &std::collections::BTreeMap<System, Figures>)| {
                let cores = row.cores as f64;
                (row.name == name).then_some((cores, value(systems.get(&system)?, cores)?))
            };
            let points: Vec<_> = records.rows.iter().filter_map(of).collect();
            Line { class: class(system), label: system.title(), points, marked: true, ..Line::default() }
        };
        let lines = System::ALL.map(line).to_vec();
        Chart { title: title.to_owned(), scale: Scale::Linear, lines, real: None }
    };
    let counted = [
        measured("Counted: instructions per operation", |figures, _| figures.instructions()),
        measured("Counted: events per operation", |figures, _| figures.mean("events_mean")),
        measured("Timed, emulated: operations a second, all cores", |figures, cores| {
            median(&figures.times).map(|ns| cores * 1e9 / ns)
        }),
    ];
    let predicted = |machine: &Machine| {
        let line = |system: System| {
            let series = records.series(name, system);
            let curve = curve(machine, &records.cost(), &series);
            Line {
                class: class(system),
                label: system.title(),
                points: curve.iter().map(|(n, span)| (f64::from(*n), span.point)).collect(),
                band: curve.iter().map(|(n, span)| (f64::from(*n), span.low, span.high)).collect(),
                marked: false,
                counted_to: Some(f64::from(series.counted_to())),
            }
        };
        let title = format!("Predicted, {}: operations a second, all cores", machine.name);
        let lines = System::ALL.map(line).to_vec();
        Chart { title, scale: Scale::Logarithmic, lines, real: Some(f64::from(REAL_CORES)) }
    };
    let machines = if unpredicted(name).is_none() { &MACHINES[..] } else { &[] };
    let predicted: Vec<Chart> = machines.iter().map(predicted).collect();
    group(&counted) + &group(&predicted)
}

/// Charts beside each other, those that have something to show.
fn group(charts: &[Chart]) -> String {
    let shown = charts.iter().filter(|chart| chart.lines.iter().any(|line| !line.points.is_empty()));
    let figures: String = shown.map(Chart::figure).collect();
    if figures.is_empty() { figures } else { format!("<div class=\"charts\">\n{figures}</div>\n") }
}
