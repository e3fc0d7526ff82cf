mod answers;
mod fixture;
mod pages;
mod schema;

use super::assets::Assets;
use super::render;
use super::view::{HOME, Links, View};
use crate::status::document::Status;
use crate::status::query::Query;

/// The links of a path with its query.
fn links(path: &str) -> Links {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Links {
        prefix: String::new(),
        home: HOME,
        view: View::parse(path).expect("a page"),
        query: Query::parse(query).expect("a query"),
        runbook_url: None,
    }
}

/// The page at a path.
fn page(status: &Status, path: &str) -> String {
    render::page(status, &links(path), &Assets::new(), None).0.0
}
