//! The tables of a page: heading, columns and rows.

use askama::Template;
use xxhash_rust::xxh3::xxh3_64;

use super::cell::{CellView, Level, Look, is_text};
use super::notices::{self, Notice};
use super::scene::Scene;
use super::text::Html;
use super::view::{Links, Table, View};
use crate::status::columns::{Cell, Row};
use crate::status::document::Status;
use crate::status::format::count;
use crate::status::query::ROWS;

/// Number of rows of a page's own table, unless `all=1`.
const ROWS_OF_TABLE: usize = 200;

/// A table, rendered.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) heading: Html,
    /// What is to be known about the table, and what an empty one means.
    pub(super) note: Html,
    pub(super) columns: Vec<Head>,
    /// By the `id` of their element, in order.
    pub(super) rows: Vec<(String, Html)>,
}

/// The head of a column: a link that sorts by it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) href: String,
    pub(super) is_text: bool,
    /// The value of `aria-sort`, if the table is sorted by it.
    pub(super) sorted: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "heading.html")]
struct HeadingT<'a> {
    name: &'static str,
    title: &'static str,
    count: String,
    /// The page of the table, if this is another one.
    page: Option<String>,
    /// Where the rows are that are left out.
    more: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "note.html")]
struct NoteT<'a> {
    name: &'static str,
    notices: Vec<Notice>,
    empty: Option<String>,
    /// The page without the filter, if that is why the table is empty.
    clear: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "row.html")]
struct RowT<'a> {
    id: &'a str,
    stale: bool,
    cells: Vec<CellView>,
}

impl Section {
    /// Renders the rows that the query leaves, of all those that belong to the page.
    pub(super) fn new<R: Row>(scene: Scene<'_>, table: Table, rows: &[R]) -> Self {
        let Scene { status, links } = scene;
        let own = links.view == View::Table(table);
        let limit = if own { ROWS_OF_TABLE } else { ROWS };
        let selected = links.query.select(rows, limit);
        let count = if links.query.is_filtered() {
            let (matching, total) = (number(selected.matching), number(selected.total));
            format!("{} of {}", count(matching), count(total))
        } else {
            count(number(selected.total))
        };
        let page = links.page(&View::Table(table));
        let overview = links.view == View::Overview;
        let more = (selected.rows.len() < selected.matching).then(|| {
            if overview {
                page.clone()
            } else {
                links.with(&[("all", "1")])
            }
        });
        let heading = Html::of(&HeadingT {
            name: table.name(),
            title: table.title(),
            count,
            page: overview.then_some(page),
            more: more.as_deref(),
        });
        let filtered = selected.total > 0 && selected.matching == 0;
        let clear = filtered.then(|| links.with(&[("q", ""), ("queue", ""), ("broker", "")]));
        let note = Html::of(&NoteT {
            name: table.name(),
            notices: notices::of_table(status, table),
            empty: selected
                .rows
                .is_empty()
                .then(|| notices::empty(scene, table, filtered)),
            clear: clear.as_deref(),
        });
        Self {
            name: table.name(),
            title: table.title(),
            heading,
            note,
            columns: heads(links, R::COLUMNS.first().map(|column| column.key), rows),
            rows: selected
                .rows
                .iter()
                .map(|row| draw(scene, table, *row))
                .collect(),
        }
    }
}

/// The heads of the columns. A click on the one that the table is sorted by reverses the order.
fn heads<R: Row>(links: &Links, first: Option<&str>, rows: &[R]) -> Vec<Head> {
    let (by, descending) = links.query.order::<R>();
    let example = rows.first();
    let columns = R::COLUMNS.iter().map(|column| {
        let cell = example.map(column.cell);
        let text = Some(column.key) == first
            || matches!(
                cell,
                Some(Cell::Text(_) | Cell::OptionalText(_) | Cell::Texts(_) | Cell::State(..))
            );
        let sorted = by == column.key;
        let down = if sorted { !descending } else { !text };
        let sign = if down { "-" } else { "" };
        Head {
            key: column.key,
            title: column.title,
            href: links.with(&[("sort", &format!("{sign}{}", column.key))]),
            is_text: cell.is_none_or(|cell| is_text(&cell)),
            sorted: sorted.then_some(if descending {
                "descending"
            } else {
                "ascending"
            }),
        }
    });
    columns.collect()
}

/// Renders a row. Its id is stable, and has no characters from outside.
fn draw<R: Row>(scene: Scene<'_>, table: Table, row: &R) -> (String, Html) {
    let Scene { status, links } = scene;
    let id = format!("{}-{:016x}", table.name(), xxh3_64(row.id().as_bytes()));
    let several = status.brokers.len() > 1;
    let broker = row.broker().filter(|_| several);
    let cells = R::COLUMNS.iter().enumerate().map(|(at, column)| {
        let cell = (column.cell)(row);
        let view = CellView::new(column.title, &cell, status.at_timestamp_seconds);
        match (at, table, cell) {
            (0, Table::Queues, _) => {
                view.linked(links.detail("queue", row.name(), row.broker()), broker)
            }
            (0, Table::Tasks | Table::Periodic | Table::Workflows, _) => {
                view.linked(links.detail("task", row.name(), row.broker()), broker)
            }
            (0, Table::Workers, _) => {
                view.linked(links.detail("worker", row.name(), row.broker()), broker)
            }
            (0, Table::Brokers, _) if several => {
                let only = links.query.with(&[("broker", row.name()), ("q", "")]);
                view.linked(format!("{}{}{only}", links.prefix, links.home), None)
            }
            (_, Table::Tasks, Cell::OptionalText(Some(queue))) => {
                view.linked(links.detail("queue", queue, row.broker()), None)
            }
            _ => view,
        }
    });
    let html = Html::of(&RowT {
        id: &id,
        stale: is_stale(status, table, row.broker()),
        cells: cells.collect(),
    });
    (id, html)
}

/// Whether the values of a row are from before its broker was disconnected.
fn is_stale(status: &Status, table: Table, broker: Option<&str>) -> bool {
    let of_broker = match table {
        Table::Queues | Table::Tasks | Table::Workers | Table::Periodic | Table::Workflows => true,
        Table::Brokers | Table::Receivers => false,
    };
    let mut brokers = status.brokers.iter();
    of_broker
        && match broker {
            Some(name) => brokers.any(|broker| *broker.name == *name && !broker.connected),
            None => brokers.len() > 0 && brokers.all(|broker| !broker.connected),
        }
}

/// The number of rows, which fits.
fn number(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
