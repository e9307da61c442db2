//! The two halves of the heat map beside each other, small: a picture for the README.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use corey_lib_sharing::{Case, Part};

use super::analysis::Measured;
use super::page::{colour, counts, place_of};

/// Points of a cell, of the labels, and between interfaces.
const CELL: usize = 8;
const LABELS: usize = 112;
const GAP: usize = 3;
const TITLE: usize = 22;

/// The picture, on white, whatever surrounds it.
pub(super) fn svg(found: &[Measured]) -> String {
    let side = place(Case::ALL.len() - 1) + CELL;
    let (width, height) = (LABELS + 2 * side + 34, TITLE + LABELS + side + 8);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" \
         aria-label=\"Lines that each pair of calls shares, on private and on shared objects\">\n\
         <style>text{{font:7px system-ui,'DejaVu Sans',sans-serif;fill:#1d2733}}.t{{font-size:12px;font-weight:600}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let top = TITLE + LABELS;
    for (part, title, left) in [
        (Part::Private, "each core on objects of its own", LABELS),
        (Part::Shared, "both on objects of one share", LABELS + side + 24),
    ] {
        let _ = writeln!(svg, "<text class=\"t\" x=\"{left}\" y=\"15\">{title}</text>");
        for (number, case) in Case::ALL.iter().enumerate() {
            let (at, name) = (place(number) + CELL - 1, case.name());
            let (x, y) = (left + at, top - 4);
            let _ = write!(svg, "<text transform=\"translate({x} {y}) rotate(-90)\">{name}</text>");
            if part == Part::Private {
                let (x, y) = (left - 4, top + at);
                let _ = write!(svg, "<text text-anchor=\"end\" x=\"{x}\" y=\"{y}\">{name}</text>");
            }
            svg.push('\n');
        }
        cells(&mut svg, found, part, (left, top));
    }
    svg + "</svg>\n"
}

/// All cells: one path for each colour.
fn cells(svg: &mut String, found: &[Measured], part: Part, (left, top): (usize, usize)) {
    let number = |case: Case| Case::ALL.iter().position(|other| *other == case).unwrap_or(0);
    let mut paths: BTreeMap<&str, String> = BTreeMap::new();
    for measured in found.iter().filter(|measured| measured.part == part) {
        let (x, y) = (left + place(number(measured.second)), top + place(number(measured.first)));
        let side = CELL - 1;
        let path = paths.entry(colour(counts(measured)).0).or_default();
        let _ = write!(path, "M{x} {y}h{side}v{side}h-{side}z");
    }
    for (colour, path) in paths {
        let _ = writeln!(svg, "<path fill=\"{colour}\" d=\"{path}\"/>");
    }
}

fn place(number: usize) -> usize {
    place_of(number, CELL, GAP)
}
