//! A small line chart as SVG: cores across, a value upwards.

use std::fmt::Write as _;

use corey_tools_model::table::short;

use crate::markup::escape;

/// Width and height, and the room for labels around the plot.
const SIZE: (f64, f64) = (300.0, 190.0);
const LEFT: f64 = 46.0;
const RIGHT: f64 = 44.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 34.0;
/// Labels at the ends of lines are so far apart at least.
const APART: f64 = 13.0;

/// How values go upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From 0.
    Linear,
    /// By powers of ten.
    Logarithmic,
}

/// A line and, if it has one, its band.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    /// Class of its colour, and the label at its end.
    pub(crate) class: &'static str,
    pub(crate) label: &'static str,
    /// Cores and value.
    pub(crate) points: Vec<(f64, f64)>,
    /// Cores, lowest and highest value.
    pub(crate) band: Vec<(f64, f64, f64)>,
    /// Whether points are marked: they were measured.
    pub(crate) marked: bool,
    /// Cores beyond which the line is thin: nothing was counted there.
    pub(crate) counted_to: Option<f64>,
}

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// What it shows, for its caption.
    pub(crate) title: String,
    pub(crate) scale: Scale,
    pub(crate) lines: Vec<Line>,
    /// Cores beyond which no machine exists, where that is shown.
    pub(crate) real: Option<f64>,
}

/// Where values are in the picture.
struct Axes {
    scale: Scale,
    cores: f64,
    low: f64,
    high: f64,
}

impl Axes {
    fn new(chart: &Chart) -> Self {
        let points = || chart.lines.iter().flat_map(|line| &line.points);
        let ends = chart.lines.iter().flat_map(|line| &line.band).flat_map(|(_, low, high)| [*low, *high]);
        let values: Vec<f64> = points().map(|(_, value)| *value).chain(ends).collect();
        let cores = points().map(|(cores, _)| *cores).fold(2.0, f64::max);
        let highest = values.iter().copied().fold(0.0, f64::max);
        let lowest = values.iter().copied().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
        match chart.scale {
            Scale::Logarithmic if lowest.is_finite() => {
                let (low, high) = (lowest.log10().floor(), highest.log10().ceil());
                Self { scale: chart.scale, cores, low, high: high.max(low + 1.0) }
            }
            _ => {
                let step = step(highest);
                let high = (highest / step).ceil().max(1.0) * step;
                Self { scale: Scale::Linear, cores, low: 0.0, high }
            }
        }
    }

    fn x(&self, cores: f64) -> f64 {
        LEFT + (SIZE.0 - LEFT - RIGHT) * cores.max(1.0).log2() / self.cores.log2()
    }

    fn y(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
        };
        let part = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        SIZE.1 - BOTTOM - (SIZE.1 - TOP - BOTTOM) * part
    }

    /// Values with a line across.
    fn ticks(&self) -> Vec<f64> {
        let step = match self.scale {
            Scale::Linear => step(self.high),
            Scale::Logarithmic => ((self.high - self.low) / 5.0).ceil(),
        };
        let number = ((self.high - self.low) / step).round() as u32;
        let at = |n: u32| match self.scale {
            Scale::Linear => f64::from(n) * step,
            Scale::Logarithmic => 10_f64.powf(self.low + f64::from(n) * step),
        };
        (0..=number).map(at).collect()
    }
}

