//! The table of what ran on the processors of the machine itself, beside Linux's own.

use std::fmt::Write as _;

use serde_json::Value;

use crate::markup::escape;
use crate::records::Records;
use crate::rows::{or_dash, short};

const HEAD: &str = "<div class=\"wide\"><table><thead><tr><th>benchmark</th><th>cores</th><th>ours, ns</th><th>Linux's own, ns</th>\
                    <th>Linux's own</th><th>ours / Linux's</th><th>ours, slowdown</th><th>Linux's, slowdown</th></tr></thead><tbody>\n";

const LEGEND: &str = "Nanoseconds per operation of one core, on real processors: median of the rounds, and what a tenth of them lie below and \
                      above. Rounds of ours and of Linux's own alternate in the same threads; below 1 ours is faster. slowdown: time with \
                      that many threads, divided by the time alone; median, lowest and highest pass.";

/// Returns the section; nothing without such records.
pub(crate) fn section(records: &Records) -> String {
    let of = |system: &'static str| records.hosted.iter().filter(move |record| record["system"] == system);
    if of("corey").next().is_none() {
        return String::new();
    }
    let mut text = String::from("<section><h2 id=\"hosted\">On real processors</h2>\n");
    let _ = writeln!(text, "<p class=\"soft\">{LEGEND}</p>\n{HEAD}");
    for ours in of("corey") {
        let same = |linux: &&Value| {
            ["bench", "variant", "cores", "peer"].iter().all(|key| linux[*key] == ours[*key])
        };
        let nothing = Value::Null;
        let linux = of("linux").find(same).unwrap_or(&nothing);
        let name = |key: &str| ours[key].as_str().map_or_else(|| "?".to_owned(), escape);
        let _ = writeln!(
            text,
            "<tr><th>{}/{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            name("bench"),
            name("variant"),
            or_dash(ours["cores"].as_u64().map(|cores| cores.to_string())),
            spread(ours, "ns"),
            spread(linux, "ns"),
            name("peer"),
            spread(ours, "ratio"),
            spread(ours, "slowdown"),
            spread(linux, "slowdown"),
        );
    }
    text += "</tbody></table></div>\n</section>\n";
    text
}

/// `middle (low–high)` of a record's values.
fn spread(record: &Value, key: &str) -> String {
    let value = |end: &str| record[format!("{key}{end}")].as_f64().map(short);
    let all = value("").zip(value("_low").zip(value("_high")));
    or_dash(all.map(|(middle, (low, high))| format!("{middle} ({low}–{high})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(system: &str, more: &str) -> String {
        format!(
            "{{\"record\":\"bench\",\"accel\":\"hosted\",\"system\":\"{system}\",\"bench\":\"pread\",\"variant\":\"<same>\",\"cores\":2,\
             \"peer\":\"pread\",\"ns\":80.5,\"ns_low\":80,\"ns_high\":90{more}}}"
        )
    }

    #[test]
    fn ours_stands_beside_linux() {
        let lines =
            [record("corey", ",\"ratio\":0.12,\"ratio_low\":0.1,\"ratio_high\":0.2"), record("linux", "")];
        let records = Records::read(lines.iter().map(String::as_str));
        let text = section(&records);
        assert!(text.contains("<th>pread/&lt;same&gt;</th><td>2</td>"), "{text}");
        assert!(text.contains("<td>0.12 (0.10–0.20)</td>"), "{text}");
        assert_eq!((text.matches("80.5 (80–90)").count(), records.ignored), (2, 0), "{text}");
    }

    #[test]
    fn without_records_there_is_no_section() {
        assert_eq!(section(&Records::default()), "");
    }
}
