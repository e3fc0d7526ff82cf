//! The sections of the document as tables.

use super::cell::{is_number, shown};
use super::detail::{Detail, Detailed};
use super::ranked::Ranked;
use super::table::{Head, Kind, Line, Table};
use crate::status::columns::{Cell, Row};
use crate::status::document::Status;
use crate::status::query::Query;

/// A section of the document with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Section {
    Queues,
    Tasks,
    Workers,
    Periodic,
    Brokers,
    Receivers,
}

/// Which rows are shown, and in which order.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only its filter is used.
    pub filter: Query,
    /// Show the rows that do not match.
    pub inverted: bool,
    /// Only its order is used.
    pub order: Query,
    /// At most this many rows.
    pub rows_max: Option<usize>,
}

/// Calls a generic function for the rows of a section.
macro_rules! for_rows {
    ($section:expr, $status:expr, $rows:ident => $call:expr) => {
        match $section {
            Section::Queues => {
                let $rows = &$status.queues;
                $call
            }
            Section::Tasks => {
                let $rows = &$status.tasks;
                $call
            }
            Section::Workers => {
                let $rows = &$status.workers;
                $call
            }
            Section::Periodic => {
                let $rows = &$status.periodic;
                $call
            }
            Section::Brokers => {
                let $rows = &$status.brokers;
                $call
            }
            Section::Receivers => {
                let $rows = &$status.receivers;
                $call
            }
        }
    };
}

impl Section {
    /// Every section, in the order of the page.
    pub const ALL: [Self; 6] = [
        Self::Queues,
        Self::Tasks,
        Self::Workers,
        Self::Periodic,
        Self::Brokers,
        Self::Receivers,
    ];

    /// The keys of its columns.
    pub fn keys(self) -> Vec<&'static str> {
        let columns = |table: Table| table.columns.iter().map(|head| head.key).collect();
        columns(self.table(&Status::default(), &Choice::default()))
    }

    pub(super) fn table(self, status: &Status, choice: &Choice) -> Table {
        let at = status.at_timestamp_seconds;
        for_rows!(self, status, rows => table(rows, choice, at))
    }

    /// Everything about a row; `None` if it does not exist (any more).
    pub(super) fn detail(self, status: &Status, id: &str) -> Option<Detail> {
        for_rows!(self, status, rows => detail(rows, status, id))
    }
}

impl Choice {
    fn keeps<R: Row>(&self, row: &R) -> bool {
        !self.filter.is_filtered() || self.filter.keeps(row) != self.inverted
    }
}

fn table<R: Ranked>(rows: &[R], choice: &Choice, at: f64) -> Table {
    let mut kept = choice.order.select(rows, usize::MAX).rows;
    kept.retain(|row| choice.keeps(*row));
    let matching = kept.len();
    kept.truncate(choice.rows_max.unwrap_or(usize::MAX));
    let order = choice.order.order::<R>();
    let columns = R::COLUMNS.iter().enumerate();
    let columns = columns.map(|(nth, column)| {
        let cell = kept.first().map(|row| (column.cell)(row));
        let right = cell.as_ref().is_some_and(is_number);
        let kind = match cell {
            _ if nth == 0 => Kind::Name,
            Some(Cell::Spark(_)) => Kind::Spark,
            Some(Cell::Percentiles(..) | Cell::Bytes(..) | Cell::Load(_)) => Kind::Pair,
            _ if right => Kind::Number,
            _ => Kind::Text,
        };
        let rank = R::RANKS.iter().position(|key| *key == column.key);
        Head {
            key: column.key,
            title: column.title,
            rank: rank.unwrap_or(usize::MAX),
            right,
            kind,
            sorted: (order.0 == column.key).then_some(order.1),
        }
    });
    let columns = columns.collect();
    let lines = kept.iter().map(|row| Line {
        id: row.id(),
        cells: R::COLUMNS
            .iter()
            .map(|column| shown(&(column.cell)(row), at))
            .collect(),
    });
    Table {
        title: R::TITLE,
        columns,
        rows: lines.collect(),
        matching,
        total: rows.len(),
    }
}

fn detail<R: Detailed>(rows: &[R], status: &Status, id: &str) -> Option<Detail> {
    let row = rows.iter().find(|row| row.id() == id)?;
    Some(Detail::new(row, status))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_filter_can_be_inverted_and_counts_what_is_left() {
        let status = fixture::status();
        let names = |query: &str, inverted: bool| {
            let choice = Choice {
                filter: Query::parse(query).expect("a query"),
                inverted,
                ..Choice::default()
            };
            let table = Section::Queues.table(&status, &choice);
            let names = table.rows.iter().map(|line| {
                let (_, name) = line.id.split_once('\0').expect("an id");
                name.to_owned()
            });
            (table.counted(), names.collect::<Vec<_>>())
        };
        assert_eq!(names("q=m", false).1, ["media", "mail"]);
        let (counted, left) = names("q=re:^m", true);
        assert_eq!(counted, "3 of 5");
        assert!(!left.contains(&"media".to_owned()), "{left:?}");
        assert_eq!(names("", true).0, "5", "nothing to invert");
        assert_eq!(names("q=nowhere", false).0, "0 of 5");
    }

    #[test]
    fn columns_are_left_out_by_rank_and_every_line_fits() {
        let status = fixture::status();
        for section in Section::ALL {
            let table = section.table(&status, &Choice::default());
            for width_max in 40..=400 {
                let layout = table.layout(width_max);
                let head = table.head(&layout);
                assert_eq!(head[0].0, 0, "{section:?}: the name is always shown");
                if width_max == 400 {
                    assert_eq!(head.len(), table.columns.len(), "{section:?}");
                }
                for line in &table.rows {
                    let cells = table.cells(line, &layout);
                    let text: Vec<_> = cells.into_iter().map(|(text, _)| text).collect();
                    let text = text.join(super::super::table::SEPARATOR);
                    let width = super::super::text::width(&text);
                    assert!(width <= width_max, "{section:?} {width_max}: {text:?}");
                }
            }
        }
    }
}
