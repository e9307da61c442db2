//! The heat map: one page without anything from elsewhere, for the screen and for paper.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use corey_abi::{ANY, SYSCALLS, cost_of};
use corey_lib_sharing::{Case, EXCEPTIONS, LEFT_OUT, NOT_BY_RING, Part};

use super::analysis::{Measured, Operations, Why};

/// Points of a cell, of the labels to the left, and of those above.
const CELL: usize = 17;
const LEFT: usize = 172;
const TOP: usize = 158;
/// Places that a cell's text names.
const PLACES: usize = 5;

/// Colours of lines that an object explains: 1, 2–3, 4–7, 8–15, more.
const OBJECT: [&str; 5] = ["#cfe1f2", "#9fc6e3", "#64a5d3", "#2f7fbc", "#0b4f8f"];
const EXCEPTION: &str = "#f2b84b";
const UNEXPLAINED: &str = "#d3191f";
const NOTHING: &str = "#eef1f4";

/// The page.
pub(super) fn html(found: &[Measured], seed: Option<u64>, stamp: &str) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    page += "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Which calls share cache lines</title>\n";
    let _ = write!(page, "<style>\n{}</style>\n", include_str!("page.css"));
    page += "<h1>Which calls share cache lines</h1>\n";
    page += "<p>Every call of the kernel was run against every other: one on core 1, one on core 2, in turn, under the line \
             meter. A cell counts the 64-byte lines, of the kernel or of the programs, that one of the two wrote and the \
             other touched.</p>\n";
    let _ = writeln!(page, "<p class=\"soft\">{}</p>", escape(stamp));
    page += &sums(found);
    page += &legend();
    page += "<h2>Private: each core on objects of its own</h2>\n<p>Nothing may be shared. What is, is a known exception \
             (below), or a fault of the kernel.</p>\n";
    page += &heat(found, Part::Private);
    page += "<h2>Shared: both cores on the objects of a share that both hold</h2>\n<p>Lines may be shared where they are of \
             an object that both can reach; a corner marks exceptions beside them.";
    if let Some(seed) = seed {
        let _ =
            write!(page, " This run measured tenth {seed} of the pairs; the hatched ones are of other days.");
    }
    page += "</p>\n";
    page += &heat(found, Part::Shared);
    page += "<h2>By ring: each core on objects of its own, by a ring to a kernel core of its own</h2>\n<p>Nothing may be \
             shared by two such pairs of cores: neither by the kernel cores, which make the calls, nor by callers. What \
             goes over within a pair is judged, too, and not counted here where an exception says why.";
    if let Some(seed) = seed {
        let _ = write!(page, " This run measured tenth {seed} of the pairs.");
    }
    page += "</p>\n";
    page += &heat(found, Part::Ring);
    page += "<h2>Each call alone, on objects of its own</h2>\n<p>What one operation does at most, and the lines that move \
             when so many cores do it at once. In brackets what the call's documentation promises.</p>\n";
    page += &alone(found);
    page += "<h2>Exceptions</h2>\n<p>Lines that may be shared though nobody asked, each with its reason; an exception that \
             explains nothing any more fails a full run.</p>\n";
    page += &exceptions(found);
    page += "<h2 class=\"flow\">Not measured</h2>\n<table><tr><th>what<th>why</tr>\n";
    for (what, why) in LEFT_OUT {
        let _ = writeln!(page, "<tr><td>{}<td>{}</tr>", escape(what), escape(why));
    }
    for (cases, why) in NOT_BY_RING {
        let names: Vec<&str> = cases.iter().map(|case| case.name()).collect();
        let _ = writeln!(page, "<tr><td>{}, by ring<td>{}</tr>", escape(&names.join(", ")), escape(why));
    }
    page += "</table>\n<p class=\"soft\">The meter sees no page walks, no DMA, no instruction fetch and no prefetch, and \
             its caches are infinite. Timing is not measured here.</p>\n";
    page += "<div id=\"told\">Point at a cell to see its lines.</div>\n";
    let _ = write!(page, "<script>\n{}</script>\n</html>\n", include_str!("page.js"));
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Lines of a measurement by why they may be shared: object, exception, unexplained.
pub(super) fn counts(measured: &Measured) -> [usize; 3] {
    let count = |wanted: fn(&Why) -> bool| measured.between().filter(|line| wanted(&line.why)).count();
    [
        count(|why| *why == Why::Object),
        count(|why| matches!(why, Why::Exception(_))),
        count(|why| *why == Why::Unexplained),
    ]
}

