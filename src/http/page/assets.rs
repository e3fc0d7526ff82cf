//! The style sheet and the script, which browsers keep: their address changes with their content.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64;

use crate::status::columns::Row;
use crate::status::document::{
    BrokerRow, PeriodicRow, QueueRow, ReceiverRow, TaskRow, WorkerRow, WorkflowRow,
};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The files beside the page.
#[derive(Debug)]
pub(super) struct Assets {
    pub(super) style: Asset,
    pub(super) script: Asset,
}

/// A file.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) content: String,
    pub(super) content_type: &'static str,
    /// In its address.
    pub(super) version: String,
}

impl Assets {
    pub(super) fn new() -> Self {
        Self {
            style: Asset::new(minified(STYLE) + &labels(), "text/css; charset=utf-8"),
            script: Asset::new(SCRIPT.to_owned(), "text/javascript; charset=utf-8"),
        }
    }
}

impl Asset {
    fn new(content: String, content_type: &'static str) -> Self {
        Self {
            version: format!("{:016x}", xxh3_64(content.as_bytes())),
            content,
            content_type,
        }
    }
}

/// Labels the cells of narrow screens, where a row is a list of values: `--N` is the title of column N. Labels in each cell
/// would be a fifth of a page.
fn labels() -> String {
    let mut css = String::new();
    let most = [
        titles::<QueueRow>(&mut css),
        titles::<TaskRow>(&mut css),
        titles::<WorkerRow>(&mut css),
        titles::<PeriodicRow>(&mut css),
        titles::<WorkflowRow>(&mut css),
        titles::<BrokerRow>(&mut css),
        titles::<ReceiverRow>(&mut css),
    ];
    css.push_str("@media(max-width:999px){");
    for column in 2..=most.into_iter().max().unwrap_or_default() {
        // Writing to a string cannot fail.
        let _ = write!(
            css,
            "td:nth-child({column})::before{{content:var(--{column})}}"
        );
    }
    css.push('}');
    css
}

/// Writes the titles of a table's columns, and returns their number.
fn titles<R: Row>(css: &mut String) -> usize {
    css.push('#');
    css.push_str(R::SECTION);
    css.push('{');
    let mut separator = "";
    for (column, number) in R::COLUMNS.iter().zip(1..).skip(1) {
        let _ = write!(css, "{separator}--{number}:\"{}\"", column.title);
        separator = ";";
    }
    css.push('}');
    R::COLUMNS.len()
}

/// Removes comments and optional spaces from our style sheet, in which texts contain neither.
fn minified(css: &str) -> String {
    let mut css = css.to_owned();
    while let Some(start) = css.find("/*") {
        let end = css[start..]
            .find("*/")
            .map_or(css.len(), |end| start + end + 2);
        css.replace_range(start..end, "");
    }
    let mut css: String = css.lines().map(str::trim).collect();
    let optional = [": ", "; ", " {", "{ ", " }", ", ", " > ", " + ", " / "];
    for spaced in optional {
        css = css.replace(spaced, spaced.trim());
    }
    css.replace(";}", "}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_titles_of_columns_are_labels() {
        let css = Assets::new().style.content;
        for part in [
            "#workflows{--2:\"Open\";--3:\"Oldest\";--4:\"Chords\"}",
            "td:nth-child(4)::before{content:var(--4)}",
        ] {
            assert!(css.contains(part), "{part}");
        }
        // The style sheet finds this one, which may be long, by its position.
        assert!(matches!(WorkerRow::COLUMNS, [.., queues] if queues.title == "Queues"));
    }

    #[test]
    fn a_style_sheet_is_served_without_comments_and_optional_spaces() {
        let css = "/* Why. */\na > b, .c .d {\n  margin: 0 1px; content: \" ↑\";\n}\n";
        assert_eq!(minified(css), "a>b,.c .d{margin:0 1px;content:\" ↑\"}");
    }
}
