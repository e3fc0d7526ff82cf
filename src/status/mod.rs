//! What the status page, `/api/v1/status`, `celeriac status` and `celeriac top` show.
//!
//! The stage in `stage.rs` asks the aggregator for an overview, at most once a second and only if someone is looking, and
//! every ten seconds for the history. `facts.rs` reads the overview, `history.rs` remembers, `compose.rs` makes the rows,
//! and `attention.rs` finds what is wrong: all of them are values and functions, and none delays an event.
//!
//! `document.rs` is the document, whose fields are part of the API. `columns.rs` defines the tables made from it, which the
//! page and the terminal share: their titles, their values and their order. `query.rs` has the filters that they share.

mod before;
mod board;
mod ends;

mod facts;
mod history;
mod late;
mod number;
mod own;
mod percentiles;
mod problem;
mod saved;
mod schedules;

mod attention;
mod compose;
mod stage;
mod standby;

pub mod columns;
pub mod document;
pub mod format;
pub mod query;
pub mod setup;

pub use self::board::{Board, Request};
pub use self::saved::HistoryFile;
pub use self::stage::{OverviewRequest, StatusStage};
pub use self::standby::stand_by;

#[cfg(test)]
mod tests;