/// A round number so that two to five of them reach `highest`.
fn step(highest: f64) -> f64 {
    if highest <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf((highest / 4.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| highest / s <= 5.0).unwrap_or(power * 10.0)
}

/// A tick's number: no digits that say nothing.
fn tick(value: f64) -> String {
    let text = short(value);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    if unit.is_empty() { number.to_owned() } else { format!("{number} {unit}") }
}

impl Chart {
    /// Returns the chart with its caption.
    pub(crate) fn figure(&self) -> String {
        let axes = Axes::new(self);
        let (width, height) = SIZE;
        let mut text = format!(
            "<figure><figcaption>{0}</figcaption>\n<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{0}\">\n",
            escape(&self.title)
        );
        self.frame(&mut text, &axes);
        for line in &self.lines {
            line.draw(&mut text, &axes);
        }
        self.labels(&mut text, &axes);
        text += "</svg></figure>\n";
        text
    }

    fn frame(&self, text: &mut String, axes: &Axes) {
        let (right, bottom) = (SIZE.0 - RIGHT, SIZE.1 - BOTTOM);
        if let Some(real) = self.real.filter(|real| *real < axes.cores) {
            let x = axes.x(real);
            let _ = writeln!(
                text,
                "<rect class=\"beyond\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                right - x,
                bottom - TOP
            );
        }
        for value in axes.ticks() {
            let y = axes.y(value);
            let _ = writeln!(
                text,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"y\" x=\"{}\" y=\"{:.1}\">{}</text>",
                LEFT - 5.0,
                y + 3.5,
                tick(value)
            );
        }
        let cores = (0..7).map(|n| 2_f64.powi(n)).filter(|cores| *cores <= axes.cores);
        for cores in cores {
            let x = axes.x(cores);
            let _ = writeln!(
                text,
                "<path class=\"axis\" d=\"M{x:.1} {bottom}v4\"/><text class=\"x\" x=\"{x:.1}\" y=\"{}\">{cores}</text>",
                bottom + 15.0
            );
        }
        let middle = f64::midpoint(LEFT, right);
        let _ = writeln!(
            text,
            "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/><text class=\"x\" x=\"{middle}\" y=\"{}\">cores</text>",
            SIZE.1 - 4.0
        );
    }

    /// Names at the ends of lines, moved apart where they would lie on each other.
    fn labels(&self, text: &mut String, axes: &Axes) {
        let end = |line: &Line| {
            let (cores, value) = *line.points.last()?;
            Some((axes.y(value) + 4.0, axes.x(cores) + 6.0, line.class, line.label))
        };
        let mut ends: Vec<_> = self.lines.iter().filter_map(end).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let lowest = SIZE.1 - BOTTOM + 2.0;
        let mut below = f64::NEG_INFINITY;
        let number = ends.len();
        for (n, (y, x, class, label)) in ends.into_iter().enumerate() {
            let room = lowest - APART * (number - 1 - n) as f64;
            let y = y.max(below + APART).min(room);
            below = y;
            let _ = writeln!(text, "<text class=\"name {class}\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>");
        }
    }
}

impl Line {
    fn draw(&self, text: &mut String, axes: &Axes) {
        let path = |points: &mut dyn Iterator<Item = (f64, f64)>| {
            let mut path = String::new();
            for (cores, value) in points {
                let letter = if path.is_empty() { 'M' } else { 'L' };
                let _ = write!(path, "{letter}{:.1} {:.1}", axes.x(cores), axes.y(value));
            }
            path
        };
        let class = self.class;
        if !self.band.is_empty() {
            let upper = self.band.iter().map(|(cores, _, high)| (*cores, *high));
            let lower = self.band.iter().rev().map(|(cores, low, _)| (*cores, *low));
            let _ = writeln!(text, "<path class=\"band {class}\" d=\"{}Z\"/>", path(&mut upper.chain(lower)));
        }
        let end = self.counted_to.unwrap_or(f64::INFINITY);
        let thick = self.points.iter().filter(|(cores, _)| *cores <= end);
        let thin = self.points.iter().filter(|(cores, _)| *cores >= end);
        for (part, points) in [("line", thick.collect::<Vec<_>>()), ("line thin", thin.collect())] {
            if points.len() > 1 {
                let d = path(&mut points.into_iter().copied());
                let _ = writeln!(text, "<path class=\"{part} {class}\" d=\"{d}\"/>");
            }
        }
        for (cores, value) in self.points.iter().filter(|_| self.marked) {
            let (x, y) = (axes.x(*cores), axes.y(*value));
            // Ours are discs, Linux's squares: told apart without colours, too.
            let _ = match class {
                "ours" => {
                    writeln!(text, "<circle class=\"mark {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.2\"/>")
                }
                _ => writeln!(
                    text,
                    "<rect class=\"mark {class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"6\" height=\"6\"/>",
                    x - 3.0,
                    y - 3.0
                ),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wellformed;

    fn chart(scale: Scale, points: &[(f64, f64)]) -> Chart {
        let line =
            |class| Line { class, label: "ours", points: points.to_vec(), marked: true, ..Line::default() };
        Chart { title: "a < b".into(), scale, lines: vec![line("ours"), line("linux")], real: None }
    }

    fn numbers(text: &str, attribute: &str) -> Vec<f64> {
        text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
    }

    #[test]
    fn values_of_any_size_stay_inside_and_labels_apart() {
        let many = [vec![], vec![(1.0, 0.0)], vec![(1.0, 0.0), (2.0, 1e9)], vec![(1.0, 3.0), (64.0, 0.02)]];
        for (points, scale) in many.iter().flat_map(|p| [Scale::Linear, Scale::Logarithmic].map(|s| (p, s))) {
            let text = chart(scale, points).figure();
            wellformed::check(&format!("<!DOCTYPE html>\n{text}")).unwrap();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            assert!(numbers(&text, " cy=\"").iter().all(|y| (TOP..=SIZE.1 - BOTTOM).contains(y)));
            let labels: Vec<f64> = text
                .lines()
                .filter(|l| l.contains("class=\"name"))
                .flat_map(|l| numbers(l, " y=\""))
                .collect();
            assert!(labels.windows(2).all(|pair| (pair[0] - pair[1]).abs() >= APART - 0.2), "{labels:?}");
        }
    }

    #[test]
    fn linear_axes_begin_at_nothing() {
        let axes = Axes::new(&chart(Scale::Linear, &[(1.0, 80.0), (2.0, 90.0)]));
        assert_eq!((axes.low, axes.ticks()[0]), (0.0, 0.0));
        assert_eq!(axes.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
    }

    #[test]
    fn a_line_is_thin_where_nothing_was_counted() {
        let mut chart = chart(Scale::Linear, &[(1.0, 5.0), (2.0, 5.0), (4.0, 5.0)]);
        chart.lines.truncate(1);
        chart.lines[0].counted_to = Some(2.0);
        let text = chart.figure();
        assert!(text.contains("\"line ours\"") && text.contains("\"line thin ours\""), "{text}");
        chart.lines[0].counted_to = Some(4.0);
        assert!(!chart.figure().contains("thin"));
    }

    #[test]
    fn ticks_have_no_useless_digits() {
        assert_eq!([0.0, 0.5, 20.0, 2500.0, 1e6, 1e9].map(tick), ["0", "0.5", "20", "2500", "1 M", "1 G"]);
    }
}
