//! The table of one benchmark: ours beside Linux.

use std::fmt::Write as _;

use crate::markup::escape;
use crate::records::{Figures, Records};
use crate::rows::{Row, System, or_dash, short, spread};

const HEAD: &str = "<thead><tr><th rowspan=\"2\">variant</th><th rowspan=\"2\">cores</th><th colspan=\"5\">ours</th>\
                    <th colspan=\"5\">Linux</th><th colspan=\"2\">Linux / ours</th></tr>\n\
                    <tr><th>user</th><th>kernel</th><th>events</th><th>locked</th><th>rep</th>\
                    <th>user</th><th>kernel</th><th>events</th><th>locked</th><th>rep</th>\
                    <th>instructions</th><th>time</th></tr></thead>\n";

/// What the columns are.
pub(crate) const LEGEND: &str = "Per operation. user, kernel: instructions, median, a rep instruction as one, so copying and zeroing are not in them; \
                                 rep: its iterations. events: cache lines that moved, mean, and the highest of one operation. locked: locked operations. \
                                 time: of one core's operation, median of the pairs of runs and their spread. (both ends): of a machine-wide operation, \
                                 the cores that began and ended it; (machine): all cores, those that only wait included. –: not measured. \
                                 Charts of predictions: the band around a line is its error band; thin beyond the counted cores, shaded beyond 16, \
                                 where the paper's machines end.";

/// Returns the table.
pub(crate) fn table(records: &Records, rows: &[&Row]) -> String {
    let nothing = Figures::default();
    let mut text = format!("<div class=\"wide\"><table>{HEAD}<tbody>\n");
    let mut before = "";
    for row in rows {
        let of = |system| records.of(row, system).unwrap_or(&nothing);
        let variant = if row.variant() == before { "" } else { row.variant() };
        before = row.variant();
        let class = if variant.is_empty() { "" } else { " class=\"first\"" };
        let _ = write!(text, "<tr{class}><th>{}</th><td>{}</td>", escape(variant), row.cores);
        for figures in System::ALL.map(of) {
            for cell in [
                or_dash(figures.middle("insn_user").map(short)),
                or_dash(figures.middle("insn_kernel").map(short)),
                events(figures),
                or_dash(figures.middle("locked").map(short)),
                or_dash(figures.middle("rep").map(short)),
            ] {
                let _ = write!(text, "<td>{cell}</td>");
            }
        }
        let [ours, linux] = System::ALL.map(|system| of(system).instructions());
        let ratio = ours.zip(linux).map(|(ours, linux)| short(linux / ours.max(1.0)));
        let time = spread(records.ratios(row).into_iter());
        let _ = writeln!(text, "<td>{}</td><td>{time}</td></tr>", or_dash(ratio));
    }
    text += "</tbody></table></div>\n";
    text
}

fn events(figures: &Figures) -> String {
    let both = figures.mean("events_mean").zip(figures.highest("events_max"));
    or_dash(both.map(|(mean, highest)| match (mean, highest) {
        (0.0, 0.0) => "0".to_owned(),
        _ => format!("{} ({})", short(mean), short(highest)),
    }))
}
