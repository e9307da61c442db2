//! The page.

use std::fmt::Write as _;

use corey_tools_model::{selftest, table};

use crate::LIMITS;
use crate::charts::charts;
use crate::hosted;
use crate::markup::{escape, prose};
use crate::provenance;
use crate::records::{Figures, Records};
use crate::rows::{Row, System};
use crate::series::{NOTE, unpredicted};
use crate::split;
use crate::tables;

/// Returns the whole page; `claim` says what a benchmark claims.
pub fn html(records: &Records, claim: impl Fn(&str) -> Option<String>) -> String {
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n");
    page += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>Benchmarks of Corey beside Linux</title>\n";
    let _ = write!(page, "<style>\n{}</style></head>\n<body>\n", include_str!("page.css"));
    page += "<h1>Benchmarks of Corey beside Linux</h1>\n";
    let limits = escape(LIMITS).replace('\n', " ");
    let _ = writeln!(page, "<p class=\"limits\"><strong>Limits.</strong> {limits}</p>");
    let benches = records.benches();
    let hosted = hosted::section(records);
    if benches.is_empty() && hosted.is_empty() {
        let _ = writeln!(
            page,
            "<p class=\"note\">There are no records of a benchmark here ({} other lines). Make some: <code>cargo xtask bench null --json \
             out.jsonl</code>, or <code>cargo xtask bench null --count --json out.jsonl</code>.</p>",
            records.ignored
        );
        page += "</body></html>\n";
        return page;
    }
    page += "<nav>";
    for (name, _) in &benches {
        let _ = write!(page, "<a href=\"#{name}\">{name}</a> ");
    }
    if !hosted.is_empty() {
        page += "<a href=\"#hosted\">real processors</a> ";
    }
    page += "<a href=\"#model\">the model</a> <a href=\"#measured\">how it was measured</a></nav>\n";
    let _ = writeln!(page, "<p class=\"soft\">{}</p>", tables::LEGEND);
    for (name, rows) in &benches {
        page += &section(records, name, rows, claim(name));
    }
    page += &hosted;
    page += &model(records);
    page += &provenance::section(records);
    page += "</body></html>\n";
    page
}

fn section(records: &Records, name: &str, rows: &[&Row], claim: Option<String>) -> String {
    let mut text = format!("<section><h2 id=\"{name}\">{name}</h2>\n");
    let claim = claim.unwrap_or_else(|| format!("benches/{name}/README.md makes no claim."));
    let _ = writeln!(text, "<p class=\"claim\">{}</p>", prose(&claim));
    let any =
        |is: &dyn Fn(&Figures) -> bool, system| rows.iter().filter_map(|row| records.of(row, system)).any(is);
    let mut notes = Vec::new();
    for system in System::ALL {
        if !any(&|_| true, system) {
            notes.push(match system {
                System::Corey => "No records of ours.",
                System::Linux => {
                    "No records of Linux: nothing to compare with. Run it without <code>--vs none</code>."
                }
            });
        }
    }
    if !System::ALL.iter().any(|system| any(&Figures::is_counted, *system)) {
        notes.push("Not counted, so there is no prediction: <code>--count</code>.");
    }
    if !System::ALL.iter().any(|system| any(&|figures| !figures.times.is_empty(), *system)) {
        notes.push("Not timed in these records.");
    }
    if !notes.is_empty() {
        let _ = writeln!(text, "<p class=\"note\">{}</p>", notes.join(" "));
    }
    text += &tables::table(records, rows);
    let mut names: Vec<&str> =
        rows.iter().filter(|row| !row.is_wide()).map(|row| row.name.as_str()).collect();
    names.dedup();
    for variant in names {
        let _ = writeln!(text, "<div class=\"variant\"><h3>{}</h3>", escape(variant));
        if let Some(why) = unpredicted(variant) {
            let _ = writeln!(text, "<p class=\"note\">No prediction: {why}.</p>");
        }
        text += &charts(records, variant);
        text += "</div>\n";
    }
    text += "</section>\n";
    text
}

