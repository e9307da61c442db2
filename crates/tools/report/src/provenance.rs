//! How records came about: what all have in common as a list, what differs as a table.

use std::fmt::Write as _;

use crate::markup::escape;
use crate::records::{Records, STAMP};

/// Returns the section's markup.
pub(crate) fn section(records: &Records) -> String {
    let mut text = String::from("<section><h2 id=\"measured\">How it was measured</h2>\n");
    let values = |field: usize| {
        let all: std::collections::BTreeSet<&str> =
            records.stamps.keys().map(|stamp| stamp[field].as_str()).collect();
        all
    };
    let (common, differing): (Vec<usize>, Vec<usize>) = (0..STAMP.len())
        .filter(|field| values(*field).iter().any(|v| !v.is_empty()))
        .partition(|f| values(*f).len() == 1);
    text += "<dl>";
    for field in common {
        let value = values(field).into_iter().next().unwrap_or("");
        let _ = write!(text, "<div><dt>{}</dt><dd>{}</dd></div>", STAMP[field], escape(value));
    }
    text += "</dl>\n";
    if !differing.is_empty() {
        let head: String = differing.iter().map(|field| format!("<th>{}</th>", STAMP[*field])).collect();
        let _ = writeln!(
            text,
            "<div class=\"wide\"><table class=\"words\"><thead><tr>{head}<th>records</th></tr></thead><tbody>"
        );
        for (stamp, number) in &records.stamps {
            let cell = |field: &usize| match stamp[*field].as_str() {
                "" => "<td>–</td>".to_owned(),
                value => format!("<td>{}</td>", escape(value)),
            };
            let cells: String = differing.iter().map(cell).collect();
            let _ = writeln!(text, "<tr>{cells}<td>{number}</td></tr>");
        }
        text += "</tbody></table></div>\n";
    }
    if records.ignored > 0 {
        let _ = writeln!(
            text,
            "<p class=\"note\">{} lines are of other kinds and not on this page.</p>",
            records.ignored
        );
    }
    text += "<p>turn 1: cores take turns, as counts need it. accel tcg: QEMU's emulator; thread multi: a host thread for each processor, the mode of \
             times; single with icount 1: one instruction after the other, the mode of counts.</p>\n</section>\n";
    text
}
