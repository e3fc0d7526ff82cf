//! What the status page, `/api/v1/status`, `celeriac status` and `celeriac top` show.
//!
//! `document.rs` is the document, whose fields are part of the API. `columns.rs` defines the tables made from it, which the
//! page and the terminal share: their titles, their values and their order. `query.rs` has the filters that they share.

mod board;

pub mod columns;
pub mod document;
pub mod format;
pub mod query;

pub use self::board::{Board, Request};