fn sums(found: &[Measured]) -> String {
    let mut text = "<div class=\"sums\">\n".to_owned();
    for (part, title) in [
        (Part::Private, "private pairs"),
        (Part::Shared, "shared pairs"),
        (Part::Ring, "pairs by ring"),
        (Part::Alone, "runs of one call on many cores"),
    ] {
        let of = || found.iter().filter(|m| m.part == part);
        let [object, exception, unexplained] =
            of().map(counts).fold([0; 3], |sum, more| std::array::from_fn(|i| sum[i] + more[i]));
        let clean = of().filter(|m| m.between().next().is_none()).count();
        let class = if unexplained == 0 { "sum" } else { "sum bad" };
        let object =
            if part == Part::Shared { format!("{object} of a shared object, ") } else { String::new() };
        let _ = writeln!(
            text,
            "<div class=\"{class}\"><b>{} {title}</b>{clean} share nothing<br>{object}{exception} lines are known \
             exceptions, <strong>{unexplained} unexplained</strong></div>",
            of().count()
        );
    }
    text + "</div>\n"
}

fn legend() -> String {
    let swatch = |colour: &str| format!("<i style=\"background:{colour}\"></i>");
    let blues: String = OBJECT.iter().map(|colour| swatch(colour)).collect();
    format!(
        "<div class=\"legend\"><span>{} 0 lines</span><span>{blues} of a shared object: 1, 2–3, 4–7, 8–15, more</span>\
         <span>{} known exception</span><span>{} unexplained</span>\
         <span><i style=\"background:repeating-linear-gradient(45deg,#fff 0 3px,#c9d0d7 3px 4px)\"></i> not measured</span></div>\n",
        swatch(NOTHING),
        swatch(EXCEPTION),
        swatch(UNEXPLAINED),
    )
}

/// The interface of a case's call: what stands together.
fn group(case: Case) -> &'static str {
    SYSCALLS.iter().find(|row| row.name == case.call()).map_or("", |row| row.interface)
}

/// Where row or column `number` begins: a gap lies between interfaces.
fn place(number: usize) -> usize {
    place_of(number, CELL, 5)
}

/// As [`place`], of cells and gaps of so many points.
pub(super) fn place_of(number: usize, cell: usize, gap: usize) -> usize {
    let gaps = Case::ALL.windows(2).take(number).filter(|pair| group(pair[0]) != group(pair[1])).count();
    number * cell + gaps * gap
}

fn heat(found: &[Measured], part: Part) -> String {
    let end = place(Case::ALL.len() - 1) + CELL;
    let (width, height) = (LEFT + end + 8, TOP + end + 4);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" aria-label=\"{} pairs\">\n<defs>\
         <pattern id=\"none-{}\" width=\"5\" height=\"5\" patternTransform=\"rotate(45)\" patternUnits=\"userSpaceOnUse\">\
         <rect width=\"5\" height=\"5\" fill=\"#fff\"/><rect width=\"1\" height=\"5\" fill=\"#d3d9df\"/></pattern></defs>\n",
        part.name(),
        part.name(),
    );
    let _ = writeln!(
        svg,
        "<text class=\"label\" x=\"4\" y=\"{}\" opacity=\".6\">on core 1 ↓  on core 2 →</text>",
        TOP - 8
    );
    let by_pair: BTreeMap<(Case, Case), &Measured> =
        found.iter().filter(|m| m.part == part).map(|m| ((m.first, m.second), m)).collect();
    for (number, case) in Case::ALL.iter().enumerate() {
        let (at, name) = (place(number) + CELL / 2 + 4, case.name());
        let _ = writeln!(
            svg,
            "<text class=\"label\" data-row=\"{number}\" text-anchor=\"end\" x=\"{}\" y=\"{}\">{name}</text>\
             <text class=\"label\" data-column=\"{number}\" transform=\"translate({} {}) rotate(-90)\">{name}</text>",
            LEFT - 6,
            TOP + at,
            LEFT + at,
            TOP - 6,
        );
    }
    for (row, first) in Case::ALL.iter().enumerate() {
        for (column, second) in Case::ALL.iter().enumerate() {
            let (x, y) = (LEFT + place(column), TOP + place(row));
            cell(&mut svg, (x, y), (row, column), part, by_pair.get(&(*first, *second)).copied());
        }
    }
    svg + "</svg>\n"
}

