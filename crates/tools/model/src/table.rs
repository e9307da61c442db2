//! Tables in Markdown whose columns align, and numbers in them.

use crate::span::Span;

/// Returns a table; rows have as many cells as `head`.
pub fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize, name: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(name.chars().count()).max(3)
    };
    let widths: Vec<usize> = head.iter().enumerate().map(|(column, name)| width(column, name)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let mut text = line(&mut head.iter().copied());
    text += &widths.iter().map(|width| format!("|{}", "-".repeat(width + 2))).collect::<String>();
    text += "|\n";
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// Returns a number with three significant digits, in thousands or millions where it is large: `27.2 M`.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 999.5e6 => (v / 1e9, " G"),
        v if v >= 999.5e3 => (v / 1e6, " M"),
        v if v >= 99_950.0 => (v / 1e3, " k"),
        v => (v, ""),
    };
    match scaled {
        v if v == 0.0 || v >= 99.95 => format!("{v:.0}{unit}"),
        v if v >= 9.995 => format!("{v:.1}{unit}"),
        v => format!("{v:.2}{unit}"),
    }
}

/// Returns `point (low–high)`, or the point alone where there is no band.
pub fn band(span: Span) -> String {
    let [low, point, high] = [span.low, span.point, span.high].map(short);
    if low == high { point } else { format!("{point} ({low}–{high})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let found = [0.0, 0.123, 8.0, 12.34, 940.6, 21_394.0, 99_949.0, 123_456.0, 27.2e6, 1.5e9].map(short);
        let wanted = ["0", "0.12", "8.00", "12.3", "941", "21394", "99949", "123 k", "27.2 M", "1.50 G"];
        assert_eq!(found, wanted);
        assert_eq!(band(Span::new(1.0, 2.0, 3.0)), "2.00 (1.00–3.00)");
        assert_eq!(band(Span::exactly(2.0)), "2.00");
    }

    #[test]
    fn columns_align() {
        let text =
            markdown(&["a", "b"], &[vec!["long one".into(), "x".into()], vec!["–".into(), "y".into()]]);
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [18; 4], "{text}");
    }
}
