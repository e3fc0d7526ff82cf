//! `celeriac status` and `celeriac top`: the document of `GET /api/v1/status` in a terminal.
//!
//! `client.rs` fetches the document. `table.rs` turns a section of it into a table of a given width, and `facts.rs` its
//! totals into short texts; both commands print them. `report.rs` is the output of `status`; `top/` is the interactive
//! view. Everything except `client.rs` and `top/mod.rs` is a function of its arguments, without IO.
//!
//! Names and texts come from anyone who can publish an event. `text.rs` escapes control characters and measures how
//! many columns the rest occupies.

mod cell;
mod client;
mod detail;
mod facts;
mod ranked;
mod report;
mod section;
mod table;
mod text;

pub mod top;

#[cfg(test)]
mod fixture;

pub use self::cell::Tone;
pub use self::client::{Client, Credentials, FetchError, Fetched, Target, TargetError};
pub use self::report::{Paint, Report};
pub use self::section::{Choice, Section};
