//! A table: rows of a section as text, in as many columns as there is room for.

use super::cell::{Shown, Tone};
use super::text::{padded, spark, width};

/// Spaces between columns.
const GAP: usize = 2;

/// The name of a row is cut before a column is left out, but not below this.
const NAME_WIDTH_MIN: usize = 24;

/// Other texts are cut before a column is left out, but not below this.
const TEXT_WIDTH_MIN: usize = 16;

/// A longer number is hostile, and is cut, so that it does not take the room of other columns.
const NUMBER_WIDTH_MAX: usize = 15;

/// The same for two numbers.
const PAIR_WIDTH_MAX: usize = 24;

const SPARK_WIDTH_MIN: usize = 10;

/// A column per point, which is 10 s.
const SPARK_WIDTH_MAX: usize = 60;

/// A section of the document, filtered and in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    /// `Queues`, for example.
    pub(super) title: &'static str,
    /// The first one names the row.
    pub(super) columns: Vec<Head>,
    pub(super) rows: Vec<Line>,
    /// How many rows match the filter, including those that are not in `rows`.
    pub(super) matching: usize,
    pub(super) total: usize,
}

/// The head of a column.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    /// Order in which columns are left out; the highest goes first.
    pub(super) rank: usize,
    /// Aligned to the right.
    pub(super) right: bool,
    pub(super) kind: Kind,
    /// If the table is sorted by it: whether its highest value comes first.
    pub(super) sorted: Option<bool>,
}

/// How a column shares the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Text,
    Number,
    /// Two numbers.
    Pair,
    Spark,
}

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The same after each update.
    pub(super) id: String,
    pub(super) cells: Vec<Shown>,
}

/// Which columns are shown, and how wide they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout(Vec<(usize, usize)>);

impl Head {
    /// The title, and an arrow if the table is sorted by it.
    pub(super) fn text(&self) -> String {
        let arrow = match self.sorted {
            Some(true) => "▼",
            Some(false) => "▲",
            None => "",
        };
        format!("{}{arrow}", self.title)
    }
}

impl Table {
    /// Chooses columns that fit into `width_max`, by rank, and shares the room that is left.
    pub(super) fn layout(&self, width_max: usize) -> Layout {
        let natural: Vec<usize> = (0..self.columns.len()).map(|at| self.natural(at)).collect();
        let least = |at: usize| {
            let head = &self.columns[at];
            let limit = match head.kind {
                Kind::Name => NAME_WIDTH_MIN,
                Kind::Text => TEXT_WIDTH_MIN,
                Kind::Number => NUMBER_WIDTH_MAX,
                Kind::Pair => PAIR_WIDTH_MAX,
                Kind::Spark => SPARK_WIDTH_MIN,
            };
            natural[at].min(limit).max(width(&head.text()))
        };
        let mut ranked: Vec<usize> = (0..self.columns.len()).collect();
        ranked.sort_by_key(|&at| self.columns[at].rank);
        let mut chosen = Vec::new();
        let mut used = 0;
        for at in ranked {
            let more = least(at) + if chosen.is_empty() { 0 } else { GAP };
            // The name stays, however little room there is.
            if chosen.is_empty() || used + more <= width_max {
                used += more;
                chosen.push((at, least(at)));
            }
        }
        let mut left = width_max.saturating_sub(used);
        // First the names, then other texts, then histories.
        for kind in [Kind::Name, Kind::Text, Kind::Spark] {
            for (at, columns) in &mut chosen {
                if self.columns[*at].kind == kind {
                    let more = natural[*at].saturating_sub(*columns).min(left);
                    *columns += more;
                    left -= more;
                }
            }
        }
        chosen.sort_unstable();
        Layout(chosen)
    }

    /// The titles, padded. Also returns for each the index of its column.
    pub(super) fn head(&self, layout: &Layout) -> Vec<(usize, String)> {
        let titles = layout.0.iter().map(|&(at, columns)| {
            let head = &self.columns[at];
            (at, padded(&head.text(), columns, head.right))
        });
        titles.collect()
    }

    /// The cells of a row, padded.
    pub(super) fn cells(&self, line: &Line, layout: &Layout) -> Vec<(String, Tone)> {
        let cells = layout.0.iter().map(|&(at, columns)| {
            let right = self.columns[at].right;
            match &line.cells[at] {
                Shown::Text(text, tone) => (padded(text, columns, right), *tone),
                Shown::Spark(history) => (
                    padded(&spark(history, columns), columns, right),
                    Tone::Plain,
                ),
            }
        });
        cells.collect()
    }

    /// `12 of 214`, or the number of rows if all of them match.
    pub(super) fn counted(&self) -> String {
        if self.matching == self.total {
            self.total.to_string()
        } else {
            format!("{} of {}", self.matching, self.total)
        }
    }

    /// The width that a column would like to have.
    fn natural(&self, at: usize) -> usize {
        let head = &self.columns[at];
        let cells = self.rows.iter().map(|line| match &line.cells[at] {
            Shown::Text(text, _) => width(text),
            Shown::Spark(history) => history.len().min(SPARK_WIDTH_MAX),
        });
        let widest = cells.max().unwrap_or_default();
        widest.max(width(&head.text()))
    }
}

/// Joins padded cells.
pub(super) const SEPARATOR: &str = "  ";