fn model(records: &Records) -> String {
    let mut text = String::from("<section><h2 id=\"model\">The model</h2>\n");
    let _ = writeln!(text, "<p>{}</p>", prose(NOTE));
    let rows = selftest::rows();
    let inside = rows.iter().filter(|row| row.is_inside()).count();
    let _ = writeln!(
        text,
        "<p>How far to trust it: of {} values of the paper that it was not given, {inside} lie in the band of their prediction.</p>",
        rows.len()
    );
    text += "<div class=\"wide\"><table class=\"verdicts\"><thead><tr><th>held back</th><th>unit</th><th>predicted (band)</th><th>paper</th><th>ratio</th>\
             <th>verdict</th></tr></thead><tbody>\n";
    for row in rows {
        let verdict = if row.is_inside() { "inside" } else { "<strong>MISS</strong>" };
        let _ = writeln!(
            text,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{verdict}</td></tr>",
            escape(&row.what),
            row.unit,
            table::band(row.predicted),
            table::short(row.measured),
            table::short(row.ratio())
        );
    }
    text += "</tbody></table></div>\n";
    text += &gains(&records.gains());
    text += "</section>\n";
    text
}

/// What a kernel core gains, where it was counted.
fn gains(rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let cell = |kind: &str, text: &str| format!("<{kind}>{}</{kind}>", escape(text));
    let note = escape(split::NOTE);
    let mut text = format!(
        "<h3>A kernel core</h3>\n<p>{note}</p>\n<div class=\"wide\"><table class=\"verdicts\"><thead><tr>"
    );
    text.extend(split::HEAD.map(|name| cell("th", name)));
    text += "</tr></thead><tbody>\n";
    for row in rows {
        // Machine and system, then figures.
        let kinds = ["th", "th"].into_iter().chain(std::iter::repeat("td"));
        text += "<tr>";
        text.extend(row.iter().zip(kinds).map(|(text, kind)| cell(kind, text)));
        text += "</tr>\n";
    }
    text += "</tbody></table></div>\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{counted, timed};
    use crate::wellformed;

    fn page(lines: &[String]) -> String {
        let records = Records::read(lines.iter().map(String::as_str));
        let page = html(&records, |bench| Some(format!("What `{bench}` claims, <b> & all.")));
        wellformed::check(&page).unwrap_or_else(|wrong| panic!("{wrong}"));
        page
    }

    fn both() -> Vec<String> {
        let times = |cores| [timed("corey", cores, 100), timed("linux", cores, 300)];
        [
            counted("corey", "shared", 1, 300, 0),
            counted("corey", "shared", 2, 300, 0),
            counted("linux", "shared", 1, 2600, 0),
            counted("linux", "shared", 2, 2600, 2),
            times(1).to_vec(),
            times(2).to_vec(),
        ]
        .concat()
    }

    #[test]
    fn a_page_has_everything_of_a_benchmark() {
        let page = page(&both());
        for part in [
            "What <code>memclone</code> claims, &lt;b&gt; &amp; all.",
            "Counted: instructions per operation",
            "Counted: events per operation",
            "Timed, emulated: operations a second",
            "Predicted, AMD",
            "Predicted, Intel",
            "2 (2)",
            "not hardware times",
            "MISS",
            "@media print",
            "prefers-color-scheme: dark",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("No records of"));
    }

    #[test]
    fn nothing_is_loaded_and_nothing_runs() {
        let page = page(&both());
        for part in ["http", "//", "url(", "src=", "<script", "<link", "@import", "onload"] {
            assert!(!page.contains(part), "{part}");
        }
    }

    #[test]
    fn what_records_hold_is_text() {
        let hostile = "</td><script>alert('x')</script>&\\\"\\u0000";
        let lines: Vec<String> = both().iter().map(|line| line.replace("QEMU TCG CPU", hostile)).collect();
        let lines: Vec<String> =
            lines.iter().map(|line| line.replace("\"tcg\"", &format!("\"{hostile}\""))).collect();
        let page = page(&lines);
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)") && !page.contains("<script"));
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(page(&[]).contains("There are no records of a benchmark here (0 other lines)"));
        assert!(page(&["<b>".to_owned()]).contains("(1 other lines)"));
        let ours = page(&counted("corey", "shared", 2, 300, 0));
        assert!(ours.contains("No records of Linux") && ours.contains("Not timed"));
        let times = page(&[timed("linux", 1, 5)]);
        assert!(times.contains("No records of ours") && times.contains("Not counted"));
    }
}
