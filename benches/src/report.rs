//! What a measurement prints, and its section in `RESULTS.md`.

use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::machine;

/// A word to the person at the terminal, on standard error.
pub fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Something that must hold.
pub struct Bar {
    what: String,
    value: f64,
    limit: f64,
    at_least: bool,
    unit: &'static str,
}

impl Bar {
    /// The value must reach the limit.
    pub fn at_least(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { what: what.into(), value, limit, at_least: true, unit: "" }
    }

    /// The value must not pass the limit.
    pub fn at_most(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { what: what.into(), value, limit, at_least: false, unit: "" }
    }

    /// With a unit.
    pub fn in_unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// False for what could not be measured.
    pub fn met(&self) -> bool {
        if self.at_least { self.value >= self.limit } else { self.value <= self.limit }
    }

    fn cells(&self) -> Vec<String> {
        let sign = if self.at_least { "≥" } else { "≤" };
        let met = if self.met() { "met" } else { "**not met**" };
        let (value, limit) = (ratio(self.value), self.limit);
        vec![self.what.clone(), format!("{value}{}", self.unit), format!("{sign} {limit}{}", self.unit), met.into()]
    }
}

/// A finished measurement.
pub struct Report {
    /// Section in the results.
    pub section: String,
    /// What was measured, one sentence.
    pub what: String,
    /// Figures of every round.
    pub table: Table,
    /// The ratios and their bars.
    pub bars: Vec<Bar>,
    /// What a reader must know to trust the figures.
    pub notes: Vec<String>,
}

impl Report {
    /// The bars that are not met.
    pub fn unmet(&self) -> impl Iterator<Item = &str> {
        self.bars.iter().filter(|bar| !bar.met()).map(|bar| bar.what.as_str())
    }

    /// The section, without its markers.
    pub fn markdown(&self) -> String {
        let arguments: Vec<_> = std::env::args().skip(1).collect();
        let mut text = format!(
            "## {}\n\n{}\n\n`cargo run --release -p lunapark-benches -- {}`  \n{}, commit {}, {}; load average {}\n\n{}",
            self.section,
            self.what,
            arguments.join(" "),
            lunapark::clock::rfc3339(lunapark::clock::now_millis()),
            machine::commit(),
            machine::machine(),
            machine::load(),
            self.table.markdown()
        );
        if !self.bars.is_empty() {
            let mut bars = Table::new(&["", "measured", "bar", ""]);
            self.bars.iter().for_each(|bar| bars.row(bar.cells()));
            text.push_str(&format!("\n{}", bars.markdown()));
        }
        self.notes.iter().for_each(|note| text.push_str(&format!("\n{note}\n")));
        text
    }

    /// Replaces the section in `RESULTS.md`, or adds it at the end.
    pub fn record(&self) -> anyhow::Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md");
        let before = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        std::fs::write(&path, replaced(&before, &self.section, &self.markdown()))?;
        note(format!("recorded in {}", path.display()));
        Ok(())
    }
}

/// `text` with the section `name` replaced or appended.
fn replaced(text: &str, name: &str, section: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let new = format!("{open}{section}{close}");
    let (start, end) = (text.find(&open), text.find(&close));
    match start.zip(end).filter(|(start, end)| start < end) {
        Some((start, end)) => format!("{}{new}{}", &text[..start], &text[end + close.len()..]),
        None => format!("{}\n\n{new}", text.trim_end()),
    }
}

/// A table in Markdown that reads well as text too.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these column titles.
    pub fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|t| (*t).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn markdown(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0).max(3)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
        let body = self.rows.iter().skip(1).map(line).collect::<String>();
        format!("{}| {} |\n{body}", self.rows.first().map(line).unwrap_or_default(), rule.join(" | "))
    }
}

/// A whole number with separators; a dash for what could not be measured.
pub fn number(value: f64) -> String {
    if value.is_finite() { lunapark::cli::output::number(value.round() as i64) } else { "–".to_owned() }
}

/// A ratio or a small quantity, three digits after the point.
pub fn ratio(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "–".to_owned() }
}

/// The middle value; the mean of the two middle ones where their number is even.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_in_place_and_appended_once() {
        let once = replaced("# Results\n", "spine", "old\n");
        let twice = replaced(&once, "latency", "l\n");
        let third = replaced(&twice, "spine", "new\n");
        let (spine, latency) = ("<!-- spine -->\nnew\n<!-- /spine -->", "<!-- latency -->\nl\n<!-- /latency -->");
        assert_eq!(third, format!("# Results\n\n{spine}\n\n{latency}\n"));
    }

    #[test]
    fn what_could_not_be_measured_meets_no_bar() {
        assert!(!Bar::at_least("x", f64::NAN, 0.8).met() && !Bar::at_most("x", f64::NAN, 0.8).met());
        assert!(Bar::at_least("x", 0.8, 0.8).met() && !Bar::at_most("x", 0.81, 0.8).met());
    }

    #[test]
    fn a_report_names_the_bars_that_are_not_met() {
        let bars = vec![Bar::at_least("speed", 0.8, 0.8), Bar::at_most("cost", 0.2, 0.15)];
        let (section, what, table) = ("x".to_owned(), String::new(), Table::new(&["x"]));
        let report = Report { section, what, table, bars, notes: Vec::new() };
        assert_eq!(report.unmet().collect::<Vec<_>>(), ["cost"]);
    }

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }
}
