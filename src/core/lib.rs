//! The pure part of celeriac: turns payloads into events, events into state, state into series, and
//! series into bytes.
//!
//! Nothing here does I/O, reads a clock or knows the configuration: time and limits are passed in
//! as values. Everything that must survive a restart is exported as messages of [`saved`] and
//! restored from them.

#![cfg_attr(
    test,
    expect(
        clippy::too_many_lines,
        reason = "a test tells one story, however long"
    )
)]

pub mod bounds;
pub mod counts;
pub mod escape;
pub mod event;
pub mod profile;
pub mod saved;
pub mod series;
pub mod state;
pub mod timestamp;
pub mod wire;