/// A cell's colour for lines of an object, exceptions and unexplained ones; whether it is dark.
pub(super) fn colour(counts: [usize; 3]) -> (&'static str, bool) {
    match counts {
        [0, 0, 0] => (NOTHING, false),
        [0, _, 0] => (EXCEPTION, false),
        [count, _, 0] => {
            let step = (usize::BITS - 1 - count.leading_zeros()).min(4) as usize;
            (OBJECT[step], step >= 3)
        }
        _ => (UNEXPLAINED, true),
    }
}

fn cell(
    svg: &mut String,
    (x, y): (usize, usize),
    (row, column): (usize, usize),
    part: Part,
    measured: Option<&Measured>,
) {
    let side = CELL - 1;
    let Some(measured) = measured else {
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"url(#none-{})\"/>",
            part.name()
        );
        return;
    };
    let [object, exception, unexplained] = counts(measured);
    let (colour, light) = colour([object, exception, unexplained]);
    let _ = write!(
        svg,
        "<rect class=\"cell\" data-r=\"{row}\" data-c=\"{column}\" x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" \
         rx=\"1.5\" fill=\"{colour}\"><title>{}</title></rect>",
        escape(&told(measured))
    );
    if exception > 0 && object > 0 {
        let (right, low) = (x + side, y + 5);
        let _ = write!(
            svg,
            "<path d=\"M{} {y}H{right}V{low}z\" fill=\"{EXCEPTION}\" pointer-events=\"none\"/>",
            right - 5
        );
    }
    let all = object + exception + unexplained;
    if all > 0 {
        let class = if light { "count light" } else { "count" };
        let _ = write!(
            svg,
            "<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text>",
            x + side / 2,
            y + side / 2 + 3,
            if all < 1000 { all.to_string() } else { "1k".to_owned() }
        );
    }
    svg.push('\n');
}

/// A cell in words: the pair, and the places it shares.
fn told(measured: &Measured) -> String {
    let (first, second) = (measured.first.name(), measured.second.name());
    let all = measured.between().count();
    let mut text = format!("{first} × {second}: {all} {}", if all == 1 { "line" } else { "lines" });
    let mut places = BTreeMap::<(&str, String), usize>::new();
    for line in measured.between() {
        let why = match line.why {
            Why::Object => "",
            Why::Exception(_) => " (exception)",
            Why::Unexplained => " UNEXPLAINED",
        };
        *places.entry((why, line.writer.place.clone())).or_default() += 1;
    }
    let mut sorted: Vec<_> = places.into_iter().collect();
    sorted.sort_by_key(|((why, place), count)| {
        (*why != " UNEXPLAINED", std::cmp::Reverse(*count), place.clone())
    });
    for ((why, place), count) in sorted.iter().take(PLACES) {
        let _ = write!(text, "\n{count} {place}{why}");
    }
    if sorted.len() > PLACES {
        let _ = write!(text, "\nand {} more places", sorted.len() - PLACES);
    }
    text
}

