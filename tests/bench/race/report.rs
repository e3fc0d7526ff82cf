//! The measured values: as a table, and as JSON for `tests/race.py`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// Processor, number of cores and system.
    pub machine: String,
    /// By program.
    pub versions: BTreeMap<String, String>,
    /// By name.
    pub sections: BTreeMap<String, Section>,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct Section {
    /// When it ended.
    pub date: String,
    pub rows: Vec<Row>,
    pub curves: Vec<Curve>,
    /// Programs that are not installed.
    pub skipped: Vec<String>,
}

/// One measure of one program. The first row of a measure is what the others are compared with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    pub measure: String,
    pub program: String,
    pub unit: String,
    /// One value per round. Values of the same round belong together.
    pub values: Vec<f64>,
    /// Share of events lost in each round; empty where none are published.
    pub lost: Vec<f64>,
}

/// How celeriac's costs grow with one quantity.
#[derive(Debug, Deserialize, Serialize)]
pub struct Curve {
    pub by: String,
    pub points: Vec<Point>,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct Point {
    pub at: f64,
    /// By name, which ends in the unit.
    pub costs: BTreeMap<String, f64>,
}

impl Section {
    pub fn new(rows: Vec<Row>) -> Self {
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        Self {
            date: now.to_string(),
            rows,
            curves: Vec::new(),
            skipped: Vec::new(),
        }
    }
}

impl Row {
    pub fn new(measure: &str, program: &str, unit: &str, values: Vec<f64>) -> Self {
        Self {
            measure: measure.to_owned(),
            program: program.to_owned(),
            unit: unit.to_owned(),
            values,
            lost: Vec::new(),
        }
    }

    /// Returns the median ratio to another row, within the rounds.
    fn ratio(&self, base: &Self) -> f64 {
        let pairs = self.values.iter().zip(&base.values);
        median(&pairs.map(|(own, base)| own / base).collect::<Vec<_>>())
    }
}

/// Returns the middle value, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        many => f64::midpoint(sorted[(many - 1) / 2], sorted[many / 2]),
    }
}

/// Rounds to two significant digits.
pub fn rounded(rate: f64) -> f64 {
    let unit = 10_f64.powf(rate.log10().floor() - 1.0);
    (rate / unit).round() * unit
}

/// Formats a rate with two significant digits and a comma between thousands.
pub fn grouped(rate: f64) -> String {
    let digits = format!("{:.0}", rounded(rate));
    let (thousands, rest) = digits.split_at(digits.len().saturating_sub(3));
    if thousands.is_empty() {
        digits
    } else {
        format!("{thousands},{rest}")
    }
}

impl Report {
    /// Reads the values of earlier runs; none if the file is missing or has another format.
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub fn write(&self, file: &Path) {
        let text = serde_json::to_string_pretty(self).expect("numbers and texts");
        std::fs::write(file, text).expect("a writable folder");
    }

    pub fn print(&self, order: &[&str]) {
        println!(
            "{:<58} {:<46} {:>10} {:<18} {:>17} {:>7} {:>6}",
            "measure", "program", "median", "unit", "range", "ratio", "lost"
        );
        let (mut curves, mut skipped) = (Vec::new(), Vec::new());
        for name in order {
            let Some(section) = self.sections.get(*name) else {
                continue;
            };
            print_rows(&section.rows, *name != "latency");
            curves.extend(&section.curves);
            skipped.extend(&section.skipped);
        }
        for curve in curves {
            println!("by {}:", curve.by);
            for Point { at, costs } in &curve.points {
                let costs = costs.iter().map(|(name, cost)| format!("{name} {cost:.4}"));
                println!("  {at:>9}: {}", costs.collect::<Vec<_>>().join(", "));
            }
        }
        for program in skipped {
            println!("skipped, because it is not installed: {program}");
        }
    }
}

/// Prints each row, and if rows of a measure are comparable, the ratio to the first of them.
fn print_rows(rows: &[Row], comparable: bool) {
    let mut base: Option<&Row> = None;
    for row in rows {
        let first = base.filter(|base| base.measure == row.measure);
        let least = row.values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = row.values.iter().copied().fold(0.0, f64::max);
        let lost = match row.lost.as_slice() {
            [] => String::new(),
            lost => format!("{:.0}%", 100.0 * median(lost)),
        };
        println!(
            "{:<58} {:<46} {:>10.3} {:<18} {:>17} {:>7} {lost:>6}",
            if first.is_none() { &row.measure } else { "" },
            row.program,
            median(&row.values),
            row.unit,
            format!("{least:.3}-{most:.3}"),
            first
                .filter(|first| comparable && median(&first.values) > 0.0)
                .map_or(String::new(), |first| format!("{:.2}x", row.ratio(first))),
        );
        base = first.or(Some(row));
    }
}