fn alone(found: &[Measured]) -> String {
    let of = || found.iter().filter(|m| m.part == Part::Alone);
    let mut workers: Vec<u32> = of().map(|m| m.workers).collect();
    workers.sort_unstable();
    workers.dedup();
    let mut text = "<table><tr><th>case<th class=\"n\">instructions<th class=\"n\">locks<th class=\"n\">atomic operations\
                    <th class=\"n\">interrupts"
        .to_owned();
    for n in &workers {
        let _ = write!(text, "<th class=\"n\">events, {n} cores");
    }
    text += "</tr>\n";
    for case in Case::ALL {
        let operations = || of().filter(|m| m.first == *case).flat_map(|m| &m.operations);
        let Some(first) = operations().next() else { continue };
        let most = |field: fn(&Operations) -> u64| operations().map(field).max().unwrap_or(0);
        let cost = cost_of(case.call());
        let promise = |promised: Option<u64>| match promised {
            Some(ANY) => " (any)".to_owned(),
            Some(n) => format!(" ({n})"),
            None => String::new(),
        };
        let _ = write!(text, "<tr><td>{}<td class=\"n\">{}", case.name(), first.insn);
        for (had, promised) in [
            (most(|o| o.locks), cost.map(|c| c.locks)),
            (most(|o| o.locked), cost.map(|c| c.locked)),
            (most(|o| o.interrupts), cost.map(|c| c.interrupts)),
        ] {
            let class = if promised.is_some_and(|promised| had > promised) { "n bad" } else { "n" };
            let _ = write!(text, "<td class=\"{class}\">{had}{}", promise(promised));
        }
        for n in &workers {
            let here = of().filter(|m| m.first == *case && m.workers == *n);
            let events = here.flat_map(|m| &m.operations).map(|o| o.events).max().unwrap_or(0);
            let promised = cost.map(|c| c.events);
            let class = if promised.is_some_and(|promised| events > promised) { "n bad" } else { "n" };
            let _ = write!(text, "<td class=\"{class}\">{events}");
        }
        text += "</tr>\n";
    }
    text + "</table>\n"
}

fn exceptions(found: &[Measured]) -> String {
    let mut text = "<table><tr><th>part<th>calls<th>lines<th class=\"n\">pairs<th>why</tr>\n".to_owned();
    for (at, exception) in EXCEPTIONS.iter().enumerate() {
        let uses = |m: &&Measured| m.lines.iter().any(|line| line.why == Why::Exception(at));
        let place = if exception.places.is_empty() { "any".to_owned() } else { exception.places.join(", ") };
        let _ = writeln!(
            text,
            "<tr><td>{}<td>{}<td>{}<td class=\"n\">{}<td>{}</tr>",
            exception.part.name(),
            escape(&exception.who.to_string()),
            escape(&place),
            found.iter().filter(uses).count(),
            escape(exception.reason)
        );
    }
    text + "</table>\n"
}

#[cfg(test)]
mod tests {
    use super::super::analysis::tests::measured;
    use super::*;

    #[test]
    fn the_page_has_a_cell_for_every_pair_and_nothing_from_elsewhere() {
        let found = measured(Part::Shared, Case::SegmentGrow, Case::SegmentGetNbytes, &[(0x1100, 0x1100)]);
        let page = html(&found, Some(3), "a <stamp>");
        let cells = Case::ALL.len() * Case::ALL.len();
        assert_eq!(page.matches("<rect class=\"cell\"").count(), 1);
        assert_eq!(page.matches("fill=\"url(#none-").count(), 3 * cells - 1);
        assert!(
            page.contains(
                "segment_set_nbytes:grow × segment_get_nbytes: 1 line\n1 Segment:both growing.npages"
            )
        );
        assert!(page.contains("a &lt;stamp&gt;") && page.contains("tenth 3"));
        assert!(!page.contains("http"), "no network");
        for case in Case::ALL {
            assert!(page.contains(&format!(">{}</text>", case.name())), "{}", case.name());
        }
    }

    #[test]
    fn an_unexplained_line_is_red_and_counted_at_the_top() {
        let found = measured(Part::Private, Case::SegmentGrow, Case::SegmentGetNbytes, &[(0x1100, 0x1100)]);
        let page = html(&found, None, "");
        assert!(page.contains(&format!("fill=\"{UNEXPLAINED}\"")) && page.contains("<strong>1 unexplained"));
        assert!(page.contains("<div class=\"sum bad\">"));
    }
}
